"""What an operation on a host did."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Change:
    """Everything that was done, in order, each a short clause; false if there was nothing to do."""

    done: tuple[str, ...] = ()

    @property
    def left(self) -> tuple[str, ...]:
        """What was not put back as it was, because others need it: the clauses that begin with that word."""
        return tuple(clause for clause in self.done if clause.startswith("left "))

    def __bool__(self) -> bool:
        return bool(self.done)

    def __str__(self) -> str:
        return "; ".join(self.done) or "as wanted already, nothing to do"
