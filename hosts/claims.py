"""What a host's network managers are told, and which links others have them make."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath

import yaml

from hosts import ifupdown, networkd
from hosts.errors import ConflictError
from hosts.host import Host

_NETWORK_MANAGER = ("/etc/NetworkManager/system-connections", "/run/NetworkManager/system-connections")
_PREFIXES = (ifupdown.PREFIX, networkd.PREFIX)


@dataclass(frozen=True)
class Claim:
    """A place where somebody has a manager make a link."""

    manager: str
    link: str
    file: str
    line: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}"


@dataclass(frozen=True)
class Configuration:
    """What the network managers of a host are told."""

    claims: tuple[Claim, ...]  # those first that people write; without what is in files of any of our stacks
    interfaces: str | None  # ifupdown's; None: there is none
    folders: Mapping[str, tuple[str, ...]]  # what is where we write files

    def empty(self, folder: str) -> bool:
        """Whether it is there, and nothing in it."""
        return self.folders.get(folder) == ()

    def has(self, path: str) -> bool:
        """Whether a file is there, where we write files."""
        folder, _, name = path.rpartition("/")
        return name in self.folders.get(folder, ())


Links = Callable[[str], Iterator[tuple[int, str]]]  # (line, link) of all that a file makes


async def read_configuration(host: Host) -> Configuration:
    """All of it."""
    there = await host.entries("/etc")  # few hosts have all of them
    interfaces, netplan, network_manager, etc, run = await asyncio.gather(
        _interfaces(host, there),
        _listed(host, *(["/etc/netplan"] if "netplan" in there else [])),
        _listed(host, *(_NETWORK_MANAGER if "NetworkManager" in there else [])),
        host.entries(networkd.FOLDER),
        host.entries(networkd.RUN_FOLDER),
    )
    drop_ins = [f"{networkd.FOLDER}/{name}" for name in etc if name.endswith(networkd.DROP_INS)]
    inside = await asyncio.gather(*(host.entries(folder) for folder in drop_ins))
    paths = [*_paths(networkd.FOLDER, etc), *_paths(networkd.RUN_FOLDER, run)]
    claims = await asyncio.gather(
        _in_files(host, ifupdown.NAME, interfaces.paths, "", ifupdown.stanzas),
        _in_files(host, "netplan", netplan, ".yaml", _netplan_links),
        _in_files(host, networkd.NAME, paths, ".netdev", networkd.netdevs),
        _in_files(host, "NetworkManager", network_manager, ".nmconnection", _connection_names),
    )
    return Configuration(
        tuple(claim for found in claims for claim in found),
        interfaces.main,
        {**interfaces.folders, networkd.FOLDER: etc, **dict(zip(drop_ins, inside, strict=True))},
    )


async def _listed(host: Host, *folders: str) -> list[str]:
    """The files in some folders."""
    names = await asyncio.gather(*(host.entries(folder) for folder in folders))
    return [path for folder, inside in zip(folders, names, strict=True) for path in _paths(folder, inside)]


def _paths(folder: str, names: tuple[str, ...]) -> list[str]:
    return [f"{folder}/{name}" for name in names]


@dataclass(frozen=True)
class _Interfaces:
    main: str | None = None
    paths: tuple[str, ...] = ()  # all that ifupdown reads
    folders: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


async def _interfaces(host: Host, there: tuple[str, ...]) -> _Interfaces:
    """What ifupdown reads. What is where we write is listed even if it does not read that any more."""
    if "network" not in there:
        return _Interfaces()
    content = await host.read(ifupdown.INTERFACES)
    text = _text(content)
    patterns = tuple(ifupdown.included(text))
    wanted = dict.fromkeys((ifupdown.FOLDER, *map(ifupdown.folder_of, patterns)))
    listed = await asyncio.gather(*(host.entries(folder) for folder in wanted))
    folders = dict(zip(wanted, listed, strict=True))
    included = (
        path
        for folder, names in folders.items()
        for path in _paths(folder, names)
        if any(ifupdown.includes(pattern, path) for pattern in patterns)
    )
    if content is None:
        return _Interfaces(folders=folders)
    return _Interfaces(text, (ifupdown.INTERFACES, *included), folders)


async def _in_files(host: Host, manager: str, paths: Sequence[str], ending: str, links: Links) -> list[Claim]:
    others = [
        path for path in paths if path.endswith(ending) and not PurePosixPath(path).name.startswith(_PREFIXES)
    ]
    contents = await asyncio.gather(*(read_regular(host, path) for path in others))
    return [
        Claim(manager, link, path, line)
        for path, content in zip(others, contents, strict=True)
        for line, link in links(_text(content))
    ]


async def read_regular(host: Host, path: str) -> bytes | None:
    """A file's content; None if there is none, or something else of that name."""
    try:
        return await host.read(path)
    except ConflictError:
        return None


def _text(content: bytes | None) -> str:
    return (content or b"").decode(errors="replace")


def _netplan_links(text: str) -> Iterator[tuple[int, str]]:
    try:
        node = yaml.compose(text, yaml.SafeLoader)
    except yaml.YAMLError:
        return  # netplan refuses it, too
    for _, network in _entries(node, "network"):
        for _, vlans in _entries(network, "vlans"):
            yield from ((key.start_mark.line + 1, key.value) for key, _ in _entries(vlans))


def _entries(node: yaml.Node | None, name: str | None = None) -> list[tuple[yaml.Node, yaml.Node]]:
    if not isinstance(node, yaml.MappingNode):
        return []
    return [(key, value) for key, value in node.value if name in (None, key.value)]


def _connection_names(text: str) -> Iterator[tuple[int, str]]:
    """Of a keyfile (nm-settings-keyfile(5)); a VLAN without a name is called after its parent and number.

    A parent may be given as the UUID of its connection; which interface that is is not looked up. Whatever
    others make NetworkManager describes in a file of its own, which makes nothing.
    """
    section, parent, vlan = "", "", (0, "")
    names = []
    for number, line in enumerate(text.splitlines(), start=1):
        key, _, value = (part.strip() for part in line.partition("="))
        if key.startswith("["):
            section = key
        elif key == "interface-name":
            names.append((number, value))
        elif (section, key) == ("[vlan]", "id"):
            vlan = number, value
        elif (section, key) == ("[vlan]", "parent"):
            parent = value
        elif (section, key, value) == ("[.nmmeta]", "nm-generated", "true"):
            return
    if parent and vlan[1] and not names:
        names.append((vlan[0], f"{parent}.{vlan[1]}"))
    yield from names
