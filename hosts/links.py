"""Sub-interfaces of a trunk, and macvlan links on them, with their addresses.

A link is ours if its alias names our owner; or, the alias being lost, if our file for it says the same
parent and VLAN id; or if an operation of ours was cut off right after making it, which a note under
/run tells. An address is ours if it carries our protocol number, or stands in that file or note.

Who makes it at boot, `hosts.managers` says.

The trunk interface itself is not ours. Yet the kernel refuses to raise a sub-interface whose parent is
down, and a trunk that nothing configures is down on a fresh host, so a parent that is down is raised,
which is written down, and taken down again when the last link on it goes. VLANs of others that the
kernel raises along with it are put back.

What carries the session that we come by is not touched at all, unless that is allowed. Whatever else
could cut us off - addresses, and links that come or go with them - stays only if the host can still be
reached with it (`hosts.rollback`); only then the boot file follows.
"""

from __future__ import annotations

import asyncio
import errno
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import dataclass, replace
from ipaddress import IPv4Interface

from hosts import rollback
from hosts.boot import read_object, remove_object, write_object
from hosts.change import Change
from hosts.claims import read_configuration
from hosts.errors import ConflictError, HostError, PermissionDenied, Unsupported, VerificationError
from hosts.host import Address, Host, Link, NetlinkFailure, Way
from hosts.managers import (
    BY_UNIT,
    AtBoot,
    Managers,
    names_in_files,
    read_managers,
    remove_files,
    withdraw_files,
    write_files,
)
from hosts.ownership import (
    ADDRESS_PROTOCOL,
    LOCK,
    PREVIOUS,
    ROOT,
    UNFINISHED,
    alias,
    file_name,
    folder,
    heading,
    owner_in_alias,
)
from model.fabric import SubInterface
from model.topology import Persistence

_CONF = "/proc/sys/net/ipv4/conf"
MAX_MTU = 65535


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
        if (self.kind, self.parent, self.vlan) != (_kind(want), want.parent, want.vlan):
            said.append(f"is {_shape(self.kind, self.parent, self.vlan)}")
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


async def read_sub_interface(host: Host, name: str, owner: str) -> SubInterfaceFacts | None:
    """The link of that name as it is, seen by that owner; None if there is none."""
    view = await _look(host, name, owner)
    link = view.named(name)
    return None if link is None else view.facts(link)


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
            raise _refused(host, want, failure) from failure


async def foresee_sub_interfaces(
    host: Host,
    wants: Sequence[SubInterface],
    owner: str,
    *,
    adopt: bool = False,
    may_touch_session: bool = False,
    persistence: Persistence = "unit",
) -> tuple[HostError, ...]:
    """What would keep `ensure_sub_interface` from making these, parents first; only looks."""
    way, links, addresses, configuration = await asyncio.gather(
        host.way(), host.links(), host.addresses(), read_configuration(host)
    )
    expected = {want.name for want in wants}
    problems: list[HostError] = []
    coming: dict[str, Link] = {}  # by name; what will be there when its turn comes
    missing: set[str] = set()
    for want in wants:
        link = next((link for link in links if link.name == want.name), None)
        on = next((link for link in links if link.name == want.parent), None)
        managers = await read_managers(host, want.name, on, owner, configuration)
        view = _View(owner, (*links, *coming.values()), addresses, None, None, None, {}, managers)
        if link is not None and (not view.is_ours(link) or link.index in _carrying(view.links, way)):
            view = await _look(host, want.name, owner)
        elif managers.claims:
            view = replace(view, file=await read_object(host, owner, _object(want.name)))
        try:
            if want.parent not in missing:
                parent = _parent(host, view, want)
                if link is not None and not view.is_ours(link):
                    _refuse_foreign(host, view, link, want, adopt)
                obstacle = view.obstacle(host, want, persistence, adopt)
                # what sits on a link of ours has the same manager as that one, once it has one
                if obstacle and (managers.claims or want.parent not in expected):
                    raise obstacle
                _refuse_taken_addresses(host, view, want)
                if link is None or not view.has_shape(link, want):
                    _refuse_taken_vlan(host, view, parent, want)
                    if link is not None:
                        _refuse_to_orphan(host, view, link, owner)
                if not may_touch_session:
                    _refuse_to_touch_the_session(host, view, way, link, parent, want)
        except HostError as problem:
            problems.append(problem)
            if view.named(want.parent) is None:
                missing.add(want.parent)  # once is enough
        if link is None:
            index = -1 - len(coming)
            coming[want.name] = Link(index, want.name, mtu=want.mtu or MAX_MTU, alias=alias(owner))
    return tuple(problems)


async def remove_sub_interface(
    host: Host, name: str, owner: str, *, may_touch_session: bool = False
) -> Change:
    """Remove our link of that name with all addresses on it, and its file. One that is gone is fine.

    A foreign link that has taken the name stays. Raises ConflictError if links that are not this
    owner's sit on it, because the kernel would delete them, too; and, without `may_touch_session`, if it
    carries our own session.
    """
    async with host.lock(LOCK):
        await rollback.settle(host)
        view = await _look(host, name, owner)
        link = view.named(name)
        done = []
        ours = link if link is not None and view.is_ours(link) else None
        if ours is not None:
            _refuse_to_orphan(host, view, ours, owner)
            way = await host.way()
            carries = ours.index in _carrying(view.links, way)
            if carries and not may_touch_session:
                raise _carries_the_session(host, ours, way)
        # Should its removal be undone, our own boot file is there still and makes it at boot.
        done += await withdraw_files(host, view.managers, name, ours)
        if ours is not None:
            risky = carries or any(view.interfaces(each) for each in view.tower(ours))
            undo = list(_made_again(view, ours, {name: view.settings})) if risky else []
            async with _guarded(host, way, name, owner, undo):
                await _delete(host, ours)
            foreign = view.facts(ours).foreign_addresses
            with_them = f" and with it {', '.join(map(str, foreign))}, added by others" if foreign else ""
            done.append(f"deleted {name}{with_them}")
        if await remove_object(host, owner, _object(name)):
            done.append(f"removed its boot file in {folder(owner)}")
        await host.remove(_note(name, owner))
        done += await _lower_unused_parents(host)
        return Change(tuple(done))


async def _delete(host: Host, link: Link) -> None:
    try:
        await host.delete_link(link.index)
    except NetlinkFailure as failure:
        if failure.code != errno.ENODEV:
            raise HostError(host.name, f"{link.name} cannot be deleted: {failure}") from failure


async def remove_all_sub_interfaces(host: Host, owner: str, *, may_touch_session: bool = False) -> Change:
    """Remove every link that is ours, by its alias, files or note, and lower the parents left unused."""
    links, files, notes, configured = await asyncio.gather(
        host.links(),
        _wishes_in(host, folder(owner), ".link"),
        _wishes_in(host, _notes(owner), ""),
        names_in_files(host, owner),
    )
    ours = {link.name: link for link in links if link.alias == alias(owner)}
    known = dict.fromkeys(configured, True)
    known |= {wish.name: wish.vlan is not None for wish in (*files, *notes)}
    known |= {name: link.kind == "vlan" for name, link in ours.items()}
    done: list[str] = []
    for name in sorted(known, key=lambda name: known[name]):  # what sits on others first
        done += (await remove_sub_interface(host, name, owner, may_touch_session=may_touch_session)).done
    async with host.lock(LOCK):
        done += await _lower_unused_parents(host)
        await host.remove(_notes(owner))
        await host.remove(UNFINISHED)
    return Change(tuple(done))


async def _wishes_in(host: Host, path: str, ending: str) -> list[SubInterface]:
    names = [name for name in await host.entries(path) if name.endswith(ending)]
    contents = await asyncio.gather(*(host.read(f"{path}/{name}") for name in names))
    return [wish for content in contents if (wish := from_boot_content(content))]


# The file that brings a link back at boot; `replay.sh` reads it, and so do we.


def boot_content(want: SubInterface, owner: str, at_boot: AtBoot = BY_UNIT) -> bytes:
    """A wish as `replay.sh` reads it: a key and a value on each line."""
    lines = [
        heading(want.name, owner),
        f"name {want.name}",
        f"kind {_kind(want)}",
        f"parent {want.parent}",
        *([f"vlan {want.vlan}"] if want.vlan is not None else []),
        *([f"mtu {want.mtu}"] if want.mtu is not None else []),
        *(f"setting {key} {value}" for key, value in sorted(want.settings)),
        *(f"address {address}" for address in sorted(want.addresses)),
        f"alias {alias(owner)}",
        *([f"manager {at_boot.manager}"] if at_boot.manager else []),
        *([f"adopted {at_boot.adopted}"] if at_boot.adopted else []),
    ]
    return "".join(f"{line}\n" for line in lines).encode()


def from_boot_content(content: bytes | None) -> SubInterface | None:
    """The wish that such a file holds, its addresses sorted; None without one that makes sense."""
    if content is None:
        return None
    single: dict[str, str] = {}
    addresses = []
    settings = []
    try:
        for line in content.decode().splitlines():
            key, _, value = line.partition(" ")
            if key == "address":
                addresses.append(IPv4Interface(value))
            elif key == "setting":
                settings.append((value.partition(" ")[0], value.partition(" ")[2]))
            else:
                single[key] = value
        return SubInterface(
            single["name"],
            single["parent"],
            int(single["vlan"]) if "vlan" in single else None,
            int(single["mtu"]) if "mtu" in single else None,
            tuple(sorted(addresses)),
            tuple(sorted(settings)),
        )
    except (KeyError, ValueError):  # somebody edited it
        return None


def at_boot_in(content: bytes | None) -> AtBoot:
    """Who makes the link at boot, by such a file."""
    lines = (content or b"").decode(errors="replace").splitlines()
    said = {key: value for key, _, value in (line.partition(" ") for line in lines)}
    return AtBoot(said.get("manager"), said.get("adopted"))


def _object(name: str) -> str:
    return f"{name}.link"


def _notes(owner: str) -> str:
    return f"{UNFINISHED}/{folder(owner).rpartition('/')[2]}"


def _note(name: str, owner: str) -> str:
    """Where an operation on a link says what it is about to do, until it is done."""
    return f"{_notes(owner)}/{file_name(name)}"


def _armed(name: str, owner: str) -> str:
    return rollback.name_of(owner, _object(name))


def _kind(want: SubInterface) -> str:
    return "macvlan" if want.vlan is None else "vlan"


def _shape(kind: str | None, parent: str | None, vlan: int | None) -> str:
    if kind == "vlan":
        return f"VLAN {vlan} on {parent}"
    return f"a {kind or 'plain'} link" + (f" on {parent}" if parent else "")


@dataclass(frozen=True)
class _View:
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
            _kind(want),
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


async def _look(host: Host, name: str, owner: str, parent: str | None = None) -> _View:
    """`parent` is the wanted one; None: the one it has."""
    links, addresses, configuration, file, note = await asyncio.gather(
        host.links(),
        host.addresses(),
        read_configuration(host),
        read_object(host, owner, _object(name)),
        host.read(_note(name, owner)),
    )
    wishes = from_boot_content(file), from_boot_content(note)
    has = next((link.parent for link in links if link.name == name), None)
    by_name = parent or (wishes[0].parent if wishes[0] and has is None else None)
    on = next((link for link in links if link.index == has or link.name == by_name), None)
    managers = await read_managers(host, name, on, owner, configuration)
    keys = {key: "" for wish in wishes if wish for key, _ in wish.settings}
    values = await asyncio.gather(*(_setting(host, name, key) for key in keys))
    settings = {key: value for key, value in zip(keys, values, strict=True) if value is not None}
    return _View(owner, links, addresses, file, *wishes, settings, managers)


async def _ensure(
    host: Host,
    want: SubInterface,
    owner: str,
    persistence: Persistence,
    adopt: bool,
    may_touch_session: bool,
) -> list[str]:
    await rollback.settle(host)
    view = await _look(host, want.name, owner, want.parent)
    parent = _parent(host, view, want)
    link = view.named(want.name)
    fits = link is not None and view.has_shape(link, want)
    done: list[str] = []
    lost: list[SubInterface] = []

    if link is not None and not view.is_ours(link):
        _refuse_foreign(host, view, link, want, adopt)
        done.append(f"adopted {link.name}" + (f", whose alias was {link.alias!r}" if link.alias else ""))
    at_boot = view.at_boot(persistence, adopt)
    if obstacle := view.obstacle(host, want, persistence, adopt):
        raise obstacle
    if at_boot.adopted and at_boot != at_boot_in(view.file):
        done.append(
            f"adopted {view.managers.claims[0]}, by which {at_boot.manager} makes {want.name} at boot"
        )
    _refuse_taken_addresses(host, view, want)
    if not fits:
        _refuse_taken_vlan(host, view, parent, want)
    if link is not None and not fits:
        _refuse_to_orphan(host, view, link, owner)
        lost = await _records_on(host, view, link, owner)
    elif link is not None and not done and view.note is None:
        differ = view.facts(link).differences(want, owner, persistence, adopt=adopt)
        if not differ and _mtu(view, link, parent, want) is None:
            return []
    way = await host.way()
    if not may_touch_session:
        _refuse_to_touch_the_session(host, view, way, link, parent, want)

    # Children that the parent's new MTU is too small for get that one.
    carried = want.mtu or parent.mtu
    whole = [want, *(c if c.mtu is None or c.mtu <= carried else replace(c, mtu=carried) for c in lost)]
    undo: list[list[str]] = []
    if way is not None and _risky(view, way, link, parent, want):
        keys = {"promote_secondaries", *dict(want.settings), *view.settings}
        values = {key: await _setting(host, want.name, key) for key in sorted(keys)}
        undo = list(
            _undo(view, link, parent, want, {want.name: values, **{c.name: dict(c.settings) for c in lost}})
        )
    async with _guarded(host, way, want.name, owner, undo):
        if link is not None and not fits:
            await host.delete_link(link.index)
            done.append(
                f"deleted {link.name}, which was {_shape(link.kind, view.name_of(link.parent), link.vlan)}"
            )
            view = await _look(host, want.name, owner, want.parent)
        await _apply(host, view, want, owner, done)
        for child in whole[1:]:
            await _apply(host, await _look(host, child.name, owner), child, owner, done)
    for each in whole:
        adopting = adopt and each is want
        done += await _persist(host, each, owner, persistence, adopting)
        await host.remove(_note(each.name, owner))
        await _verify(host, each, owner, persistence, adopting)
    return done


async def _persist(
    host: Host, want: SubInterface, owner: str, persistence: Persistence, adopt: bool
) -> list[str]:
    """Write down what is there now, so that it comes back at boot."""
    view = await _look(host, want.name, owner, want.parent)
    at_boot = view.at_boot(persistence, adopt)
    files = view.managers.wanted_files(want, owner, at_boot)
    done = await remove_files(host, view.managers, files)
    if await write_object(host, owner, _object(want.name), boot_content(want, owner, at_boot)):
        done.append(f"wrote its boot file in {folder(owner)}")
    return done + await write_files(host, view.managers, files)


async def _apply(host: Host, view: _View, want: SubInterface, owner: str, done: list[str]) -> None:
    """Make it so in the kernel, and tell in `done` what that took."""
    parent = _parent(host, view, want)
    link = view.named(want.name)
    await _write_note(host, view, want, owner)
    if link is None:
        index = (
            await host.add_macvlan(want.name, parent.index)
            if want.vlan is None
            else await host.add_vlan(want.name, parent.index, want.vlan)
        )
        link = Link(index, want.name, mtu=parent.mtu)
        done.append(f"made {want.name}, {_shape(_kind(want), want.parent, want.vlan)}")
    if link.alias != alias(owner):
        await host.set_link(link.index, alias=alias(owner))
        if not done:
            done.append(f"marked {want.name} as ours again")
    mtu = _mtu(view, link, parent, want)
    if mtu is not None:
        await host.set_link(link.index, mtu=mtu)
        done.append(f"set MTU {mtu} on {want.name}")
    if not parent.up:
        done.append(await _raise_parent(host, view, parent))
    elif view.note is not None:  # an operation was cut off here, perhaps while it raised the parent
        await _lower_again(host, view.links, parent)
    done += await _settle_settings(host, view, want)
    done += await _settle_addresses(host, view, link, want)
    if not link.up:
        await host.set_link(link.index, up=True)
        done.append(f"raised {want.name}")


def _as_wanted(view: _View, link: Link, parent: Link, want: SubInterface) -> bool:
    """Whether nothing has to be done to the link itself."""
    facts = view.facts(link)
    differs = facts.kernel_differences(want, view.owner) or _mtu(view, link, parent, want) is not None
    return facts.ours and not differs


def _mtu(view: _View, link: Link, parent: Link, want: SubInterface) -> int | None:
    """The MTU to set; None to leave it as it is.

    No wish for one means the parent's: but only if the present one was a wish of ours, so that a
    change from outside is not fought where we promise nothing.
    """
    wished = want.mtu
    if wished is None and any(wish and wish.mtu is not None for wish in (view.record, view.note)):
        wished = parent.mtu
    return wished if wished != link.mtu else None


async def _write_note(host: Host, view: _View, want: SubInterface, owner: str) -> None:
    """Before anything is touched, add this wish to what may be found half-done."""
    earlier = [wish for wish in (view.note, view.record) if wish]
    note = replace(
        want,
        mtu=next((wish.mtu for wish in (want, *earlier) if wish.mtu is not None), None),
        addresses=tuple({address for wish in (want, *earlier) for address in wish.addresses}),
        settings=tuple({key: value for wish in (want, *earlier) for key, value in wish.settings}.items()),
    )
    await host.write(_note(want.name, owner), boot_content(note, owner))


async def _setting(host: Host, name: str, key: str) -> str | None:
    content = await host.read(f"{_CONF}/{name}/{key}")
    return None if content is None else content.decode().strip()


async def _settle_settings(host: Host, view: _View, want: SubInterface) -> list[str]:
    """Set the link's parameters, and return those of an earlier wish to what every new link gets."""
    done = []
    wanted = dict(want.settings)
    for key in sorted({*wanted, *view.settings}):
        present = await _setting(host, want.name, key)
        value = wanted.get(key) or await _setting(host, "default", key)
        if present is None or value is None:
            raise Unsupported(
                host.name, f"the kernel has no parameter {key} for {want.name}", "is its kernel very old?"
            )
        if present != value:
            await host.write(f"{_CONF}/{want.name}/{key}", f"{value}\n".encode())
            done.append(f"set {key} {value} on {want.name}")
    return done


async def _settle_addresses(host: Host, view: _View, link: Link, want: SubInterface) -> list[str]:
    """Remove the addresses of ours that are not wanted, then add those that are missing."""
    done = []
    present = view.interfaces(link)
    stale = [a.interface for a in view.ours_on(link) if a.interface not in want.addresses]
    if stale or view.note:
        # Deleting the first address of a prefix deletes the others of that prefix, whoever added them, unless
        # the link promotes them (Documentation/networking/ip-sysctl). The link is ours, so may be told to.
        promote = f"{_CONF}/{want.name}/promote_secondaries"
        usual = await host.read(f"{_CONF}/default/promote_secondaries") or b"0\n"
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


# Not to be cut off


def _carrying(links: Sequence[Link], way: Way | None) -> set[int]:
    """The links without which our session would end: its own, and those below them."""
    found: set[int] = set()
    coming = set(way.links) if way else set()
    while coming:
        found |= coming
        below = {link.parent for link in links if link.index in coming and link.kind != "veth"}
        coming = {index for index in below if index is not None} - found
    return found


def _risky(view: _View, way: Way | None, link: Link | None, parent: Link, want: SubInterface) -> bool:
    """Whether on the way to `want` an address comes or goes, or our session's own link is touched."""
    if not parent.up and view.interfaces(parent):
        return True
    if link is None:
        return bool(want.addresses)
    if link.index in _carrying(view.links, way):
        return True
    present = view.interfaces(link)
    if not view.has_shape(link, want) or not link.up:
        return bool(want.addresses) or any(view.interfaces(each) for each in view.tower(link))
    stale = [address for address in view.ours_on(link) if address.interface not in want.addresses]
    return bool(stale) or not present.issuperset(want.addresses)


def _guarded(
    host: Host, way: Way | None, name: str, owner: str, undo: list[list[str]]
) -> AbstractAsyncContextManager[None]:
    """Around a change of that link; without commands, or a network in between, nothing is at risk."""
    return rollback.guarded(host, _armed(name, owner), undo) if undo and way else nullcontext()


Settings = Mapping[str, Mapping[str, str | None]]  # by link, then by key


def _undo(
    view: _View, link: Link | None, parent: Link, want: SubInterface, settings: Settings
) -> Iterator[list[str]]:
    """The commands that lead back from anywhere on the way to `want`; `settings` are the present ones.

    A parent that we raised stays up, which is written down, unless that is what may have cut us off.
    """
    if link is None or not view.has_shape(link, want):
        yield ["-ip", "link", "delete", "dev", want.name]
        if link is not None:
            yield from _made_again(view, link, settings)
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
        yield ["rm", "-f", _was_down(parent.name)]
        yield ["-rmdir", PREVIOUS]
        yield ["-rmdir", ROOT]


def _made_again(view: _View, link: Link, settings: Settings) -> Iterator[list[str]]:
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
        yield from _made_again(view, child, settings)


def _set_again(link: Link, settings: Settings) -> Iterator[list[str]]:
    for key, value in settings.get(link.name, {}).items():
        if value is not None:
            yield ["-sysctl", "-q", "-w", f"{_CONF.removeprefix('/proc/sys/')}/{link.name}/{key}={value}"]


def _added_again(link: Link, address: Address) -> Iterator[list[str]]:
    command = ["-ip", "address", "add", str(address.interface), "dev", link.name]
    if address.protocol:
        yield [*command, "proto", f"{address.protocol:#x}"]
    yield command  # of an older ip command, which knows no protocols


# The parent


def _parent(host: Host, view: _View, want: SubInterface) -> Link:
    parent = view.named(want.parent)
    if parent is None:
        others = ", ".join(
            sorted(
                each.name for each in view.links if each.kind not in ("macvlan", "veth") and each.name != "lo"
            )
        )
        raise Unsupported(
            host.name,
            f"there is no interface {want.parent}, which {want.name} needs as its parent; there are {others}",
            f"correct the trunk of {host.name} in the topology, or make {want.parent} appear on the host",
        )
    if want.mtu is not None and want.mtu > parent.mtu:
        raise Unsupported(
            host.name,
            f"{want.name} needs MTU {want.mtu}, but its parent {parent.name} carries {parent.mtu}",
            f"raise the MTU of {parent.name} on the host, or lower the network's",
        )
    return parent


def _was_down(parent: str) -> str:
    """Where it is written down that we raised a parent.

    Its name is on the first line; on the others the VLANs of others which the kernel raises along with it
    (vlan_device_event), as long as they are not down again.
    """
    return f"{PREVIOUS}/{file_name(parent)}.down"


async def _raise_parent(host: Host, view: _View, parent: Link) -> str:
    """Raise a parent that is down; if it is not one of ours, take care to be able to undo that."""
    if not owner_in_alias(parent.alias):
        along = [
            child.name
            for child in view.on(parent)
            if child.kind == "vlan" and not child.up and not owner_in_alias(child.alias)
        ]
        await host.write(
            _was_down(parent.name), "".join(f"{name}\n" for name in (parent.name, *along)).encode()
        )
        await host.set_link(parent.index, up=True)
        await _lower_again(host, await host.links() if along else (), parent)
    else:
        await host.set_link(parent.index, up=True)
    return f"raised {parent.name}, which was down"


async def _lower_again(host: Host, links: Sequence[Link], parent: Link) -> None:
    """Put down the VLANs of others that came up with a parent that we raised."""
    name, *along = _lines(await host.read(_was_down(parent.name))) or [parent.name]
    for child in links:
        if child.name in along and child.parent == parent.index and child.up:
            await host.set_link(child.index, up=False)
    if along:
        await host.write(_was_down(parent.name), f"{name}\n".encode())


def _lines(content: bytes | None) -> list[str]:
    return (content or b"").decode(errors="replace").splitlines()


async def _lower_unused_parents(host: Host) -> list[str]:
    """Take down again what we raised and nobody uses any more."""
    names = await host.entries(PREVIOUS)
    if not names:
        return []
    way, links, addresses = await asyncio.gather(host.way(), host.links(), host.addresses())
    done = []
    for name in names:
        if not name.endswith(".down"):
            continue
        recorded, *along = _lines(await host.read(f"{PREVIOUS}/{name}")) or [""]
        parent = next((link for link in links if link.name == recorded), None)
        if parent is not None:
            await _lower_again(host, links, parent)
            above = [link for link in links if link.parent == parent.index and link.kind != "veth"]
            if any(link.up for link in above if link.name not in along):
                continue  # ours, or somebody else's who has come to rely on it
            relied_on = parent.index in _carrying(links, way)
            if parent.up and not relied_on and not any(address.link == parent.index for address in addresses):
                await host.set_link(parent.index, up=False)
                done.append(f"took {parent.name} down again")
        await host.remove(f"{PREVIOUS}/{name}")
    if await host.remove(PREVIOUS):
        await host.remove(ROOT)
    return done


async def _records_on(host: Host, view: _View, link: Link, owner: str) -> list[SubInterface]:
    """What we have on a link that must be made anew, from its files."""
    contents = await asyncio.gather(
        *(read_object(host, owner, _object(child.name)) for child in view.on(link))
    )
    return [wish for content in contents if (wish := from_boot_content(content))]


# Refusals


def _whose(link: Link) -> str:
    owner = owner_in_alias(link.alias)
    if owner:
        return f"the stack {owner}"
    return f"somebody else (its alias is {link.alias!r})" if link.alias else "somebody else (it has no alias)"


def _refuse_foreign(host: Host, view: _View, link: Link, want: SubInterface, adopt: bool) -> None:
    """Raise, unless it may be adopted as it is."""
    has = _shape(link.kind, view.name_of(link.parent), link.vlan)
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
            f"it cannot be adopted, being {has} instead of {_shape(_kind(want), want.parent, want.vlan)}: "
            f"rename or remove it by hand"
        )
    message = f"there is already a link {link.name}, {has}, of {_whose(link)}{configured}"
    raise ConflictError(host.name, message, hint)


def _refuse_taken_vlan(host: Host, view: _View, parent: Link, want: SubInterface) -> None:
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


def _refuse_taken_addresses(host: Host, view: _View, want: SubInterface) -> None:
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


def _refuse_to_orphan(host: Host, view: _View, link: Link, owner: str) -> None:
    """Raise if deleting the link would take a foreign one along."""
    for child in view.on(link):
        if child.alias != alias(owner):
            raise ConflictError(
                host.name,
                f"{link.name} cannot be deleted: {child.name} of {_whose(child)} sits on it and would go too",
                f"remove it first: ip link delete {child.name}",
            )


def _refuse_to_touch_the_session(
    host: Host, view: _View, way: Way | None, link: Link | None, parent: Link, want: SubInterface
) -> None:
    """Raise if what leads to `want` is in the way of the session that we come by."""
    carries = link is not None and link.index in _carrying(view.links, way)
    if link is not None and carries and not _as_wanted(view, link, parent, want):
        raise _carries_the_session(host, link, way)
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


def _carries_the_session(host: Host, link: Link, way: Way | None) -> ConflictError:
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


def _refused(host: Host, want: SubInterface, failure: NetlinkFailure) -> HostError:
    """A refusal of the kernel in the user's terms."""
    what = f"{want.name} ({_shape(_kind(want), want.parent, want.vlan)})"
    if failure.code == errno.EOPNOTSUPP:
        module = "8021q" if want.vlan is not None else "macvlan"
        return Unsupported(
            host.name,
            f"the kernel cannot make {what}: it has no support for {_kind(want)} links",
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
