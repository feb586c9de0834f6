"""A stack that an earlier release brought up is taken over by this one, with nothing replaced."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest

from lab import Lab
from tests.project import ROOT, Project

pytestmark = pytest.mark.e2e

RELEASES = ["41917410270ffdf5f01610097885f3f26cca28e9"]  # commits whose states are in use


def program_of(commit: str, folder: Path) -> Path:
    """The program as it was, with the environment of today."""
    archive = subprocess.run(["git", "archive", commit], cwd=ROOT, capture_output=True, check=True)
    folder.mkdir()
    subprocess.run(["tar", "-x"], cwd=folder, input=archive.stdout, check=True)
    (folder / ".venv").symlink_to(ROOT / ".venv")
    return folder


def living(lab: Lab, host: str) -> str:
    """What somebody would notice if it was made anew: links by index, containers by id and start."""
    shell = """
ip -o link show | grep -o '^[0-9]*: eth2[^:]*:'
docker network ls --no-trunc --format '{{.Name}} {{.ID}}' --filter driver=macvlan | sort
docker ps -aq | xargs -r docker inspect -f '{{.Name}} {{.Id}} {{.State.StartedAt}}' | sort"""
    return lab.ssh(host, "sh", "-c", shell, check=True).stdout


@pytest.mark.parametrize("commit", RELEASES)
def test_what_an_earlier_release_made_is_kept_as_it_is(
    commit: str, lab: Lab, engine_environment: dict[str, str], tmp_path: Path
) -> None:
    lab.reset()
    container = {"image": "busybox:latest", "command": "sleep infinity", "stop_grace": 0}
    topology: dict[str, Any] = {
        "ssh_config": str(lab.ssh_config),
        "hosts": {"router": {"trunk": "eth2"}, "host1": {"trunk": "eth2"}, "host2": {"trunk": "eth2"}},
        "networks": {
            "web": {"vlan": 10, "subnet": "172.16.10.0/24"},
            "db": {"vlan": 20, "subnet": "172.16.20.0/24"},
        },
        "gateway": {"host": "router", "allow": [["web", "db"]]},
        "containers": {
            "site": container | {"replicas": 3, "hosts": ["host1", "host2"], "network": "web"},
            "pg": container | {"host": "host2", "network": "db", "address": "172.16.20.10"},
        },
    }
    program = program_of(commit, tmp_path / "program")
    old = Project(tmp_path / "project", engine_environment, root=program)
    old.write(topology)
    old.up().check()
    before = {host: living(lab, host) for host in topology["hosts"]}
    assert before["host1"].count("/site-") == 2
    assert before["router"].count("eth2.") == 2
    given = old.outputs()["container_ips"]

    new = Project(old.folder, engine_environment)
    new.up().check()
    assert {host: living(lab, host) for host in topology["hosts"]} == before
    assert new.outputs()["container_ips"] == given
    new.assert_clean()

    # the addresses that it gave are remembered, too
    topology["containers"]["site"]["replicas"] = 2
    topology["containers"] = {
        "first": container | {"host": "host1", "network": "web"},
        **topology["containers"],
    }
    new.write(topology)
    new.up().check()
    now = new.outputs()["container_ips"]
    assert {name: now[name] for name in given if name != "site-3"} == {
        name: address for name, address in given.items() if name != "site-3"
    }
    new.destroy().check()
