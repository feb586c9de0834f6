"""What a preview says of a change before anything is touched."""

from __future__ import annotations

import copy
import re
from pathlib import Path
from typing import Any

import pytest

from hosts.fake import FakeHost
from hosts.fake.docker import Docker
from tests.project import Project

pytestmark = pytest.mark.lifecycle

WORD = "correct-horse-battery-staple"
TOPOLOGY: dict[str, Any] = {
    "hosts": {"router": {"trunk": "eth2"}, "host1": {"trunk": "eth2"}},
    "networks": {
        "web": {"vlan": 10, "subnet": "172.16.10.0/24"},
        "db": {"vlan": 20, "subnet": "172.16.20.0/24"},
    },
    "gateway": {"host": "router", "allow": [["web", "db"]]},
}


def test_a_preview_shows_the_change_in_connectivity(project: Project, router: FakeHost) -> None:
    project.up().check()
    before = router.dump()
    narrower = copy.deepcopy(TOPOLOGY)
    narrower["gateway"]["allow"] = [{"from": "web", "to": "db", "traffic": "tcp/5432"}]
    project.write(narrower)
    shown = project.preview().check().output
    assert '~ db : "gateway" => "gateway: tcp 5432"' in shown
    assert '~ web: "gateway" => "blocked"' in shown
    assert router.dump() == before


def test_a_preview_that_would_break_an_expectation_fails_and_says_why(
    project: Project, router: FakeHost
) -> None:
    before = router.dump()
    expecting = copy.deepcopy(TOPOLOGY)
    expecting["gateway"]["allow"] = [{"from": "web", "to": "db", "traffic": "tcp/5432"}]
    expecting["containers"] = {
        "site": {"host": "host1", "network": "web", "address": "172.16.10.10", "image": "nginx"},
        "pg": {"host": "host1", "network": "db", "address": "172.16.20.10", "image": "postgres"},
    }
    expecting["expect"] = [
        {"from": "pg", "to": "site"},
        {"from": "site", "to": "db", "reach": False, "traffic": "tcp/5000-6000"},
    ]
    project.write(expecting)
    failed = project.preview()
    assert failed.status != 0
    assert "Traceback" not in failed.output
    lines = (project.folder / "Pulumi.test.yaml").read_text().splitlines()
    said = re.findall(r"Pulumi\.test\.yaml:(\d+): (expect\[\d\]): (.*)\n +hint: (.*)", failed.output)
    assert [(path, by_policy) for _, path, _, by_policy in said] == [
        ("expect[0]", "by the policy: nothing allows db -> web"),
        ("expect[1]", "by the policy: allowed by web -> db"),
    ], failed.output
    assert [lines[int(number) - 1].strip() for number, *_ in said] == ["- from: pg", "- from: site"]
    missed, broken = (message for _, _, message, _ in said)
    assert re.fullmatch(
        r"pg must reach site, but icmp does not get through: pg 172\.16\.20\.10 -x-> site 172\.16\.10\.10: "
        r"router drops it: rule 4 of MVF-\w+-VLANS \(-o eth2\.10 -j DROP\)",
        missed,
    ), missed
    assert re.fullmatch(
        r"site must not reach db, yet tcp 5432 gets through: site 172\.16\.10\.10 -> 172\.16\.10\.1 router "
        r"eth2\.10 => eth2\.20 \(masquerade to 172\.16\.20\.1\) -> pg 172\.16\.20\.10, accepted by rule 3 "
        r"of MVF-\w+-VLANS \(.* --dport 5432 .*\)",
        broken,
    ), broken
    assert router.dump() == before


def test_a_preview_shows_no_secret(project: Project, tmp_path: Path) -> None:
    for name in ("router", "host1"):
        with FakeHost(name, path=tmp_path / f"{name}.json").machine() as machine:
            machine.docker = Docker()
    running = copy.deepcopy(TOPOLOGY)
    running["containers"] = {"pg": {"host": "host1", "network": "db", "image": "postgres"}}
    project.write(running)
    path = "macvlan-fabric:topology.containers.pg.environment.POSTGRES_PASSWORD"
    project.pulumi("config", "set", "--secret", "--path", path, WORD).check()
    shown = project.preview().check().output
    assert re.search(r"envs +: \[secret\]", shown), shown
    assert WORD not in shown


def test_a_preview_warns_of_an_address_that_docker_may_hand_out(project: Project, tmp_path: Path) -> None:
    for name in ("router", "host1"):
        with FakeHost(name, path=tmp_path / f"{name}.json").machine() as machine:
            machine.docker = Docker()
    full = copy.deepcopy(TOPOLOGY)
    full["networks"]["web"]["subnet"] = "172.16.10.0/28"
    site = {"host": "host1", "network": "web", "image": "nginx"}
    full["containers"] = {"site": site | {"replicas": 12}}
    project.write(full)
    warning = "warning: automatic addresses that their host's Docker may hand out"
    assert warning not in project.preview().check().output
    full["containers"]["site"]["replicas"] = 13  # as many as there are addresses
    project.write(full)
    assert f"{warning} to somebody else" in project.preview().check().output
