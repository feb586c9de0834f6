"""Which hosts the configuration calls lost: nothing of ours is asked of them any more."""

from __future__ import annotations

import json
from pathlib import Path

from model.document import Mapping, Node, Scalar, compose, decode, from_value
from model.errors import TopologyError
from model.kinds import Refused
from model.values import FLAG


def lost_hosts(configured: object) -> frozenset[str]:
    """The hosts with `lost: true` in the topology, from the value that Pulumi has for it: JSON or a path.

    It is read as the program reads it, but nothing else is looked at. The program has refused what makes no
    sense; `pulumi destroy` does not run it, and finds no lost host in what cannot be read.
    """
    return frozenset(
        name
        for hosts in _at("hosts", _topology(configured))
        for name, host in _entries(hosts)
        if any(map(_is_true, _at("lost", host)))
    )


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
