"""Interfaces of running containers: missed, made again, called as before, and gone with their network."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from ipaddress import IPv4Address
from typing import Any, TypeVar

import pytest

from hosts.containers import attachment_differences, ensure_attached, ensure_on
from hosts.docker import read_containers
from hosts.errors import HostError
from hosts.fake import FakeHost, Machine
from hosts.fake.docker import Docker
from hosts.interfaces import take_off
from hosts.leftovers import make_way_for_network, vacate_network
from hosts.ownership import DOCKER_LABEL

T = TypeVar("T")
OWNER = "tutorial/dev"
LAN, DMZ = IPv4Address("10.0.1.10"), IPv4Address("10.0.2.10")
WANTED = {"web": {"lan": LAN, "dmz": DMZ}}


def do(work: Coroutine[Any, Any, T]) -> T:
    return asyncio.run(work)


def ask(machine: Machine, path: str, wish: object = None) -> None:
    assert machine.docker is not None
    status, said = machine.docker.answer("POST", path, wish, machine.kernel)
    assert status < 400, said


def add_link(machine: Machine, vlan: int) -> None:
    kernel = machine.kernel
    kernel.set(kernel.add(f"eth2.{vlan}", "vlan", kernel.link("eth2").index, vlan), up=True)


def add_network(machine: Machine, name: str, vlan: int) -> None:
    config = {"Subnet": f"10.0.{vlan}.0/24", "Gateway": f"10.0.{vlan}.1"}
    wish = {"Driver": "macvlan", "Options": {"parent": f"eth2.{vlan}"}, "IPAM": {"Config": [config]}}
    ask(machine, "/networks/create", wish | {"Name": name, "Labels": {DOCKER_LABEL: OWNER}})


@pytest.fixture
def machine() -> Machine:
    """With the container `web` on `lan` (VLAN 1) and `dmz` (VLAN 2)."""
    machine = Machine.bare()
    machine.docker = Docker.installed()
    for name, vlan in (("lan", 1), ("dmz", 2)):
        add_link(machine, vlan)
        add_network(machine, name, vlan)
    ask(machine, "/images/create?fromImage=busybox")
    places = {name: {"IPAMConfig": {"IPv4Address": str(address)}} for name, address in WANTED["web"].items()}
    labels = {DOCKER_LABEL: OWNER}
    wish = {"Image": "busybox", "Labels": labels, "NetworkingConfig": {"EndpointsConfig": places}}
    ask(machine, "/containers/create?name=web", wish)
    ask(machine, "/containers/web/start")
    return machine


def called(machine: Machine) -> dict[str, str]:
    """The interfaces of `web` that are there, by network."""
    assert machine.docker is not None
    (web,) = machine.docker.containers
    docker, kernel = machine.docker, machine.kernel
    return {
        network: docker.interfaces[place["EndpointID"]]
        for network, place in web["NetworkSettings"]["Networks"].items()
        if docker.sits_on.get(place["EndpointID"]) in kernel.links
    }


def test_nothing_is_missed_where_nothing_is_missing(machine: Machine) -> None:
    host = FakeHost("h", machine)
    assert do(attachment_differences(host, WANTED, OWNER)) == ()
    assert not do(ensure_attached(host, WANTED, OWNER))


@pytest.mark.parametrize("lost", [[1], [2], [1, 2]])
def test_an_interface_that_went_with_its_parent_is_made_again(machine: Machine, lost: list[int]) -> None:
    host, before = FakeHost("h", machine), called(machine)
    for vlan in lost:
        machine.kernel.delete(machine.kernel.link(f"eth2.{vlan}").index)
    names = ["lan" if vlan == 1 else "dmz" for vlan in lost]
    assert do(attachment_differences(host, WANTED, OWNER)) == tuple(
        f"web has lost its interface on {name}" for name in ("lan", "dmz") if name in names
    )
    for vlan in lost:
        add_link(machine, vlan)
    done = do(ensure_attached(host, WANTED, OWNER)).done
    assert {*done} == {f"made the interface of web on {name} again" for name in names}
    if len(lost) == 1:
        assert called(machine) == before
    assert {*called(machine).values()} == {"eth0", "eth1"}
    assert do(attachment_differences(host, WANTED, OWNER)) == ()


def test_a_network_that_is_made_anew_has_its_containers_by_the_same_interface(machine: Machine) -> None:
    host, before = FakeHost("h", machine), called(machine)
    assert do(vacate_network(host, "lan", OWNER)).done == ("took web off lan",)
    assert called(machine).keys() == {"dmz"}
    do(make_way_for_network(host, "lan", "eth2.1", [], OWNER))
    add_network(machine, "lan", 1)
    done = do(ensure_on(host, "lan", {"web": LAN, "gone": DMZ}, OWNER)).done
    assert done == ("put web on lan as 10.0.1.10",)
    assert called(machine) == before
    assert not do(ensure_on(host, "lan", {"web": LAN}, OWNER))
    # Docker knows it as eth2, and would leave it there
    (web,) = do(read_containers(host, ["web"]))
    do(take_off(host, web, "lan"))
    assert called(machine).keys() == {"dmz"}


def test_another_network_of_ours_makes_way_if_it_has_what_is_needed(machine: Machine) -> None:
    host = FakeHost("h", machine)
    done = do(make_way_for_network(host, "office", "eth2.1", [], OWNER)).done
    assert done == ("took web off lan", "removed docker network lan")
    assert not do(make_way_for_network(host, "office", "eth2.1", [], OWNER))
    assert called(machine).keys() == {"dmz"}


def test_what_cannot_be_put_right_is_said(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    host = FakeHost("h", machine)
    machine.kernel.delete(machine.kernel.link("eth2.1").index)
    add_link(machine, 1)
    assert machine.docker is not None
    run = machine.run

    def refusing(argv: list[str], stdin: bytes) -> tuple[int, str, str]:
        if argv[:2] == ["sh", "-ec"]:
            return 2, "", "RTNETLINK answers: Operation not supported\n"
        return run(argv, stdin)

    monkeypatch.setattr(machine, "run", refusing)
    with pytest.raises(HostError) as caught:
        do(ensure_attached(host, WANTED, OWNER))
    assert str(caught.value) == (
        "h: the interface of web on lan cannot be put right: RTNETLINK answers: Operation not supported\n"
        "  hint: restart the container, which has Docker make it anew: docker restart web"
    )
