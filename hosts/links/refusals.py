"""What keeps a link from being made, changed or removed, each with a way out."""

from __future__ import annotations

import errno

from hosts.errors import ConflictError, HostError, PermissionDenied, Unsupported
from hosts.host import Host, Link, NetlinkFailure, Way
from hosts.links.view import View, carrying, mtu_to_set, shape
from hosts.ownership import alias, owner_in_alias
from model.fabric import SubInterface


def refuse_foreign(host: Host, view: View, link: Link, want: SubInterface, adopt: bool) -> None:
    """Raise, unless it may be adopted as it is."""
    has = shape(link.kind, view.name_of(link.parent), link.vlan)
    fits = view.has_shape(link, want)
    claim = next(iter(view.managers.claims), None)
    configured = f", configured in {claim}" if claim else ""
    remove = f"remove it{f' from {claim.file}, then' if claim else ''}: ip link delete {link.name}"
    if adopt and fits and not owner_in_alias(link.alias):
        return
    if owner_in_alias(link.alias):
        hint = "give one of the two stacks another VLAN on this host, or remove it from that stack first"
    elif fits:
        hint = f"set `adopt: true` for {host.name} to take it over as it runs, or {remove}"
    else:
        hint = (
            f"it cannot be adopted, being {has} instead of {shape(want.kind, want.parent, want.vlan)}: "
            f"rename or remove it by hand"
        )
    message = f"there is already a link {link.name}, {has}, of {_whose(link)}{configured}"
    raise ConflictError(host.name, message, hint)


def refuse_taken_vlan(host: Host, view: View, parent: Link, want: SubInterface) -> None:
    """Raise if another link holds the VLAN id on that parent."""
    for link in view.on(parent):
        if (
            link.kind == "vlan"
            and link.vlan == want.vlan
            and link.protocol == "802.1q"
            and link.name != want.name
        ):
            raise ConflictError(
                host.name,
                f"VLAN {want.vlan} on {parent.name} is already taken by {link.name} of {_whose(link)}, "
                f"so {want.name} cannot be made",
                f"use another VLAN id, or remove it: ip link delete {link.name}",
            )


def refuse_taken_addresses(host: Host, view: View, want: SubInterface) -> None:
    """Raise if a link of others has one of the addresses. Ours may: a network moves to another link so."""
    for address in view.addresses:
        holder = next((link for link in view.links if link.index == address.link), None)
        if holder is None or holder.name == want.name or holder.alias == alias(view.owner):
            continue
        for wanted in want.addresses:
            if address.interface.ip == wanted.ip:
                raise ConflictError(
                    host.name,
                    f"address {wanted.ip} of {want.name} is already on {holder.name} of {_whose(holder)}",
                    f"use another gateway address, or remove it: ip address delete {address.interface} "
                    f"dev {holder.name}",
                )


def refuse_to_orphan(host: Host, view: View, link: Link, owner: str) -> None:
    """Raise if deleting the link would take a foreign one along."""
    for child in view.on(link):
        if child.alias != alias(owner):
            raise ConflictError(
                host.name,
                f"{link.name} cannot be deleted: {child.name} of {_whose(child)} sits on it and would go too",
                f"remove it first: ip link delete {child.name}",
            )


def refuse_to_touch_the_session(
    host: Host, view: View, way: Way | None, link: Link | None, parent: Link, want: SubInterface
) -> None:
    """Raise if what leads to `want` is in the way of the session that we come by."""
    carries = link is not None and link.index in carrying(view.links, way)
    if link is not None and carries and not _as_wanted(view, link, parent, want):
        raise carries_the_session(host, link, way)
    if way is None or way.peer is None:
        return
    stays = link is not None and link.up and view.has_shape(link, want)
    present = view.interfaces(link) if link is not None and stays else set()
    for interface in want.addresses:
        if way.peer in interface.network and interface not in present:
            raise ConflictError(
                host.name,
                f"the prefix {interface.network} of {want.name} covers {way.peer}, where our ssh session "
                "comes from: the host would send its answers there",
                f"use another subnet, reach the host from elsewhere, or {_allow(host)}",
            )
    for interface in () if parent.up else view.interfaces(parent):
        if way.peer in interface.network:
            raise ConflictError(
                host.name,
                f"{want.name} needs {parent.name} up, whose address {interface} covers {way.peer}, where our "
                "ssh session comes from: the host would send its answers there",
                f"remove that address, reach the host from elsewhere, or {_allow(host)}",
            )


def _as_wanted(view: View, link: Link, parent: Link, want: SubInterface) -> bool:
    """Whether nothing has to be done to the link itself."""
    facts = view.facts(link)
    differs = facts.kernel_differences(want, view.owner) or mtu_to_set(view, link, parent, want) is not None
    return facts.ours and not differs


def carries_the_session(host: Host, link: Link, way: Way | None) -> ConflictError:
    """The error for a link without which our session would end."""
    peer = f" from {way.peer}" if way and way.peer else ""
    return ConflictError(
        host.name,
        f"{link.name} carries our ssh session{peer}, so it is not touched",
        f"reach the host over another interface, or {_allow(host)}",
    )


def _allow(host: Host) -> str:
    return (
        f"set `may_touch_session: true` for {host.name}: it undoes the change by itself if that cuts us off"
    )


def _whose(link: Link) -> str:
    owner = owner_in_alias(link.alias)
    if owner:
        return f"the stack {owner}"
    return f"somebody else (its alias is {link.alias!r})" if link.alias else "somebody else (it has no alias)"


def refused(host: Host, want: SubInterface, failure: NetlinkFailure) -> HostError:
    """A refusal of the kernel in the user's terms."""
    what = f"{want.name} ({shape(want.kind, want.parent, want.vlan)})"
    if failure.code == errno.EOPNOTSUPP:
        module = "8021q" if want.vlan is not None else "macvlan"
        return Unsupported(
            host.name,
            f"the kernel cannot make {what}: it has no support for {want.kind} links",
            f"load the module on the host: modprobe {module} (some images lack it: linux-modules-extra)",
        )
    if failure.code in (errno.EPERM, errno.EACCES):
        return PermissionDenied(
            host.name,
            f"the kernel refuses to change {what}: {failure}",
            "the ssh user must be root or able to sudo",
        )
    if failure.code == errno.EEXIST:
        return ConflictError(
            host.name,
            f"{what} was made by somebody else at the same moment: {failure}",
            "run it again to see who",
        )
    if failure.code == errno.ENODEV:
        return ConflictError(
            host.name, f"an interface vanished while {what} was set up: {failure}", "run it again"
        )
    return Unsupported(
        host.name, f"the kernel refuses {what}: {failure}", "see `dmesg` on the host for its reason"
    )
