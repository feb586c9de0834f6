"""The reference job on real kernels, real Docker and real VLAN tags, from bare hosts back to bare hosts.

Each test starts from the whole tutorial up and running, and leaves it so.
"""

from __future__ import annotations

import copy
import re
import shutil
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from lab import Lab
from tests.e2e.hostdump import assert_same, dump, dump_all
from tests.project import ROOT, Project

pytestmark = pytest.mark.e2e

SAME_VLAN = [("bbox1", "bbox3"), ("bbox2", "bbox4")]
CROSS_VLAN = [("bbox1", "bbox2"), ("bbox1", "bbox4"), ("bbox3", "bbox2"), ("bbox3", "bbox4")]
ADDRESS = {"bbox1": "172.16.10.10", "bbox2": "172.16.20.10", "bbox3": "172.16.10.11", "bbox4": "172.16.20.11"}
HOST = {"bbox1": "host1", "bbox2": "host1", "bbox3": "host2", "bbox4": "host2"}


@dataclass
class Tutorial:
    """The lab's hosts, the stack on them, and what the hosts were like before."""

    lab: Lab
    project: Project
    topology: dict[str, Any]
    before: dict[str, str]
    sessions: list[str]  # the hosts to which the first `up` opened a session, in order

    def pings(self, source: str, target: str) -> bool:
        """Whether one of three echo requests is answered."""
        argv = ["docker", "exec", source, "ping", "-c", "3", "-i", "0.3", "-W", "1", ADDRESS[target]]
        return self.lab.ssh(HOST[source], *argv, timeout=120).returncode == 0

    def assert_pings(self, reach: list[tuple[str, str]], apart: list[tuple[str, str]]) -> None:
        """Both ways for every pair; together, because each ping that must fail takes seconds."""
        cases = [
            (source, target, expected)
            for pairs, expected in ((reach, True), (apart, False))
            for a, b in pairs
            for source, target in ((a, b), (b, a))
        ]
        with ThreadPoolExecutor(len(cases)) as pool:
            seen = list(pool.map(lambda case: self.pings(case[0], case[1]), cases))
        wrong = [case for case, pings in zip(cases, seen, strict=True) if pings != case[2]]
        assert not wrong, f"(source, target, expected): {wrong}"

    def assert_all_ping(self) -> None:
        self.assert_pings(SAME_VLAN + CROSS_VLAN, [])

    def assert_converged(self) -> None:
        self.project.assert_clean()
        self.assert_all_ping()

    def on(self, host: str, command: str) -> str:
        """Type something as root on a host, as a person at its keyboard would; what it prints."""
        done = self.lab.ssh(host, "sh", "-c", command)
        assert done.returncode == 0, f"{host}: {command}: {done.stderr}"
        return done.stdout


@pytest.fixture(scope="module")
def tutorial(
    lab: Lab, engine_environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Tutorial]:
    lab.reset()
    before = dump_all(lab)
    topology = tutorial_topology(lab)
    folder = tmp_path_factory.mktemp("tutorial")
    project = Project(folder, {**engine_environment, **counting_sessions(folder, engine_environment["PATH"])})
    project.write(topology)
    project.up().check()
    yield Tutorial(lab, project, topology, before, (folder / "sessions").read_text().split())
    project.destroy()


def counting_sessions(folder: Path, path: str) -> dict[str, str]:
    """An environment in which `sessions` gets a line, the host, for every session that is opened with one."""
    ssh = shutil.which("ssh")
    wrapper = folder / "bin" / "ssh"
    wrapper.parent.mkdir()
    wrapper.write_text(f"""#!/bin/sh
for word; do host=$last; last=$word; done
case $last in *no-python*) echo "$host" >>{folder}/sessions;; esac
exec {ssh} "$@"
""")
    wrapper.chmod(0o755)
    return {"PATH": f"{wrapper.parent}:{path}"}


def tutorial_topology(lab: Lab) -> dict[str, Any]:
    """Stack dev's own topology, on the tests' hosts."""
    stack = yaml.safe_load((ROOT / "Pulumi.dev.yaml").read_text())
    topology: dict[str, Any] = stack["config"]["macvlan-fabric:topology"]
    return topology | {"ssh_config": str(lab.ssh_config)}


def test_every_pair_of_the_tutorial_pings(tutorial: Tutorial) -> None:
    tutorial.assert_all_ping()


def test_all_resources_of_a_host_share_one_session(tutorial: Tutorial) -> None:
    """One for the program's look before anything is touched, one for all the resources.

    And on the gateway one to confirm each change that is risky: the firewall, and two links with addresses.
    """
    assert Counter(tutorial.sessions) == {"router": 2 + 3, "host1": 2, "host2": 2}


def test_the_way_to_the_other_vlan_is_the_gateway(tutorial: Tutorial) -> None:
    hops = tutorial.on("host1", f"docker exec bbox1 traceroute -n -w 2 {ADDRESS['bbox4']}")
    lines = [line.split() for line in hops.splitlines()[1:]]
    assert [line[1] for line in lines] == ["172.16.10.1", ADDRESS["bbox4"]]


def test_outputs_are_what_docker_reports(tutorial: Tutorial) -> None:
    outputs = tutorial.project.outputs()
    assert outputs["container_ips"] == ADDRESS
    assert set(outputs["networks"]) == {"mac_net10", "mac_net20"}
    assert outputs["gateway"]["host"] == "router"


def test_frames_on_the_trunk_carry_their_vlan(tutorial: Tutorial) -> None:
    """bbox1 -> bbox4: tagged 10 up to the router, tagged 20 from there on; nothing of it untagged."""
    with tutorial.lab.capture() as capture:
        assert tutorial.pings("bbox1", "bbox4")
    seen = {(f.vlan, str(f.ipv4_source), str(f.ipv4_destination)) for f in capture.stop() if f.protocol == 1}
    assert seen == {
        (10, ADDRESS["bbox1"], ADDRESS["bbox4"]),
        (20, "172.16.20.1", ADDRESS["bbox4"]),  # masqueraded
        (20, ADDRESS["bbox4"], "172.16.20.1"),
        (10, ADDRESS["bbox4"], ADDRESS["bbox1"]),
    }


def test_a_second_up_changes_nothing(tutorial: Tutorial) -> None:
    before = dump_all(tutorial.lab)
    tutorial.project.up("--expect-no-changes").check()
    tutorial.project.assert_clean()
    assert_same(dump_all(tutorial.lab), before)


@pytest.mark.parametrize(
    ("host", "change", "word"),
    [
        pytest.param(
            "router",
            "ip address del 172.16.10.1/24 dev eth2.10",
            "eth2.10 lacks address 172.16.10.1/24",
            id="address",
        ),
        pytest.param("router", "ip link del eth2.20", "eth2.20", id="router-link"),
        pytest.param("host1", "ip link del eth2.10", "host1-eth2.10", id="host-link"),
        pytest.param(
            "router",
            "iptables -D $(iptables -S | grep -om1 'MVF-[^ ]*-VLANS') 1",
            "lacks the rule",
            id="rule",
        ),
        pytest.param(
            "router",
            "sysctl -w net.ipv4.ip_forward=0",
            "net.ipv4.ip_forward is 0 instead of 1",
            id="ip_forward",
        ),
        pytest.param("host2", "docker rm -f bbox3", "bbox3", id="container"),
        pytest.param("host1", "docker stop -t 0 bbox2", "bbox2", id="stopped", marks=pytest.mark.thorough),
        pytest.param(
            "host1",
            "docker network disconnect mac_net10 bbox1",
            "bbox1 is not on mac_net10",
            id="detached",
            marks=pytest.mark.thorough,
        ),
        pytest.param(
            "host2",
            "docker network disconnect mac_net20 bbox4; docker network connect bridge bbox3; "
            "docker network connect --ip 172.16.20.77 mac_net20 bbox4",
            "bbox4 has 172.16.20.77 on mac_net20 instead of 172.16.20.11",
            id="container-address",
        ),
    ],
)
def test_a_change_by_hand_is_seen_and_mended(tutorial: Tutorial, host: str, change: str, word: str) -> None:
    tutorial.on(host, change)
    assert word in tutorial.project.refresh().check().output
    tutorial.project.up().check()
    tutorial.assert_converged()
    assert tutorial.project.outputs()["container_ips"] == ADDRESS


def test_without_the_gateway_the_vlans_are_apart_and_the_router_as_before(tutorial: Tutorial) -> None:
    tutorial.project.write({key: value for key, value in tutorial.topology.items() if key != "gateway"})
    tutorial.project.up().check()
    tutorial.assert_pings(reach=SAME_VLAN, apart=CROSS_VLAN)
    assert_same({"router": dump(tutorial.lab, "router")}, {"router": tutorial.before["router"]})
    tutorial.project.write(tutorial.topology)
    tutorial.project.up().check()
    tutorial.assert_converged()


def test_everything_pings_after_a_reboot_of_all_hosts(tutorial: Tutorial) -> None:
    tutorial.lab.reboot(*tutorial.lab.hosts)
    tutorial.assert_all_ping()
    tutorial.project.assert_clean()


def test_everything_pings_after_a_power_cut_of_all_hosts(tutorial: Tutorial) -> None:
    tutorial.lab.kill(*tutorial.lab.hosts)
    tutorial.lab.start(*tutorial.lab.hosts)
    tutorial.assert_all_ping()
    tutorial.project.assert_clean()


def test_a_host_that_is_down_is_named_and_the_others_converge(tutorial: Tutorial) -> None:
    wider = copy.deepcopy(tutorial.topology)
    wider["networks"]["mac_net30"] = {"vlan": 30, "subnet": "172.16.30.0/24"}
    for host in ("host1", "host2"):
        wider["containers"][f"new-{host}"] = wider["containers"]["bbox1"] | {
            "host": host,
            "network": "mac_net30",
            "address": "auto",
        }
    tutorial.project.write(wider)
    tutorial.lab.kill("host2")
    failed = tutorial.project.up()
    assert failed.status != 0
    assert "host2: " in failed.output
    assert "Traceback" not in failed.output
    # Pulumi prints how long the creation that failed took; the promise is 30 s.
    tried = re.search(r"host2-eth2.30 creating \((\d+)s\) error", failed.output)
    assert tried is not None, failed.output
    assert int(tried[1]) < 30
    for host in ("router", "host1"):
        assert "eth2.30" in tutorial.on(host, "ip -br link")
    tutorial.lab.start("host2")
    tutorial.project.up().check()
    assert "eth2.30" in tutorial.on("host2", "ip -br link")
    tutorial.project.write(tutorial.topology)
    tutorial.project.up().check()
    tutorial.assert_converged()


@pytest.mark.thorough
@pytest.mark.parametrize("down", ["dockerd", "host"])
def test_a_refresh_while_docker_cannot_be_reached_costs_no_container(tutorial: Tutorial, down: str) -> None:
    """Docker's provider then takes the networks for gone; the containers on them are known, and run on."""
    if down == "dockerd":
        tutorial.on("host1", "systemctl stop docker.socket docker")
        assert "host1: Docker's daemon does not run" in tutorial.project.preview().check().output
    else:
        tutorial.lab.kill("host1")
    failed = tutorial.project.refresh()
    assert failed.status != 0
    assert ("Docker's daemon does not run" if down == "dockerd" else "host1: no answer") in failed.output
    if down == "dockerd":
        tutorial.on("host1", "systemctl start docker")
    else:
        tutorial.lab.start("host1")
    before = tutorial.on("host1", "docker ps --no-trunc --quiet")
    tutorial.project.up().check()
    tutorial.assert_converged()
    assert tutorial.on("host1", "docker ps --no-trunc --quiet") == before
    tutorial.on("host1", "docker restart --time 0 bbox1 bbox2")
    tutorial.assert_converged()


def test_a_state_that_was_lost_is_made_anew_over_the_living_fabric(tutorial: Tutorial) -> None:
    project = tutorial.project
    project.pulumi("stack", "rm", "--yes", "--force", "--preserve-config", project.stack).check()
    project.pulumi("stack", "init", project.stack).check()
    said = project.up().check().output
    assert re.search("host1: removed container bbox1;.* left by an earlier run", said), said
    tutorial.assert_converged()


def test_a_host_that_is_lost_for_good_is_let_go_of(tutorial: Tutorial) -> None:
    without = copy.deepcopy(tutorial.topology)
    for container in ("bbox3", "bbox4"):
        del without["containers"][container]
    tutorial.lab.kill("host2")
    tutorial.project.write(without)
    failed = tutorial.project.up()
    assert failed.status != 0
    assert "if it is gone for good: `lost: true` for it in the topology" in failed.output
    without["hosts"]["host2"]["lost"] = True
    tutorial.project.write(without)
    assert "host2 is lost: nothing was removed there" in tutorial.project.up().check().output
    del without["hosts"]["host2"]
    tutorial.project.write(without)
    tutorial.project.up("--expect-no-changes").check()
    tutorial.assert_pings(reach=[("bbox1", "bbox2")], apart=[])

    tutorial.lab.start("host2")  # it was found again: what it has left makes way
    tutorial.project.write(tutorial.topology)
    tutorial.project.up().check()
    tutorial.assert_converged()


def test_a_trunk_that_is_missing_is_an_error_before_anything_is_touched(tutorial: Tutorial) -> None:
    wrong = copy.deepcopy(tutorial.topology)
    wrong["hosts"]["host1"]["trunk"] = "eth7"
    before = dump_all(tutorial.lab)
    tutorial.project.write(wrong)
    failed = tutorial.project.up()
    tutorial.project.write(tutorial.topology)
    assert failed.status != 0
    assert "host1: there is no interface eth7" in failed.output
    assert_same(dump_all(tutorial.lab), before)


def test_destroy_leaves_the_hosts_as_before(tutorial: Tutorial) -> None:
    """The last one: it ends what the others share."""
    tutorial.project.destroy().check()
    assert_same(dump_all(tutorial.lab), tutorial.before)
