"""`verify: true` under the real engine: the wire is asked when something changed, and only then."""

from __future__ import annotations

import copy
import re
from typing import Any

import pytest
import yaml

from hosts.fake import FakeHost
from tests.project import Project
from tests.tutorial import LONE_ROUTER

pytestmark = pytest.mark.lifecycle

TOPOLOGY: dict[str, Any] = LONE_ROUTER | {"verify": True}
ASKED = "there is nothing to ask: no two containers"  # hosts in memory run none


def test_the_wire_is_asked_after_every_update_that_changed_something(
    project: Project, router: FakeHost
) -> None:
    assert ASKED in project.up().check().output
    assert ASKED not in project.up("--expect-no-changes").check().output
    project.assert_clean()

    narrower = copy.deepcopy(TOPOLOGY)
    narrower["gateway"]["allow"] = [{"from": "mac_net10", "to": "mac_net20"}]
    project.write(narrower)
    assert ASKED in project.up().check().output

    with router.machine() as machine:
        machine.kernel.write_sysctl("net/ipv4/ip_forward", "0")
    project.refresh().check()
    assert ASKED in project.up().check().output

    with router.machine() as machine:
        machine.kernel.delete(machine.kernel.link("eth2.20").index)
    project.refresh().check()
    assert ASKED in project.up().check().output
    project.assert_clean()


def test_without_verify_nobody_asks(project: Project) -> None:
    project.write({key: value for key, value in TOPOLOGY.items() if key != "verify"})
    assert ASKED not in project.up().check().output


def test_who_asks_sees_the_configuration_that_the_program_saw(project: Project) -> None:
    """Also one that does not stand in the stack's file."""
    own = project.folder / f"Pulumi.{project.stack}.yaml"
    other = project.folder / "other.yaml"
    own.rename(other)
    document = yaml.safe_load(other.read_text())
    own.write_text(yaml.safe_dump({key: value for key, value in document.items() if key != "config"}))
    assert ASKED in project.up("--config-file", str(other)).check().output
    project.destroy("--config-file", str(other)).check()


def test_what_could_not_be_made_is_the_only_error(project: Project, router: FakeHost) -> None:
    with router.machine() as machine:
        machine.backend, machine.xtables_lock = "legacy", (4711, "somebody")
    failed = project.up()
    assert failed.status != 0
    complaining = set(re.findall(r"^  \S+ \((.+)\):$", failed.output, re.MULTILINE))
    assert complaining == {"router-firewall", f"macvlan-fabric-{project.stack}"}, failed.output
    assert ASKED not in failed.output
    with router.machine() as machine:
        machine.xtables_lock = None
    assert ASKED in project.up().check().output
