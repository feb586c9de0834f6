"""Hosts come back by themselves: whoever makes their links, whatever comes first, whenever the power fails.

Each test starts from bare hosts and leaves them so, byte by byte.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from lab import Lab
from tests.e2e.hostdump import assert_same, dump_all
from tests.e2e.test_tutorial import Tutorial, tutorial_topology
from tests.faults.running import Running
from tests.project import Project, Run

pytestmark = pytest.mark.e2e

# What says on a host that this one makes eth2.10.
ASKED = {
    "unit": "systemctl is-active macvlan-fabric.service && ! ls /etc/network/interfaces.d/* 2>/dev/null",
    "ifupdown": "ifquery --state eth2.10",
    "networkd": "networkctl --no-legend list eth2.10 | grep -w configured",
}
MIXED = {"router": "networkd", "host1": "ifupdown", "host2": "unit"}

# Takes the trunk's name away before anybody looks for it, and gives it back later.
LATE = """
[Unit]
Description=The trunk interface appears late
DefaultDependencies=no
Wants=sys-subsystem-net-devices-eth2.device
After=sys-subsystem-net-devices-eth2.device
Before=networking.service macvlan-fabric.service

[Service]
ExecStartPre=/bin/sh -c 'ip link set eth2 down && ip link set eth2 name late0'
ExecStart=/bin/sh -c 'sleep 10 && ip link set late0 name eth2'

[Install]
WantedBy=sysinit.target
"""


@pytest.fixture(scope="module")
def bare(lab: Lab) -> dict[str, str]:
    """What bare hosts are like."""
    lab.reset()
    return dump_all(lab)


Start = Callable[[dict[str, str]], Tutorial]


@pytest.fixture
def start(
    lab: Lab, bare: dict[str, str], engine_environment: dict[str, str], tmp_path: Path
) -> Iterator[Start]:
    """Make the stack, not yet on the hosts; given who makes each host's links at boot."""
    made: list[Tutorial] = []

    def make(persistence: dict[str, str]) -> Tutorial:
        project = Project(tmp_path / "project", engine_environment)
        topology = with_persistence(tutorial_topology(lab), persistence)
        project.write(topology)
        made.append(Tutorial(lab, project, topology, bare, []))
        return made[-1]

    yield make
    lab.start(*lab.hosts)
    for tutorial in made:
        tutorial.project.destroy()


def with_persistence(topology: dict[str, Any], persistence: dict[str, str]) -> dict[str, Any]:
    changed = copy.deepcopy(topology)
    for host, by in persistence.items():
        changed["hosts"][host]["persistence"] = by
    return changed


def everywhere(lab: Lab, by: str) -> dict[str, str]:
    return dict.fromkeys(lab.hosts, by)


def assert_back(tutorial: Tutorial, persistence: dict[str, str]) -> None:
    """With no pulumi run everything pings; nothing has drifted; and he made the links who should."""
    tutorial.assert_all_ping()
    tutorial.project.assert_clean()
    for host, by in persistence.items():
        tutorial.on(host, ASKED[by])


def assert_gone(tutorial: Tutorial) -> None:
    tutorial.project.destroy().check()
    assert_same(dump_all(tutorial.lab), tutorial.before)


@pytest.mark.thorough
@pytest.mark.parametrize("by", ASKED)
def test_a_reboot_and_a_power_cut(lab: Lab, start: Start, by: str) -> None:
    tutorial = start(everywhere(lab, by))
    tutorial.project.up().check()
    lab.reboot(*lab.hosts)
    assert_back(tutorial, everywhere(lab, by))
    lab.kill(*lab.hosts)
    lab.start(*lab.hosts)
    assert_back(tutorial, everywhere(lab, by))
    assert_gone(tutorial)


@pytest.mark.thorough
def test_who_makes_the_links_can_be_changed_while_they_run(lab: Lab, start: Start) -> None:
    """And `auto` is systemd-networkd on the lab's hosts, whose trunk it manages."""
    tutorial = start(everywhere(lab, "unit"))
    tutorial.project.up().check()
    before = tutorial.on("router", "ip -o link show eth2.10")
    for by, asked in (("ifupdown", "ifupdown"), ("auto", "networkd")):
        tutorial.project.write(with_persistence(tutorial.topology, everywhere(lab, by)))
        tutorial.project.up().check()
        tutorial.assert_converged()
        assert tutorial.on("router", "ip -o link show eth2.10") == before
        lab.reboot("router")
        assert_back(tutorial, {"router": asked})
        before = tutorial.on("router", "ip -o link show eth2.10")
    assert_gone(tutorial)


@pytest.mark.thorough
def test_a_trunk_that_appears_late(lab: Lab, start: Start) -> None:
    tutorial = start(MIXED)
    tutorial.project.up().check()
    for host in lab.hosts:
        lab.ssh(host, "sh", "-c", "cat >/etc/systemd/system/late.service", input=LATE, check=True)
        tutorial.on(host, "systemctl enable late.service")
    lab.reboot(*lab.hosts)
    for host in lab.hosts:
        tutorial.on(host, "journalctl -b -u late.service | grep -w Started")
    tutorial.assert_all_ping()
    tutorial.project.assert_clean()
    for host in lab.hosts:
        tutorial.on(host, "systemctl disable late.service && rm /etc/systemd/system/late.service")
        tutorial.on(host, "systemctl daemon-reload")
    assert_gone(tutorial)


@pytest.mark.thorough
def test_docker_that_starts_first(lab: Lab, start: Start) -> None:
    """It makes what its networks need, without an address or our mark; the next `up` takes that over."""
    tutorial = start(everywhere(lab, "unit"))
    tutorial.project.up().check()
    tutorial.on("host1", "systemctl disable macvlan-fabric.service")
    lab.reboot("host1")
    tutorial.assert_all_ping()
    refused = lab.ssh("host1", "systemctl", "start", "macvlan-fabric.service")
    assert refused.returncode != 0
    said = tutorial.on("host1", "journalctl -b -u macvlan-fabric.service")
    assert "eth2.10: there is an interface of that name which is not ours; left alone" in said
    tutorial.on("host1", "systemctl reset-failed macvlan-fabric.service")
    seen = tutorial.project.refresh().check().output
    assert "macvlan-fabric.service is not enabled" in seen
    assert "eth2.10 has the alias '' instead of ours" in seen
    tutorial.project.up().check()
    tutorial.assert_converged()
    lab.reboot("host1")
    assert_back(tutorial, {"host1": "unit"})
    assert_gone(tutorial)


@pytest.mark.parametrize(
    ("host", "words"),
    [
        ("router", "router-eth2.10 creating"),
        ("router", "router-firewall created"),
        ("host1", "BootUnit host1 created"),
        ("host1", "mac_net10-host1 creating"),
    ],
)
@pytest.mark.thorough
def test_a_power_cut_in_the_middle_of_an_apply(lab: Lab, start: Start, host: str, words: str) -> None:
    """As soon as pulumi says these words."""
    tutorial = start(MIXED)
    cut = up_with_a_power_cut(tutorial, host, words)
    assert cut.status != 0, cut.output
    lab.start(host)
    # what came back is ours, and nothing failed
    tutorial.on(host, "! ip -o link | grep eth2[.] | grep -v 'alias macvlan-fabric:'")
    tutorial.on(host, "! systemctl --failed --no-legend | grep macvlan-fabric")
    tutorial.project.up().check()
    tutorial.assert_converged()
    # Docker 26.1 was seen to put its jump to DOCKER-USER in twice when it makes two networks at a time.
    lab.reboot(*lab.hosts)
    assert_gone(tutorial)


def up_with_a_power_cut(tutorial: Tutorial, host: str, words: str) -> Run:
    running = Running(tutorial.project, "up", "--skip-preview", "--yes")
    assert running.await_line(words), running.finish().output
    tutorial.lab.kill(host)
    return running.finish()
