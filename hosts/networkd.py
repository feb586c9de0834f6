"""systemd-networkd: a .netdev and a .network file per link, and a drop-in to the parent's .network file.

It reads them at boot. It is not told of them before: a reload makes it set up the trunk interface anew,
which removes what others have added to that by hand; and what is running is right already. It knows neither
aliases nor every parameter of a link, so `replay.sh` adds what is missing once it is done.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import PurePosixPath

from hosts.ownership import heading
from model.fabric import SubInterface

NAME = "systemd-networkd"
FOLDER = "/etc/systemd/network"
RUN_FOLDER = "/run/systemd/network"  # what programs write
STATES = "/run/systemd/netif/links/"
DROP_INS = ".network.d"  # how the name of a folder of drop-ins to a .network file ends
# Of several .network files that match a link the first one counts, and one that matches the trunk by its MAC
# address matches every VLAN on it (systemd.network(5)): so ours come before other people's.
PREFIX = "05-macvlan-fabric-"
DROP_IN_PREFIX = "macvlan-fabric-"


def network_file(link: str) -> str:
    """Our .network file for a link."""
    return f"{FOLDER}/{PREFIX}{link}.network"


def netdev_file(link: str) -> str:
    """Our .netdev file for a link."""
    return f"{FOLDER}/{PREFIX}{link}.netdev"


def drop_in(link: str, folder: str) -> str:
    """Our file for a link in the folder of drop-ins to its parent's .network file."""
    return f"{folder}/{DROP_IN_PREFIX}{link}.conf"


def drop_in_folder(parent_file: str) -> str:
    """Where drop-ins to a .network file go, wherever that is itself."""
    return f"{FOLDER}/{PurePosixPath(parent_file).name}.d"


def files(want: SubInterface, owner: str, parent_file: str) -> dict[str, bytes]:
    """What makes a link on a parent that this .network file configures; the last one sets it to work."""
    first = heading(want.name, owner)
    netdev = [
        first,
        "[NetDev]",
        f"Name={want.name}",
        f"Kind={want.kind}",
        *([f"MTUBytes={want.mtu}"] if want.mtu is not None else []),
        "",
        *(["[MACVLAN]", "Mode=bridge"] if want.vlan is None else ["[VLAN]", f"Id={want.vlan}"]),
    ]
    network = [
        first,
        "[Match]",
        f"Name={want.name}",
        "",
        "[Link]",
        "RequiredForOnline=no",
        "",
        "[Network]",
        "LinkLocalAddressing=no",
        "IPv6AcceptRA=no",
        "ConfigureWithoutCarrier=yes",  # as long as the cable is out, too
        "KeepConfiguration=yes",  # it shall remove nothing that a later change of ours adds
        *(f"Address={address}" for address in sorted(want.addresses)),
    ]
    parent = [first, "[Network]", f"{want.kind.upper()}={want.name}"]
    return {
        path: "".join(f"{line}\n" for line in lines).encode()
        for path, lines in (
            (netdev_file(want.name), netdev),
            (network_file(want.name), network),
            (drop_in(want.name, drop_in_folder(parent_file)), parent),
        )
    }


def state_file(index: int) -> str:
    """Where it says what it does with the link of that index."""
    return f"{STATES}{index}"


def managing_file(state: bytes | None) -> str | None:
    """The .network file by which it manages the link whose state this is; None if it does not."""
    lines = (state or b"").decode(errors="replace").splitlines()
    said = {key: value for key, _, value in (line.partition("=") for line in lines)}
    return (said.get("NETWORK_FILE") or None) if said.get("ADMIN_STATE") != "unmanaged" else None


def netdevs(text: str) -> Iterator[tuple[int, str]]:
    """(line, link) of what a .netdev file makes."""
    section = ""
    for number, line in enumerate(text.splitlines(), start=1):
        key, _, value = (part.strip() for part in line.partition("="))
        if key.startswith("["):
            section = key
        elif (section, key) == ("[NetDev]", "Name"):
            yield number, value
