"""Two stacks on one host, at the same moment: both work, or one of them is told whose the place is."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from hosts.fake import FakeHost
from tests.project import Project, Run

pytestmark = pytest.mark.lifecycle


def gateway_of(*vlans: int) -> dict[str, Any]:
    """A stack with these VLANs on the shared router."""
    names = [f"net{vlan}" for vlan in vlans]
    return {
        "hosts": {"router": {"trunk": "eth2"}},
        "networks": {f"net{vlan}": {"vlan": vlan, "subnet": f"10.0.{vlan}.0/24"} for vlan in vlans},
        "gateway": {"host": "router", "allow": [names]},
    }


@pytest.fixture
def stacks(tmp_path: Path, on_fake_hosts: dict[str, str]) -> Iterator[tuple[Project, Project]]:
    one, other = (Project(tmp_path / name, on_fake_hosts, stack=name) for name in ("one", "other"))
    yield one, other
    for stack in (one, other):
        stack.pulumi("stack", "rm", "--yes", "--force", stack.stack)


def at_once(*stacks: Project) -> list[Run]:
    with ThreadPoolExecutor(len(stacks)) as pool:
        return list(pool.map(Project.up, stacks))


def test_both_come_up_at_once_and_go_one_by_one(stacks: tuple[Project, Project], router: FakeHost) -> None:
    bare = router.dump()
    one, other = stacks
    one.write(gateway_of(10, 20))
    other.write(gateway_of(30, 40))
    for run in at_once(one, other):
        run.check()
    with router.machine() as machine:
        assert {link.name for link in machine.kernel.links.values()} >= {"eth2.10", "eth2.20", "eth2.30"}
    one.assert_clean()
    other.assert_clean()
    one.destroy().check()
    other.assert_clean()
    other.destroy().check()
    assert router.dump() == bare


def test_a_vlan_that_both_want_is_a_conflict_that_names_the_other(
    stacks: tuple[Project, Project], router: FakeHost
) -> None:
    one, other = stacks
    one.write(gateway_of(10, 20))
    other.write(gateway_of(20, 30))
    runs = dict(zip(stacks, at_once(one, other), strict=True))
    winner, loser = sorted(stacks, key=lambda stack: runs[stack].status)
    lost = runs[loser]
    assert runs[winner].status == 0, runs[winner].output
    assert lost.status != 0
    whose = f"VLAN 20 on eth2, of the stack macvlan-fabric/{winner.stack}"
    assert f"there is already a link eth2.20, {whose}" in lost.output, lost.output
    assert "Traceback" not in lost.output
    winner.assert_clean()
    loser.destroy().check()
    winner.assert_clean()
