"""Two stacks on the same hosts at the same time: neither waits for long, and neither touches the other.

Both have VLANs on the same trunk interfaces, docker objects on the same daemons and rules in the same tables,
and need the same router to forward.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from lab import Lab
from tests.e2e.hostdump import assert_same, dump_all
from tests.e2e.test_tutorial import Tutorial, tutorial_topology
from tests.project import Project, Run

pytestmark = [pytest.mark.e2e, pytest.mark.thorough]


@pytest.fixture
def stacks(lab: Lab, engine_environment: dict[str, str], tmp_path: Path) -> Iterator[list[Tutorial]]:
    """Two tutorials, not yet on the hosts, the second one with other VLANs, subnets and names."""
    lab.reset()
    before = dump_all(lab)
    topologies = [tutorial_topology(lab), other(tutorial_topology(lab))]
    made = []
    for number, topology in enumerate(topologies):
        project = Project(tmp_path / f"project{number}", engine_environment, stack=f"stack{number}")
        project.write(topology)
        made.append(Tutorial(lab, project, topology, before, []))
    yield made
    for tutorial in made:
        tutorial.project.destroy()


def other(topology: dict[str, Any]) -> dict[str, Any]:
    """The same again, beside it."""
    changed = copy.deepcopy(topology)
    names = {"mac_net10": "mac_net30", "mac_net20": "mac_net40"}
    changed["networks"] = {
        name: {"vlan": vlan, "subnet": f"172.16.{vlan}.0/24", "gateway": f"172.16.{vlan}.1"}
        for name, vlan in (("mac_net30", 30), ("mac_net40", 40))
    }
    changed["gateway"]["allow"] = [["mac_net30", "mac_net40"]]
    changed["containers"] = {
        f"other-{name}": container | {"network": names[container["network"]]}
        for name, container in changed["containers"].items()
    }
    for container in changed["containers"].values():
        del container["address"]
    return changed


def together(stacks: list[Tutorial], *work: Callable[[Project], Run]) -> None:
    """Each work on its stack, at the same time."""
    with ThreadPoolExecutor(len(stacks)) as pool:
        runs = pool.map(lambda one: one[1](one[0].project), zip(stacks, work, strict=True))
        for run in list(runs):
            run.check()


def assert_others_ping(tutorial: Tutorial) -> None:
    """As `assert_all_ping`, of the second stack."""
    addresses = tutorial.project.outputs()["container_ips"]
    for source in addresses:
        host = tutorial.topology["containers"][source]["host"]
        for target, address in addresses.items():
            if target != source:
                tutorial.on(host, f"docker exec {source} ping -c 3 -i 0.3 -W 1 {address}")


def test_two_stacks_come_and_go_at_the_same_time(stacks: list[Tutorial]) -> None:
    one, two = stacks
    together(stacks, Project.up, Project.up)
    one.assert_all_ping()
    assert_others_ping(two)
    for tutorial in stacks:
        tutorial.project.assert_clean()

    together(stacks, Project.destroy, lambda project: project.up("--expect-no-changes"))
    assert_others_ping(two)
    two.project.assert_clean()
    assert one.on("router", "sysctl -n net.ipv4.ip_forward") == "1\n"

    together(stacks, Project.up, Project.destroy)
    one.assert_converged()

    together([one, two], Project.destroy, Project.destroy)
    assert_same(dump_all(one.lab), one.before)
