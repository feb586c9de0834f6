"""Docker objects of ours: which make way, which are put right, and which are nobody's business of ours."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from ipaddress import IPv4Address
from typing import Any, TypeVar

import pytest

from hosts.containers import attachment_differences, ensure_attached, ensure_detached, read_reported
from hosts.errors import ConflictError, HostError, Unsupported
from hosts.fake import FakeHost, Machine
from hosts.fake.docker import Docker, place_on_network
from hosts.leftovers import (
    make_way_for_network,
    remove_adopted_containers,
    remove_docker_objects,
    remove_leftover_container,
)
from hosts.ownership import DOCKER_LABEL

T = TypeVar("T")
OURS, THEIRS = "tutorial/dev", "tutorial/prod"
ONE, TWO = IPv4Address("10.0.0.1"), IPv4Address("10.0.0.2")


def network(name: str, owner: str | None = OURS) -> dict[str, Any]:
    return {"Id": f"id-{name}", "Name": name, "Labels": {DOCKER_LABEL: owner} if owner else {}, "IPAM": {}}


def container(name: str, owner: str | None = OURS, **addresses: str) -> dict[str, Any]:
    return {
        "Id": f"id-{name}",
        "Name": f"/{name}",
        "Config": {"Image": "x", "Labels": {DOCKER_LABEL: owner} if owner else {}},
        "NetworkSettings": {"Networks": {net: place_on_network(addr) for net, addr in addresses.items()}},
    }


def host(*things: dict[str, Any]) -> FakeHost:
    machine = Machine.bare()
    machine.docker = Docker(
        [thing for thing in things if "IPAM" in thing], [thing for thing in things if "Config" in thing]
    )
    return FakeHost("h", machine)


def names(there: FakeHost) -> list[str]:
    with there.machine() as machine:
        assert machine.docker is not None
        return [thing["Name"] for thing in (*machine.docker.networks, *machine.docker.containers)]


def do(work: Coroutine[Any, Any, T]) -> T:
    return asyncio.run(work)


def test_a_leftover_container_makes_way() -> None:
    there = host(container("web"), container("db"))
    assert do(remove_leftover_container(there, "web", OURS)).done == ("removed container web",)
    assert names(there) == ["/db"]
    assert not do(remove_leftover_container(there, "web", OURS))


def test_a_leftover_network_makes_way_and_our_containers_go_on_running() -> None:
    there = host(network("red"), container("web", red="10.0.0.1"), container("db"))
    done = do(make_way_for_network(there, "red", None, [], OURS)).done
    assert done == ("took web off red", "removed docker network red")
    assert names(there) == ["/web", "/db"]


@pytest.mark.parametrize("owner", [None, THEIRS])
def test_what_is_not_ours_does_not_make_way(owner: str | None) -> None:
    there = host(network("red", owner), container("web", owner))
    with pytest.raises(ConflictError, match="already a container web of"):
        do(remove_leftover_container(there, "web", OURS))
    with pytest.raises(ConflictError, match="already a docker network red of"):
        do(make_way_for_network(there, "red", None, [], OURS))
    assert names(there) == ["red", "/web"]


def test_a_network_that_others_use_is_a_conflict_that_names_them() -> None:
    there = host(network("red"), container("web", None, red="10.0.0.1"))
    with pytest.raises(
        ConflictError, match=r"red cannot be removed: container web of somebody else is on it"
    ):
        do(make_way_for_network(there, "red", None, [], OURS))
    with pytest.raises(ConflictError, match="docker network disconnect red web"):
        do(remove_docker_objects(there, OURS))
    assert names(there) == ["red", "/web"]


def test_leaving_takes_all_of_ours_and_what_was_adopted() -> None:
    there = host(
        network("red"),
        network("hand-made", None),
        network("theirs", None),
        container("web", red="10.0.0.1"),
        container("old", None, **{"hand-made": "10.0.1.1"}),
        container("other", THEIRS, theirs="10.0.2.1"),
    )
    do(remove_docker_objects(there, OURS, {"id-hand-made", "id-old"}))
    assert names(there) == ["theirs", "/other"]


def test_an_adopted_container_that_is_not_wanted_any_more_goes() -> None:
    there = host(container("old", None), container("other", None))
    assert do(remove_adopted_containers(there, ["id-old", "id-gone"])).done == ("removed container old",)
    assert names(there) == ["/other"]


def test_a_daemon_that_is_down_matters_only_where_something_is_expected() -> None:
    there = host()
    with there.machine() as machine:
        machine.docker = Docker(running=False)
    assert not do(remove_docker_objects(there, OURS, expected=False))
    with pytest.raises(Unsupported, match="systemctl start docker"):
        do(remove_docker_objects(there, OURS))
    with pytest.raises(Unsupported, match="no program docker"):
        do(remove_docker_objects(FakeHost("bare", Machine.bare()), OURS))


def test_drift_of_places_is_said_in_words() -> None:
    there = host(
        network("red"),
        network("green"),
        container("web", green="10.0.1.1", red="10.0.0.9"),
        container("db"),
        container("other", None),
    )
    wanted = {"web": {"red": ONE}, "db": {"red": TWO}, "gone": {"red": ONE}, "other": {"red": ONE}}
    assert do(attachment_differences(there, wanted, OURS)) == (
        "web has 10.0.0.9 on red instead of 10.0.0.1",
        "web is also on green",
        "db is not on red",
        "gone is not there",
        "other is not there",
    )
    do(ensure_attached(there, {"web": {"red": ONE}, "db": {"red": TWO}}, OURS))
    assert do(attachment_differences(there, {"web": {"red": ONE}, "db": {"red": TWO}}, OURS)) == ()
    assert do(read_reported(there, ["web", "db"], OURS))[0] == {
        "web": {"red": "10.0.0.1"},
        "db": {"red": "10.0.0.2"},
    }


def test_a_container_that_does_not_run_has_no_address_to_report() -> None:
    stopped = container("web", red="10.0.0.1")
    stopped["NetworkSettings"]["Networks"]["red"]["IPAddress"] = ""
    stopped["State"], stopped["HostConfig"] = {"Status": "exited"}, {"RestartPolicy": {"Name": "always"}}
    there = host(network("red"), stopped)
    assert do(attachment_differences(there, {"web": {"red": ONE}}, OURS)) == ("web does not run",)
    assert do(read_reported(there, ["web"], OURS))[0] == {"web": {"red": ""}}


def test_containers_that_exchanged_their_addresses_get_them_back() -> None:
    there = host(network("red"), container("web", red="10.0.0.2"), container("db", red="10.0.0.1"))
    wanted = {"web": {"red": ONE}, "db": {"red": TWO}}
    assert len(do(ensure_attached(there, wanted, OURS)).done) == 4
    assert do(ensure_attached(there, wanted, OURS)).done == ()


def test_detaching_concerns_only_ours() -> None:
    there = host(network("red"), container("web", red="10.0.0.1"), container("other", None, red="10.0.0.2"))
    assert do(ensure_detached(there, "web", "red", OURS)).done == ("took web off red",)
    assert not do(ensure_detached(there, "web", "red", OURS))
    assert not do(ensure_detached(there, "other", "red", OURS))


@pytest.mark.parametrize(
    ("heard", "complaint"),
    [
        (b"", "makes no sense"),
        (b"HTTP/1.0 200 OK\r\nContent-Length: 9\r\n\r\n[", "makes no sense"),
        (b"HTTP/1.0 200 OK\r\n\r\nnot JSON", "makes no sense"),
        (b"SSH-2.0-x\r\n", "makes no sense"),
        (b'HTTP/1.0 500 x\r\n\r\n{"message":"disk full"}', "does not say what it has .*: disk full"),
        (b"HTTP/1.0 502 x\r\n\r\n", "does not say what it has .*: status 502"),
    ],
)
def test_a_daemon_that_talks_nonsense_is_an_error(
    monkeypatch: pytest.MonkeyPatch, heard: bytes, complaint: str
) -> None:
    monkeypatch.setattr(Docker, "exchange", lambda *_: heard)
    with pytest.raises(HostError, match=complaint):
        do(make_way_for_network(host(), "red", None, [], OURS))


def test_the_daemons_own_words_say_why_it_refuses() -> None:
    there = host(network("red"), container("web"), container("db", red="10.0.0.1"))
    with pytest.raises(
        HostError, match=r"h: Docker refuses to put web on red as 10\.0\.0\.1: Address already"
    ):
        do(ensure_attached(there, {"web": {"red": ONE}}, OURS))


def test_a_name_is_not_how_an_id_begins(monkeypatch: pytest.MonkeyPatch) -> None:
    """Docker takes the beginning of an id for the name of the object, where nothing has that name."""
    monkeypatch.setattr(Docker, "_container", lambda self, _name: self.containers[0])
    assert not do(remove_leftover_container(host(container("web")), "id", OURS))


@pytest.mark.parametrize(
    ("status", "restart", "started"),
    [
        ("exited", "unless-stopped", True),
        ("created", "always", True),
        ("exited", "no", False),  # a job that has ended
        ("exited", "on-failure", False),
        ("paused", "always", False),  # somebody is looking at it
        ("restarting", "always", False),
    ],
)
def test_what_should_run_is_started_and_a_job_that_has_ended_is_not(
    status: str, restart: str, started: bool
) -> None:
    stopped = container("web", red="10.0.0.1")
    stopped["State"], stopped["HostConfig"] = {"Status": status}, {"RestartPolicy": {"Name": restart}}
    there = host(network("red"), stopped)
    said = ("web does not run",) if started else ()
    assert do(attachment_differences(there, {"web": {"red": ONE}}, OURS)) == said
    assert do(ensure_attached(there, {"web": {"red": ONE}}, OURS)).done == (
        ("started web",) if started else ()
    )
    assert do(attachment_differences(there, {"web": {"red": ONE}}, OURS)) == ()
