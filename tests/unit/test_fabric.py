"""What the plan of a topology holds for each host."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Interface

from model.fabric import Fabric, HostPlan, SubInterface, plan
from model.topology import Gateway
from tests.tutorial import OWNER, TUTORIAL, container, host, network


def on(fabric: Fabric, name: str) -> HostPlan:
    return next(host_plan for host_plan in fabric.hosts if host_plan.host.name == name)


def test_the_tutorial_s_gateway_has_an_address_per_vlan_and_forwards() -> None:
    router = on(plan(TUTORIAL, OWNER), "router")
    assert router.links == (
        SubInterface("eth2.10", "eth2", 10, addresses=(IPv4Interface("172.16.10.1/24"),)),
        SubInterface("eth2.20", "eth2", 20, addresses=(IPv4Interface("172.16.20.1/24"),)),
    )
    assert router.sysctls == (("net.ipv4.ip_forward", "1"),)
    assert (router.networks, router.containers) == ((), ())


def test_the_tutorial_s_container_hosts_have_bare_sub_interfaces_and_a_docker_network_on_each() -> None:
    fabric = plan(TUTORIAL, OWNER)
    for name in ("host1", "host2"):
        host_plan = on(fabric, name)
        assert host_plan.links == (SubInterface("eth2.10", "eth2", 10), SubInterface("eth2.20", "eth2", 20))
        assert [(n.name, n.parent, str(n.gateway)) for n in host_plan.networks] == [
            ("mac_net10", "eth2.10", "172.16.10.1"),
            ("mac_net20", "eth2.20", "172.16.20.1"),
        ]
        assert (host_plan.sysctls, host_plan.firewall) == ((), None)
    assert [(e.container, e.host, e.network, str(e.address)) for e in fabric.endpoints] == [
        ("bbox1", "host1", "mac_net10", "172.16.10.10"),
        ("bbox2", "host1", "mac_net20", "172.16.20.10"),
        ("bbox3", "host2", "mac_net10", "172.16.10.11"),
        ("bbox4", "host2", "mac_net20", "172.16.20.11"),
    ]


def test_without_the_gateway_block_the_router_gets_nothing_and_the_others_stay_as_they_are() -> None:
    with_it, without = plan(TUTORIAL, OWNER), plan(replace(TUTORIAL, gateway=None), OWNER)
    assert on(without, "router") == HostPlan(TUTORIAL.host("router"))
    assert with_it.hosts[1:] == without.hosts[1:]


def test_automatic_addresses_are_filled_in() -> None:
    fabric = plan(replace(TUTORIAL, containers=(container("web", "host1", "10", "20"),)), OWNER)
    (web,) = on(fabric, "host1").containers
    assert [a.address for a in web.attachments] == [e.address for e in fabric.endpoints]
    assert None not in [a.address for a in web.attachments]


def test_a_gateway_with_containers_of_its_own_has_its_address_on_a_shim() -> None:
    topology = replace(TUTORIAL, containers=(*TUTORIAL.containers, container("local", "router", "10")))
    router = on(plan(topology, OWNER), "router")
    assert router.links == (
        SubInterface("eth2.10", "eth2", 10, settings=(("arp_ignore", "1"),)),
        SubInterface("eth2.10g", "eth2.10", None, addresses=(IPv4Interface("172.16.10.1/24"),)),
        SubInterface("eth2.20", "eth2", 20, addresses=(IPv4Interface("172.16.20.1/24"),)),
    )
    assert [n.parent for n in router.networks] == ["eth2.10"]
    assert router.firewall is not None
    matched = {rule.in_interface for rule in router.firewall.chains[1].rules} | {
        rule.out_interface for rule in router.firewall.chains[1].rules
    }
    assert matched == {"eth2.10g", "eth2.20", None}


def test_a_container_on_the_gateway_host_s_other_network_needs_no_shim() -> None:
    topology = replace(
        TUTORIAL,
        containers=(container("local", "router", "20"),),
        gateway=Gateway("router", ("mac_net10",)),
    )
    links = on(plan(topology, OWNER), "router").links
    assert [(link.name, len(link.addresses)) for link in links] == [("eth2.10", 1), ("eth2.20", 0)]


def test_a_routed_gateway_accepts_answers_of_containers_on_several_networks_by_either() -> None:
    containers = (*TUTORIAL.containers, container("both", "host1", "10", "20"))
    gateway = Gateway("router", ("mac_net10", "mac_net20"), nat="routed")
    for topology, loose in (
        (replace(TUTORIAL, containers=containers, gateway=gateway), True),
        (replace(TUTORIAL, containers=containers), False),
        (replace(TUTORIAL, gateway=gateway), False),
    ):
        links = on(plan(topology, OWNER), "router").links
        assert {link.settings for link in links} == {(("rp_filter", "2"),) if loose else ()}


def test_a_host_has_only_the_networks_it_runs_containers_on() -> None:
    topology = replace(
        TUTORIAL,
        hosts=(*TUTORIAL.hosts, host("spare")),
        networks=(*TUTORIAL.networks, network(30)),
        containers=(container("one", "host1", "30"), container("two", "host2", "10", "20")),
    )
    fabric = plan(topology, OWNER)
    assert [n.name for n in on(fabric, "host1").networks] == ["mac_net30"]
    assert [n.name for n in on(fabric, "host2").networks] == ["mac_net10", "mac_net20"]
    assert on(fabric, "spare") == HostPlan(host("spare"))


def test_mtu_reaches_links_and_docker_networks() -> None:
    topology = replace(TUTORIAL, networks=(replace(network(10), mtu=1400), network(20)))
    for host_plan in plan(topology, OWNER).hosts:
        assert [link.mtu for link in host_plan.links] == [1400, None]
    assert [n.mtu for n in on(plan(topology, OWNER), "host1").networks] == [1400, None]
