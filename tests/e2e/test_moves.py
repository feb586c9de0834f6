"""Changes in which what goes away is in the way of what comes."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from lab import Lab
from tests.project import Project

pytestmark = [pytest.mark.e2e, pytest.mark.thorough]

SECONDS = 8  # that a container takes to end: `sleep` is its first process and heeds no signal


def test_a_container_leaves_a_network_that_is_replaced(
    lab: Lab, engine_environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Its new network is there long before the old container is gone."""
    lab.reset()
    project = Project(tmp_path_factory.mktemp("moves"), engine_environment)
    container = {"host": "host1", "image": "busybox:latest", "command": "sleep infinity", "stop_grace": 0}
    before: dict[str, Any] = {
        "ssh_config": str(lab.ssh_config),
        "hosts": {"host1": {"trunk": "eth2"}},
        "networks": {
            "old": {"vlan": 10, "subnet": "172.16.10.0/24"},
            "new": {"vlan": 20, "subnet": "172.16.20.0/24"},
        },
        "containers": {
            "stays-on-old": container | {"network": "old"},
            "stays-on-new": container | {"network": "new"},
            "moves": container | {"network": "old", "stop_grace": SECONDS},
        },
    }
    after = copy.deepcopy(before)
    after["networks"]["old"]["subnet"] = "172.16.11.0/24"
    after["containers"]["moves"]["network"] = "new"
    project.write(before)
    try:
        project.up().check()
        project.write(after)
        project.up().check()
        assert project.outputs()["container_ips"]["moves"].startswith("172.16.20.")
        project.assert_clean()
    finally:
        project.destroy().check()
