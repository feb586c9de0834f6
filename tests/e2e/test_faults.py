"""One try of every kind of fault; a fifth of them in `make test`. `make faults` does the whole matrix."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from _pytest.mark.structures import ParameterSet

from lab import Lab
from tests.faults.attempt import Attempt, schedule, try_out
from tests.faults.matrix import FAULTS
from tests.faults.stage import Stage

pytestmark = pytest.mark.e2e

SEED = 7
ATTEMPTS = list(schedule(FAULTS, SEED, lambda _: 1))
SAMPLE = (
    "table clobbered between read and write",
    "ssh dropped",
    "power cut while we are at it",
    "engine killed",
)


def case(attempt: Attempt) -> ParameterSet:
    name = attempt.fault.name
    return pytest.param(attempt, id=name, marks=[] if name in SAMPLE else pytest.mark.thorough)


@pytest.fixture(scope="module")
def stage(
    lab: Lab, engine_environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Stage]:
    stage = Stage(lab, tmp_path_factory.mktemp("faults"), engine_environment)
    stage.renew()
    yield stage
    stage.end()


@pytest.mark.parametrize("attempt", [case(attempt) for attempt in ATTEMPTS])
def test_it_is_whole_again_after(stage: Stage, attempt: Attempt) -> None:
    outcome = try_out(stage, attempt)
    assert outcome.holds, f"seed {SEED}\n{outcome}"
