"""YAML text as a tree of nodes that know their line and keep every value as it was written.

PyYAML scans and parses (YAML 1.1 syntax); nothing here guesses types. Whether `no`, `1_0` or `0x10`
is a word or a number is decided by whoever expects the one or the other, so `restart: no` is the word
it looks like, and an error can show a value exactly as it stands in the file.

Aliases (`*name`) and merge keys (`<<`) are resolved; a document that would unfold to more than
`MAX_NODES` values, or refers to itself, is refused without unfolding it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import date
from typing import TypeAlias

import yaml

from model.errors import TopologyError
from model.problems import WIDTH, refusal, short
from model.secret import Secret
from model.syntax_errors import explain

MAX_DEPTH = 64  # levels of lists and maps; a topology has eight
MAX_NODES = 500_000  # with every alias unfolded

_UNPRINTABLE = re.compile(
    "[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]"
)  # YAML 1.1, 5.1
_NULL = ("", "~", "null", "Null", "NULL")

# libyaml where PyYAML has it: the same events, an order of magnitude faster.
_Loader: type = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@dataclass(frozen=True, slots=True)
class Scalar:
    """A single value. `quote` is what it was written in: `"`, `'`, `|` or `>`; empty for a plain value."""

    line: int  # counts from 1; 0: not read from a file
    text: str
    quote: str = ""

    @property
    def is_null(self) -> bool:
        """Whether nothing is written here, or one of the words that YAML has for nothing."""
        return not self.quote and self.text in _NULL


@dataclass(frozen=True, slots=True)
class Sequence:
    """A list. `line` is where the key that introduces it stands, or else its first item."""

    line: int
    items: tuple[Node, ...] = ()


@dataclass(frozen=True, slots=True)
class Mapping:
    """A map, with its entries as written: a key may stand in it twice. `line` as in `Sequence`."""

    line: int
    entries: tuple[tuple[Scalar, Node], ...] = ()


@dataclass(frozen=True, slots=True)
class Encrypted:
    """A value that Pulumi keeps encrypted in the file. No parser makes one; see `model.encryption`."""

    line: int
    secret: Secret


Node: TypeAlias = Scalar | Sequence | Mapping | Encrypted


def compose(text: str, file: str) -> Node:
    """The one document that `text` holds; `file` is the name that errors give it.

    Raises TopologyError with one problem, the first, if there is not exactly one well-formed document.
    """
    return _Composer(file).compose(text.removeprefix("\ufeff"))


def decode(data: bytes, file: str) -> str:
    """The text of a file; raises TopologyError naming the line if it is not UTF-8."""
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        message = f"this is not UTF-8 text: byte 0x{data[error.start]:02x}"
        raise refusal(file, line, message, "save the file as UTF-8") from None


def from_value(value: object, file: str) -> Node:
    """Plain data (what a YAML or JSON parser returns) as nodes without lines.

    Whole floats count as integers, because some transports know no others. Raises TopologyError for
    anything that YAML could not have held.
    """
    return _Converter(file).node(value, 0)


def is_encrypted(node: Node) -> bool:
    """Whether Pulumi keeps the value encrypted; it writes a map with the one key `secure`."""
    if isinstance(node, Mapping):
        return [name.text for name, _ in node.entries] == ["secure"]
    return isinstance(node, Encrypted)


def shown(node: Node) -> str:
    """The value as the user wrote it, on one line and cut to a readable length."""
    text = ""
    for piece in _pieces(node):
        text += piece
        if len(text) > WIDTH:  # there may be no end to it for a long time: aliases unfold here
            break
    return short(text)


def _pieces(node: Node) -> Iterator[str]:
    if isinstance(node, Scalar):
        yield _shown_scalar(node)
    elif isinstance(node, Encrypted):
        yield str(node.secret)
    elif isinstance(node, Sequence):
        yield "["
        for index, item in enumerate(node.items):
            yield ", " if index else ""
            yield from _pieces(item)
        yield "]"
    else:
        yield "{"
        for index, (key, value) in enumerate(node.entries):
            yield f"{', ' if index else ''}{_shown_scalar(key)}: "
            yield from _pieces(value)
        yield "}"


def _shown_scalar(scalar: Scalar) -> str:
    text = scalar.text[: WIDTH + 1]
    if not text.isprintable() or scalar.quote in ("|", ">"):
        return json.dumps(text, ensure_ascii=False) if text.isprintable() else json.dumps(text)
    if not text and not scalar.quote:
        return "nothing"
    return f"{scalar.quote}{text}{scalar.quote}"


@dataclass(slots=True)
class _Open:
    """A list or map whose end has not come yet."""

    line: int
    is_map: bool
    anchor: str | None
    items: list[Node] = field(default_factory=list)
    entries: list[tuple[Scalar, Node]] = field(default_factory=list)
    key: Scalar | None = None
    size: int = 1


class _Composer:
    """Builds the tree from parser events, with a stack of its own: depth costs no recursion."""

    def __init__(self, file: str) -> None:
        self._file = file
        self._open: list[_Open] = []
        self._anchors: dict[str, tuple[Node, int]] = {}
        self._root: Node | None = None

    def compose(self, text: str) -> Node:
        if bad := _UNPRINTABLE.search(text):
            line = len(re.findall(r"\r\n?|\n", text[: bad.start()])) + 1
            raise self._error(line, f"the character U+{ord(bad[0]):04X} is not allowed in YAML", "remove it")
        try:
            for event in yaml.parse(text, Loader=_Loader):
                self._take(event)
        except yaml.MarkedYAMLError as error:
            opened = self._open[-1].line if self._open else 0
            raise explain(error, text, self._file, opened) from None
        if self._root is None:
            raise self._error(0, "the file is empty", "a topology has at least hosts and networks")
        return self._root

    def _take(self, event: yaml.Event) -> None:
        line = event.start_mark.line + 1 if event.start_mark else 0
        match event:
            case yaml.ScalarEvent():
                self._no_tag(event.tag, line)
                self._add(Scalar(line, event.value, event.style or ""), 1, event.anchor)
            case yaml.MappingStartEvent() | yaml.SequenceStartEvent():
                self._no_tag(event.tag, line)
                self._descend(line, isinstance(event, yaml.MappingStartEvent), event.anchor)
            case yaml.MappingEndEvent() | yaml.SequenceEndEvent():
                self._ascend()
            case yaml.AliasEvent(anchor=str(name)):
                self._add(*self._anchored(name, line), None)
            case yaml.DocumentStartEvent() if self._root is not None:
                raise self._error(line, "a second YAML document starts here", "remove the line ---")

    def _descend(self, line: int, is_map: bool, anchor: str | None) -> None:
        if len(self._open) == MAX_DEPTH:
            raise self._error(line, f"lists and maps are nested deeper than {MAX_DEPTH} levels")
        parent = self._open[-1] if self._open else None
        if parent and parent.is_map and parent.key is None:
            raise self._error(
                line, "a list or map cannot be a key", "a value that starts with { or [ needs quotes"
            )
        key = parent.key if parent else None
        self._open.append(_Open(key.line if key else line, is_map, anchor))

    def _ascend(self) -> None:
        done = self._open.pop()
        node: Node
        if done.is_map:
            merges = any(key.text == "<<" for key, _ in done.entries)
            node = Mapping(done.line, tuple(self._merged(done.entries) if merges else done.entries))
        else:
            node = Sequence(done.line, tuple(done.items))
        self._add(node, done.size, done.anchor)

    def _add(self, node: Node, size: int, anchor: str | None) -> None:
        if anchor is not None:
            self._anchors[anchor] = (node, size)
        if not self._open:
            self._root = node
            return
        parent = self._open[-1]
        parent.size += size
        if parent.size > MAX_NODES:
            raise self._error(node.line, f"the aliases unfold to more than {MAX_NODES:,} values")
        if not parent.is_map:
            parent.items.append(node)
        elif parent.key is not None:
            parent.entries.append((parent.key, node))
            parent.key = None
        elif isinstance(node, Scalar):
            parent.key = node
        else:
            raise self._error(node.line, "a list or map cannot be a key")

    def _anchored(self, name: str, line: int) -> tuple[Node, int]:
        if any(parent.anchor == name for parent in self._open):
            raise self._error(line, f"the alias *{name} refers to the very value it stands in")
        if name not in self._anchors:
            hint = "an alias comes after its anchor; a value that starts with * needs quotes"
            raise self._error(line, f"the alias *{name} has no anchor &{name} before it", hint)
        node, size = self._anchors[name]
        key = self._open[-1].key if self._open else None
        if key and not isinstance(node, Scalar):
            node = replace(node, line=key.line)
        return node, size

    def _merged(self, entries: list[tuple[Scalar, Node]]) -> Iterator[tuple[Scalar, Node]]:
        """The entries with `<<` replaced by what it brings; the map's own win (YAML merge key, 2005)."""
        known = {key.text for key, _ in entries}
        for key, value in entries:
            if key.text != "<<" or key.quote:
                yield key, value
                continue
            for merged in value.items if isinstance(value, Sequence) else (value,):
                if not isinstance(merged, Mapping):
                    raise self._error(key.line, f"<< merges maps only, got {shown(value)}")
                for brought, node in merged.entries:
                    if brought.text not in known:
                        known.add(brought.text)
                        yield brought, node

    def _no_tag(self, tag: str | None, line: int) -> None:
        if tag is not None:
            name = tag.replace("tag:yaml.org,2002:", "!!")
            raise self._error(
                line, f"tags are not supported, got {name}", "write the plain value; quotes make it text"
            )

    def _error(self, line: int, message: str, hint: str = "") -> TopologyError:
        return refusal(self._file, line, message, hint)


class _Converter:
    """Plain data to nodes, with the limits of a document: data can share and contain itself, too."""

    def __init__(self, file: str) -> None:
        self._file = file
        self._left = MAX_NODES

    def node(self, value: object, depth: int) -> Node:
        self._left -= 1
        if self._left < 0:
            raise self._error(f"the data holds more than {MAX_NODES:,} values")
        if depth > MAX_DEPTH:
            raise self._error(f"lists and maps are nested deeper than {MAX_DEPTH} levels")
        if isinstance(value, dict):
            items = value.items()
            return Mapping(0, tuple((self._scalar(key), self.node(item, depth + 1)) for key, item in items))
        if isinstance(value, list | tuple):
            return Sequence(0, tuple(self.node(item, depth + 1) for item in value))
        return self._scalar(value)

    def _scalar(self, value: object) -> Scalar:
        match value:
            case None:
                return Scalar(0, "null")
            case bool():
                return Scalar(0, "true" if value else "false")
            case float() if value.is_integer():
                return Scalar(0, f"{value:.0f}")
            case float():
                return Scalar(0, str(value))
            case int():  # Python refuses to print integers of more than 4,300 digits
                return Scalar(0, str(value) if value.bit_length() < 64 else hex(value))
            case str():
                return Scalar(0, value, '"')
            case date():
                return Scalar(0, value.isoformat())
            case _:
                kind = type(value).__name__
                raise self._error(
                    f"a value of type {kind} is not allowed: only maps, lists, text and numbers"
                )

    def _error(self, message: str) -> TopologyError:
        return refusal(self._file, 0, message)
