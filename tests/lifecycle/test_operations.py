"""What people type at Pulumi costs nothing that works: operation by operation, for every kind of resource.

The kinds are those of the exported state, so a new one is tried without anybody's doing.
"""

from __future__ import annotations

import copy
import json
from pathlib import Path

import pytest

from hosts.fake import FakeHost
from tests.project import Project, without_marks
from tests.tutorial import LONE_ROUTER

pytestmark = pytest.mark.lifecycle

TOPOLOGY = LONE_ROUTER


def ours(project: Project) -> list[str]:
    """The URN of one resource of every dynamic kind in the state."""
    state = json.loads(project.pulumi("stack", "export").check().output)
    by_type: dict[str, str] = {}
    for resource in state["deployment"]["resources"]:
        if resource["type"].startswith("pulumi-python:dynamic"):
            by_type.setdefault(resource["type"], resource["urn"])
    assert len(by_type) >= 4, by_type
    return list(by_type.values())


def fabric(host: FakeHost) -> str:
    """What the host does, with the very links that it has; marks say only who is in charge."""
    with host.machine() as machine:
        links = sorted((link.name, link.index) for link in machine.kernel.links.values())
    return f"{links}\n{without_marks(host.dump())}"


def test_replacing_anything_leaves_it_as_it_is(project: Project, router: FakeHost) -> None:
    bare = router.dump()
    project.up().check()
    whole = fabric(router)
    for urn in ours(project):
        project.up("--target-replace", urn).check()
        assert fabric(router) == whole, urn
        project.pulumi("state", "taint", "--yes", urn).check()
        project.up().check()
        assert fabric(router) == whole, urn
    project.assert_clean()
    project.destroy().check()
    assert router.dump() == bare


def test_what_the_state_has_forgotten_is_found_again(project: Project, router: FakeHost) -> None:
    project.up().check()
    whole = fabric(router)
    for urn in ours(project):
        project.pulumi("state", "delete", "--yes", "--force", "--target-dependents", urn).check()
        project.up().check()
        assert fabric(router) == whole, urn
    project.assert_clean()


def test_a_host_with_another_name_keeps_its_fabric(project: Project, router: FakeHost) -> None:
    bare = router.dump()
    project.up().check()
    whole = fabric(router)
    renamed = copy.deepcopy(TOPOLOGY)
    renamed["hosts"] = {"gw": {"address": "router", "trunk": "eth2"}}
    renamed["gateway"]["host"] = "gw"
    project.write(renamed)
    said = project.up().check().output
    assert fabric(router) == whole
    assert "boot was not removed: another resource is in charge of it" in said
    project.assert_clean()
    project.destroy().check()
    assert router.dump() == bare


def test_another_machine_at_the_same_name_gets_everything_in_the_first_run(
    project: Project, router: FakeHost, tmp_path: Path
) -> None:
    project.up().check()
    exchanged = copy.deepcopy(TOPOLOGY)
    exchanged["hosts"]["router"]["address"] = "spare"
    project.write(exchanged)
    project.up().check()
    spare = FakeHost("spare", path=tmp_path / "spare.json")
    assert without_marks(spare.dump()) == without_marks(router.dump())
    project.assert_clean()
