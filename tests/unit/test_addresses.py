"""Addresses that must never change, because they are on running hosts, and small examples."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network

import pytest

from model.addresses import HostRange, Remembered, capacity_problem, plan_addresses, slices
from model.topology import Network
from tests.tutorial import TUTORIAL, container, host, network


def test_the_plan_of_a_file_stays_the_same_from_release_to_release() -> None:
    """With another choice than this, what a state has forgotten would not be given again."""
    topology = replace(
        TUTORIAL,
        containers=(*TUTORIAL.containers, *(container(f"web-{i}", "host1", "10") for i in (1, 2, 3))),
    )
    plan = plan_addresses(topology)
    assert [str(plan.addresses[f"web-{i}", "mac_net10"]) for i in (1, 2, 3)] == [
        "172.16.10.171",
        "172.16.10.170",
        "172.16.10.169",
    ]
    assert str(plan.ranges["host1", "mac_net10"].ip_range) == "172.16.10.172/30"
    assert {name: str(own) for name, own in slices(topology, network(20)).items()} == {
        "router": "172.16.20.224/29",
        "host1": "172.16.20.168/29",
        "host2": "172.16.20.248/29",
    }


def test_the_range_of_an_earlier_release_stays_and_new_addresses_keep_out_of_it() -> None:
    """It is a whole slice, which the automatic addresses were in, too."""
    old = HostRange(IPv4Network("172.16.10.168/29"), ())
    before = {("web-1", "mac_net10"): IPv4Address("172.16.10.175")}
    topology = replace(TUTORIAL, containers=tuple(container(f"web-{i}", "host1", "10") for i in (1, 2)))
    plan = plan_addresses(topology, Remembered(before, {("host1", "mac_net10"): old}))
    assert plan.ranges["host1", "mac_net10"] == old
    assert plan.addresses["web-1", "mac_net10"] == IPv4Address("172.16.10.175")
    assert plan.addresses["web-2", "mac_net10"] in IPv4Network("172.16.10.0/25")


def test_a_host_that_is_new_beside_others_prefers_its_own_part_with_a_memory_too() -> None:
    first = replace(TUTORIAL, containers=(container("one", "host1", "10"),))
    plan = plan_addresses(first)
    second = replace(TUTORIAL, containers=(*first.containers, container("two", "host2", "10")))
    assert plan_addresses(second, Remembered(plan.addresses, plan.ranges)) == plan_addresses(second)
    assert plan_addresses(second).addresses["two", "mac_net10"] in IPv4Network("172.16.10.248/30")


@pytest.mark.parametrize("last", [4, 5])
def test_a_part_that_is_the_gateway_alone_is_for_no_docker(last: int) -> None:
    """It is the range of those who have no slice; a slice of a /29 has two addresses."""
    subnet = IPv4Network("10.0.0.0/29")
    small = Network("mac_net10", 10, subnet, subnet[last])
    topology = replace(TUTORIAL, hosts=(host("lower"),), networks=(small,))
    topology = replace(topology, containers=(container("c", "lower", "10"),))
    assert slices(topology, small) == {"lower": IPv4Network("10.0.0.4/31")}
    (range_,) = plan_addresses(topology).ranges.values()
    assert range_.ip_range == IPv4Network(f"10.0.0.{9 - last}/32")


def test_replicas_may_be_added_in_front_of_others() -> None:
    few = (container("web-1", "host1", "10"), container("db", "host1", "10"), container("bus", "host1", "10"))
    more = (few[0], container("web-2", "host1", "10"), *few[1:])
    before = plan_addresses(replace(TUTORIAL, containers=few)).addresses
    after = plan_addresses(replace(TUTORIAL, containers=more)).addresses
    assert before.items() <= after.items()


def test_a_static_address_in_what_another_host_s_docker_hands_out_is_kept_from_it() -> None:
    topology = replace(
        TUTORIAL, containers=(container("here", "host1", "10"), container("there", "host2", "10.173"))
    )
    plan = plan_addresses(topology)
    assert plan.ranges["host1", "mac_net10"].aux_addresses == (("there", IPv4Address("172.16.10.173")),)
    assert plan.ranges["host2", "mac_net10"].aux_addresses == ()


def test_a_host_without_a_slice_lets_docker_choose_nothing() -> None:
    hosts = tuple(host(f"host{i}") for i in range(20))
    topology = replace(
        TUTORIAL, hosts=hosts, containers=tuple(container(f"c{i}", f"host{i}", "10") for i in range(20))
    )
    plan = plan_addresses(topology)
    without = [h.name for h in hosts if h.name not in slices(topology, network(10))]
    assert len(without) == 4
    for name in without:
        assert plan.ranges[name, "mac_net10"].ip_range == IPv4Network("172.16.10.1/32")
    lower = IPv4Network("172.16.10.0/25")
    assert all(plan.addresses[f"c{name.removeprefix('host')}", "mac_net10"] in lower for name in without)


@pytest.mark.parametrize(("length", "most"), [(30, 1), (29, 5), (24, 253)])
def test_capacity_leaves_out_network_broadcast_and_gateway(length: int, most: int) -> None:
    subnet = IPv4Network(("10.0.0.0", length))
    small = Network("small", 7, subnet, subnet[1])
    assert capacity_problem(small, most) is None
    assert capacity_problem(small, most + 1) == (
        f"{most + 1} containers are on small, but 10.0.0.0/{length} has addresses for {most} "
        "besides its gateway"
    )
