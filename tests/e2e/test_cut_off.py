"""A change that cuts a host off: refused, or undone by the host, with nothing left of it on its disk."""

from __future__ import annotations

import copy
import re
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from lab import Lab
from tests.e2e.hostdump import assert_same, dump
from tests.project import Project

pytestmark = pytest.mark.e2e

PEER = "10.99.0.1"

# Somebody's program that is called whenever rules are loaded: where somebody masquerades, it shuts ssh out.
HOOK = """#!/bin/sh
/usr/sbin/iptables-restore "$@"
status=$?
if iptables-save -t nat | grep -q 'MVF.*MASQUERADE'; then
    iptables -C INPUT RULE 2>/dev/null || iptables -I INPUT RULE
else
    while iptables -D INPUT RULE 2>/dev/null; do :; done
fi
exit $status
"""
SSH = "-p tcp --dport 22"
NEW = "-m conntrack --ctstate NEW"


def topology(ssh_config: Path, trunk: str = "eth2") -> dict[str, Any]:
    return {
        "ssh_config": str(ssh_config),
        "hosts": {"router": {"trunk": trunk}},
        "networks": {
            "mac_net10": {"vlan": 10, "subnet": "172.16.10.0/24"},
            "mac_net20": {"vlan": 20, "subnet": "172.16.20.0/24"},
        },
        "gateway": {"host": "router", "nat": "routed", "allow": [["mac_net10", "mac_net20"]]},
    }


Start = Callable[..., Project]


@pytest.fixture
def start(lab: Lab, engine_environment: dict[str, str], tmp_path: Path) -> Iterator[Start]:
    """Brings a gateway up on the router, and at the end sees to it that the router is as bare as before."""
    bare = dump(lab, "router")
    projects: list[Project] = []

    def up(ssh_config: Path, trunk: str = "eth2") -> Project:
        project = Project(tmp_path / "project", engine_environment)
        project.write(topology(ssh_config, trunk))
        project.up().check()
        projects.append(project)
        return project

    yield up
    for project in projects:
        project.destroy().check()
        project.pulumi("stack", "rm", "--yes", "--force", project.stack).check()
    assert_same({"router": dump(lab, "router")}, {"router": bare})


@pytest.fixture
def from_behind(lab: Lab, tmp_path: Path) -> Iterator[Path]:
    """An ssh configuration whose connections come from a network behind the management network."""
    address = ["ip", "address", "replace", f"{PEER}/32", "dev", "brm"]
    subprocess.run(lab.inside(*address), check=True)
    route = ["route", "replace", "10.99.0.0/16", "via", "192.168.56.1", "dev", "eth1"]
    lab.ssh("router", "ip", *route, check=True)
    text = lab.ssh_config.read_text().replace(" -F %h", f" -s {PEER} -F %h")
    path = tmp_path / "ssh_config"
    path.write_text(re.sub("    Control.*\n", "", text))
    yield path
    lab.ssh("router", "ip", "route", "delete", *route[2:], check=True)
    subprocess.run(lab.inside("ip", "address", "delete", *address[3:]), check=True)


def test_a_subnet_around_the_place_where_ssh_comes_from(lab: Lab, from_behind: Path, start: Start) -> None:
    project = start(from_behind)
    before = dump(lab, "router")
    wish = copy.deepcopy(topology(from_behind))
    wish["networks"]["mac_net20"] |= {"subnet": "10.99.0.0/24", "gateway": "10.99.0.254"}

    project.write(wish)
    refused = project.up()
    assert refused.status != 0
    assert (
        "router: the prefix 10.99.0.0/24 of eth2.20 covers 10.99.0.1, where our ssh session comes from"
        in refused.output
    )
    assert_same({"router": dump(lab, "router")}, {"router": before})

    wish["hosts"]["router"]["may_touch_session"] = True
    project.write(wish)
    failed = project.up()
    assert failed.status != 0
    assert "with the change of eth2.20 in place no new connection could be made" in failed.output
    assert "the host has undone it by itself after 30 s, and nothing was made persistent" in failed.output
    reached = subprocess.run(["ssh", "-F", str(from_behind), "router", "true"], check=False)
    assert reached.returncode == 0
    assert_same({"router": dump(lab, "router")}, {"router": before})

    project.write(topology(from_behind))
    project.up().check()
    project.assert_clean()


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("rule", "how"),
    [
        pytest.param(f"{SSH} {NEW} -j DROP", "it was undone at once", id="new connections"),
        pytest.param(f"{SSH} -j DROP", "the host has undone it by itself after 50 s", id="every connection"),
    ],
)
def test_a_firewall_that_leads_to_ssh_being_dropped(lab: Lab, start: Start, rule: str, how: str) -> None:
    project = start(lab.ssh_config)
    hook = "/usr/local/sbin/iptables-restore"
    lab.ssh(
        "router", "sh", "-c", f"cat >{hook} && chmod 755 {hook}", input=HOOK.replace("RULE", rule), check=True
    )
    try:
        before = dump(lab, "router")
        wish = topology(lab.ssh_config)
        wish["gateway"]["nat"] = "masquerade"
        project.write(wish)
        failed = project.up()
        assert failed.status != 0
        assert "with the change of firewall in place no new connection could be made" in failed.output
        assert f"{how}, and nothing was made persistent" in failed.output
        assert_same({"router": dump(lab, "router")}, {"router": before})
    finally:
        lab.ssh("router", "rm", hook, check=True)
    project.up().check()  # and once nobody minds, the same goes through
    project.assert_clean()


def test_a_trunk_that_also_carries_ssh_is_left_alone(lab: Lab, start: Start) -> None:
    """A host with one interface: tagged frames for us, untagged ones for whoever is there."""
    shown = lab.ssh("router", "ip", "-d", "address", "show", "dev", "eth1", check=True).stdout
    project = start(lab.ssh_config, trunk="eth1")
    assert "172.16.20.1/24" in lab.ssh("router", "ip", "address", "show", "dev", "eth1.20").stdout
    assert lab.ssh("router", "ip", "-d", "address", "show", "dev", "eth1").stdout == shown
    project.assert_clean()
