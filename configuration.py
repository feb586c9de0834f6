"""Where a stack's topology is written down, and how it is read from there."""

from __future__ import annotations

import json
import posixpath
from dataclasses import replace
from pathlib import Path

from model.document import Mapping, Node, Scalar, decode, from_value
from model.errors import Place, TopologyError
from model.loading import FileReference, Located, build, locate
from model.topology import Topology

KEY = "macvlan-fabric:topology"


def stack_file(stack: str) -> str:
    """The file in which Pulumi keeps a stack's configuration, in the program's folder."""
    return f"Pulumi.{stack}.yaml"


def read_topology(stack: str, configured: str | None = None) -> Topology:
    """The stack's topology, from its file in this folder or from the file that it names.

    `configured` is the value that Pulumi has for it: a path, or JSON. It is what counts if it says something
    else than the stack's file, as with `--config-file` or encrypted values; then errors cannot name lines.

    Raises TopologyError with everything that is wrong.
    """
    found = _located(stack, configured)
    while isinstance(found, FileReference):
        try:
            data = Path(found.file).read_bytes()
        except OSError as error:
            raise found.unreadable(error) from None
        found = locate(decode(data, found.file), found.file)
    topology = build(found)
    if topology.ssh_config and not topology.ssh_config.startswith("~"):
        beside = posixpath.join(posixpath.dirname(found.file), topology.ssh_config)
        topology = replace(topology, ssh_config=beside)
    return topology


def _located(stack: str, configured: str | None) -> Located | FileReference:
    file = stack_file(stack)
    try:
        found = locate(_text(file), file, ("config", KEY))
    except TopologyError:
        if configured is None:
            raise
        found = None
    if configured is None and found is not None:
        return found
    elsewhere = f"the configuration of stack {stack}"
    try:
        given = from_value(json.loads(configured or ""), elsewhere)
    except ValueError:
        path = configured or ""
        return found if isinstance(found, FileReference) else FileReference(path, Place(elsewhere))
    return found if isinstance(found, Located) and _same(found.node, given) else Located(given, elsewhere)


def _text(file: str) -> str:
    """A stack's file; one that is not there is empty."""
    try:
        return decode(Path(file).read_bytes(), file)
    except FileNotFoundError:
        return "{}"


def _same(one: Node, other: Node) -> bool:
    """Whether two documents say the same, wherever they stand."""
    if isinstance(one, Scalar) and isinstance(other, Scalar):
        return one.text == other.text or (one.is_null and other.is_null)
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        left, right = ({key.text: value for key, value in node.entries} for node in (one, other))
        return left.keys() == right.keys() and all(_same(left[key], right[key]) for key in left)
    if isinstance(one, Scalar | Mapping) or isinstance(other, Scalar | Mapping):
        return False
    return len(one.items) == len(other.items) and all(map(_same, one.items, other.items))
