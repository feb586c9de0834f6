"""A host's links and addresses as they are, and what is ours among them."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Interface

from hosts.boot import read_object
from hosts.claims import read_configuration
from hosts.errors import HostError
from hosts.host import Address, Host, Link, Way
from hosts.links.record import (
    at_boot_in,
    boot_content,
    from_boot_content,
    note_file,
    object_name,
)
from hosts.managers import AtBoot, Managers, read_managers
from hosts.ownership import ADDRESS_PROTOCOL, alias, owner_in_alias
from model.fabric import SubInterface
from model.topology import Persistence

CONF = "/proc/sys/net/ipv4/conf"


@dataclass(frozen=True)
class SubInterfaceFacts:
    """A link of a wanted name, and what is written down for it."""

    name: str
    kind: str | None
    parent: str | None
    vlan: int | None
    mtu: int
    up: bool
    alias: str
    ours: bool  # made or adopted by this owner; else a foreign link has the name
    addresses: tuple[IPv4Interface, ...]  # ours, sorted
    foreign_addresses: tuple[IPv4Interface, ...]  # the others on it, sorted
    settings: dict[str, str]  # its parameters, as far as a boot file or note mentions them
    boot_file: bytes | None  # what brings it back at boot; None: nothing does
    managers: Managers  # of the host's, what they have to do with it

    def differences(
        self, want: SubInterface, owner: str, persistence: Persistence = "unit", *, adopt: bool = False
    ) -> tuple[str, ...]:
        """In what the host is not as wanted, a clause each; () if it is."""
        if not self.ours:
            return (f"{self.name} is not ours any more",)
        said = self.kernel_differences(want, owner)
        at_boot = self.managers.chosen(persistence, at_boot_in(self.boot_file), adopt=adopt)
        wanted = boot_content(want, owner, at_boot), self.managers.wanted_files(want, owner, at_boot)
        if (self.boot_file, self.managers.files) != wanted:
            said.append("would not come back like this after a reboot")
        clauses = [f"{self.name} {clause}" for clause in said]
        obstacle = self.managers.obstacle("", want, at_boot)
        return (*clauses, obstacle.message) if obstacle else tuple(clauses)

    def kernel_differences(self, want: SubInterface, owner: str) -> list[str]:
        """In what a link of ours is not as wanted at this moment, without its name."""
        said = []
        if (self.kind, self.parent, self.vlan) != (want.kind, want.parent, want.vlan):
            said.append(f"is {shape(self.kind, self.parent, self.vlan)}")
        if want.mtu is not None and self.mtu != want.mtu:
            said.append(f"has MTU {self.mtu} instead of {want.mtu}")
        if not self.up:
            said.append("is down")
        if self.alias != alias(owner):
            said.append(f"has the alias {self.alias!r} instead of ours")
        have = {*self.addresses, *self.foreign_addresses}
        said += [f"lacks address {address}" for address in want.addresses if address not in have]
        said += [
            f"still has address {address}" for address in self.addresses if address not in want.addresses
        ]
        said += [
            f"has {key} {self.settings[key]} instead of {value}"
            for key, value in want.settings
            if self.settings.get(key, value) != value
        ]
        return said


def is_gone(name: str) -> str:
    """The clause for a link that is not there at all."""
    return f"{name} is gone"


@dataclass(frozen=True)
class View:
    """The kernel's links and addresses, and what we know of one of them."""

    owner: str
    links: tuple[Link, ...]
    addresses: tuple[Address, ...]
    file: bytes | None  # the boot file
    record: SubInterface | None  # what it says
    note: SubInterface | None  # what an operation that was cut off was about to do
    settings: dict[str, str]  # the link's parameters that these two mention
    managers: Managers

    def at_boot(self, persistence: Persistence, adopt: bool) -> AtBoot:
        """Who shall make it at boot."""
        return self.managers.chosen(persistence, at_boot_in(self.file), adopt=adopt)

    def obstacle(
        self, host: Host, want: SubInterface, persistence: Persistence, adopt: bool
    ) -> HostError | None:
        return self.managers.obstacle(host.name, want, self.at_boot(persistence, adopt))

    def named(self, name: str) -> Link | None:
        return next((link for link in self.links if link.name == name), None)

    def name_of(self, index: int | None) -> str | None:
        return next((link.name for link in self.links if link.index == index), None)

    def on(self, link: Link) -> list[Link]:
        """The links on top of it. A veth's "parent" is its other end, perhaps in another namespace."""
        return [child for child in self.links if child.parent == link.index and child.kind != "veth"]

    def tower(self, link: Link) -> list[Link]:
        """A link and all that stands on it, lower ones first."""
        return [link, *(each for child in self.on(link) for each in self.tower(child))]

    def interfaces(self, link: Link) -> set[IPv4Interface]:
        """The addresses on a link, whoever added them."""
        return {address.interface for address in self.addresses if address.link == link.index}

    def is_ours(self, link: Link) -> bool:
        if link.alias == alias(self.owner):
            return True
        if owner_in_alias(link.alias):
            return False
        if self.record and self.has_shape(link, self.record):
            return True  # somebody changed the alias
        fresh = not (link.alias or link.up or any(a.link == link.index for a in self.addresses))
        return bool(self.note and fresh and self.has_shape(link, self.note))

    def has_shape(self, link: Link, want: SubInterface) -> bool:
        """Whether it is the same kind of link on the same parent; all the rest can be changed in place."""
        return (link.kind, link.vlan, self.name_of(link.parent)) == (
            want.kind,
            want.vlan,
            want.parent,
        ) and (link.protocol in (None, "802.1q"))

    def ours_on(self, link: Link) -> list[Address]:
        written = {address for wish in (self.record, self.note) if wish for address in wish.addresses}
        return [
            address
            for address in self.addresses
            if address.link == link.index
            and (address.protocol == ADDRESS_PROTOCOL or address.interface in written)
        ]

    def facts(self, link: Link) -> SubInterfaceFacts:
        ours = {address.interface for address in self.ours_on(link)}
        every = self.interfaces(link)
        return SubInterfaceFacts(
            link.name,
            link.kind,
            self.name_of(link.parent),
            link.vlan,
            link.mtu,
            link.up,
            link.alias,
            self.is_ours(link),
            tuple(sorted(ours)),
            tuple(sorted(every - ours)),
            self.settings,
            self.file,
            self.managers,
        )


async def look(host: Host, name: str, owner: str, parent: str | None = None) -> View:
    """The host, and all about the link of that name; `parent` is the wanted one, None: the one it has."""
    links, addresses, configuration, file, note = await asyncio.gather(
        host.links(),
        host.addresses(),
        read_configuration(host),
        read_object(host, owner, object_name(name)),
        host.read(note_file(name, owner)),
    )
    wishes = from_boot_content(file), from_boot_content(note)
    has = next((link.parent for link in links if link.name == name), None)
    by_name = parent or (wishes[0].parent if wishes[0] and has is None else None)
    on = next((link for link in links if link.index == has or link.name == by_name), None)
    managers = await read_managers(host, name, on, owner, configuration)
    keys = {key: "" for wish in wishes if wish for key, _ in wish.settings}
    values = await asyncio.gather(*(read_setting(host, name, key) for key in keys))
    settings = {key: value for key, value in zip(keys, values, strict=True) if value is not None}
    return View(owner, links, addresses, file, *wishes, settings, managers)


def carrying(links: Sequence[Link], way: Way | None) -> set[int]:
    """The links without which our session would end: its own, and those below them."""
    found: set[int] = set()
    coming = set(way.links) if way else set()
    while coming:
        found |= coming
        below = {link.parent for link in links if link.index in coming and link.kind != "veth"}
        coming = {index for index in below if index is not None} - found
    return found


def mtu_to_set(view: View, link: Link, parent: Link, want: SubInterface) -> int | None:
    """The MTU to set; None to leave it as it is.

    No wish for one means the parent's: but only if the present one was a wish of ours, so that a
    change from outside is not fought where we promise nothing.
    """
    wished = want.mtu
    if wished is None and any(wish and wish.mtu is not None for wish in (view.record, view.note)):
        wished = parent.mtu
    return wished if wished != link.mtu else None


def shape(kind: str | None, parent: str | None, vlan: int | None) -> str:
    """What cannot be changed of a link, in words: `VLAN 10 on eth2`."""
    if kind == "vlan":
        return f"VLAN {vlan} on {parent}"
    return f"a {kind or 'plain'} link" + (f" on {parent}" if parent else "")


async def read_setting(host: Host, name: str, key: str) -> str | None:
    """A parameter of a link (Documentation/networking/ip-sysctl); None if there is none."""
    content = await host.read(f"{CONF}/{name}/{key}")
    return None if content is None else content.decode().strip()


async def read_sub_interface(host: Host, name: str, owner: str) -> SubInterfaceFacts | None:
    """The link of that name as it is, seen by that owner; None if there is none."""
    view = await look(host, name, owner)
    link = view.named(name)
    return None if link is None else view.facts(link)
