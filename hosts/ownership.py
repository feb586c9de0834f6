"""How an object on a host says that it is ours, and whose.

An owner is `project/stack/word`, with a word that no other stack has (`configuration.unique_owner`), so that
two stacks can share a host; earlier releases had no word. A link carries the owner in its alias, an address
a protocol number, a firewall chain and rule what `model.firewall` puts there, a docker object a label, and
every file lies in its owner's folder. Whatever carries none of these is foreign and is left alone.
"""

from __future__ import annotations

from urllib.parse import quote, unquote

ROOT = "/etc/macvlan-fabric"  # all we ever leave on a disk, but for systemd units and network managers' files
PREVIOUS = f"{ROOT}/previous"  # what a shared setting was before the first of us changed it
UNFINISHED = (
    "/run/macvlan-fabric/unfinished"  # what an operation was about to do; gone after a reboot, as it is
)

LOCK = "fabric"  # the host-wide lock that every operation that changes something holds

# IFA_PROTO of the addresses we add; 0x99 is free (linux/if_addr.h names 0 to 3, the rest is for users).
# Kernels before 5.18 drop it: there an address is ours if it is on a link of ours and we wrote it down.
ADDRESS_PROTOCOL = 0x99

DOCKER_LABEL = "macvlan-fabric.owner"  # the label whose value is the owner, on docker networks and containers

_ALIAS = "macvlan-fabric:"


def alias(owner: str) -> str:
    """The alias (IFLA_IFALIAS) of the owner's links: the kernel takes 254 bytes, Pulumi's names have 100."""
    return _ALIAS + owner


def owner_in_alias(text: str) -> str | None:
    """The owner that an alias names; None if it is not one of ours."""
    return text.removeprefix(_ALIAS) or None if text.startswith(_ALIAS) else None


def heading(name: str, owner: str) -> str:
    """The first line of every file by which a link of the owner's comes back at boot."""
    return f"# {name} of {owner}, brought back at boot; written by macvlan-fabric"


def file_name(name: str) -> str:
    """Any name as a file name: distinct names stay distinct, none is hidden or holds a space or a slash."""
    return _not_hidden(quote(name, safe="@=,:"))  # letters, digits and _.-~ are always safe


def folder(owner: str) -> str:
    """Where the owner's files lie on a host; another one for every owner, and never `PREVIOUS`."""
    return f"{ROOT}/{_not_hidden('+'.join(quote(part, safe='') for part in owner.split('/')))}"


def owner_of_folder(name: str) -> str | None:
    """The owner whose folder in `ROOT` has that name; None for what is not an owner's folder."""
    return "/".join(unquote(part) for part in name.split("+")) if "+" in name else None


def _not_hidden(name: str) -> str:
    return "%2E" + name[1:] if name.startswith(".") else name
