"""What people change of a fabric with containers, and what happens to its hosts, costs no container."""

from __future__ import annotations

import copy
import json
import signal
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from hosts.fake import FakeHost
from tests.docked import TOPOLOGY, Container, Seen
from tests.project import Project

__all__ = ["TOPOLOGY"]

pytestmark = pytest.mark.lifecycle

Hosts = Mapping[str, FakeHost]


def lives(hosts: Hosts) -> dict[str, tuple[str, Container]]:
    """Where every container runs, and as which one."""
    return {
        f"{host}'s guest" if name == "guest" else name: (host, container)
        for host in hosts
        for name, container in Seen.on(hosts[host]).containers.items()
    }


def assert_connected(hosts: Hosts) -> None:
    """Nobody's interface went with its parent, and all are called as at the start."""
    for host in hosts.values():
        seen = Seen.on(host)
        assert not seen.cut_off
        assert all(each.endswith(" eth0") for each in seen.interfaces), seen.interfaces


def changed(**hosts: dict[str, Any]) -> dict[str, Any]:
    topology = copy.deepcopy(TOPOLOGY)
    topology["hosts"] |= hosts
    return topology


def test_links_and_networks_are_made_anew_under_running_containers(project: Project, docked: Hosts) -> None:
    project.up().check()
    alive = lives(docked)
    assert_connected(docked)

    with docked["host1"].machine() as machine:
        machine.kernel.delete(machine.kernel.link("eth2.10").index)
        machine.kernel.delete(machine.kernel.link("eth2.20").index)
    foretold = project.preview().check().output
    assert "eth2.10 is gone" in foretold
    assert "site has lost its interface on web" in foretold
    project.up().check()
    assert lives(docked) == alive
    assert_connected(docked)
    project.assert_clean()

    topology = copy.deepcopy(TOPOLOGY)
    topology["networks"]["web"] |= {"vlan": 30, "mtu": 1400}
    project.write(topology)
    project.up().check()
    assert lives(docked) == alive
    assert_connected(docked)
    project.assert_clean()

    topology["networks"]["web"]["vlan"], topology["networks"]["db"]["vlan"] = 20, 30
    project.write(topology)
    project.up().check()
    assert lives(docked) == alive
    assert_connected(docked)
    project.assert_clean()

    # another name: who is on it is made anew, and nobody else
    project.write(json.loads(json.dumps(topology).replace('"web"', '"www"')))
    project.up().check()
    now = lives(docked)
    assert {name for name in alive if now[name] != alive[name]} == {"site", "cache"}
    assert_connected(docked)
    project.assert_clean()


def test_hosts_are_called_otherwise_and_change_places(project: Project, docked: Hosts) -> None:
    bare = {name: host.dump() for name, host in docked.items()}
    project.up().check()
    alive = lives(docked)

    def renamed(text: str) -> dict[str, Any]:
        topology: dict[str, Any] = json.loads(json.dumps(TOPOLOGY).replace('"host1"', f'"{text}"'))
        topology["hosts"][text]["address"] = "host1"
        return topology

    project.write(renamed("web1"))
    said = project.up().check().output
    assert "replaced" not in said and "created" not in said
    assert lives(docked) == alive
    project.assert_clean()

    # the addresses of two hosts exchanged: each container is where the topology has it now
    topology = renamed("web1")
    topology["hosts"]["web1"]["address"], topology["hosts"]["host2"]["address"] = "host2", "host1"
    project.write(topology)
    foretold = project.preview().check().output
    assert "pg keeps" in foretold and "and moves to web1" in foretold
    project.up().check()
    now = lives(docked)
    assert {name: host for name, (host, _) in now.items()} == {
        "site": "host2",
        "pg": "host2",
        "cache": "host1",
        "copy": "host1",
        "host1's guest": "host1",
        "host2's guest": "host2",
    }
    assert {name: one.addresses for name, (_, one) in now.items()} == {
        name: one.addresses for name, (_, one) in alive.items()
    }
    project.assert_clean()

    # their keys exchanged, too: everything is where it is
    exchanged, other = copy.deepcopy(topology), {"web1": "host2", "host2": "web1"}
    exchanged["hosts"] = {other.get(key, key): host for key, host in topology["hosts"].items()}
    for container in exchanged["containers"].values():
        container["host"] = other[container["host"]]
    project.write(exchanged)
    project.up().check()
    assert lives(docked) == now
    project.assert_clean()
    project.destroy().check()
    assert {name: host.dump() for name, host in docked.items()} == bare


def test_the_trouble_of_one_host_is_its_own(project: Project, docked: Hosts, tmp_path: Path) -> None:
    """A conflict costs the other hosts nothing, and on its own host only what it is about."""
    with docked["host2"].machine() as machine:
        assert machine.docker is not None
        subnet = {"Config": [{"Subnet": "172.16.20.0/24"}]}
        machine.docker.answer("POST", "/networks/create", {"Name": "mine", "IPAM": subnet}, machine.kernel)
    conflict = "host2: the subnet 172.16.20.0/24 of db overlaps 172.16.20.0/24 of the docker network mine"
    refused = project.preview()
    assert refused.status
    assert conflict in refused.output
    done = project.up()
    assert done.status
    assert conflict in done.output
    seen = {name: Seen.on(host) for name, host in docked.items()}
    assert seen["host1"].containers.keys() == {"site", "pg", "guest"}
    assert {"eth2.10", "eth2.20"} <= seen["router"].links.keys()
    assert {"eth2.10", "eth2.20"} <= seen["host2"].links.keys()  # that is Docker's business alone
    assert seen["host2"].containers.keys() == {"guest"}

    # a daemon that says what nobody understands
    with docked["host2"].machine() as machine:
        assert machine.docker is not None
        machine.docker.answer("DELETE", "/networks/mine", None, machine.kernel)
        machine.docker.networks.append({"Id": 7, "Name": None, "IPAM": {"Config": "?"}})
    said = project.preview().output
    assert "Traceback" not in said
    assert "host2: it said something that makes no sense here" in said
    with docked["host2"].machine() as machine:
        assert machine.docker is not None
        machine.docker.networks.pop()
    project.up().check()
    project.assert_clean()


def test_a_host_that_is_in_the_way_as_a_whole_is_left_as_it_is(project: Project, docked: Hosts) -> None:
    with docked["host2"].machine() as machine:
        machine.kernel.add("eth2.10", "vlan", machine.kernel.link("eth2").index, 10)
    before = docked["host2"].dump()
    done = project.up()
    assert done.status
    assert "host2: there is already a link eth2.10, VLAN 10 on eth2, of somebody else" in done.output
    assert "Missing required argument" not in done.output  # who waits is not made, and says nothing
    assert docked["host2"].dump() == before
    assert Seen.on(docked["host1"]).containers.keys() == {"site", "pg", "guest"}
    assert {"eth2.10", "eth2.20"} <= Seen.on(docked["router"]).links.keys()
    with docked["host2"].machine() as machine:
        machine.kernel.delete(machine.kernel.link("eth2.10").index)
    project.up().check()
    assert lives(docked).keys() == {*TOPOLOGY["containers"], "host1's guest", "host2's guest"}
    project.assert_clean()


def test_a_state_that_is_lost_costs_no_address(project: Project, docked: Hosts) -> None:
    first = project.up().check().output
    given = project.outputs()["container_ips"]
    assert f"pg gets {given['pg']} on db" in first
    fewer = copy.deepcopy(TOPOLOGY)
    fewer["containers"] = {"new": dict(TOPOLOGY["containers"]["cache"]), **fewer["containers"]}
    del fewer["containers"]["cache"]
    project.write(fewer)
    told = project.up().check().output
    assert f"cache gives up {given['cache']} on web" in told
    assert "3 of 4 are kept" in told
    now = project.outputs()["container_ips"]
    alive = lives(docked)

    project.pulumi("stack", "rm", "--yes", "--force", "--preserve-config", project.stack).check()
    project.pulumi("stack", "init", project.stack).check()
    project.up().check()
    assert project.outputs()["container_ips"] == now
    volumes = {name: one.volumes for name, (_, one) in lives(docked).items()}
    assert volumes == {name: one.volumes for name, (_, one) in alive.items()}
    project.assert_clean()


def test_containers_move_from_a_host_that_is_lost(project: Project, docked: Hosts) -> None:
    project.up().check()
    given, alive = project.outputs()["container_ips"], lives(docked)
    with docked["host1"].machine() as machine:
        machine.kernel.set(machine.kernel.link("eth1").index, up=False)
    moved = changed(host1={"trunk": "eth2", "lost": True})
    for container in moved["containers"].values():
        container["host"] = "host2"
    project.write(moved)
    said = project.up().check().output
    assert "host1 is lost: nothing was removed there" in said
    here = Seen.on(docked["host2"]).containers
    assert here.keys() == {*TOPOLOGY["containers"], "guest"}
    assert here["copy"] == alive["copy"][1]
    assert project.outputs()["container_ips"] == given
    project.assert_clean()


def test_data_outlives_the_container(project: Project, docked: Hosts) -> None:
    """Removed by somebody, replaced, and taken out of the topology, of which it is said what stays where."""
    project.up().check()
    volumes = lives(docked)["pg"][1].volumes
    assert volumes.keys() == {"/data"}
    with docked["host1"].machine() as machine:
        assert machine.docker is not None
        machine.docker.answer("DELETE", "/containers/pg?force=true", None, machine.kernel)
    assert "pg" in project.preview().check().output
    project.up().check()
    assert lives(docked)["pg"][1].volumes == volumes
    project.assert_clean()

    fewer = copy.deepcopy(TOPOLOGY)
    del fewer["containers"]["pg"]
    project.write(fewer)
    said = project.up().check().output
    assert f"pg leaves its data of /data on host1: docker volume {volumes['/data']}" in said
    with docked["host1"].machine() as machine:
        assert machine.docker is not None
        assert volumes["/data"] in machine.docker.volumes
    project.assert_clean()
    (volume,) = lives(docked)["copy"][1].volumes.values()
    assert f"left the data of copy in /data: docker volume {volume}" in project.destroy().check().output


def test_another_gateway(project: Project, docked: Hosts) -> None:
    bare = docked["router"].dump()
    project.up().check()
    alive = lives(docked)
    moved = copy.deepcopy(TOPOLOGY)
    moved["gateway"]["host"] = "host2"
    project.write(moved)
    project.up().check()
    assert lives(docked) == alive
    assert_connected(docked)
    assert docked["router"].dump() == bare
    project.assert_clean()
    project.write(TOPOLOGY)
    project.up().check()
    assert lives(docked) == alive
    project.assert_clean()


def test_the_state_in_another_checkout_that_knows_the_hosts_by_other_names(
    project: Project, docked: Hosts, tmp_path: Path, on_fake_hosts: dict[str, str]
) -> None:
    project.up().check()
    alive = lives(docked)
    exported = project.pulumi("stack", "export").check().output
    (tmp_path / "state.json").write_text(exported)
    for name in docked:
        (tmp_path / f"{name}.lan.json").symlink_to(tmp_path / f"{name}.json")
        (tmp_path / f"{name}.lan.guard").symlink_to(tmp_path / f"{name}.guard")
    (tmp_path / "state").mkdir()
    backend = {"PULUMI_BACKEND_URL": f"file://{tmp_path / 'state'}?metadata=skip"}
    elsewhere = Project(tmp_path / "elsewhere", on_fake_hosts | backend)
    salt = (project.folder / "Pulumi.test.yaml").read_text().rpartition("encryptionsalt: ")[2].split()[0]
    aliased = changed(**{name: {"trunk": "eth2", "address": f"{name}.lan"} for name in docked})
    elsewhere.write(aliased)
    file = elsewhere.folder / "Pulumi.test.yaml"
    other = file.read_text().rpartition("encryptionsalt: ")[2].split()[0]
    file.write_text(file.read_text().replace(other, salt))
    elsewhere.pulumi("stack", "import", "--file", str(tmp_path / "state.json")).check()
    said = elsewhere.up().check().output
    assert "created" not in said and "deleted" not in said and "replaced" not in said
    assert lives(docked) == alive
    elsewhere.assert_clean()


def test_a_refresh_while_a_host_is_down(project: Project, docked: Hosts) -> None:
    project.up().check()
    alive = lives(docked)
    with docked["host1"].machine() as machine:
        machine.kernel.set(machine.kernel.link("eth1").index, up=False)
    failed = project.refresh()
    assert failed.status
    assert "Traceback" not in failed.output
    with docked["host1"].machine() as machine:
        machine.kernel.set(machine.kernel.link("eth1").index, up=True)
    project.up().check()
    assert lives(docked) == alive
    project.assert_clean()


def test_two_containers_change_places(project: Project, docked: Hosts) -> None:
    """With their addresses, across hosts; one that is on two networks goes with both of them."""
    both = copy.deepcopy(TOPOLOGY)
    both["containers"]["both"] = {
        "host": "host1",
        "networks": {"web": "172.16.10.20", "db": "auto"},
        "image": "busybox",
    }
    project.write(both)
    project.up().check()
    before = lives(docked)
    swapped = copy.deepcopy(both)
    containers = swapped["containers"]
    containers["site"] |= {"host": "host2"}
    containers["cache"] |= {"host": "host1"}
    containers["both"] |= {"host": "host2"}
    project.write(swapped)
    project.up().check()
    now = lives(docked)
    assert {name: now[name][0] for name in ("site", "cache", "both")} == {
        "site": "host2",
        "cache": "host1",
        "both": "host2",
    }
    for name, (_, container) in before.items():
        assert now[name][1].addresses == container.addresses
        if name not in ("site", "cache", "both"):
            assert now[name] == before[name]
    project.assert_clean()
    project.write(both)
    project.up().check()
    assert {name: host for name, (host, _) in lives(docked).items()} == {
        name: host for name, (host, _) in before.items()
    }
    project.assert_clean()


def test_an_update_keeps_to_the_plan_of_a_preview(project: Project, docked: Hosts) -> None:
    project.environment["PULUMI_EXPERIMENTAL"] = "true"
    changes = copy.deepcopy(TOPOLOGY)
    changes["networks"]["web"]["mtu"] = 1400
    changes["containers"]["pg"]["environment"] = {"A": "1"}
    for topology in (TOPOLOGY, changes):
        project.write(topology)
        project.preview("--save-plan", "plan.json").check()
        project.up("--plan", "plan.json").check()
    assert_connected(docked)
    project.assert_clean()


def test_an_update_that_somebody_interrupts(project: Project, docked: Hosts) -> None:
    for patience in (1.5, 2.5, 4.0):
        up = subprocess.Popen(
            ["pulumi", "up", "--yes", "--skip-preview", "--non-interactive"],
            cwd=project.folder,
            env=project.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        time.sleep(patience)  # it is somewhere in the middle then, wherever that is on this machine
        up.send_signal(signal.SIGINT)
        up.communicate(timeout=120)
    project.up().check()
    assert lives(docked).keys() == {*TOPOLOGY["containers"], "host1's guest", "host2's guest"}
    assert_connected(docked)
    project.assert_clean()
