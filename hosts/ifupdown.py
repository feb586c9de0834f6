"""ifupdown: Debian's interfaces(5), brought up at boot by networking.service.

A stanza of ours can be brought up over a link that is there already, whoever made it: so every line is
written to do nothing then, unlike `inet static`, which fails at an address that is there. It needs nothing
of the package vlan.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import PurePosixPath

from hosts.ownership import ADDRESS_PROTOCOL, alias, heading
from model.fabric import SubInterface

NAME = "ifupdown"
INTERFACES = "/etc/network/interfaces"
FOLDER = "/etc/network/interfaces.d"
UNIT = "networking.service"
PREFIX = "macvlan-fabric-"


def file_of(link: str) -> str:
    """Where our stanza for a link is; another file for every link.

    `source-directory` reads no file whose name has anything but letters, digits, - and _ (interfaces(5)).
    The files are read in the order of their names: so that of the shim on `eth2.10`, which is called
    `eth2.10g`, comes after it.
    """
    name = "".join(c if c.isascii() and (c.isalnum() or c == "-") else f"_{ord(c):x}_" for c in link)
    return f"{FOLDER}/{PREFIX}{name}"


def stanza(want: SubInterface, owner: str) -> bytes:
    """What brings a link up as `replay.sh` would.

    That of a shim is one more for its parent: ifupdown would take `eth2.10g` for a VLAN of eth2, and make
    that before it looks at any stanza (ifupdown 0.8, main.c).
    """
    name, parent = shlex.quote(want.name), shlex.quote(want.parent)
    kind = "macvlan mode bridge" if want.vlan is None else f"vlan id {want.vlan}"
    options = [
        f"pre-up test -e /sys/class/net/{name} || ip link add link {parent} name {name} type {kind}",
        f"pre-up ip link set dev {name} alias {shlex.quote(alias(owner))}",
        *([f"pre-up ip link set dev {name} mtu {want.mtu}"] if want.mtu is not None else []),
        *(
            f"pre-up echo {shlex.quote(value)} >/proc/sys/net/ipv4/conf/{name}/{shlex.quote(key)}"
            for key, value in sorted(want.settings)
        ),
        *(
            # the protocol number marks it as ours; an older kernel or ip command does without
            f"pre-up ip address replace {address} dev {name} proto {ADDRESS_PROTOCOL:#x} 2>/dev/null"
            f" || ip address replace {address} dev {name}"
            for address in sorted(want.addresses)
        ),
        f"up ip link set dev {parent} up",
        f"up ip link set dev {name} up",
    ]
    lines = [
        heading(want.name, owner),
        *([f"iface {want.parent} inet manual"] if want.vlan is None else []),
        *([f"auto {want.name}", f"iface {want.name} inet manual"] if want.vlan is not None else []),
        *(f"    {option}" for option in options),
    ]
    return "".join(f"{line}\n" for line in lines).encode()


def stanzas(text: str) -> Iterator[tuple[int, str]]:
    """(line, interface) of every stanza that configures one."""
    for number, words in _lines(text):
        if words[0] == "iface" and len(words) > 1:
            yield number, words[1]


def included(text: str) -> Iterator[str]:
    """What is read, too: patterns of files, and folders with a slash at their end."""
    for _, words in _lines(text):
        if words[0] in ("source", "source-directory"):
            for word in words[1:]:  # what is relative is so to the file
                path = str(PurePosixPath("/etc/network") / word)
                yield path if words[0] == "source" else f"{path}/"


def folder_of(pattern: str) -> str:
    """Where the files are that such a pattern covers."""
    return pattern.rpartition("/")[0]


def includes(pattern: str, path: str) -> bool:
    """Whether such a pattern covers a file."""
    if pattern.endswith("/"):
        return folder_of(path) == folder_of(pattern) and bool(
            re.fullmatch("[a-zA-Z0-9_-]+", path.rpartition("/")[2])
        )
    return fnmatchcase(path, pattern) and folder_of(path) == folder_of(pattern)


def _lines(text: str) -> Iterator[tuple[int, list[str]]]:
    for number, line in enumerate(text.splitlines(), start=1):
        words = line.split()
        if words and not words[0].startswith("#"):
            yield number, words
