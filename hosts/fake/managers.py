"""Network managers on a host in memory: what ifupdown and systemd-networkd make of their files at boot.

They know what we write, and what people write for one VLAN; anything else is an error, because a fake that
is kinder than the real thing proves nothing.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from ipaddress import IPv4Interface
from pathlib import PurePosixPath

from hosts import ifupdown, networkd
from hosts.fake.kernel import Kernel
from hosts.host import Link, NetlinkFailure

Files = Mapping[str, tuple[bytes, int]]  # content and mode, by path


# ifupdown


@dataclass
class _Interfaces:
    """What interfaces(5) and all that it includes say, in order."""

    auto: list[str] = field(default_factory=list)
    stanzas: list[tuple[str, str, list[str]]] = field(default_factory=list)  # interface, method, options


def start_ifupdown(kernel: Kernel, files: Files) -> None:
    """As `ifup -a`: what fails keeps only its own stanza from being done."""
    said = _Interfaces()
    _read(files, ifupdown.INTERFACES, said)
    for name in said.auto:
        try:
            _make_vlan(kernel, name)
        except NetlinkFailure:
            continue
        for interface, method, options in said.stanzas:
            if interface == name:
                with suppress(NetlinkFailure):
                    _bring_up(kernel, name, method, options)


def _read(files: Files, path: str, said: _Interfaces) -> None:
    if path not in files:
        return
    text = files[path][0].decode()
    for line in text.splitlines():
        words = line.split()
        match words:
            case ["auto", *names]:
                said.auto += [name for name in names if name != "lo"]
            case ["iface", name, "inet", method]:
                said.stanzas.append((name, method, []))
            case ["source" | "source-directory", *_]:
                for pattern in ifupdown.included(line):
                    for other in sorted(files):
                        if ifupdown.includes(pattern, other):
                            _read(files, other, said)
            case [] | ["#", *_]:
                pass
            case _:
                said.stanzas[-1][2].append(line.strip())


def _make_vlan(kernel: Kernel, name: str) -> None:
    """What is called like a VLAN is made first, as one (ifupdown 0.8, main.c)."""
    parent, _, rest = name.rpartition(".")
    digits = re.match("[0-9]+", rest)
    if parent and digits and _named(kernel, parent) and not _named(kernel, name):
        on = kernel.link(parent)
        kernel.set(on.index, up=True)
        kernel.add(name, "vlan", on.index, int(digits[0]))


def _bring_up(kernel: Kernel, name: str, method: str, options: list[str]) -> None:
    said = dict(option.split(maxsplit=1) for option in options if not option.startswith(("pre-up", "up")))
    for option in options:
        if option.startswith("pre-up "):
            _run(kernel, option.removeprefix("pre-up "))
    index = kernel.link(name).index
    if method == "static":
        kernel.add_address(index, IPv4Interface(f"{said['address']}/{said.get('netmask', '')}".rstrip("/")))
    kernel.set(index, up=True)
    for option in options:
        if option.startswith("up "):
            _run(kernel, option.removeprefix("up "))


def _run(kernel: Kernel, line: str) -> None:
    """A line of shell, of the kind that we write: the first alternative that succeeds."""
    failure: NetlinkFailure | None = None
    for command in line.split(" || "):
        try:
            if _succeeds(kernel, shlex.split(command)):
                return
        except NetlinkFailure as refused:
            failure = refused
    if failure:
        raise failure


def _succeeds(kernel: Kernel, words: list[str]) -> bool:
    match words:
        case ["test", "-e", path]:
            return _named(kernel, PurePosixPath(path).name)
        case ["ip", "link", "add", "link", parent, "name", name, "type", "vlan", "id", vlan]:
            kernel.add(name, "vlan", kernel.link(parent).index, int(vlan))
        case ["ip", "link", "add", "link", parent, "name", name, "type", "macvlan", "mode", "bridge"]:
            kernel.add(name, "macvlan", kernel.link(parent).index)
        case ["ip", "link", "set", "dev", name, "up"]:
            kernel.set(kernel.link(name).index, up=True)
        case ["ip", "link", "set", "dev", name, "alias", alias]:
            kernel.set(kernel.link(name).index, alias=alias)
        case ["ip", "link", "set", "dev", name, "mtu", mtu]:
            kernel.set(kernel.link(name).index, mtu=int(mtu))
        case ["echo", value, path]:
            kernel.write_sysctl(path.removeprefix(">/proc/sys/"), value)
        case ["ip", "address", "replace", address, "dev", name, *rest]:
            protocol = int(rest[1], 16) if rest[:1] == ["proto"] else 0
            kernel.replace_address(kernel.link(name).index, IPv4Interface(address), protocol)
        case _:
            raise AssertionError(f"this fake ifupdown does not know {' '.join(words)!r}")
    return True


def _named(kernel: Kernel, name: str) -> bool:
    return any(link.name == name for link in kernel.links.values())


# systemd-networkd

Sections = list[tuple[str, str, str]]  # section, key, value


def start_networkd(kernel: Kernel, files: Files) -> dict[str, bytes]:
    """Set up every link that a .network file matches and that is not yet; its state files, by path."""
    configured = {  # by index: the .network file
        index: path
        for index in kernel.links
        if (path := networkd.managing_file(files.get(networkd.state_file(index), (None, 0))[0]))
    }
    pending = True
    while pending:
        pending = False
        for link in list(kernel.links.values()):
            path = _matching(files, link.name)
            if path and link.index not in configured:
                configured[link.index] = path
                _set_up(kernel, files, link, path)
                pending = True
    return {networkd.state_file(index): _state(configured.get(index)) for index in kernel.links}


def forget_networks(files: Files) -> dict[str, bytes]:
    """The state files of links whose .network file is gone, as they are after `networkctl reload`."""
    return {
        path: _state(None)
        for path, (content, _) in files.items()
        if path.startswith(networkd.STATES)
        and (network := networkd.managing_file(content))
        and network not in files
    }


def _state(path: str | None) -> bytes:
    said = f"ADMIN_STATE=configured\nNETWORK_FILE={path}\n" if path else "ADMIN_STATE=unmanaged\n"
    return f"# This is private data. Do not parse.\n{said}".encode()


def _set_up(kernel: Kernel, files: Files, link: Link, path: str) -> None:
    settings = _parsed(files, path)
    kernel.set(link.index, up=True)
    for section, key, value in settings:
        if (section, key) == ("Network", "Address"):
            kernel.replace_address(link.index, IPv4Interface(value), 0)
        if section == "Network" and key in ("VLAN", "MACVLAN") and not _named(kernel, value):
            _make_netdev(kernel, files, link, value, key.lower())


def _make_netdev(kernel: Kernel, files: Files, parent: Link, name: str, kind: str) -> None:
    for path in _in_order(files, ".netdev"):
        said = {f"{section}.{key}": value for section, key, value in _parsed(files, path)}
        if (said.get("NetDev.Name"), said.get("NetDev.Kind")) == (name, kind):
            vlan = int(said["VLAN.Id"]) if kind == "vlan" else None
            mtu = int(said.get("NetDev.MTUBytes", 0)) or None
            # With an MTU that its parent does not carry it is not made at all (vlan_newlink,
            # macvlan_common_newlink); networkd says so in its journal.
            if mtu is None or mtu <= kernel.links[parent.index].mtu:
                index = kernel.add(name, kind, parent.index, vlan)
                kernel.set(index, mtu=mtu)
            return


def _matching(files: Files, name: str) -> str | None:
    """The first one by its name, in whichever folder; only `Name=` is known here."""
    for path in _in_order(files, ".network"):
        wanted = [value for section, key, value in _parsed(files, path) if section == "Match"]
        if len(wanted) != 1:
            raise AssertionError(f"this fake networkd does not know how to match {path}")
        if wanted == [name]:
            return path
    return None


def _in_order(files: Files, ending: str) -> Iterable[str]:
    folders = (networkd.FOLDER, networkd.RUN_FOLDER)
    paths = [path for path in files if path.endswith(ending) and path.rpartition("/")[0] in folders]
    return sorted(paths, key=lambda path: PurePosixPath(path).name)


def _parsed(files: Files, path: str) -> Sections:
    """A file with its drop-ins."""
    inside = networkd.drop_in_folder(path)
    drop_ins = sorted(each for each in files if each.startswith(f"{inside}/") and each.endswith(".conf"))
    return [setting for each in (path, *drop_ins) for setting in _settings(files[each][0].decode())]


def _settings(text: str) -> Iterator[tuple[str, str, str]]:
    section = ""
    for line in text.splitlines():
        if line.startswith("["):
            section = line.strip("[]")
        elif line and not line.startswith("#"):
            key, _, value = line.partition("=")
            yield section, key, value
