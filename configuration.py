"""Where a stack's topology is written down, and how it is read from there."""

from __future__ import annotations

import hashlib
import json
import posixpath
import re
from dataclasses import replace
from pathlib import Path

from model.document import Node, decode, from_value
from model.encryption import first_difference, opened
from model.errors import Place, TopologyError
from model.loading import FileReference, Located, build, locate
from model.problems import Problems, Spot
from model.topology import Topology

NAMESPACE = "macvlan-fabric"  # of the configuration, whatever the project is called
KEY = f"{NAMESPACE}:topology"


def stack_file(stack: str) -> str:
    """The file in which Pulumi keeps a stack's configuration, in the program's folder."""
    return f"Pulumi.{stack}.yaml"


def unique_owner(organization: str, project: str, stack: str) -> str:
    """The owner of what a stack makes, if it has made nothing yet and nobody says otherwise.

    No other stack has it, not even one of the same name that somebody else keeps elsewhere: the stack's file
    holds something random, by which Pulumi encrypts. And it is the same as long as there is that file, also
    for a stack whose state was lost. Its name comes first, for people.
    """
    keys = re.findall(r"^(?:encryptionsalt|encryptedkey): *(\S+)", _text(stack_file(stack)), re.MULTILINE)
    digest = hashlib.sha256("\n".join([organization, project, stack, *keys]).encode()).hexdigest()
    return f"{project}/{stack}/{digest[:8]}"


def read_topology(
    stack: str, configured: str | None = None, *, encrypted: bool = False
) -> tuple[Topology, str | None]:
    """The stack's topology, from its file in this folder or from the file that it names.

    `configured` is the value that Pulumi has for it, decrypted: a path, or JSON. It is what counts if it says
    something else than the stack's file, as with `--config-file`; then it is returned, too, and errors
    cannot name lines. `encrypted`: something in it is not for everybody's eyes. What it is only the stack's
    file says, so then both must say the same.

    Raises TopologyError with everything that is wrong.
    """
    found, unwritten = _located(stack, configured, encrypted)
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
    return topology, unwritten


def _located(
    stack: str, configured: str | None, encrypted: bool
) -> tuple[Located | FileReference, str | None]:
    """Where the topology is; and the configured value, if the stack's file says something else."""
    file, elsewhere = stack_file(stack), f"the configuration of stack {stack}"
    if configured is None:
        return _opened(_written(file), None), None
    try:
        found: Located | FileReference | None = _written(file)
    except TopologyError:
        if encrypted:
            raise
        found = None
    given, other = _document(configured, elsewhere), None
    if isinstance(found, Located) and given:
        other = first_difference(found.node, given)
        if not other:
            return _opened(found, given), None
    elif isinstance(found, FileReference) and found.file == configured:
        return found, None
    if encrypted:
        raise _undecided(file, other or Spot(0))
    return Located(given, elsewhere) if given else FileReference(configured, Place(elsewhere)), configured


def _written(file: str) -> Located | FileReference:
    return locate(_text(file), file, ("config", KEY))


def _opened(found: Located | FileReference, given: Node | None) -> Located | FileReference:
    """With the secrets that Pulumi has decrypted in their places."""
    return found if isinstance(found, FileReference) else replace(found, node=opened(found.node, given))


def _text(file: str) -> str:
    """A stack's file; one that is not there is empty."""
    try:
        return decode(Path(file).read_bytes(), file)
    except FileNotFoundError:
        return "{}"


def _document(configured: str, name: str) -> Node | None:
    """Pulumi's value; None if it is no document, but names a file."""
    try:
        return from_value(json.loads(configured), name)
    except ValueError:
        return None


def _undecided(file: str, spot: Spot) -> TopologyError:
    problems = Problems(file)
    problems.add(
        spot,
        "some values are encrypted, and Pulumi reads something else than stands here",
        "which of them are secret only this file says; if it is the one in use, put this value into quotes",
    )
    return problems.error()
