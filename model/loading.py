"""From text to a `Topology`, or to everything that is wrong with it.

A topology stands in a stack's configuration file or in a file of its own. Nothing is read from disk
here; the caller hands in texts:

    found = locate(text, "Pulumi.dev.yaml", ("config", "macvlan-fabric:topology"))
    if isinstance(found, FileReference):                       # the stack names a file
        topology = load(read(found.file), found.file)          # on OSError: raise found.unreadable(error)
    else:
        topology = build(found)
"""

from __future__ import annotations

import posixpath
from dataclasses import dataclass

from model.building import known, topology_of
from model.declaration import TOPOLOGY
from model.document import Mapping, Node, Scalar, compose, from_value, is_encrypted, shown
from model.errors import Place, TopologyError
from model.problems import Problems, refusal
from model.topology import Topology
from model.validation import validate


@dataclass(frozen=True)
class Located:
    """A topology that was found and not yet read."""

    node: Node
    file: str


@dataclass(frozen=True)
class FileReference:
    """The topology is in a file of its own; this is where it is named."""

    file: str  # from where the naming file is seen: its folder and what it says, joined
    place: Place

    def unreadable(self, error: OSError) -> TopologyError:
        """The error to raise if the file cannot be read."""
        reason = (error.strerror or str(error)).lower()
        if isinstance(error, FileNotFoundError):
            reason = "there is no such file"
        hint = "a path is relative to the file that names it"
        message = f"cannot read the topology from {self.file}: {reason}"
        return refusal(self.place.file, self.place.line, message, hint)


def load(text: str, file: str, at: tuple[str, ...] = ()) -> Topology:
    """The topology that stands in `text`, at the keys `at`; `file` is the name that errors give it.

    Raises TopologyError with all problems found. A topology in a file of its own cannot be followed from
    here, so that it is named is a problem too: whoever can read files calls `locate`.
    """
    found = locate(text, file, at)
    if isinstance(found, FileReference):
        message = f"the topology is in another file, {found.file}"
        raise refusal(found.place.file, found.place.line, message)
    return build(found)


def load_value(value: object, file: str) -> Topology:
    """The topology of plain data, as a YAML or JSON parser returns it; errors have paths but no lines."""
    return build(Located(from_value(value, file), file))


def locate(text: str, file: str, at: tuple[str, ...] = ()) -> Located | FileReference:
    """Where the topology is: the node under the keys `at`, or the file that stands there by name.

    Raises TopologyError if the text is not YAML or there is nothing at that place.
    """
    node, line = compose(text, file), 0
    for depth, step in enumerate(at):
        entries = node.entries if isinstance(node, Mapping) else ()
        found = [(name.line, value) for name, value in entries if name.text == step]
        if not found:
            where = f"{at[depth - 1]} has" if depth else "there is"
            hint = f"the topology goes under {at[-1]}, or the name of the file that holds it"
            raise refusal(file, line, f"{where} no key {step}", hint)
        line, node = found[0]
    if at and isinstance(node, Scalar):
        return _reference(node, Place(file, line), at[-1])
    if at and is_encrypted(node):
        hint = "set it without --secret, and encrypt only the values of environments that need it"
        raise refusal(file, line, f"{at[-1]} is encrypted", hint)
    return Located(node, file)


def _reference(node: Scalar, place: Place, name: str) -> FileReference:
    if node.is_null or not node.text.strip():
        hint = "write hosts and networks under it, or the name of a file that holds them"
        raise refusal(place.file, place.line, f"{name} has no value", hint)
    if not node.text.isprintable() or node.text.lstrip().startswith(("{", "[")):
        hint = "write it as YAML, not as text in quotes"
        message = f"{name} must be a map or the name of a file, got {shown(node)}"
        raise refusal(place.file, place.line, message, hint)
    return FileReference(posixpath.join(posixpath.dirname(place.file), node.text), place)


def build(found: Located) -> Topology:
    """The topology, or TopologyError with all problems of the file."""
    problems = Problems(found.file)
    entry = TOPOLOGY.read(found.node, "", problems)
    if entry is not None:
        validate(entry, problems)
    if problems:
        raise problems.error()
    return topology_of(known(entry), found.file)
