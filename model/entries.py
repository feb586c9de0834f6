"""Maps with known keys, declared as dataclasses.

One declaration drives the reading, the suggestions for unknown keys and the schema that editors use:

    @dataclass(frozen=True)
    class TrunkEntry(Entry):
        interface: Given[str] | None = key(INTERFACE, "the Linux interface", required=True)

A field is None if the key is absent, or if its value is wrong: then that is already reported. A list with
wrong items holds the others; `Entry.wrong` knows.
"""

from __future__ import annotations

from collections.abc import Mapping as StringMapping
from dataclasses import dataclass, field, fields
from functools import cache
from inspect import cleandoc
from typing import ClassVar, TypeVar, cast

import yaml

from model.document import Mapping, Node, Scalar, is_encrypted
from model.kinds import Given, Kind, Schema, below, is_null, mismatch, unique
from model.problems import Problems, Spot, nearest, short

R = TypeVar("R", covariant=True)
E = TypeVar("E", bound="Entry")

Exclusive = tuple[tuple[tuple[str, ...], ...], ...]  # see `Entry.exclusive`


@dataclass(frozen=True)
class Key:
    """A key of an `Entry`, as `key` declares it."""

    name: str
    field: str
    kind: Kind[object]
    doc: str
    required: bool
    default: object
    also: tuple[str, ...]


def key(
    kind: Kind[R],
    doc: str,
    *,
    name: str = "",
    required: bool = False,
    default: object = None,
    also: tuple[str, ...] = (),
) -> R | None:
    """A key of an `Entry`. `name`: if it is not the field's; `default`: what its absence means, for the
    schema; `also`: words that people write when they mean it.
    """
    return cast("R | None", field(metadata={"key": (name, kind, doc, required, default, also)}))


@dataclass(frozen=True)
class Entry:
    """A map with known keys. Subclasses declare them with `key`."""

    line: int
    path: str
    given: frozenset[str]  # the keys that stand in the file, right or wrong

    shorthand: ClassVar[str] = ""  # the key that is meant if the value is not a map
    exclusive: ClassVar[Exclusive] = ()  # of each, exactly one set of keys
    only_with: ClassVar[tuple[tuple[str, str], ...]] = ()  # (key, the key it needs)
    elsewhere: ClassVar[StringMapping[str, str]] = {}  # other tools' keys, and what to do here instead
    extensible: ClassVar[bool] = False  # whether keys that start with `x-` are let pass

    def wrong(self, *names: str) -> bool:
        """Whether one of these keys stands in the file with a value that could not be read as a whole."""
        values = ((name, getattr(self, self.keys()[name].field)) for name in names)
        return any(
            name in self.given and (value is None or (isinstance(value, Given) and not value.whole))
            for name, value in values
        )

    @classmethod
    @cache
    def keys(cls) -> dict[str, Key]:
        """The declared keys by their names in the file."""
        found = {}
        for declared in fields(cls):
            if "key" in declared.metadata:
                name, *rest = declared.metadata["key"]
                name = name or declared.name
                found[name] = Key(name, declared.name, *rest)
        return found


class Record(Kind[E]):
    """A map with the keys that an `Entry` declares."""

    def __init__(self, entry: type[E], expects: str, example: str = "") -> None:
        self.entry = entry
        self.expects = expects
        self.example = example
        self.keys = entry.keys()

    def read(self, node: Node, path: str, problems: Problems) -> E | None:
        if not isinstance(node, Mapping) or is_encrypted(node):
            if not self.entry.shorthand or is_null(node) or is_encrypted(node):
                mismatch(node, path, self, problems)
                return None
            short = self.keys[self.entry.shorthand]
            value = short.kind.read(node, path, problems)
            return self._entry(node.line, path, {short.name: value})
        values: dict[str, object] = {}
        misspelt = set()
        for name, value in unique(node, path, problems):
            if name.text in self.keys:
                known = self.keys[name.text]
                values[known.name] = known.kind.read(value, below(path, known.name), problems)
            elif not (self.entry.extensible and name.text.startswith("x-")):
                misspelt.add(self._unknown(name, path, problems))
        self._check_presence(Spot(node.line, path), values, misspelt, problems)
        return self._entry(node.line, path, values)

    def _entry(self, line: int, path: str, values: dict[str, object]) -> E:
        found = {known.field: values.get(known.name) for known in self.keys.values()}
        return self.entry(line=line, path=path, given=frozenset(values), **found)

    def _unknown(self, name: Scalar, path: str, problems: Problems) -> str | None:
        """Report an unknown key; return the known one that was probably meant."""
        if instead := self.entry.elsewhere.get(name.text):
            problems.add(Spot(name.line, path), f"unknown key {name.text}", instead)
            return None
        before, colon, after = name.text.partition(":")
        if colon and before in self.keys:
            hint = f"a space follows the colon: {before}: {after}"
            problems.add(Spot(name.line, path), f"unknown key {short(name.text)}", hint)
            return before
        words = {word: known.name for known in self.keys.values() for word in (known.name, *known.also)}
        near = nearest(name.text, words)
        meant = words[near] if near else None
        hint = f"did you mean {meant}?" if meant else f"known keys: {', '.join(self.keys)}"
        problems.add(Spot(name.line, path), f"unknown key {short(name.text)}", hint)
        return meant

    def _check_presence(
        self, spot: Spot, values: dict[str, object], misspelt: set[str | None], problems: Problems
    ) -> None:
        def missing(*names: str) -> None:
            if misspelt.isdisjoint(names):
                example = self.keys[names[0]].kind.example
                hint = f"for example {names[0]}: {example}" if example else ""
                problems.add(spot, f"{' or '.join(names)} is missing", hint)

        for known in self.keys.values():
            if known.required and known.name not in values:
                missing(known.name)
        for choices in self.entry.exclusive:
            begun = [choice for choice in choices if not values.keys().isdisjoint(choice)]
            if not begun:
                missing(*(choice[0] for choice in choices))
            elif len(begun) > 1:
                both = [next(name for name in choice if name in values) for choice in begun[:2]]
                problems.add(spot, f"{both[0]} and {both[1]} exclude each other", "keep one of them")
            else:
                for name in begun[0]:
                    if name not in values:
                        missing(name)
        for name, needed in self.entry.only_with:
            if name in values and needed not in values:
                problems.add(spot, f"{name} goes with {needed} only", self.keys[needed].doc)

    def schema(self, definitions: Schema) -> Schema:
        title = self.entry.__name__.removesuffix("Entry").lower()
        reference = {"$ref": f"#/$defs/{title}"}
        if title in definitions:
            return reference
        definitions[title] = {}  # holds its place in the order of the file
        properties = {}
        for known in self.keys.values():
            described = {"description": known.doc, **known.kind.schema(definitions)}
            if known.default is not None:
                described["default"] = known.default
            if known.kind.example and "$ref" not in described:
                described["examples"] = [yaml.safe_load(known.kind.example)]
            properties[known.name] = described
        schema: Schema = {
            "description": cleandoc(self.entry.__doc__ or ""),
            "type": "object",
            "properties": properties,
            "additionalProperties": False,
        }
        if required := [known.name for known in self.keys.values() if known.required]:
            schema["required"] = required
        if self.entry.extensible:
            schema["patternProperties"] = {"^x-": True}
        if self.entry.exclusive:
            schema["allOf"] = [
                {"oneOf": [_alternative(choice, choices) for choice in choices]}
                for choices in self.entry.exclusive
            ]
        if self.entry.only_with:
            schema["dependentRequired"] = {name: [needed] for name, needed in self.entry.only_with}
        if self.entry.shorthand:
            short = self.keys[self.entry.shorthand].kind.schema(definitions)
            schema = {"anyOf": [short, schema]}
        definitions[title] = schema
        return reference


def _alternative(choice: tuple[str, ...], choices: tuple[tuple[str, ...], ...]) -> Schema:
    """The schema of one set of keys that excludes the others."""
    excluded = {name: False for other in choices if other != choice for name in other}
    return {"required": list(choice), "properties": excluded}
