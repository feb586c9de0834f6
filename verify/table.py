"""What was expected and what was seen, for a person to read."""

from __future__ import annotations

from collections.abc import Sequence

from verify.measure import Observation

SHOWN = 60  # lines; beyond that only what is not as expected


def table(observed: Sequence[Observation], *, everything: bool = False, brief: bool = False) -> str:
    """A line per pair: who, to whom, expected, seen; then what could not be asked; then the sum.

    Of many pairs, or with `brief`, only those that are not as expected have a line.
    """
    wrong = [observation for observation in observed if not observation.agrees]
    listed = observed if everything or (len(observed) <= SHOWN and not brief) else wrong
    rows = [_row(observation) for observation in listed]
    lines = _aligned([("who", "to whom", "by", "expected", "seen", ""), *rows]) if rows else []
    lines += [f"  {obstacle}" for obstacle in sorted({o.obstacle for o in observed if o.obstacle})]
    if listed is not observed and not brief:
        lines.append(f"({len(observed) - len(listed)} more, all as expected; --all lists them)")
    if not observed:
        lines.append("there is nothing to ask: no two containers")
    elif wrong:
        lines.append(f"{len(wrong)} of {len(observed)} are NOT as expected")
    else:
        lines.append(f"all {len(observed)} as expected")
    return "\n".join(lines)


def _row(observation: Observation) -> tuple[str, ...]:
    prediction = observation.prediction
    source, aim, traffic = prediction.source, prediction.target, prediction.traffic
    port = f" {traffic.ports[0].first}" if traffic.ports else ""
    return (
        f"{source.container} {source.address}",
        f"{aim.container} {aim.address}",
        f"{traffic.protocol}{port}",
        _word(prediction.reaches),
        _word(observation.seen),
        "" if observation.agrees else f"<-- predicted: {prediction.why}",
    )


def _word(reaches: bool | None) -> str:
    return {True: "reaches", False: "blocked", None: "not known"}[reaches]


def _aligned(rows: Sequence[tuple[str, ...]]) -> list[str]:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    ]
