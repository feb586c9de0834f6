"""Which hosts the configuration calls lost: nothing of ours is asked of them any more."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from model.document import Mapping, Node, Scalar, compose, decode, from_value
from model.errors import TopologyError
from model.kinds import Refused
from model.values import FLAG

TOPOLOGY = "macvlan-fabric:topology"  # its key in the configuration, whatever the project is called


@dataclass(frozen=True)
class LostHosts:
    """The hosts that are gone for good, and the addresses of those that are not."""

    lost: frozenset[tuple[str, str]] = frozenset()  # (key, address)
    living: frozenset[str] = frozenset()

    @property
    def names(self) -> frozenset[str]:
        """Their keys."""
        return frozenset(name for name, _ in self.lost)

    def covers(self, host: str, address: str) -> bool:
        """Whether what was made on a host, by its key and address then, is let go of.

        It may have another key or another address now, but not that of a host that lives.
        """
        if any(address == gone for _, gone in self.lost):
            return True
        return host in self.names and address not in self.living


def lost_hosts(configured: object) -> LostHosts:
    """Those with `lost: true` in the topology, from the value that Pulumi has for it: JSON or a path.

    It is read as the program reads it, but nothing else is looked at. The program has refused what makes no
    sense; `pulumi destroy` does not run it, and finds no lost host in what cannot be read.
    """
    hosts = [
        (name, _address(host) or name, any(map(_is_true, _at("lost", host))))
        for hosts in _at("hosts", _topology(configured))
        for name, host in _entries(hosts)
    ]
    return LostHosts(
        frozenset((name, address) for name, address, lost in hosts if lost),
        frozenset(address for _, address, lost in hosts if not lost),
    )


def _address(host: Node) -> str:
    return next((each.text for each in _at("address", host) if isinstance(each, Scalar)), "")


def _entries(node: Node | None) -> list[tuple[str, Node]]:
    return [(name.text, value) for name, value in node.entries] if isinstance(node, Mapping) else []


def _at(key: str, node: Node | None) -> list[Node]:
    return [value for name, value in _entries(node) if name == key]


def _is_true(node: Node) -> bool:
    if not isinstance(node, Scalar):
        return False
    try:
        # Pulumi knows fewer words for true than the program does: it has the others as text.
        return FLAG.parse(Scalar(node.line, node.text))
    except Refused:
        return False


def _topology(configured: object) -> Node | None:
    if not isinstance(configured, str):
        return None
    try:
        return from_value(json.loads(configured), "")
    except TopologyError:
        return None
    except ValueError:
        return _file(configured)


def _file(path: str) -> Node | None:
    try:
        return compose(decode(Path(path).expanduser().read_bytes(), path), path)
    except (OSError, ValueError, RuntimeError, TopologyError):  # Path says the second and third of bad names
        return None
