"""Addresses that must never change, because they are on running hosts, and small examples."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network

import pytest

from model.addresses import capacity_problem, plan_addresses, slices
from model.topology import Network
from tests.tutorial import TUTORIAL, container, host, network


def test_the_plan_of_a_file_stays_the_same_from_release_to_release() -> None:
    """Another choice than this would move every automatic address of every fabric in use."""
    topology = replace(
        TUTORIAL,
        containers=(*TUTORIAL.containers, *(container(f"web-{i}", "host1", "10") for i in (1, 2, 3))),
    )
    plan = plan_addresses(topology)
    assert [str(plan.addresses[f"web-{i}", "mac_net10"]) for i in (1, 2, 3)] == [
        "172.16.10.175",
        "172.16.10.170",
        "172.16.10.174",
    ]
    assert {name: str(own) for name, own in slices(topology, network(20)).items()} == {
        "router": "172.16.20.224/29",
        "host1": "172.16.20.168/29",
        "host2": "172.16.20.248/29",
    }


def test_replicas_may_be_added_in_front_of_others() -> None:
    few = (container("web-1", "host1", "10"), container("db", "host1", "10"), container("bus", "host1", "10"))
    more = (few[0], container("web-2", "host1", "10"), *few[1:])
    before = plan_addresses(replace(TUTORIAL, containers=few)).addresses
    after = plan_addresses(replace(TUTORIAL, containers=more)).addresses
    assert before.items() <= after.items()


def test_a_static_address_in_another_host_s_slice_is_kept_from_its_docker() -> None:
    topology = replace(
        TUTORIAL, containers=(container("here", "host1", "10"), container("there", "host2", "10.170"))
    )
    plan = plan_addresses(topology)
    assert plan.ranges["host1", "mac_net10"].aux_addresses == (("there", IPv4Address("172.16.10.170")),)
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
