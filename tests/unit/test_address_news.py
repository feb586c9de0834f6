"""What a preview warns of: automatic addresses that a Docker may hand out to somebody else."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network

from model.addresses import HostRange, Remembered
from model.fabric import plan
from model.topology import Container
from resources.address_news import exposed
from tests.tutorial import OWNER, TUTORIAL, container

RANGE = HostRange(IPv4Network("172.16.10.168/29"), (("kept-out", IPv4Address("172.16.10.175")),))
WHOLE_SLICE = {("host1", "mac_net10"): RANGE}  # as earlier releases gave it


def warnings(*containers: Container, **addresses: str) -> list[str]:
    """With these in the file, and these addresses remembered."""
    topology = replace(TUTORIAL, containers=containers)
    had = {(name, "mac_net10"): IPv4Address(address) for name, address in addresses.items()}
    return exposed(topology, plan(topology, OWNER, Remembered(had, WHOLE_SLICE)))


def test_new_addresses_are_nothing_to_warn_of() -> None:
    topology = replace(
        TUTORIAL, containers=tuple(container(f"c{i}", f"host{i % 2 + 1}", "10") for i in range(90))
    )
    assert not exposed(topology, plan(topology, OWNER))
    assert not warnings(container("new", "host1", "10"), container("other", "host2", "10"))


def test_static_addresses_are_nobody_s_choice_but_the_user_s() -> None:
    assert not warnings(container("c", "host1", "10.170"))


def test_addresses_that_their_own_host_s_docker_may_hand_out_are_one_line() -> None:
    said = warnings(
        container("a", "host1", "10"), container("b", "host1", "10"), a="172.16.10.170", b="172.16.10.171"
    )
    assert said == [
        "automatic addresses that their host's Docker may hand out to somebody else while their containers "
        "are stopped: 2, such as 172.16.10.170 of a on mac_net10; an `address` in the lower half of the "
        "subnet is out of its reach"
    ]


def test_an_address_that_another_host_s_docker_may_hand_out_is_named() -> None:
    """Its container moved away. What is kept out of a range is not handed out."""
    anchor, web = container("anchor", "host1", "10.10"), container("web", "host2", "10")
    assert warnings(anchor, web, web="172.16.10.170") == [
        "web has 172.16.10.170 on mac_net10, which host1's Docker may hand out to somebody else; "
        "an `address` in 172.16.10.0/25 is out of its reach"
    ]
    assert not warnings(anchor, web, web="172.16.10.175")
    assert not warnings(web, web="172.16.10.170")  # host1 has no such docker network any more


def test_of_many_a_few_are_named() -> None:
    anchor = container("anchor", "host1", "10.10")
    moved = [container(f"c{i}", "host2", "10") for i in range(7)]
    said = warnings(anchor, *moved, **{f"c{i}": f"172.16.10.{168 + i}" for i in range(7)})
    assert [line.split()[0] for line in said[:5]] == [f"c{i}" for i in range(5)]
    assert said[5:] == ["and 2 more"]
