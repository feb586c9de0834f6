"""What is written down of a link: the file that brings it back at boot, which `replay.sh` reads and so do we.

A note is the same while an operation is under way: what it says may be found half-done.
"""

from __future__ import annotations

import asyncio
from ipaddress import IPv4Interface

from hosts.host import Host
from hosts.managers import BY_UNIT, AtBoot
from hosts.ownership import UNFINISHED, alias, file_name, folder, heading
from model.fabric import SubInterface


def boot_content(want: SubInterface, owner: str, at_boot: AtBoot = BY_UNIT) -> bytes:
    """A wish as `replay.sh` reads it: a key and a value on each line."""
    lines = [
        heading(want.name, owner),
        f"name {want.name}",
        f"kind {want.kind}",
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


async def wishes_in(host: Host, path: str, ending: str) -> list[SubInterface]:
    """What the files in a folder whose names end so say."""
    names = [name for name in await host.entries(path) if name.endswith(ending)]
    contents = await asyncio.gather(*(host.read(f"{path}/{name}") for name in names))
    return [wish for content in contents if (wish := from_boot_content(content))]


def object_name(name: str) -> str:
    """What the file is called among an owner's (`hosts.boot`)."""
    return f"{name}.link"


def notes_folder(owner: str) -> str:
    """Where an owner's notes are."""
    return f"{UNFINISHED}/{folder(owner).rpartition('/')[2]}"


def note_file(name: str, owner: str) -> str:
    """Where an operation on a link says what it is about to do, until it is done."""
    return f"{notes_folder(owner)}/{file_name(name)}"
