"""`verify: true` on real hosts: a wire that does not do what was predicted fails the update."""

from __future__ import annotations

import pytest

from lab import Lab
from tests.e2e.test_tutorial import ADDRESS, tutorial_topology
from tests.project import Project

pytestmark = pytest.mark.e2e

# Of somebody else, in a table that packets pass before ours.
THEIRS = "FORWARD -p icmp --icmp-type echo-request -s 172.16.10.0/24 -d 172.16.20.0/24 -j DROP"


def test_a_wire_that_disagrees_fails_the_update_until_it_agrees(
    lab: Lab, engine_environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> None:
    lab.reset()
    project = Project(tmp_path_factory.mktemp("verification"), engine_environment)
    project.write(tutorial_topology(lab) | {"verify": True})
    assert lab.ssh("router", "sh", "-c", f"iptables -t mangle -I {THEIRS}").returncode == 0
    try:
        failed = project.up()
        assert failed.status != 0
        assert "Traceback" not in failed.output
        lines = [line.split() for line in failed.output.splitlines()]
        assert ["who", "to", "whom", "by", "expected", "seen"] in lines
        blocked = ["bbox1", ADDRESS["bbox1"], "bbox4", ADDRESS["bbox4"], "icmp", "reaches", "blocked"]
        assert blocked in [line[:7] for line in lines]
        assert "4 of 24 are NOT as expected" in failed.output  # the pings from 10 to 20

        assert "4 of 24 are NOT as expected" in project.up().output  # as long as it is so
        assert lab.ssh("router", "sh", "-c", f"iptables -t mangle -D {THEIRS}").returncode == 0
        assert "all 24 as expected" in project.up().check().output
        assert "as expected" not in project.up("--expect-no-changes").check().output
    finally:
        project.destroy().check()
