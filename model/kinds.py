"""What a value in the file may be. A kind reads it, says what is wrong with it, and knows its JSON Schema.

Here are the general ones: a single value, a list, a map from names. `model.entries` has maps with known
keys, `model.values` the single values of a topology.
"""

from __future__ import annotations

import json
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from model.document import Mapping, Node, Scalar, Sequence, is_encrypted, shown
from model.problems import Problems, Spot

T = TypeVar("T")
R = TypeVar("R", covariant=True)

Schema = dict[str, Any]  # a JSON Schema, draft 2020-12


@dataclass(frozen=True, slots=True)
class Given(Generic[T]):
    """A value and where it was written."""

    value: T
    line: int
    path: str
    whole: bool = True  # False: a list, some of whose items are wrong and left out


@dataclass(frozen=True, slots=True)
class Item(Generic[R]):
    """An entry of a map from names. `value` is None if it is wrong; the name is known all the same."""

    name: str
    line: int
    path: str
    value: R | None


class Refused(Exception):
    """A single value is not what it should be. Without a message: `must be ..., got ...`."""

    def __init__(self, message: str = "", hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class Kind(ABC, Generic[R]):
    """Reads one sort of value."""

    expects: str  # completes the sentence "must be ..."
    example: str = ""  # as YAML, for hints; empty: none

    @abstractmethod
    def read(self, node: Node, path: str, problems: Problems) -> R | None:
        """The value that stands at `path`; None if it is wrong, which then is among the problems."""

    @abstractmethod
    def schema(self, definitions: Schema) -> Schema:
        """The JSON Schema of the value; named parts go into `definitions`."""


@dataclass(frozen=True)
class Leaf(Kind[Given[T]]):
    """A single value; `parse` raises Refused."""

    expects: str
    parse: Callable[[Scalar], T]
    json: Schema
    example: str = ""
    null: bool = False  # whether nothing (`~`) is a value, too
    if_null: str = ""  # the hint if nothing is not a value
    if_many: str = ""  # the hint if there is a list or map instead

    def read(self, node: Node, path: str, problems: Problems) -> Given[T] | None:
        if not isinstance(node, Scalar) or (node.is_null and not self.null):
            mismatch(node, path, self, problems, self.if_null if is_null(node) else self.if_many)
            return None
        value = self.parsed(node, Spot(node.line, path), problems)
        return None if value is None else Given(value[0], node.line, path)

    def parsed(self, scalar: Scalar, spot: Spot, problems: Problems) -> tuple[T] | None:
        """The value, in a tuple because it may be None; None if it is wrong, which then is reported."""
        try:
            return (self.parse(scalar),)
        except Refused as refused:
            if refused.message:
                problems.add(spot, refused.message, refused.hint)
            else:
                hint = refused.hint or for_example(self.example)
                problems.add(spot, f"must be {self.expects}, got {shown(scalar)}", hint)
            return None

    def schema(self, definitions: Schema) -> Schema:  # noqa: ARG002 - it has no parts
        return dict(self.json)


@dataclass(frozen=True)
class ListOf(Kind[Given[tuple[R, ...]]]):
    """A list; wrong items are left out. With `single`, one value stands for a list of one."""

    kind: Kind[R]
    expects: str
    at_least: int = 0
    single: bool = False
    example: str = ""

    def read(self, node: Node, path: str, problems: Problems) -> Given[tuple[R, ...]] | None:
        if isinstance(node, Scalar) and self.single and not node.is_null:
            only = self.kind.read(node, path, problems)
            return None if only is None else Given((only,), node.line, path)
        if not isinstance(node, Sequence) or len(node.items) < self.at_least:
            mismatch(node, path, self, problems)
            return None
        read = (self.kind.read(item, f"{path}[{index}]", problems) for index, item in enumerate(node.items))
        good = tuple(value for value in read if value is not None)
        return Given(good, node.line, path, whole=len(good) == len(node.items))

    def schema(self, definitions: Schema) -> Schema:
        items = self.kind.schema(definitions)
        schema: Schema = {"type": "array", "items": items}
        if self.at_least:
            schema["minItems"] = self.at_least
        return {"anyOf": [items, schema]} if self.single else schema


@dataclass(frozen=True)
class MapOf(Kind[Given[tuple[Item[R], ...]]]):
    """A map from names that the user chooses."""

    name: Leaf[str]
    kind: Kind[R]
    expects: str
    at_least: int = 0
    example: str = ""

    def read(self, node: Node, path: str, problems: Problems) -> Given[tuple[Item[R], ...]] | None:
        if not isinstance(node, Mapping) or len(node.entries) < self.at_least:
            mismatch(node, path, self, problems)
            return None
        items = []
        for key, value in unique(node, path, problems):
            inner = below(path, key.text)
            self.name.parsed(key, Spot(key.line, inner), problems)
            items.append(Item(key.text, key.line, inner, self.kind.read(value, inner, problems)))
        return Given(tuple(items), node.line, path)

    def schema(self, definitions: Schema) -> Schema:
        schema: Schema = {"type": "object", "additionalProperties": self.kind.schema(definitions)}
        if "pattern" in self.name.json:
            schema["propertyNames"] = {k: v for k, v in self.name.json.items() if k != "type"}
        if self.at_least:
            schema["minProperties"] = self.at_least
        return schema


def below(path: str, name: str) -> str:
    """The path of an entry of the map at `path`; names that would blur it are quoted."""
    step = name if re.fullmatch(r"[\w-]+", name) else json.dumps(name, ensure_ascii=not name.isprintable())
    return f"{path}.{step}" if path else step


def unique(node: Mapping, path: str, problems: Problems) -> Iterator[tuple[Scalar, Node]]:
    """The entries of a map; of those with the same key only the first, and the others reported."""
    seen: dict[str, int] = {}
    for name, value in node.entries:
        if name.text in seen:
            first = f", first in line {seen[name.text]}" if name.line else ""
            problems.add(
                Spot(name.line, below(path, name.text)),
                f"this key is here twice{first}",
                "YAML would silently keep the last; remove one",
            )
        else:
            seen[name.text] = name.line
            yield name, value


def is_null(node: Node) -> bool:
    """Whether nothing is written there."""
    return isinstance(node, Scalar) and node.is_null


def mismatch(node: Node, path: str, kind: Kind[object], problems: Problems, hint: str = "") -> None:
    """Report a value of quite another shape."""
    hint = hint or for_example(kind.example)
    if is_null(node):
        problems.add(Spot(node.line, path), f"has no value; it must be {kind.expects}", hint)
    elif is_encrypted(node):
        hint = "plans and outputs show it: write it as it is"
        problems.add(Spot(node.line, path), "is encrypted, which only values of an environment may be", hint)
    else:
        problems.add(Spot(node.line, path), f"must be {kind.expects}, got {shown(node)}", hint)


def for_example(example: str) -> str:
    """A hint that shows how it is done; empty without an example."""
    return f"for example {example}" if example else ""
