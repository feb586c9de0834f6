"""Docker networks and containers under the real engine and its docker provider, on daemons in memory."""

from __future__ import annotations

import copy

import pytest

from hosts.fake import FakeHost
from tests.docked import TOPOLOGY, Seen
from tests.project import Project

__all__ = ["TOPOLOGY"]

pytestmark = pytest.mark.lifecycle


def test_a_fabric_with_containers_comes_stays_and_goes(project: Project, docked: dict[str, FakeHost]) -> None:
    bare = {name: host.dump() for name, host in docked.items()}
    project.up().check()
    made = {name: Seen.on(host) for name, host in docked.items()}
    given = {
        name: dict(container.addresses)
        for host in made.values()
        for name, container in host.containers.items()
        if name != "guest"
    }
    assert given["site"] == {"web": "172.16.10.10"}
    assert given["copy"] == {"db": "172.16.20.11"}
    assert given["cache"].keys() == {"web"}
    assert given["pg"].keys() == {"db"}
    assert project.outputs()["container_ips"] == {
        name: next(iter(addresses.values())) for name, addresses in given.items()
    }
    assert [*made["host1"].containers["pg"].volumes] == ["/data"]

    project.assert_clean()
    project.up("--expect-no-changes").check()
    project.up("--refresh", "--expect-no-changes").check()
    assert {name: Seen.on(host) for name, host in docked.items()} == made

    project.destroy().check()
    assert {name: host.dump() for name, host in docked.items()} == bare


def test_a_container_moves_and_the_others_run_on(project: Project, docked: dict[str, FakeHost]) -> None:
    project.up().check()
    before = {name: Seen.on(host) for name, host in docked.items()}
    moved = copy.deepcopy(TOPOLOGY)
    moved["containers"]["pg"]["host"] = "host2"
    project.write(moved)
    project.up().check()
    after = {name: Seen.on(host) for name, host in docked.items()}

    there, here = before["host1"].containers["pg"], after["host2"].containers["pg"]
    assert "pg" not in after["host1"].containers
    assert here.addresses == there.addresses
    assert here.volumes.keys() == there.volumes.keys()
    with docked["host1"].machine() as machine:
        assert machine.docker is not None
        assert set(there.volumes.values()) <= set(machine.docker.volumes)
    for name, container in {**before["host1"].containers, **before["host2"].containers}.items():
        if name not in ("pg", "guest"):
            assert container in (after["host1"].containers.get(name), after["host2"].containers.get(name))
    # nothing there needs the VLAN any more
    links = {name: index for name, index in before["host1"].links.items() if name != "eth2.20"}
    assert after["host1"].links == links
    assert after["host2"].links == before["host2"].links
    assert after["host1"].containers["guest"] == before["host1"].containers["guest"]
    project.assert_clean()
