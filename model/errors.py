"""What can be wrong with a configuration. The class says who must act: the author of the configuration."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, order=True)
class Place:
    """Where in a file: `line` counts from 1; 0 if unknown (a value that was not read from a file)."""

    file: str
    line: int = 0

    def __str__(self) -> str:
        return f"{self.file}:{self.line}" if self.line else self.file


@dataclass(frozen=True, order=True)
class Problem:
    """One thing that is wrong, as one sentence with a place, and a way out."""

    place: Place
    path: str  # dotted, from the top of the topology: networks.mac_net20.vlan; may be empty
    message: str  # what is wrong, naming the value
    hint: str = ""  # what to do; may be empty

    def __str__(self) -> str:
        where = f"{self.place}: {self.path}" if self.path else f"{self.place}"
        return f"{where}: {self.message}" + (f"\n  hint: {self.hint}" if self.hint else "")


class TopologyError(Exception):
    """The configuration cannot be right; nothing was touched. Carries every problem found."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(sorted(problems))
        super().__init__("\n".join(str(problem) for problem in self.problems))
