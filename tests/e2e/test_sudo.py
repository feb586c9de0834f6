"""The whole tutorial as a user who is not root, with the rights that docs/sudoers.md gives and no others."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab import Lab
from tests.e2e.hostdump import assert_same, dump_all
from tests.e2e.test_tutorial import ADDRESS, HOST, tutorial_topology
from tests.project import ROOT, Project

pytestmark = pytest.mark.e2e

RULE = re.findall(r"```\n(fabric .*\n)```", (ROOT / "docs" / "sudoers.md").read_text())[0]
FILE = "/etc/sudoers.d/fabric"


@pytest.fixture
def fabric(lab: Lab) -> Iterator[Lab]:
    """The lab's hosts with that rule for their user `fabric`, who is in the group `docker`."""
    theirs = {host: lab.ssh(host, "cat", FILE, check=True).stdout for host in lab.hosts}
    for host in lab.hosts:
        give(lab, host, RULE)
        assert lab.ssh(host, "sudo", "-n", "true", user="fabric").returncode != 0
    yield lab
    for host, rule in theirs.items():
        give(lab, host, rule)


def give(lab: Lab, host: str, rule: str) -> None:
    write = f"cat >{FILE}.new && chmod 440 {FILE}.new && visudo -cqf {FILE}.new && mv {FILE}.new {FILE}"
    lab.ssh(host, "sh", "-c", write, input=rule, check=True)


def pings(lab: Lab, source: str, target: str) -> bool:
    argv = ["docker", "exec", source, "ping", "-c", "3", "-i", "0.3", "-W", "1", ADDRESS[target]]
    return lab.ssh(HOST[source], *argv).returncode == 0


def test_the_tutorial_as_a_user_who_may_only_run_python3(
    fabric: Lab, engine_environment: dict[str, str], tmp_path: Path
) -> None:
    before = dump_all(fabric)
    topology = tutorial_topology(fabric)
    for name, host in topology["hosts"].items():
        host["address"] = f"fabric@{name}"
    project = Project(tmp_path, engine_environment)
    project.write(topology)
    project.up().check()
    assert pings(fabric, "bbox1", "bbox4")
    fabric.ssh("router", "ip", "address", "delete", "172.16.10.1/24", "dev", "eth2.10", check=True)
    assert "eth2.10 lacks address 172.16.10.1/24" in project.refresh().check().output
    project.up().check()
    assert pings(fabric, "bbox1", "bbox4")
    project.assert_clean()
    project.destroy().check()
    assert_same(dump_all(fabric), before)


def test_without_the_rule_the_error_says_what_to_write(
    fabric: Lab, engine_environment: dict[str, str], tmp_path: Path
) -> None:
    give(fabric, "router", "")
    topology = tutorial_topology(fabric)
    topology["hosts"]["router"]["address"] = "fabric@router"
    project = Project(tmp_path, engine_environment)
    project.write({key: value for key, value in topology.items() if key != "containers"})
    failed = project.up()
    assert failed.status != 0
    assert "router: sudo wants a password" in failed.output
    assert RULE.strip().replace("fabric", "USER", 1) in failed.output
    project.destroy().check()
