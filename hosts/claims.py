"""What a host's network managers are told, and which links others have them make."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath

import yaml

from hosts import ifupdown, networkd
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
        _interfaces(host) if "network" in there else _nothing(),
        _listed(host, "/etc/netplan") if "netplan" in there else _nothing(),
        _connections(host) if "NetworkManager" in there else _nothing(),
        host.entries(networkd.FOLDER),
        host.entries(networkd.RUN_FOLDER),
    )
    drop_ins = [f"{networkd.FOLDER}/{name}" for name in etc if name.endswith(networkd.DROP_INS)]
    inside = await asyncio.gather(*(host.entries(folder) for folder in drop_ins))
    paths = [*_paths(networkd.FOLDER, etc), *_paths(networkd.RUN_FOLDER, run)]
    main, included, folders = interfaces or (None, [], {})
    claims = await asyncio.gather(
        _in_files(host, ifupdown.NAME, included, "", ifupdown.stanzas),
        _in_files(host, "netplan", netplan or [], ".yaml", _netplan_links),
        _in_files(host, networkd.NAME, paths, ".netdev", networkd.netdevs),
        _in_files(host, "NetworkManager", network_manager or [], ".nmconnection", _connection_names),
    )
    return Configuration(
        tuple(claim for found in claims for claim in found),
        main,
        {**folders, networkd.FOLDER: etc, **dict(zip(drop_ins, inside, strict=True))},
    )


async def _nothing() -> None:
    return None


async def _listed(host: Host, folder: str) -> list[str]:
    return _paths(folder, await host.entries(folder))


def _paths(folder: str, names: tuple[str, ...]) -> list[str]:
    return [f"{folder}/{name}" for name in names]


async def _connections(host: Host) -> list[str]:
    listed = await asyncio.gather(*(_listed(host, folder) for folder in _NETWORK_MANAGER))
    return [path for paths in listed for path in paths]


async def _interfaces(host: Host) -> tuple[str, list[str], dict[str, tuple[str, ...]]] | None:
    """ifupdown's first file, all that it reads with that, and what is in their folders."""
    main = await host.read(ifupdown.INTERFACES)
    if main is None:
        return None
    text, paths, folders = _text(main), [ifupdown.INTERFACES], {}
    for pattern in ifupdown.included(text):
        folder = str(PurePosixPath(pattern).parent)
        folders[folder] = await host.entries(folder)
        paths += [path for path in _paths(folder, folders[folder]) if ifupdown.includes(pattern, path)]
    return text, list(dict.fromkeys(paths)), folders


async def _in_files(host: Host, manager: str, paths: list[str], ending: str, links: Links) -> list[Claim]:
    others = [
        path for path in paths if path.endswith(ending) and not PurePosixPath(path).name.startswith(_PREFIXES)
    ]
    contents = await asyncio.gather(*(host.read(path) for path in others))
    return [
        Claim(manager, link, path, line)
        for path, content in zip(others, contents, strict=True)
        for line, link in links(_text(content))
    ]


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
    """Of a keyfile; the interface is the connection's, or the one that its VLAN makes."""
    for number, line in enumerate(text.splitlines(), start=1):
        key, _, value = (part.strip() for part in line.partition("="))
        if key == "interface-name":
            yield number, value
