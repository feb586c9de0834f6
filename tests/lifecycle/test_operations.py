"""What people call their hosts, stacks and projects, and what their addresses lead to, on a lone router."""

from __future__ import annotations

import copy
import re
from pathlib import Path
from typing import Any

import pytest

from hosts.fake import FakeHost
from tests.project import Project, without_marks
from tests.tutorial import LONE_ROUTER

pytestmark = pytest.mark.lifecycle

TOPOLOGY = LONE_ROUTER


def renamed(key: str, address: str = "router") -> dict[str, Any]:
    """The topology with another key for its host, or another address."""
    topology = copy.deepcopy(TOPOLOGY)
    topology["hosts"] = {key: {"address": address, "trunk": "eth2"}}
    topology["gateway"]["host"] = key
    return topology


def test_a_host_with_another_key_keeps_its_fabric(project: Project, router: FakeHost) -> None:
    bare = router.dump()
    project.up().check()
    whole = router.dump()
    project.write(renamed("gw"))
    said = project.up().check().output
    assert router.dump() == whole  # the marks, too: nothing was made anew
    assert "replaced" not in said and "deleted" not in said
    project.assert_clean()
    project.destroy().check()
    assert router.dump() == bare


def test_a_host_with_another_key_and_another_address_has_to_answer(
    project: Project, router: FakeHost, tmp_path: Path
) -> None:
    project.up().check()
    whole = router.dump()
    project.write(renamed("gw", "10.0.0.1"))
    silent = FakeHost("gw", path=tmp_path / "10.0.0.1.json")
    with silent.machine() as machine:
        machine.kernel.set(2, up=False)
    refused = project.preview()
    assert refused.status
    assert "nobody knows whether it is a machine that this stack knows as router" in refused.output
    assert router.dump() == whole
    # the address leads to the same machine: an alias of it, or state and topology in another checkout
    silent_file = tmp_path / "10.0.0.1.json"
    silent_file.unlink()
    silent_file.symlink_to(tmp_path / "router.json")
    said = project.preview().check().output
    assert "replace" not in said and "delete" not in said and "create" not in said


def test_a_stack_or_a_project_with_another_name_keeps_its_fabric(project: Project, router: FakeHost) -> None:
    bare = router.dump()
    project.up().check()
    whole = router.dump()
    project.pulumi("stack", "rename", "prod").check()
    project.stack = "prod"
    project.preview("--expect-no-changes").check()
    project.up("--expect-no-changes").check()
    assert router.dump() == whole

    project.pulumi("stack", "rename", "organization/other/prod").check()
    program = project.folder / "Pulumi.yaml"
    text = program.read_text()
    program.unlink()  # a link to the program's own
    program.write_text(text.replace("name: macvlan-fabric", "name: other"))
    project.pulumi("stack", "select", "prod").check()
    project.preview("--expect-no-changes").check()
    assert router.dump() == whole
    project.destroy().check()
    assert router.dump() == bare


def test_two_names_for_one_machine_are_refused(project: Project, router: FakeHost, tmp_path: Path) -> None:
    bare = router.dump()
    (tmp_path / "alias.json").symlink_to(tmp_path / "router.json")
    topology = copy.deepcopy(TOPOLOGY)
    topology["hosts"]["twin"] = {"address": "alias", "trunk": "eth2"}
    topology["containers"] = {"web": {"host": "twin", "image": "busybox", "network": "mac_net10"}}
    project.write(topology)
    refused = project.preview()
    assert refused.status
    assert "twin: it is the same machine as router: the addresses of both lead there" in refused.output
    assert router.dump() == bare


def test_another_machine_at_the_same_key_takes_everything_over(
    project: Project, router: FakeHost, tmp_path: Path
) -> None:
    bare = router.dump()
    project.up().check()
    whole = without_marks(router.dump())
    project.write(renamed("router", "spare"))
    project.up().check()
    spare = FakeHost("spare", path=tmp_path / "spare.json")
    assert without_marks(spare.dump()) == whole
    assert router.dump() == bare  # two routers with one address would be none
    project.assert_clean()


def test_another_machine_in_place_of_one_that_is_gone_gets_everything_in_the_first_run(
    project: Project, router: FakeHost, tmp_path: Path
) -> None:
    project.up().check()
    whole = without_marks(router.dump())
    with router.machine() as machine:
        machine.kernel.set(2, up=False)
    project.write(renamed("router", "spare"))
    project.up().check()
    spare = FakeHost("spare", path=tmp_path / "spare.json")
    assert without_marks(spare.dump()) == whole
    project.assert_clean()


def test_a_stack_whose_state_and_file_were_lost_is_told_who_it_was(
    project: Project, router: FakeHost
) -> None:
    project.up().check()
    whole = without_marks(router.dump())
    project.pulumi("stack", "rm", "--yes", "--force", project.stack).check()
    project.pulumi("stack", "init", project.stack).check()
    project.write(TOPOLOGY)
    refused = project.preview()
    assert refused.status
    found = re.search(r"if (\S+) is this stack, whose state was lost: pulumi (.*)", refused.output)
    assert found, refused.output
    assert found[1].startswith("macvlan-fabric/test/")
    project.pulumi(*found[2].split()).check()
    project.up().check()
    assert without_marks(router.dump()) == whole
    project.assert_clean()
