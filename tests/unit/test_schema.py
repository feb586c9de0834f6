"""The committed JSON Schema is the one the declarations make, and means what loading means."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator

from model.declaration import TOPOLOGY
from model.document import Encrypted, Mapping, Node, Scalar, Sequence, compose, decode
from model.problems import Problems
from model.schema import text, topology_schema
from tests.cases_of import case_files

COMMITTED = Path(__file__).parents[2] / "schema" / "topology.schema.json"
VALIDATOR = Draft202012Validator(topology_schema(), format_checker=Draft202012Validator.FORMAT_CHECKER)


def as_json(node: Node) -> object:
    """The value of a node as editors see it: YAML 1.2, core schema (section 10.3)."""
    match node:
        case Mapping():
            return {key.text: as_json(value) for key, value in node.entries}
        case Sequence():
            return [as_json(item) for item in node.items]
        case Encrypted():
            return {"secure": ""}
        case Scalar(quote=""):
            if node.is_null:
                return None
            if node.text in ("true", "True", "TRUE", "false", "False", "FALSE"):
                return node.text.lower() == "true"
            if re.fullmatch("[-+]?[0-9]+", node.text):
                return int(node.text)
            if re.fullmatch(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?", node.text):
                return float(node.text)
    return node.text


def test_the_committed_schema_is_current() -> None:
    assert COMMITTED.read_text() == text(), "run: python -m model.schema > schema/topology.schema.json"


def test_it_is_a_schema() -> None:
    Draft202012Validator.check_schema(topology_schema())


def _described(schema: object) -> Iterator[dict[str, object]]:
    if isinstance(schema, dict):
        if "examples" in schema:
            yield schema
        for part in schema.values():
            yield from _described(part)
    elif isinstance(schema, list):
        for part in schema:
            yield from _described(part)


def test_its_examples_follow_it() -> None:
    described = list(_described(topology_schema()))
    assert len(described) > 20
    for schema in described:
        whole = {"$defs": topology_schema()["$defs"], **schema}
        for example in schema["examples"]:  # type: ignore[attr-defined]
            Draft202012Validator(whole).validate(example)


def _readable(folder: str) -> list[Path]:
    """The topologies of a corpus that are well-formed and stand alone."""
    others = ("stack_", "yaml_")
    return [path for path in case_files(folder) if not path.name.startswith(others)]


@pytest.mark.parametrize("path", _readable("valid"), ids=lambda path: path.stem)
def test_what_loads_follows_the_schema(path: Path) -> None:
    VALIDATOR.validate(as_json(_compose(path)))


# An editor cannot see these: they take more than patterns, or stand in the text and not in its value.
TOO_FINE_FOR_A_SCHEMA = {
    "container_command_nul",
    "container_command_quote",
    "container_command_unclosed_quote",
    "container_environment_secret",  # which file it stands in
    "container_twice",
    "host_twice",
    "interface_control_character",  # Python's $ matches before a last newline, JavaScript's does not
    "network_key_twice",
    "subnet_everything",
    "subnet_host_bits",
    "subnet_loopback",
    "subnet_multicast",
    "traffic_port_too_high",
    "traffic_range_backwards",
    "vlan_octal",
    "vlan_whole_float",
}


@pytest.mark.parametrize("path", _readable("errors"), ids=lambda path: path.stem)
def test_the_schema_sees_what_a_single_value_does_wrong(path: Path) -> None:
    problems = Problems(path.name)
    node = _compose(path)
    TOPOLOGY.read(node, "", problems)
    if problems and path.stem not in TOO_FINE_FOR_A_SCHEMA:
        assert not VALIDATOR.is_valid(as_json(node))
    else:
        assert VALIDATOR.is_valid(as_json(node)), "the schema must not refuse what reading accepts"


def _compose(path: Path) -> Node:
    return compose(decode(path.read_bytes(), path.name), path.name)
