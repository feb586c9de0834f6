"""Not to be cut off: which changes are risky, and the commands by which a host undoes one by itself."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractAsyncContextManager, nullcontext

from hosts import rollback
from hosts.host import Address, Host, Link, Way
from hosts.links.parent import was_down_file
from hosts.links.record import object_name
from hosts.links.view import CONF, View, carrying
from hosts.ownership import PREVIOUS, ROOT
from model.fabric import SubInterface


def is_risky(view: View, way: Way | None, link: Link | None, parent: Link, want: SubInterface) -> bool:
    """Whether on the way to `want` an address comes or goes, or our session's own link is touched."""
    if not parent.up and view.interfaces(parent):
        return True
    if link is None:
        return bool(want.addresses)
    if link.index in carrying(view.links, way):
        return True
    present = view.interfaces(link)
    if not view.has_shape(link, want) or not link.up:
        return bool(want.addresses) or any(view.interfaces(each) for each in view.tower(link))
    stale = [address for address in view.ours_on(link) if address.interface not in want.addresses]
    return bool(stale) or not present.issuperset(want.addresses)


def guarded(
    host: Host, way: Way | None, name: str, owner: str, undo: list[list[str]]
) -> AbstractAsyncContextManager[None]:
    """Around a change of that link; without commands, or a network in between, nothing is at risk."""
    return rollback.guarded(host, _armed(name, owner), undo) if undo and way else nullcontext()


def _armed(name: str, owner: str) -> str:
    return rollback.name_of(owner, object_name(name))


Settings = Mapping[str, Mapping[str, str | None]]  # by link, then by key


def way_back(
    view: View, link: Link | None, parent: Link, want: SubInterface, settings: Settings
) -> Iterator[list[str]]:
    """The commands that lead back from anywhere on the way to `want`; `settings` are the present ones.

    A parent that we raised stays up, which is written down, unless that is what may have cut us off.
    """
    if link is None or not view.has_shape(link, want):
        yield ["-ip", "link", "delete", "dev", want.name]
        if link is not None:
            yield from made_again(view, link, settings)
    else:
        set_link = ["ip", "link", "set", "dev", link.name]
        for interface in want.addresses:
            if interface not in view.interfaces(link):
                yield ["-ip", "address", "delete", str(interface), "dev", link.name]
        for address in view.ours_on(link):
            if address.interface not in want.addresses:
                yield from _added_again(link, address)
        yield [*set_link, "mtu", str(link.mtu)]
        yield [*set_link, "alias", link.alias]
        yield from _set_again(link, settings)
        if not link.up:
            yield [*set_link, "down"]
    if not parent.up and view.interfaces(parent):
        yield ["ip", "link", "set", "dev", parent.name, "down"]
        yield ["rm", "-f", was_down_file(parent.name)]
        yield ["-rmdir", PREVIOUS]
        yield ["-rmdir", ROOT]


def made_again(view: View, link: Link, settings: Settings) -> Iterator[list[str]]:
    """The commands that bring a link back as it is, with all that stands on it."""
    kind = ["macvlan", "mode", "bridge"] if link.vlan is None else ["vlan", "id", str(link.vlan)]
    parent = view.name_of(link.parent) or ""
    yield ["-ip", "link", "add", "link", parent, "name", link.name, "type", *kind]
    set_link = ["ip", "link", "set", "dev", link.name]
    if link.vlan is None and link.mac:  # containers know their gateway by it
        yield [*set_link, "address", link.mac]
    yield [*set_link, "mtu", str(link.mtu)]
    yield [*set_link, "alias", link.alias]
    yield from _set_again(link, settings)
    for address in view.addresses:
        if address.link == link.index:
            yield from _added_again(link, address)
    if link.up:
        yield [*set_link, "up"]
    for child in view.on(link):
        yield from made_again(view, child, settings)


def _set_again(link: Link, settings: Settings) -> Iterator[list[str]]:
    for key, value in settings.get(link.name, {}).items():
        if value is not None:
            yield ["-sysctl", "-q", "-w", f"{CONF.removeprefix('/proc/sys/')}/{link.name}/{key}={value}"]


def _added_again(link: Link, address: Address) -> Iterator[list[str]]:
    command = ["-ip", "address", "add", str(address.interface), "dev", link.name]
    if address.protocol:
        yield [*command, "proto", f"{address.protocol:#x}"]
    yield command  # of an older ip command, which knows no protocols
