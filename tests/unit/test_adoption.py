"""What a docker object of somebody else's must have in common with the plan's, and what stays as it is."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any

import pulumi
import pytest

from hosts.adoption import Adoption, wish_of
from hosts.errors import Unsupported
from hosts.fake import FakeHost, Machine
from hosts.fake.docker import Docker, place_on_network
from hosts.survey import Findings, survey
from model.fabric import HostPlan, plan
from model.secret import Secret
from model.topology import Topology
from resources.memory import Memory
from resources.preflight import Answers
from resources.state import BOOT_UNIT, Recorded, State
from tests.tutorial import OWNER, TUTORIAL

NETWORK10: dict[str, Any] = {
    "Id": "id-of-mac_net10",
    "Name": "mac_net10",
    "Driver": "macvlan",
    "Scope": "local",
    "Internal": False,
    "EnableIPv6": False,
    "Options": {"parent": "eth2.10"},
    "Labels": {},
    "IPAM": {
        "Driver": "default",
        "Config": [{"Subnet": "172.16.10.0/24", "IPRange": "172.16.10.172/30", "Gateway": "172.16.10.1"}],
    },
}
BBOX1: dict[str, Any] = {
    "Id": "id-of-bbox1",
    "Name": "/bbox1",
    "Config": {
        "Image": "busybox",
        "Cmd": ["sleep", "infinity"],
        "Env": ["PATH=/bin", "COLOUR=red", "TOKEN=geheim"],
        "Labels": {"role": "web", "other": "x"},
        "StopTimeout": 3,
    },
    "HostConfig": {"RestartPolicy": {"Name": "unless-stopped"}, "Sysctls": {"net.core.somaxconn": "1024"}},
    "NetworkSettings": {"Networks": {"mac_net10": place_on_network("172.16.10.10")}},
}


def host1(**changed: Any) -> HostPlan:
    """The tutorial's host1, which adopts, with one network and one container that is given some more."""
    wanted = plan(TUTORIAL, OWNER).hosts[1]
    bbox1 = replace(
        wanted.containers[0],
        command=("sleep", "infinity"),
        environment=(("COLOUR", "red"), ("TOKEN", Secret("geheim"))),
        labels=(("role", "web"),),
        stop_grace=3,
    )
    return replace(
        wanted,
        host=replace(wanted.host, adopt=True),
        networks=wanted.networks[:1],
        containers=(replace(bbox1, **changed),),
    )


def look(
    wanted: HostPlan,
    network: Mapping[str, Any],
    container: Mapping[str, Any],
    taken_over: Mapping[str, str] = MappingProxyType({}),
) -> Findings:
    machine = Machine.bare()
    machine.docker = Docker([dict(network)], [dict(container)])
    return asyncio.run(survey(FakeHost("host1", machine), wanted, OWNER, taken_over=taken_over))


def test_what_is_wholly_as_wanted_is_taken_over_and_nothing_is_kept() -> None:
    found = look(host1(), NETWORK10, BBOX1)
    assert found.problems == ()
    assert found.adoptions == (
        Adoption("network", "mac_net10", "id-of-mac_net10"),
        Adoption("container", "bbox1", "id-of-bbox1", wish=wish_of(host1().containers[0])),
    )


@pytest.mark.parametrize(
    ("changed", "clause"),
    [
        ({"Driver": "ipvlan"}, "its driver is ipvlan instead of macvlan"),
        ({"Scope": "swarm"}, "its scope is swarm instead of local"),
        ({"Internal": True}, "its access is internal instead of external"),
        ({"EnableIPv6": True}, "its IPv6 is on instead of off"),
        (
            {"Options": {"parent": "eth2.10", "macvlan_mode": "vepa"}},
            "its macvlan_mode is vepa instead of bridge",
        ),
        (
            {"Options": {"parent": "eth2.10", "com.docker.network.driver.mtu": "1400"}},
            "its MTU is 1400 instead of not set",
        ),
        (
            {"IPAM": {"Driver": "dhcp", "Config": NETWORK10["IPAM"]["Config"]}},
            "its IPAM driver is dhcp instead of default",
        ),
    ],
)
def test_a_network_on_which_a_promise_would_not_hold_is_not_taken_over(
    changed: dict[str, Any], clause: str
) -> None:
    found = look(host1(), NETWORK10 | changed, BBOX1)
    assert [str(problem) for problem in found.problems] == [
        "host1: there is already a docker network mac_net10 of somebody else, which cannot be adopted: "
        f"{clause}\n  hint: name the network otherwise, or remove it: docker network rm mac_net10"
    ]
    assert [each.kind for each in found.adoptions] == ["container"]


BOTH = (*host1().containers[0].attachments, replace(host1().containers[0].attachments[0], network="other"))
TWO_PLACES = {
    "Networks": {"mac_net10": place_on_network("172.16.10.10"), "other": place_on_network("172.16.10.10")}
}


@pytest.mark.parametrize(
    ("wanted", "changed", "clause"),
    [
        ({"image": "busybox:1.36"}, {}, "its image is busybox:latest instead of busybox:1.36"),
        (
            {"attachments": BOTH},
            {"NetworkSettings": TWO_PLACES},
            "its net.ipv4.conf.all.rp_filter is not set instead of 2",
        ),
        (
            {"image": "nginx", "restart": "always"},
            {},
            "its image is busybox:latest instead of nginx:latest, "
            "its restart policy is unless-stopped instead of always",
        ),
    ],
)
def test_a_container_with_which_a_promise_would_not_hold_is_not_taken_over(
    wanted: dict[str, Any], changed: dict[str, Any], clause: str
) -> None:
    found = look(host1(**wanted), NETWORK10, BBOX1 | changed)
    assert [str(problem) for problem in found.problems] == [
        f"host1: there is already a container bbox1 of somebody else, which cannot be adopted: {clause}"
        "\n  hint: name the container otherwise, or remove it: docker rm -f bbox1"
    ]
    assert [each.kind for each in found.adoptions] == ["network"]


@pytest.mark.parametrize(
    ("wanted", "clause", "way"),
    [
        (
            {"command": ("sh", "-c", "sleep 9")},
            "its command is sleep infinity instead of sh -c 'sleep 9'",
            "leave its `command` out of the topology",
        ),
        (
            {"command": ("sh",), "restart": "always"},
            "its restart policy is unless-stopped instead of always, "
            "its command is sleep infinity instead of sh",
            "give it the restart policy always (docker update --restart always bbox1) "
            "and leave its `command` out of the topology",
        ),
    ],
)
def test_what_can_be_brought_together_without_an_interruption_is_told(
    wanted: dict[str, Any], clause: str, way: str
) -> None:
    (problem,) = look(host1(**wanted), NETWORK10, BBOX1).problems
    assert str(problem) == (
        f"host1: there is already a container bbox1 of somebody else, which cannot be adopted: {clause}"
        f"\n  hint: {way}, or name the container otherwise, or remove it: docker rm -f bbox1"
    )


def test_a_container_on_several_networks_that_filters_loosely_is_taken_over() -> None:
    loose = {"RestartPolicy": {"Name": "unless-stopped"}, "Sysctls": {"net.ipv4.conf.all.rp_filter": "2"}}
    changed = {"NetworkSettings": TWO_PLACES, "HostConfig": loose}
    assert look(host1(attachments=BOTH), NETWORK10, BBOX1 | changed).problems == ()


def test_without_a_command_in_the_file_the_images_own_counts() -> None:
    assert look(host1(command=()), NETWORK10, BBOX1).problems == ()


def test_a_container_whose_restart_policy_nobody_has_named_has_none() -> None:
    unnamed = BBOX1 | {"HostConfig": {"RestartPolicy": {"Name": ""}}}
    assert look(host1(restart="no"), NETWORK10, unnamed).problems == ()


def test_what_no_promise_rests_on_is_kept_and_named_without_values() -> None:
    wanted = host1(
        environment=(("COLOUR", "blue"), ("NEW", "1"), ("TOKEN", Secret("strenggeheim"))),
        labels=(("role", "db"),),
        stop_grace=10,
    )
    ranges = [NETWORK10["IPAM"]["Config"][0] | {"IPRange": "172.16.10.64/26"}]
    network = NETWORK10 | {"IPAM": {"Driver": "default", "Config": ranges}}
    found = look(wanted, network, BBOX1)
    assert found.problems == ()
    assert [each.kept for each in found.adoptions] == [
        ("its range for addresses that Docker chooses is 172.16.10.64/26 instead of 172.16.10.172/30",),
        (
            "its environment is another one in COLOUR, NEW, TOKEN",
            "its labels are others in role",
            "its stop grace is 3 s instead of 10 s",
        ),
    ]
    assert "geheim" not in repr(found)


# What was taken over is never in the way again.


def test_what_an_earlier_release_took_over_stays_whatever_is_compared_now() -> None:
    before = {"id-of-mac_net10": "", "id-of-bbox1": ""}
    private = NETWORK10 | {"Options": {"parent": "eth2.10", "macvlan_mode": "private"}}
    wanted = host1(restart="always", command=("top",))
    found = look(replace(wanted, host=replace(wanted.host, adopt=False)), private, BBOX1, before)
    assert found.problems == ()
    assert [each.kept[0] for each in found.adoptions] == [
        "its macvlan_mode is private instead of bridge",
        "its restart policy is unless-stopped instead of always",
    ]
    assert found.adoptions[1].wish == wish_of(wanted.containers[0])


def test_a_container_that_was_taken_over_becomes_ours_when_the_file_says_something_else_of_it() -> None:
    wanted = host1()
    before = {"id-of-mac_net10": "", "id-of-bbox1": wish_of(wanted.containers[0])}
    kept = look(wanted, NETWORK10, BBOX1, before)
    assert [each.name for each in kept.adoptions] == ["mac_net10", "bbox1"]
    changed = look(host1(image="busybox:2"), NETWORK10, BBOX1, before)
    assert changed.problems == ()
    assert [each.name for each in changed.adoptions] == ["mac_net10"]
    assert changed.news == (
        "the docker container bbox1, which was taken over, becomes ours: it is made anew",
    )


def test_no_secret_is_in_the_digest_of_a_wish() -> None:
    one, other = (host1(environment=(("TOKEN", Secret(value)),)).containers[0] for value in ("a", "b"))
    assert wish_of(one) == wish_of(other)


# What a preview says of it.

FINDINGS = Findings(
    adoptions=(
        Adoption("network", "mac_net10", "1", ("its range for addresses that Docker chooses is x",)),
        Adoption("container", "bbox1", "2", ("its labels are others in role", "its x is y")),
        Adoption("container", "bbox2", "3"),
    ),
    news=("the link eth2.10 of somebody else is taken over as it runs",),
)
KNOWING = Memory(
    "o",
    State(
        (
            Recorded(
                BOOT_UNIT,
                "host1",
                {
                    "host": "host1",
                    "address": "host1",
                    "adopted": {"1": "network mac_net10", "2": "container bbox1", "3": "container bbox2"},
                },
            ),
        )
    ),
)


def told(monkeypatch: pytest.MonkeyPatch, answers: Answers, memory: Memory) -> list[str]:
    said: list[str] = []
    monkeypatch.setattr(pulumi.log, "info", lambda text: said.append(f"info {text}"))
    monkeypatch.setattr(pulumi.log, "warn", lambda text: said.append(f"warn {text}"))
    nothing = Topology((), (), ())
    answers.tell(memory, nothing, plan(nothing, "o"))
    return said


def test_what_is_taken_over_is_told_before_it_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    late = Unsupported("host2", "Docker's daemon does not run", "start it")
    assert told(monkeypatch, Answers((), {"host1": FINDINGS}, (late,)), Memory("o")) == [
        "warn host2: Docker's daemon does not run\n  hint: start it",
        "info host1: the link eth2.10 of somebody else is taken over as it runs",
        "info host1: the docker network mac_net10 of somebody else is taken over as it runs; "
        "kept as it is: its range for addresses that Docker chooses is x",
        "info host1: the docker container bbox1 of somebody else is taken over as it runs; "
        "kept as it is: its labels are others in role, its x is y",
        "info host1: the docker container bbox2 of somebody else is taken over as it runs",
    ]


def test_later_only_what_the_file_says_otherwise_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    found = replace(FINDINGS, news=())
    assert told(monkeypatch, Answers((), {"host1": found}, ()), KNOWING) == [
        "info host1: the docker container bbox1 was taken over and is kept as it is: "
        "its labels are others in role, its x is y",
    ]
