"""Random topologies, one after the other on the same hosts: what was predicted is what the wire does.

`make truth` tries more of them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from lab import Lab
from tests.e2e.hostdump import assert_same, dump_all
from tests.e2e.truth import try_out
from tests.project import Project

pytestmark = pytest.mark.e2e

# Masquerading and routed, with and without a shim; on the way to the last one a network takes over the VLAN
# of another, and a container the address of another.
SEEDS = (15, 16, 17)


@dataclass(frozen=True)
class Stack:
    """The stack that takes one topology after the other, and its hosts as they were before."""

    lab: Lab
    project: Project
    before: dict[str, str]


@pytest.fixture(scope="module")
def stack(
    lab: Lab, engine_environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Stack]:
    lab.reset()
    project = Project(tmp_path_factory.mktemp("truth"), engine_environment)
    yield Stack(lab, project, dump_all(lab))
    project.destroy()


@pytest.mark.parametrize("seed", [*SEEDS[:2], pytest.param(SEEDS[2], marks=pytest.mark.thorough)])
def test_the_wire_does_what_was_predicted(stack: Stack, seed: int) -> None:
    outcome = try_out(seed, stack.lab, stack.project)
    assert not outcome.disagreements, f"\n{outcome}"
    if seed == SEEDS[0]:
        stack.project.assert_clean()


def test_nothing_of_any_of_them_stays(stack: Stack) -> None:
    """The last one: it ends what the others share."""
    stack.project.destroy().check()
    assert_same(dump_all(stack.lab), stack.before)
