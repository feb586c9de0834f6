"""What the program takes from the state, and what it says of the addresses in it."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network
from typing import Any

from model.addresses import HostRange, Remembered
from model.fabric import plan
from model.topology import Topology
from resources.address_news import AT_MOST, address_news
from resources.memory import Memory
from resources.state import ADDRESSES, ATTACHMENTS, BOOT_UNIT, CONTAINER, NETWORK, Recorded, State
from tests.tutorial import TUTORIAL, container

AUTOMATIC = replace(TUTORIAL, containers=(container("a", "host1", "10"), container("b", "host2", "10")))


def boot(name: str, host: str, **more: Any) -> Recorded:
    return Recorded(BOOT_UNIT, name, {"host": host, "address": host, "owner": "p/s/1", **more})


def remembering(*resources: Recorded, **machines: str) -> Memory:
    return Memory("p/s/1", State(resources), machines)


def news(topology: Topology, memory: Memory) -> list[str]:
    return address_news(topology, plan(topology, "o", memory.remembered()), memory).splitlines()


def test_a_range_goes_by_the_present_key_of_its_machine() -> None:
    ipam = {"ipRange": "172.16.10.8/29", "auxAddress": {"b": "172.16.10.9"}}
    memory = remembering(
        boot("host1", "old"),
        Recorded(NETWORK, "mac_net10-host1", {"name": "mac_net10", "ipamConfigs": [ipam]}),
        app="host1",
    )
    given = HostRange(IPv4Network("172.16.10.8/29"), (("b", IPv4Address("172.16.10.9")),))
    assert memory.remembered() == Remembered({}, {("app", "mac_net10"): given})


def test_who_gets_keeps_and_gives_up_an_address() -> None:
    nothing = remembering()
    first = plan(AUTOMATIC, "o").endpoints
    assert news(AUTOMATIC, nothing) == [
        "addresses:",
        *(f"  {each.container} gets {each.address} on mac_net10" for each in first),
    ]
    holders = {"mac_net10": {"172.16.10.5": "a", "172.16.10.6": "gone"}}
    memory = remembering(
        boot("host1", "host1"), Recorded(ADDRESSES, "host1-addresses", {"holders": holders}), host1="host1"
    )
    b = next(e.address for e in plan(AUTOMATIC, "o", memory.remembered()).endpoints if e.container == "b")
    assert news(AUTOMATIC, memory) == [
        "addresses:",
        f"  b gets {b} on mac_net10",
        "  gone gives up 172.16.10.6 on mac_net10",
        "  1 of 2 are kept",
    ]
    moved = replace(AUTOMATIC, containers=(container("a", "host2", "10"),))
    assert "  a keeps 172.16.10.5 on mac_net10 and moves to host2" in news(moved, memory)
    fixed = replace(AUTOMATIC, containers=(container("a", "host1", "10.7"),))
    assert "  a gets 172.16.10.7 on mac_net10 and gives up 172.16.10.5" in news(fixed, memory)


def test_nothing_is_said_where_all_is_as_it_was() -> None:
    first = plan(AUTOMATIC, "o").endpoints
    holders = {"mac_net10": {str(each.address): each.container for each in first}}
    memory = remembering(
        Recorded(ADDRESSES, "host1-addresses", {"holders": {"mac_net10": holders["mac_net10"]}}),
        Recorded(ADDRESSES, "host2-addresses", {"holders": {"mac_net10": holders["mac_net10"]}}),
    )
    assert news(AUTOMATIC, memory) == []


def test_a_large_fabric_is_summed_up() -> None:
    many = replace(TUTORIAL, containers=tuple(container(f"c{i}", "host1", "10") for i in range(100)))
    said = news(many, remembering())
    assert len(said) == AT_MOST + 2
    assert said[-1] == "  and 70 more"


def test_a_container_on_a_lost_machine_gets_another_resource() -> None:
    holders = {"mac_net10": {"172.16.10.5": "a"}}
    resources = (
        boot("host1", "host1"),
        Recorded(ADDRESSES, "host1-addresses", {"holders": holders}),
        Recorded(CONTAINER, "a", {"name": "a"}),
    )
    living = remembering(*resources, host1="host1", host2="host2")
    assert living.container("a", "host2") == "a"
    assert living.container("new", "host2") == "new"
    losing = replace(living, lost=["host1"])
    assert losing.container("a", "host2") == "a@host2"
    later = remembering(Recorded(CONTAINER, "a@host2", {"name": "a"}), host2="host2", host3="host3")
    assert later.container("a", "host2") == "a@host2"
    assert later.container("a", "host3") == "a@host2"


def test_what_is_left_behind_is_known_by_its_machine() -> None:
    volumes = {"a": {"/data": "v1"}, "gone": {"/x": "v2"}}
    memory = remembering(
        boot("host1", "host1"),
        Recorded(ATTACHMENTS, "host1-attachments", {"volumes": volumes}),
        host1="host1",
    )
    assert memory.volumes("host1") == volumes
    assert list(memory.left_behind(AUTOMATIC)) == ["gone leaves its data of /x on host1: docker volume v2"]
    moved = replace(AUTOMATIC, containers=(container("a", "host2", "10"),))
    assert list(memory.left_behind(moved)) == [
        "a leaves its data of /data on host1: docker volume v1",
        "gone leaves its data of /x on host1: docker volume v2",
    ]


def test_a_seed_is_another_one_whenever_something_was_made_or_mended() -> None:
    from resources.state import _state

    def seed(**outputs: str) -> str:
        return _state([("urn:a", {"type": "x", "outputs": outputs}), ("urn:stack", {"type": "s"})]).seed

    one = seed(version="1", mark="m")
    assert one == seed(version="1", mark="m", address="elsewhere")
    assert len({one, seed(version="2", mark="m"), seed(version="1", mark="n"), seed()}) == 4
