"""The matrix's outcomes as one table, and as docs/reliability.md."""

from __future__ import annotations

from collections.abc import Sequence

from tests import operations
from tests.faults.attempt import LAWS, Fault, Outcome

HEAD = ("fault", "where", "during", "tried", *LAWS)


def rows(faults: Sequence[Fault], outcomes: Sequence[Outcome]) -> list[tuple[str, ...]]:
    """A row for each fault that was tried: for each law how often it held, of how often it was asked for."""
    found = []
    for fault in faults:
        tries = [outcome for outcome in outcomes if outcome.fault == fault.name]
        if tries:
            counts = (
                _count([try_.complaints[law] for try_ in tries if law in try_.complaints]) for law in LAWS
            )
            tried = f"{len(tries)} of {fault.times}"
            found.append((fault.name, fault.where, ", ".join(fault.during), tried, *counts))
    return found


def _count(complaints: Sequence[str]) -> str:
    return f"{sum(not complaint for complaint in complaints)}/{len(complaints)}"


def table(faults: Sequence[Fault], outcomes: Sequence[Outcome]) -> str:
    """In columns, for a terminal."""
    lines = [HEAD, *rows(faults, outcomes)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(HEAD))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )


def document(
    faults: Sequence[Fault], outcomes: Sequence[Outcome], *, date: str, seed: int, versions: Sequence[str]
) -> str:
    """The page. It says of nothing that it works which was not tried."""
    lines = [HEAD, tuple("-" for _ in HEAD), *rows(faults, outcomes)]
    failed = [outcome for outcome in outcomes if not outcome.holds]
    return "\n".join(
        [
            "# Reliability",
            "",
            "Written by `make faults`; not to be edited. Three hosts of the lab, with somebody",
            "else's links, rules, files and containers on each; the tutorial and a variant of it; and all",
            "of this table went wrong, one after the other.",
            "",
            *("| " + " | ".join(line) + " |" for line in lines),
            "",
            "A count is how often the law held, of how often it was asked for, after that fault:",
            "",
            *(f"- **{law}**: {text}." for law, text in LAWS.items()),
            "",
            "`during` is what runs when the fault comes: `up` from bare hosts, an `update` between the",
            "tutorial and the variant, `destroy`, or nothing (`rest`). I5 costs a `destroy`, so it is asked",
            "for where the next try begins with bare hosts, and at the end of each row.",
            "",
            f"{len(outcomes)} tries on {date}, seed {seed}; something does not hold in {len(failed)}.",
            *(f"- {version}" for version in versions),
            "",
            *operations.page(),
        ]
    )
