"""Making a link as it is wanted, whatever is there, and making sure of it."""

from __future__ import annotations

import asyncio
from dataclasses import replace

from hosts import rollback
from hosts.boot import read_object, write_object
from hosts.change import Change
from hosts.errors import Unsupported, VerificationError
from hosts.host import Host, Link, NetlinkFailure
from hosts.links.cut_off import Settings, guarded, is_risky, way_back
from hosts.links.parent import lower_again, parent_of, raise_parent
from hosts.links.record import (
    at_boot_in,
    boot_content,
    from_boot_content,
    note_file,
    object_name,
)
from hosts.links.refusals import (
    refuse_foreign,
    refuse_taken_addresses,
    refuse_taken_vlan,
    refuse_to_orphan,
    refuse_to_touch_the_session,
    refused,
)
from hosts.links.view import CONF, View, is_gone, look, mtu_to_set, read_setting, read_sub_interface, shape
from hosts.managers import remove_files, write_files
from hosts.ownership import ADDRESS_PROTOCOL, LOCK, alias, folder
from model.fabric import SubInterface
from model.topology import Persistence


async def ensure_sub_interface(
    host: Host,
    want: SubInterface,
    owner: str,
    *,
    adopt: bool = False,
    may_touch_session: bool = False,
    persistence: Persistence = "unit",
) -> Change:
    """Make `want` exist with its addresses, up, marked as ours and back after a reboot.

    Whatever differs is put right in place; only a link of ours with another parent or VLAN id is made
    anew. Addresses of others on it stay. With `adopt`, a hand-made link of that name, parent and VLAN
    id is taken over as it runs; from then on it is ours, and removed like any other. What others have
    configured for it on the host stays theirs, and makes it at boot.

    Raises ConflictError if the name or the VLAN id on that parent is taken by a link that is not ours,
    or others have configured a link of that name, or, without `may_touch_session`, if it is in the way of
    our own session; Unsupported if there is no such parent, the kernel or the parent cannot carry it, or
    who shall make it at boot could not; and VerificationError if the host does not keep what was set, or was
    cut off by it and has undone it.
    """
    async with host.lock(LOCK):
        try:
            return Change(tuple(await _ensure(host, want, owner, persistence, adopt, may_touch_session)))
        except NetlinkFailure as failure:
            raise refused(host, want, failure) from failure


async def _ensure(
    host: Host,
    want: SubInterface,
    owner: str,
    persistence: Persistence,
    adopt: bool,
    may_touch_session: bool,
) -> list[str]:
    await rollback.settle(host)
    view = await look(host, want.name, owner, want.parent)
    parent = parent_of(host, view, want)
    link = view.named(want.name)
    fits = link is not None and view.has_shape(link, want)
    done: list[str] = []
    lost: list[SubInterface] = []

    if link is not None and not view.is_ours(link):
        refuse_foreign(host, view, link, want, adopt)
        done.append(f"adopted {link.name}" + (f", whose alias was {link.alias!r}" if link.alias else ""))
    at_boot = view.at_boot(persistence, adopt)
    if obstacle := view.obstacle(host, want, persistence, adopt):
        raise obstacle
    if at_boot.adopted and at_boot != at_boot_in(view.file):
        done.append(
            f"adopted {view.managers.claims[0]}, by which {at_boot.manager} makes {want.name} at boot"
        )
    refuse_taken_addresses(host, view, want)
    if not fits:
        refuse_taken_vlan(host, view, parent, want)
    if link is not None and not fits:
        refuse_to_orphan(host, view, link, owner)
        lost = await _records_on(host, view, link, owner)
    elif link is not None and not done and view.note is None:
        differ = view.facts(link).differences(want, owner, persistence, adopt=adopt)
        if not differ and mtu_to_set(view, link, parent, want) is None:
            return []
    way = await host.way()
    if not may_touch_session:
        refuse_to_touch_the_session(host, view, way, link, parent, want)

    # Children that the parent's new MTU is too small for get that one.
    carried = want.mtu or parent.mtu
    whole = [want, *(c if c.mtu is None or c.mtu <= carried else replace(c, mtu=carried) for c in lost)]
    undo: list[list[str]] = []
    if way is not None and is_risky(view, way, link, parent, want):
        keys = {"promote_secondaries", *dict(want.settings), *view.settings}
        values = {key: await read_setting(host, want.name, key) for key in sorted(keys)}
        settings: Settings = {want.name: values, **{child.name: dict(child.settings) for child in lost}}
        undo = list(way_back(view, link, parent, want, settings))
    async with guarded(host, way, want.name, owner, undo):
        if link is not None and not fits:
            await host.delete_link(link.index)
            done.append(
                f"deleted {link.name}, which was {shape(link.kind, view.name_of(link.parent), link.vlan)}"
            )
            view = await look(host, want.name, owner, want.parent)
        await _apply(host, view, want, owner, done)
        for child in whole[1:]:
            await _apply(host, await look(host, child.name, owner), child, owner, done)
    for each in whole:
        adopting = adopt and each is want
        done += await _persist(host, each, owner, persistence, adopting)
        await host.remove(note_file(each.name, owner))
        await _verify(host, each, owner, persistence, adopting)
    return done


async def _persist(
    host: Host, want: SubInterface, owner: str, persistence: Persistence, adopt: bool
) -> list[str]:
    """Write down what is there now, so that it comes back at boot."""
    view = await look(host, want.name, owner, want.parent)
    at_boot = view.at_boot(persistence, adopt)
    files = view.managers.wanted_files(want, owner, at_boot)
    done = await remove_files(host, view.managers, files)
    if await write_object(host, owner, object_name(want.name), boot_content(want, owner, at_boot)):
        done.append(f"wrote its boot file in {folder(owner)}")
    return done + await write_files(host, view.managers, files)


async def _apply(host: Host, view: View, want: SubInterface, owner: str, done: list[str]) -> None:
    """Make it so in the kernel, and tell in `done` what that took."""
    parent = parent_of(host, view, want)
    link = view.named(want.name)
    await _write_note(host, view, want, owner)
    if link is None:
        index = (
            await host.add_macvlan(want.name, parent.index)
            if want.vlan is None
            else await host.add_vlan(want.name, parent.index, want.vlan)
        )
        link = Link(index, want.name, mtu=parent.mtu)
        done.append(f"made {want.name}, {shape(want.kind, want.parent, want.vlan)}")
    if link.alias != alias(owner):
        await host.set_link(link.index, alias=alias(owner))
        if not done:
            done.append(f"marked {want.name} as ours again")
    mtu = mtu_to_set(view, link, parent, want)
    if mtu is not None:
        await host.set_link(link.index, mtu=mtu)
        done.append(f"set MTU {mtu} on {want.name}")
    if not parent.up:
        done.append(await raise_parent(host, view, parent))
    elif view.note is not None:  # an operation was cut off here, perhaps while it raised the parent
        await lower_again(host, view.links, parent)
    done += await _settle_settings(host, view, want)
    done += await _settle_addresses(host, view, link, want)
    if not link.up:
        await host.set_link(link.index, up=True)
        done.append(f"raised {want.name}")


async def _write_note(host: Host, view: View, want: SubInterface, owner: str) -> None:
    """Before anything is touched, add this wish to what may be found half-done."""
    earlier = [wish for wish in (view.note, view.record) if wish]
    note = replace(
        want,
        mtu=next((wish.mtu for wish in (want, *earlier) if wish.mtu is not None), None),
        addresses=tuple({address for wish in (want, *earlier) for address in wish.addresses}),
        settings=tuple({key: value for wish in (want, *earlier) for key, value in wish.settings}.items()),
    )
    await host.write(note_file(want.name, owner), boot_content(note, owner))


async def _settle_settings(host: Host, view: View, want: SubInterface) -> list[str]:
    """Set the link's parameters, and return those of an earlier wish to what every new link gets."""
    done = []
    wanted = dict(want.settings)
    for key in sorted({*wanted, *view.settings}):
        present = await read_setting(host, want.name, key)
        value = wanted.get(key) or await read_setting(host, "default", key)
        if present is None or value is None:
            raise Unsupported(
                host.name, f"the kernel has no parameter {key} for {want.name}", "is its kernel very old?"
            )
        if present != value:
            await host.write(f"{CONF}/{want.name}/{key}", f"{value}\n".encode())
            done.append(f"set {key} {value} on {want.name}")
    return done


async def _settle_addresses(host: Host, view: View, link: Link, want: SubInterface) -> list[str]:
    """Remove the addresses of ours that are not wanted, then add those that are missing."""
    done = []
    present = view.interfaces(link)
    stale = [a.interface for a in view.ours_on(link) if a.interface not in want.addresses]
    if stale or view.note:
        # Deleting the first address of a prefix deletes the others of that prefix, whoever added them, unless
        # the link promotes them (Documentation/networking/ip-sysctl). The link is ours, so may be told to.
        promote = f"{CONF}/{want.name}/promote_secondaries"
        usual = await host.read(f"{CONF}/default/promote_secondaries") or b"0\n"
        if stale:
            await host.write(promote, b"1\n")
        for interface in stale:
            await host.delete_address(link.index, interface)
            done.append(f"removed address {interface} from {want.name}")
        if await host.read(promote) != usual:
            await host.write(promote, usual)
    for interface in want.addresses:
        if interface not in present:
            await host.add_address(link.index, interface, protocol=ADDRESS_PROTOCOL)
            done.append(f"added address {interface} to {want.name}")
    return done


async def _records_on(host: Host, view: View, link: Link, owner: str) -> list[SubInterface]:
    """What we have on a link that must be made anew, from its files."""
    contents = await asyncio.gather(
        *(read_object(host, owner, object_name(child.name)) for child in view.on(link))
    )
    return [wish for content in contents if (wish := from_boot_content(content))]


async def _verify(host: Host, want: SubInterface, owner: str, persistence: Persistence, adopt: bool) -> None:
    facts = await read_sub_interface(host, want.name, owner)
    gone = (is_gone(want.name),)
    wrong = gone if facts is None else facts.differences(want, owner, persistence, adopt=adopt)
    if wrong:
        raise VerificationError(
            host.name,
            f"{want.name} was set up, but right after: {'; '.join(wrong)}",
            f"some network manager on the host undoes it: tell it to leave {want.name} alone "
            f"(systemd-networkd: Unmanaged=yes in a .network file; NetworkManager: unmanaged-devices)",
        )
