"""Who makes a link at boot: `replay.sh`, or the host's own network manager by files of ours or of others.

With a manager there are files of ours in its configuration, beside the data file of the link, which stays
the record of what is ours: they are written after it, and removed before it is removed or changed, so that
no manager ever makes what is not recorded. `replay.sh` waits for the manager, and adds what it has not done.

A link that others have a manager make is taken over only where that is allowed; then their files go on
making it, and are left as they are.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import PurePosixPath

from hosts import ifupdown, networkd
from hosts.claims import Claim, Configuration, read_configuration, read_regular
from hosts.errors import ConflictError, HostError, Unsupported, VerificationError
from hosts.host import Host, Link
from hosts.ownership import heading
from model.fabric import SubInterface
from model.topology import Persistence

_UNITS = "/etc/systemd/system"


@dataclass(frozen=True)
class AtBoot:
    """Who makes a link at boot, as its data file says."""

    manager: str | None = None  # None: `replay.sh` alone
    adopted: str | None = None  # the file of others by which it does; None: ours


BY_UNIT = AtBoot()


@dataclass(frozen=True)
class Managers:
    """What a host's network managers have to do with a link that is wanted on some parent."""

    claims: tuple[Claim, ...]  # those on the link
    files: Mapping[str, bytes]  # ours for the link, by path, in the order in which they are written
    empty_folder: str | None  # for drop-ins to the parent's .network file; left by a removal that was cut off
    in_ifupdown: bool  # whether it brings the parent up
    without_ifupdown: str | None  # why it would not bring a link up; None: it would
    network_file: str | None  # by which systemd-networkd manages the parent

    def chosen(self, persistence: Persistence, recorded: AtBoot, *, adopt: bool) -> AtBoot:
        """Who shall make the link; where that cannot be, `obstacle` says so."""
        if self.claims and (adopt or recorded.adopted == self.claims[0].file):
            return AtBoot(self.claims[0].manager, self.claims[0].file)
        if persistence == "auto":
            if self.network_file:
                return AtBoot(networkd.NAME)
            found = self.in_ifupdown and not self.without_ifupdown
            return AtBoot(ifupdown.NAME if found else None)
        return AtBoot({"unit": None, "ifupdown": ifupdown.NAME, "networkd": networkd.NAME}[persistence])

    def obstacle(self, host: str, want: SubInterface, chosen: AtBoot) -> HostError | None:
        """What keeps the link from being made so."""
        if chosen.adopted:
            return None
        if self.claims:
            claim = self.claims[0]
            return ConflictError(
                host,
                f"{want.name} is already configured in {claim}, by which {claim.manager} makes it at boot",
                f"set `adopt: true` for {host} to leave that to {claim.manager}, or remove it from that file",
            )
        if chosen.manager == ifupdown.NAME and self.without_ifupdown:
            return Unsupported(
                host,
                f"ifupdown would not bring {want.name} up at boot: {self.without_ifupdown}",
                f"mend that on the host, or set `persistence: unit` for {host}",
            )
        if chosen.manager == networkd.NAME and not self.network_file:
            return Unsupported(
                host,
                f"systemd-networkd would not make {want.name} at boot: it does not manage {want.parent}",
                f"give {want.parent} a .network file on the host, or set `persistence: unit` for {host}",
            )
        return None

    def wanted_files(self, want: SubInterface, owner: str, chosen: AtBoot) -> dict[str, bytes]:
        """The files of ours that it takes."""
        if chosen.manager == ifupdown.NAME and not chosen.adopted:
            return {ifupdown.file_of(want.name): ifupdown.stanza(want, owner)}
        if chosen.manager == networkd.NAME and not chosen.adopted and self.network_file:
            return networkd.files(want, owner, self.network_file)
        return {}


async def read_managers(
    host: Host, name: str, parent: Link | None, owner: str, configuration: Configuration
) -> Managers:
    """What they have to do with the link of that name; None: its parent is not there."""
    files, without_ifupdown, network_file = await asyncio.gather(
        _files_of(host, name, owner, configuration),
        _without_ifupdown(host, name, configuration),
        _network_file(host, parent, configuration),
    )
    in_ifupdown = parent is not None and (
        configuration.has(ifupdown.file_of(parent.name))
        or any((c.manager, c.link) == (ifupdown.NAME, parent.name) for c in configuration.claims)
    )
    left = networkd.drop_in_folder(network_file) if network_file else ""
    return Managers(
        tuple(claim for claim in configuration.claims if claim.link == name),
        files,
        left if configuration.empty(left) else None,
        in_ifupdown,
        without_ifupdown,
        network_file,
    )


async def write_files(host: Host, managers: Managers, wanted: Mapping[str, bytes]) -> list[str]:
    """Write those that are not there like this; what was done."""
    missing = {path: content for path, content in wanted.items() if managers.files.get(path) != content}
    for path, content in missing.items():
        await host.write(path, content)
    return [f"wrote {path}" for path in missing]


async def remove_files(
    host: Host, managers: Managers, wanted: Mapping[str, bytes] | None = None
) -> list[str]:
    """Remove what managers are told by us of the link, but for what is wanted like this; what was done."""
    done = []
    for path, content in reversed(list(managers.files.items())):
        if (wanted or {}).get(path) != content:
            if await host.remove(path):
                done.append(f"removed {path}")
            folder = str(PurePosixPath(path).parent)
            if folder.endswith(networkd.DROP_INS):
                await host.remove(folder)
    if managers.empty_folder:
        await host.remove(managers.empty_folder)
    return done


async def withdraw_files(host: Host, managers: Managers, name: str, link: Link | None) -> list[str]:
    """Remove all that managers are told by us of a link, which is about to go if it is there.

    systemd-networkd must forget a .network file that it has read, or it makes the shim anew as soon as there
    is a link of that name again. It is told so while the link's other files are there: as long as what it is
    told of the trunk interface has not changed, it does not touch that. With the next link that goes it does,
    and drops addresses that somebody has added by hand, as at every other reload.
    Raises VerificationError if it cannot be told.
    """
    done: list[str] = []
    path = networkd.network_file(name)
    if link and networkd.managing_file(await host.read(networkd.state_file(link.index))) == path:
        if await host.remove(path):
            done.append(f"removed {path}")
        reloaded = await host.run(["networkctl", "reload"])
        if reloaded.status:
            said = reloaded.stderr.decode(errors="replace").strip()
            raise VerificationError(
                host.name,
                f"`networkctl reload` failed: {said}",
                f"systemd-networkd would go on managing {name}: look at it on the host, then run again",
            )
    others = {file: content for file, content in managers.files.items() if not done or file != path}
    return done + await remove_files(host, replace(managers, files=others))


async def names_in_files(host: Host, owner: str) -> tuple[str, ...]:
    """The links that some file of the owner's in a manager's configuration is for."""
    configuration = await read_configuration(host)
    prefixes = ifupdown.PREFIX, networkd.PREFIX, networkd.DROP_IN_PREFIX
    paths = [
        f"{folder}/{name}"
        for folder, names in configuration.folders.items()
        for name in names
        if name.startswith(prefixes)
    ]
    contents = await asyncio.gather(*(read_regular(host, path) for path in paths))
    lines = [(content or b"").decode(errors="replace").partition("\n")[0] for content in contents]
    names = {line: line.removeprefix("# ").partition(" ")[0] for line in lines}
    return tuple(sorted({name for line, name in names.items() if line == heading(name, owner)}))


async def _files_of(host: Host, name: str, owner: str, configuration: Configuration) -> dict[str, bytes]:
    """The owner's files for a link, in the order in which they are written."""
    candidates = [ifupdown.file_of(name), networkd.netdev_file(name), networkd.network_file(name)]
    candidates += [
        networkd.drop_in(name, folder)
        for folder in configuration.folders
        if folder.endswith(networkd.DROP_INS)
    ]
    there = [path for path in candidates if configuration.has(path)]
    contents = await asyncio.gather(*(host.read(path) for path in there))
    first = f"{heading(name, owner)}\n".encode()
    return {
        path: content
        for path, content in zip(there, contents, strict=True)
        if content is not None and content.startswith(first)
    }


async def _without_ifupdown(host: Host, name: str, configuration: Configuration) -> str | None:
    """Why ifupdown would not bring a link up at boot by a file of ours."""
    if configuration.interfaces is None:
        return f"there is no {ifupdown.INTERFACES}"
    patterns = ifupdown.included(configuration.interfaces)
    if not any(ifupdown.includes(pattern, ifupdown.file_of(name)) for pattern in patterns):
        return f"{ifupdown.INTERFACES} does not include {ifupdown.FOLDER}"
    wanted, units = await asyncio.gather(
        host.entries(f"{_UNITS}/multi-user.target.wants"), host.entries(_UNITS)
    )
    masked = ifupdown.UNIT in units and not await read_regular(host, f"{_UNITS}/{ifupdown.UNIT}")
    if ifupdown.UNIT not in wanted or masked:  # by a link to /dev/null
        return f"{ifupdown.UNIT} is not enabled"
    return None


async def _network_file(host: Host, link: Link | None, configuration: Configuration) -> str | None:
    """The .network file by which systemd-networkd manages a link, or will at the next boot."""
    if link is None:
        return None
    ours = networkd.network_file(link.name)
    if configuration.has(ours):
        return ours
    return networkd.managing_file(await host.read(networkd.state_file(link.index)))
