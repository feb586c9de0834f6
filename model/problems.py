"""Collecting what is wrong: everything of a run is shown together, in the order of the file."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Protocol

from model.errors import Place, Problem, TopologyError

WIDTH = 60  # characters of a value that a message quotes
_SHORT_LIST = 8  # so many names can be read in a hint


class Placed(Protocol):
    """Something that was written in the file."""

    @property
    def line(self) -> int: ...

    @property
    def path(self) -> str: ...


@dataclass(frozen=True, slots=True)
class Spot:
    """A place in the file, and the path that leads there."""

    line: int
    path: str = ""


class Problems:
    """The problems found in one file so far."""

    def __init__(self, file: str) -> None:
        self._file = file
        self._found: list[Problem] = []
        self._hints: dict[tuple[str, str], str] = {}

    def __bool__(self) -> bool:
        return bool(self._found)

    def add(self, at: Placed, message: str, hint: str = "") -> None:
        """Record one problem; a consequence of a problem already recorded is not to be added."""
        place, path = Place(one_line(self._file), at.line), one_line(at.path)
        self._found.append(Problem(place, path, one_line(message), one_line(hint)))

    def unknown(self, at: Placed, what: str, name: str, known: Collection[str]) -> None:
        """`name` should be one of the `known` ones of its sort (`what`: "network", "host", ...)."""
        if (what, name) not in self._hints:  # a name that is wrong once may be used a thousand times
            near = nearest(name, known)
            parts = [f"did you mean {near}?"] if near else []
            if near is None or 1 < len(known) <= _SHORT_LIST:
                parts.append(listing(f"known {what.replace(' or ', 's and ')}s", known))
            self._hints[what, name] = " ".join(parts)
        self.add(at, f"unknown {what} {short(name)}", self._hints[what, name])

    def error(self) -> TopologyError:
        """The error that carries all of them."""
        return TopologyError(self._found)


def refusal(file: str, line: int, message: str, hint: str = "") -> TopologyError:
    """The error for one problem, after which there is nothing more to look at."""
    problems = Problems(file)
    problems.add(Spot(line), message, hint)
    return problems.error()


def one_line(text: str) -> str:
    """The text with everything escaped that would not show as itself."""
    return text if text.isprintable() else "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def short(text: str) -> str:
    """A word of the user's at a length that can be read."""
    return text if 0 < len(text) <= WIDTH else f"{text[: WIDTH - 1]}…" if text else '""'


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The known name that was probably meant; None if none is near."""
    folded = {candidate.casefold(): candidate for candidate in known}
    found = get_close_matches(name.casefold(), folded, n=1, cutoff=0.7)
    return folded[found[0]] if found else None


def listing(title: str, known: Collection[str]) -> str:
    """`title: a, b, c`, cut to what can be read."""
    names = list(known)
    if not names:
        return ""
    cut = names[:_SHORT_LIST]
    more = f" and {len(names) - len(cut)} more" if len(names) > len(cut) else ""
    return f"{title}: {', '.join(cut)}{more}"
