"""Hosts that were configured by hand, as in the tutorial, are taken over as they run."""

from __future__ import annotations

import copy
import re
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from lab import Lab
from tests.e2e.hostdump import assert_same, dump_all
from tests.e2e.test_tutorial import ADDRESS, HOST, tutorial_topology
from tests.project import Project

pytestmark = pytest.mark.e2e

NETWORK = (
    "docker network create -d macvlan --subnet 172.16.{vlan}.0/24 --gateway 172.16.{vlan}.1 "
    "-o parent=eth2.{vlan} mac_net{vlan}"
)
LINK = "ip link add link eth2 name eth2.{vlan} type vlan id {vlan} && ip link set eth2.{vlan} up"
ROUTER = [
    "sysctl -qw net.ipv4.ip_forward=1",
    *(f"ip address add 172.16.{vlan}.1/24 dev eth2.{vlan}" for vlan in (10, 20)),
    *(f"iptables -t nat -A POSTROUTING -o eth2.{vlan} -j MASQUERADE" for vlan in (10, 20)),
    "iptables -A FORWARD -i eth2.10 -o eth2.20 -j ACCEPT",
    "iptables -A FORWARD -i eth2.20 -o eth2.10 -j ACCEPT",
]


def network_of(container: str) -> str:
    return f"mac_net{ADDRESS[container].split('.')[2]}"


def make_by_hand(lab: Lab) -> None:
    """What the tutorial has a person type, and a restart policy."""

    def make(host: str) -> None:
        commands = ["ip link set eth2 up", *(LINK.format(vlan=vlan) for vlan in (10, 20))]
        if host == "router":
            commands += ROUTER
        else:
            commands += [NETWORK.format(vlan=vlan) for vlan in (10, 20)]
            commands += [
                f"docker run -itd --restart unless-stopped --name {name} --net {network_of(name)} "
                f"--ip {ADDRESS[name]} busybox sleep infinity"
                for name, where in HOST.items()
                if where == host
            ]
        done = lab.ssh(host, "sh", "-ec", "\n".join(commands))
        assert done.returncode == 0, done.stderr

    with ThreadPoolExecutor() as pool:
        list(pool.map(make, lab.hosts))


@pytest.fixture
def by_hand(
    lab: Lab, engine_environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Project]:
    lab.reset()
    make_by_hand(lab)
    project = Project(tmp_path_factory.mktemp("adoption"), engine_environment)
    yield project
    project.destroy()


def test_the_first_up_interrupts_nothing_and_says_what_it_took(lab: Lab, by_hand: Project) -> None:
    topology = tutorial_topology(lab)
    before = dump_all(lab)
    by_hand.write(topology)
    refused = by_hand.up()
    assert refused.status != 0
    assert "host1: there is already a docker network mac_net10 of somebody else" in refused.output
    assert "set `adopt: true` for host1 to take it over as it runs" in refused.output
    assert_same(dump_all(lab), before)

    adopting = copy.deepcopy(topology)
    for host in adopting["hosts"].values():
        host["adopt"] = True
    by_hand.write(adopting)
    foretold = by_hand.preview().check().output
    for what in ("link eth2.10", "docker network mac_net10", "docker container bbox1"):
        assert f"host1: the {what} of somebody else is taken over as it runs" in foretold
    pings = subprocess.Popen(
        lab.ssh_argv("host1", "root", "docker exec bbox1 ping -i 0.1 172.16.20.11"),
        stdout=subprocess.PIPE,
        text=True,
    )
    said = by_hand.up().check().output
    lab.ssh("host1", "pkill", "-INT", "ping")
    heard = pings.communicate(timeout=30)[0]
    counts = re.search(r"(\d+) packets transmitted, (\d+) packets received", heard)
    assert counts is not None, heard
    assert int(counts[1]) - int(counts[2]) <= 1  # one may be under way when ping is told to end
    assert int(counts[1]) > 10

    for what in ("adopted eth2.10", "adopted docker network mac_net10", "adopted docker container bbox1"):
        assert f"host1: {what}" in said
    assert by_hand.outputs()["container_ips"] == ADDRESS
    by_hand.assert_clean()

    # the first change of an adopted container makes it ours, and touches no other
    ids = "docker ps -a --no-trunc --format '{{.Names}} {{.ID}}' | sort"
    before_change = lab.ssh("host1", "sh", "-c", ids).stdout.splitlines()
    adopting["containers"]["bbox1"]["environment"] = {"A": "1"}
    by_hand.write(adopting)
    becoming = "host1: the docker container bbox1, which was taken over, becomes ours: it is made anew"
    assert becoming in by_hand.preview().check().output
    by_hand.up().check()
    after_change = lab.ssh("host1", "sh", "-c", ids).stdout.splitlines()
    assert (after_change[0] == before_change[0], after_change[1] == before_change[1]) == (False, True)
    assert "A=1" in lab.ssh("host1", "docker", "exec", "bbox1", "env").stdout
    assert by_hand.outputs()["container_ips"] == ADDRESS
    by_hand.assert_clean()

    del adopting["containers"]["bbox2"]
    by_hand.write(adopting)
    by_hand.up().check()
    assert lab.ssh("host1", "docker", "ps", "-a", "--format", "{{.Names}}").stdout.split() == ["bbox1"]
    by_hand.destroy().check()
    for host in ("host1", "host2"):
        left = lab.ssh(
            host,
            "sh",
            "-c",
            "docker ps -aq; docker network ls -qf driver=macvlan; ls -d /sys/class/net/eth2.*",
        )
        assert left.stdout == ""
    assert "-A FORWARD -i eth2.10 -o eth2.20 -j ACCEPT" in lab.ssh("router", "iptables-save").stdout
