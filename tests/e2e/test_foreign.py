"""What is not ours survives `up`, every change and `destroy`, byte by byte."""

from __future__ import annotations

import pytest

from lab import Lab
from tests.e2e.hostdump import assert_same, dump_all
from tests.e2e.test_tutorial import tutorial_topology
from tests.project import Project

pytestmark = pytest.mark.e2e

THEIRS = [
    "iptables -I FORWARD -s 203.0.113.0/24 -j DROP -m comment --comment theirs",
    "iptables -t nat -A POSTROUTING -s 203.0.113.0/24 -j MASQUERADE",
    "iptables -N THEIRS",
    "ip link add link eth2 name eth2.99 type vlan id 99",
    "ip link set eth2.99 alias theirs",
    "ip address add 198.51.100.1/24 dev eth2.99",
    "ip link set eth2.99 up",
    "docker network create -d macvlan -o parent=eth2.99 --subnet 198.51.100.0/24 theirs",
    "docker run -d --name theirs --network theirs busybox:latest sleep infinity",
]


def test_foreign_objects_survive(
    lab: Lab, engine_environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> None:
    lab.reset()
    for host in lab.hosts:
        for command in THEIRS:
            done = lab.ssh(host, "sh", "-c", command)
            assert done.returncode == 0, f"{host}: {command}: {done.stderr}"
    before = dump_all(lab)
    project = Project(tmp_path_factory.mktemp("foreign"), engine_environment)
    topology = tutorial_topology(lab)
    project.write(topology)
    project.up().check()
    during = dump_all(lab)
    for host in lab.hosts:
        kept = set(during[host].splitlines())
        lost = [line for line in before[host].splitlines() if line not in kept]
        assert all(line.startswith(("d ", "f ")) for line in lost), f"{host}: {lost}"
    project.destroy().check()
    assert_same(dump_all(lab), before)
