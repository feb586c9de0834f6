"""The essential promises on hosts with another Docker, iptables, systemd and Python: mixed, and all of them.

A lab of its own, because a host keeps its release as long as it has its disk.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from lab import DEFAULT_HOSTS, Lab
from tests.e2e.hostdump import assert_same, dump_all
from tests.e2e.test_tutorial import ADDRESS, Tutorial, tutorial_topology
from tests.project import ROOT, Project

pytestmark = [pytest.mark.e2e, pytest.mark.thorough]

NEWER = "forky"
STACKS = {"mixed": ("host2",), "all": DEFAULT_HOSTS}


@pytest.fixture(scope="module", params=STACKS)
def tutorial(
    request: pytest.FixtureRequest,
    engine_environment: dict[str, str],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Tutorial]:
    """The tutorial, up, where the hosts that the parameter names have the newer release."""
    lab = Lab(ROOT / ".lab" / request.param, release=dict.fromkeys(STACKS[request.param], NEWER))
    lab.reset()
    try:
        before = dump_all(lab)
        topology = tutorial_topology(lab)
        project = Project(tmp_path_factory.mktemp(request.param), engine_environment)
        project.write(topology)
        project.up().check()
        yield Tutorial(lab, project, topology, before, [])
        project.destroy()
    finally:
        lab.destroy()


def test_the_hosts_are_what_they_should_be(tutorial: Tutorial) -> None:
    versions = {
        host: tutorial.on(host, "docker version --format '{{.Server.Version}}'").partition(".")[0]
        for host in tutorial.lab.hosts
    }
    newer = {state.name for state in tutorial.lab.status() if state.release == NEWER}
    assert versions == {host: "28" if host in newer else "26" for host in tutorial.lab.hosts}


def test_every_pair_pings(tutorial: Tutorial) -> None:
    tutorial.assert_all_ping()


def test_frames_on_the_trunk_carry_their_vlan(tutorial: Tutorial) -> None:
    with tutorial.lab.capture() as capture:
        assert tutorial.pings("bbox1", "bbox4")
    assert {f.vlan for f in capture.stop() if f.protocol == 1} == {10, 20}


def test_outputs_are_what_docker_reports(tutorial: Tutorial) -> None:
    assert tutorial.project.outputs()["container_ips"] == ADDRESS


def test_a_second_up_changes_nothing(tutorial: Tutorial) -> None:
    before = dump_all(tutorial.lab)
    tutorial.project.up("--expect-no-changes").check()
    tutorial.project.assert_clean()
    assert_same(dump_all(tutorial.lab), before)


def test_a_container_removed_by_hand_is_seen_and_mended(tutorial: Tutorial) -> None:
    tutorial.on("host2", "docker rm -f bbox3")
    assert "bbox3" in tutorial.project.refresh().check().output
    tutorial.project.up().check()
    tutorial.assert_converged()


def test_a_rule_removed_by_hand_is_seen_and_mended(tutorial: Tutorial) -> None:
    tutorial.on("router", "iptables -D $(iptables -S | grep -om1 'MVF-[^ ]*-VLANS') 1")
    assert "lacks the rule" in tutorial.project.refresh().check().output
    tutorial.project.up().check()
    tutorial.assert_converged()


def test_everything_pings_after_a_reboot_of_all_hosts(tutorial: Tutorial) -> None:
    tutorial.lab.reboot(*tutorial.lab.hosts)
    tutorial.assert_all_ping()
    tutorial.project.assert_clean()


def test_destroy_leaves_the_hosts_as_before(tutorial: Tutorial) -> None:
    """The last one: it ends what the others share."""
    tutorial.project.destroy().check()
    assert_same(dump_all(tutorial.lab), tutorial.before)
