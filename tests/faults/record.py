"""What came of the tries so far, so that a run that was ended can be taken up again."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from tests.faults.attempt import Outcome


class Record:
    """The outcomes of one seed; in a file of JSON lines, too, if there is a path, once they are known."""

    def __init__(self, path: Path | None, seed: int) -> None:
        self._path, self._seed = path, seed
        self.outcomes: list[Outcome] = []
        self.versions: list[str] = []  # of what it was tried with
        if path is not None and path.exists():
            for line in path.read_text().splitlines():
                self._take(json.loads(line))

    def _take(self, said: dict[str, object]) -> None:
        match said:
            case {"seed": seed, "fault": str(fault), "number": int(number), "complaints": dict(complaints)}:
                if seed == self._seed:
                    self.outcomes.append(Outcome(fault, number, complaints))
            case {"versions": list(versions)}:
                self.versions = versions

    def has(self, fault: str, number: int) -> bool:
        """Whether this try was made already."""
        return any((outcome.fault, outcome.number) == (fault, number) for outcome in self.outcomes)

    def add(self, outcome: Outcome) -> None:
        self.outcomes.append(outcome)
        self._write(
            {
                "seed": self._seed,
                "fault": outcome.fault,
                "number": outcome.number,
                "complaints": outcome.complaints,
            }
        )

    def tried_with(self, versions: Sequence[str]) -> None:
        self.versions = list(versions)
        self._write({"versions": self.versions})

    def _write(self, said: dict[str, object]) -> None:
        if self._path is not None:
            with self._path.open("a") as file:
                file.write(json.dumps(said) + "\n")
