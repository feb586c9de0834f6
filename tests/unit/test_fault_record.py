"""A run through the matrix that was ended is taken up where it was."""

from __future__ import annotations

from pathlib import Path

from tests.faults.attempt import Outcome, schedule
from tests.faults.matrix import FAULTS
from tests.faults.record import Record

HELD = Outcome("disk full", 0, {"I0": "", "I1": ""})
FAILED = Outcome("engine killed", 3, {"I0": "", "I1": "", "I2": "line one\nline two"})


def test_what_was_made_is_known_to_the_next_run_of_the_seed(tmp_path: Path) -> None:
    first = Record(tmp_path / "record", 1)
    first.tried_with(["Docker 26"])
    first.add(HELD)
    first.add(FAILED)
    again = Record(tmp_path / "record", 1)
    assert (again.outcomes, again.versions) == ([HELD, FAILED], ["Docker 26"])
    assert again.has("disk full", 0)
    assert not again.has("disk full", 1)
    assert Record(tmp_path / "record", 2).outcomes == []


def test_it_is_not_tried_again(tmp_path: Path) -> None:
    record = Record(tmp_path / "record", 1)
    record.add(HELD)
    rest = [(a.fault.name, a.number) for a in schedule(FAULTS, 1, lambda fault: fault.times, record.has)]
    assert ("disk full", 0) not in rest
    assert len(rest) == sum(fault.times for fault in FAULTS) - 1
    assert list(schedule(FAULTS, 1, lambda fault: fault.times, lambda _fault, _number: True)) == []


def test_without_a_file_nothing_is_kept(tmp_path: Path) -> None:
    record = Record(None, 1)
    record.add(HELD)
    assert record.outcomes == [HELD]
    assert list(tmp_path.iterdir()) == []
