"""The whole tutorial as a user who is not root, with the rights that docs/sudoers.md gives and no others."""

from __future__ import annotations

import re
import shlex
import subprocess
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
    lab.reset()  # what another test's stack has left is in its way
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


def hang_up(lab: Lab, host: str) -> None:
    """End the connection that all ssh of the user `fabric` share, if there is one."""
    argv = ["ssh", "-F", str(lab.ssh_config), "-O", "exit", f"fabric@{host}"]
    subprocess.run(argv, check=False, capture_output=True)


@pytest.fixture
def outsider(fabric: Lab) -> Iterator[Lab]:
    """The same, with their user out of the group `docker` on host1."""
    fabric.ssh("host1", "gpasswd", "--delete", "fabric", "docker", check=True)
    hang_up(fabric, "host1")
    yield fabric
    fabric.ssh("host1", "usermod", "-aG", "docker", "fabric", check=True)
    hang_up(fabric, "host1")


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


def test_without_the_group_docker_the_preview_says_how_to_get_it(
    outsider: Lab, engine_environment: dict[str, str], tmp_path: Path
) -> None:
    topology = tutorial_topology(outsider)
    topology["hosts"]["host1"]["address"] = "fabric@host1"
    project = Project(tmp_path, engine_environment)
    project.write(topology)
    refused = project.preview()
    assert refused.status != 0
    assert (
        "host1: fabric may not use Docker: its provider runs docker as fabric over ssh\n"
        "  hint: add fabric to the group docker on the host: sudo usermod -aG docker fabric"
    ) in without_indent(refused.output)

    outsider.ssh("host1", "true", user="fabric", check=True)  # if connections are shared, there is one by now
    outsider.ssh("host1", "usermod", "-aG", "docker", "fabric", check=True)
    if "ControlMaster" in outsider.ssh_config.read_text():
        old = project.preview()
        assert old.status != 0
        assert (
            "host1: fabric may not use Docker yet: the ssh connection that is shared (ControlMaster) "
            "was made before fabric was added to the group docker"
        ) in old.output
        command = re.search(r"hint: close it: (ssh .*)", old.output)
        assert command is not None
        subprocess.run(shlex.split(command[1]), check=True, capture_output=True)
    project.up().check()
    assert pings(outsider, "bbox1", "bbox3")
    project.assert_clean()
    project.destroy().check()


def without_indent(output: str) -> str:
    """What the program says, as it says it: the engine moves all lines of an error to the right alike."""
    return re.sub(r"\n +hint:", "\n  hint:", output)
