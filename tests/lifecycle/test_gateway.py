"""The life of a gateway under the real engine, on hosts in memory."""

from __future__ import annotations

import copy
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from hosts.fake import FakeHost, Machine
from tests.project import Project, without_marks
from tests.tutorial import LONE_ROUTER
from tests.wishes import with_manager

pytestmark = pytest.mark.lifecycle

TOPOLOGY = LONE_ROUTER


def test_from_bare_to_gateway_and_back(project: Project, router: FakeHost) -> None:
    before = router.dump()
    project.up().check()
    assert "eth2.10" in router.dump()
    project.assert_clean()
    project.destroy().check()
    assert router.dump() == before


def _delete_address(machine: Machine) -> None:
    link = machine.kernel.link("eth2.10")
    machine.kernel.addresses = [a for a in machine.kernel.addresses if a.link != link.index]


def _delete_link(machine: Machine) -> None:
    machine.kernel.delete(machine.kernel.link("eth2.20").index)


def _lower_link(machine: Machine) -> None:
    machine.kernel.set(machine.kernel.link("eth2.10").index, up=False)


def _rename_alias(machine: Machine) -> None:
    machine.kernel.set(machine.kernel.link("eth2.10").index, alias="mine")


def _delete_rule(machine: Machine) -> None:
    tables = machine.tables["nf_tables"]
    rule = next(line for line in tables.save().splitlines() if "RELATED" in line)
    tables.restore(f"*filter\n{rule.replace('-A', '-D', 1)}\nCOMMIT\n")


def _delete_jump(machine: Machine) -> None:
    tables = machine.tables["nf_tables"]
    rule = next(line for line in tables.save().splitlines() if line.startswith("-A FORWARD"))
    tables.restore(f"*filter\n{rule.replace('-A', '-D', 1)}\nCOMMIT\n")


def _stop_forwarding(machine: Machine) -> None:
    machine.kernel.write_sysctl("net/ipv4/ip_forward", "0")


def _delete_boot_file(machine: Machine) -> None:
    path = next(path for path in machine.files if path.endswith("eth2.10.link"))
    del machine.files[path]


def _delete_unit(machine: Machine) -> None:
    del machine.files["/etc/systemd/system/macvlan-fabric.service"]


# In two rounds, because a link that has lost both its marks, alias and file, is nobody's any more.
KERNEL_CHANGES: list[tuple[Callable[[Machine], None], str]] = [
    (_delete_address, "eth2.10 lacks address 172.16.10.1/24"),
    (_delete_link, "eth2.20"),
    (_lower_link, "eth2.10 is down"),
    (_rename_alias, "eth2.10 has the alias 'mine' instead of ours"),
    (_delete_rule, "lacks the rule to ACCEPT"),
    (_delete_jump, "no jumps from FORWARD"),
    (_stop_forwarding, "net.ipv4.ip_forward is 0 instead of 1"),
]
FILE_CHANGES: list[tuple[Callable[[Machine], None], str]] = [
    (_delete_boot_file, "eth2.10 would not come back like this after a reboot"),
    (_delete_unit, "/etc/systemd/system/macvlan-fabric.service is missing or altered"),
]


@pytest.mark.parametrize("changes", [KERNEL_CHANGES, FILE_CHANGES], ids=["kernel", "files"])
def test_drift_is_said_in_words_and_mended_without_touching_anything_else(
    project: Project, router: FakeHost, changes: list[tuple[Callable[[Machine], None], str]]
) -> None:
    project.up().check()
    whole = router.dump()
    for change, _ in changes:
        before = router.dump()
        with router.machine() as machine:
            change(machine)
        assert router.dump() != before, change.__name__
    seen = project.refresh().check().output
    missing = [words for _, words in changes if words not in seen]
    assert not missing, seen
    project.up().check()
    assert _without_indices(router.dump()) == _without_indices(whole)
    project.assert_clean()


def _without_indices(dump: str) -> list[str]:
    """A link that was made anew has another index and another mark, and comes later."""
    return sorted(re.sub(r"^\d+: ", "", line) for line in without_marks(dump).splitlines())


def test_another_vlan_id_moves_the_addresses(project: Project, router: FakeHost) -> None:
    project.up().check()
    moved = copy.deepcopy(TOPOLOGY)
    moved["networks"]["mac_net20"]["vlan"] = 21
    project.write(moved)
    project.up().check()
    project.assert_clean()
    with router.machine() as machine:
        names = {link.name for link in machine.kernel.links.values()}
        rules = machine.tables["nf_tables"].save()
    assert names == {"lo", "eth1", "eth2", "eth2.10", "eth2.21"}
    assert "eth2.20" not in rules
    project.destroy().check()


def test_a_foreign_link_of_a_wanted_name_is_a_conflict_and_stays(project: Project, router: FakeHost) -> None:
    with router.machine() as machine:
        machine.kernel.add("eth2.10", "vlan", machine.kernel.link("eth2").index, 10)
    before = router.dump()
    failed = project.up()
    assert failed.status != 0
    assert "router: there is already a link eth2.10, VLAN 10 on eth2, of somebody else" in failed.output
    assert "adopt: true" in failed.output
    assert "Traceback" not in failed.output
    project.destroy().check()
    assert router.dump() == before


def test_adoption_takes_a_link_over_as_it_runs(project: Project, router: FakeHost) -> None:
    with router.machine() as machine:
        index = machine.kernel.add("eth2.10", "vlan", machine.kernel.link("eth2").index, 10)
        machine.kernel.set(index, up=True)
    adopting = copy.deepcopy(TOPOLOGY)
    adopting["hosts"]["router"]["adopt"] = True
    project.write(adopting)
    said = project.up().check().output
    assert "router: adopted eth2.10" in said
    with router.machine() as machine:
        assert machine.kernel.link("eth2.10").index == index
    project.assert_clean()


def test_who_makes_the_links_at_boot_is_changed_in_place(project: Project, router: FakeHost) -> None:
    with router.machine() as machine:
        with_manager(machine, "systemd-networkd")
    bare = router.dump()
    project.up().check()
    with router.machine() as machine:
        index = machine.kernel.link("eth2.10").index
    managed = copy.deepcopy(TOPOLOGY)
    managed["hosts"]["router"]["persistence"] = "networkd"
    project.write(managed)
    project.up().check()
    project.assert_clean()
    whole = router.dump()
    with router.machine() as machine:
        assert machine.kernel.link("eth2.10").index == index
        assert machine.remove("/etc/systemd/network/05-macvlan-fabric-eth2.10.netdev")
    assert "eth2.10 would not come back like this after a reboot" in project.refresh().check().output
    project.up().check()
    assert router.dump() == whole
    project.destroy().check()
    assert router.dump() == bare


def test_what_others_have_configured_is_told_in_a_preview_and_can_be_adopted(
    project: Project, router: FakeHost
) -> None:
    with router.machine() as machine:
        machine.write("/etc/network/interfaces", b"auto eth2.10\niface eth2.10 inet manual\n")
    bare = router.dump()
    refused = project.preview()
    assert refused.status != 0
    assert "eth2.10 is already configured in /etc/network/interfaces:2" in refused.output
    adopting = copy.deepcopy(TOPOLOGY)
    adopting["hosts"]["router"]["adopt"] = True
    project.write(adopting)
    said = project.up().check().output
    assert "router: adopted /etc/network/interfaces:2, by which ifupdown makes eth2.10 at boot" in said
    project.assert_clean()
    project.write(TOPOLOGY)  # it is remembered
    project.up().check()
    project.assert_clean()
    project.destroy().check()
    assert router.dump() == bare


def test_two_stacks_share_a_host(
    project: Project, router: FakeHost, tmp_path: Path, on_fake_hosts: dict[str, str]
) -> None:
    """Neither sees the other as drift, and what both need stays until the last one goes."""
    bare = router.dump()
    project.up().check()
    alone = router.dump()
    other = Project(tmp_path / "other", on_fake_hosts, stack="other")
    other.write(
        {
            "hosts": {"router": {"trunk": "eth2"}},
            "networks": {
                "a": {"vlan": 30, "subnet": "172.16.30.0/24"},
                "b": {"vlan": 40, "subnet": "172.16.40.0/24"},
            },
            "gateway": {"host": "router", "nat": "routed", "allow": [["a", "b"]]},
        }
    )
    other.up().check()
    project.assert_clean()
    other.assert_clean()
    other.destroy().check()
    assert router.dump() == alone
    other.up().check()
    project.destroy().check()
    with router.machine() as machine:
        assert machine.kernel.sysctls["net/ipv4/ip_forward"] == "1"
    other.assert_clean()
    other.destroy().check()
    assert router.dump() == bare
    other.pulumi("stack", "rm", "--yes", "--force", "other")


def test_a_lost_state_is_recreated_over_the_living_fabric(project: Project, router: FakeHost) -> None:
    project.up().check()
    living = without_marks(router.dump())
    project.pulumi("stack", "rm", "--yes", "--force", "--preserve-config", project.stack).check()
    project.pulumi("stack", "init", project.stack).check()
    project.up().check()
    assert without_marks(router.dump()) == living
    project.assert_clean()


def test_a_preview_says_what_was_changed_by_hand_and_up_mends_it_without_a_refresh(
    project: Project, router: FakeHost
) -> None:
    project.up().check()
    whole = router.dump()
    project.preview("--expect-no-changes").check()
    for change, _ in KERNEL_CHANGES:
        with router.machine() as machine:
            change(machine)
    seen = project.preview().check().output
    told = [words if words != "eth2.20" else "eth2.20 is gone" for _, words in KERNEL_CHANGES]
    assert not [words for words in told if words not in seen], seen
    project.up().check()
    assert _without_indices(router.dump()) == _without_indices(whole)
    project.assert_clean()
