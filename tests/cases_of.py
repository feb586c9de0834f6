"""The corpora under tests/cases: YAML files with what loading them must give beside them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from model.document import decode
from model.encryption import opened
from model.loading import FileReference, build, load, locate
from model.topology import Topology

CASES = Path(__file__).parent / "cases"
STACK_KEY = ("config", "macvlan-fabric:topology")


def case_files(folder: str) -> list[Path]:
    """The inputs of a corpus, by name."""
    return sorted((CASES / folder).glob("*.yaml"))


def read_case(path: Path) -> Topology:
    """Load a case as the program does; one whose name starts with `stack_` is a whole stack file."""
    at = STACK_KEY if path.name.startswith("stack_") else ()
    found = locate(decode(path.read_bytes(), path.name), path.name, at)
    if isinstance(found, FileReference):
        try:
            data = (path.parent / found.file).read_bytes()
        except OSError as error:
            raise found.unreadable(error) from None
        return load(decode(data, found.file), found.file)
    return build(replace(found, node=opened(found.node, None)) if at else found)
