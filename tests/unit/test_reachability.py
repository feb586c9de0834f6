"""What is said of known fabrics, word by word."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address

import pytest

from model.errors import Place
from model.fabric import Fabric, plan
from model.firewall import chain_name
from model.reachability import check_expectations, predictions, report
from model.reachability.walk import Probe, Verdict, walk
from model.reachability.wire import Wire
from model.topology import Allow, Expectation, Gateway, NatMode, Ports, Protocol, Topology, Traffic
from tests.tutorial import OWNER, TUTORIAL, container, network

VLANS = chain_name(OWNER, "VLANS")
PING = Probe("icmp")
WITHOUT_GATEWAY = replace(TUTORIAL, gateway=None)


def allowing(topology: Topology, *allow: Allow, nat: NatMode = "routed") -> Topology:
    """The topology with a gateway on all of its networks and that policy."""
    return replace(
        topology, gateway=Gateway("router", tuple(n.name for n in topology.networks), nat, tuple(allow))
    )


def asked(topology: Topology, source: str, target: str, probe: Probe = PING) -> Verdict:
    """What becomes of it; `target` is a container, or container@network."""
    wire = Wire(plan(topology, OWNER))
    name, _, on = target.partition("@")
    station = wire.stations[name]
    return walk(wire, wire.stations[source], station, station.home_on(on) if on else station.default, probe)


def on_several_networks(*allow: Allow, nat: NatMode = "routed") -> Topology:
    """`both` is on 10 (its default network) and 20, `one` on 10, `far` on 30."""
    topology = replace(
        TUTORIAL,
        networks=(network(10), network(20), network(30)),
        containers=(
            container("both", "host1", "20.5", "10.5"),
            container("one", "host2", "10.6"),
            container("far", "host2", "30.7"),
        ),
    )
    return allowing(topology, *allow, nat=nat)


def test_the_tutorial_s_pings() -> None:
    with_it = report(TUTORIAL, plan(TUTORIAL, OWNER))
    assert with_it.matrix == {
        "mac_net10": {"mac_net10": "L2", "mac_net20": "gateway"},
        "mac_net20": {"mac_net10": "gateway", "mac_net20": "L2"},
    }
    assert with_it.exceptions == {}
    assert with_it.paths == {
        "mac_net10 -> mac_net10": "bbox1 172.16.10.10 -> mac_net10 -> bbox3 172.16.10.11",
        "mac_net10 -> mac_net20": "bbox1 172.16.10.10 -> 172.16.10.1 router eth2.10 => eth2.20 "
        "(masquerade to 172.16.20.1) -> bbox2 172.16.20.10",
        "mac_net20 -> mac_net10": "bbox2 172.16.20.10 -> 172.16.20.1 router eth2.20 => eth2.10 "
        "(masquerade to 172.16.10.1) -> bbox1 172.16.10.10",
        "mac_net20 -> mac_net20": "bbox2 172.16.20.10 -> mac_net20 -> bbox4 172.16.20.11",
    }
    without = report(WITHOUT_GATEWAY, plan(WITHOUT_GATEWAY, OWNER))
    assert without.matrix == {
        "mac_net10": {"mac_net10": "L2", "mac_net20": "blocked"},
        "mac_net20": {"mac_net10": "blocked", "mac_net20": "L2"},
    }
    assert list(without.paths) == ["mac_net10 -> mac_net10", "mac_net20 -> mac_net20"]


def test_the_tutorial_s_way_from_bbox1_to_bbox4() -> None:
    verdict = asked(TUTORIAL, "bbox1", "bbox4")
    assert verdict.reaches
    assert verdict.layer == 3
    assert verdict.seen_as == IPv4Address("172.16.20.1")
    assert verdict.forward is not None
    assert [(at.chain, at.position) for at in verdict.forward.rules] == [
        (chain_name(OWNER, "FORWARD"), 1),
        (VLANS, 3),
    ]
    assert verdict.answer is not None
    assert [(at.chain, at.position) for at in verdict.answer.rules] == [
        (chain_name(OWNER, "FORWARD"), 2),
        (VLANS, 2),
    ]


@pytest.mark.parametrize(
    ("topology", "text"),
    [
        (WITHOUT_GATEWAY, "nobody has 172.16.10.1, the gateway of mac_net10"),
        (
            replace(TUTORIAL, gateway=Gateway("router", ("mac_net20",))),
            "nobody has 172.16.10.1, the gateway of mac_net10",
        ),
        (
            replace(TUTORIAL, gateway=Gateway("router", ("mac_net10",))),
            "router has no address on mac_net20 and so no route to it",
        ),
        (allowing(TUTORIAL), f"router drops it: rule 2 of {VLANS} (-o eth2.20 -j DROP)"),
    ],
)
def test_what_is_in_the_way_is_named(topology: Topology, text: str) -> None:
    assert str(asked(topology, "bbox1", "bbox4")) == f"bbox1 172.16.10.10 -x-> bbox4 172.16.20.11: {text}"


def test_routed_keeps_the_source_address() -> None:
    verdict = asked(allowing(TUTORIAL, Allow("mac_net10", "mac_net20")), "bbox1", "bbox4")
    assert verdict.seen_as == IPv4Address("172.16.10.10")
    assert str(verdict) == (
        "bbox1 172.16.10.10 -> 172.16.10.1 router eth2.10 => eth2.20 -> bbox4 172.16.20.11"
    )


def test_containers_on_the_gateway_host_go_through_its_shim() -> None:
    topology = replace(TUTORIAL, containers=(*TUTORIAL.containers, container("local", "router", "10.9")))
    assert str(asked(topology, "local", "bbox4")) == (
        "local 172.16.10.9 -> 172.16.10.1 router eth2.10g => eth2.20 (masquerade to 172.16.20.1) "
        "-> bbox4 172.16.20.11"
    )
    assert asked(topology, "bbox2", "local").reaches


def without_links_settings(fabric: Fabric) -> Fabric:
    return replace(
        fabric,
        hosts=tuple(
            replace(h, links=tuple(replace(link, settings=()) for link in h.links)) for h in fabric.hosts
        ),
    )


def test_a_plan_that_lacks_what_the_kernel_needs_is_found_out() -> None:
    """The walk believes the plan alone: take a setting away, and what needed it does not work."""
    shim = replace(TUTORIAL, containers=(*TUTORIAL.containers, container("local", "router", "10.9")))
    asymmetric = on_several_networks(Allow("far", "both", both=False))
    for topology, source, target, on in (
        (shim, "bbox1", "bbox4", "mac_net20"),
        (asymmetric, "far", "both", "mac_net20"),
    ):
        fabric = plan(topology, OWNER)
        for whole, works in ((fabric, True), (without_links_settings(fabric), False)):
            wire = Wire(whole)
            home = wire.stations[target].home_on(on)
            verdict = walk(wire, wire.stations[source], wire.stations[target], home, Probe("icmp"))
            assert verdict.reaches is works


def test_on_a_network_of_its_own_a_container_asks_directly() -> None:
    topology = on_several_networks()
    assert str(asked(topology, "both", "one")) == "both 172.16.10.5 -> mac_net10 -> one 172.16.10.6"
    assert asked(topology, "one", "both@mac_net10").layer == 2


def test_elsewhere_it_asks_from_its_default_network_whatever_the_policy_of_the_other() -> None:
    by_20 = on_several_networks(Allow("mac_net20", "mac_net30"))
    assert asked(by_20, "both", "far").obstacle.startswith("router drops it")
    by_10 = on_several_networks(Allow("mac_net10", "mac_net30"))
    assert str(asked(by_10, "both", "far")).startswith("both 172.16.10.5 -> 172.16.10.1 router")


def test_it_answers_by_its_default_network_where_the_source_is_kept() -> None:
    topology = on_several_networks(Allow("far", "both", both=False))
    for protocol in ("icmp", "tcp", "udp"):
        verdict = asked(topology, "far", "both@mac_net20", Probe(protocol, 80 if protocol != "icmp" else 0))
        assert verdict.reaches
        assert str(verdict).endswith("-> both 172.16.20.5; answered by way of 172.16.10.1 eth2.10")
    masqueraded = on_several_networks(Allow("far", "both", both=False), nat="masquerade")
    assert str(asked(masqueraded, "far", "both@mac_net20")).endswith("-> both 172.16.20.5")


def test_it_answers_straight_to_a_network_that_it_is_on_and_tcp_fails() -> None:
    topology = on_several_networks(Allow("mac_net10", "mac_net20", both=False))
    verdict = asked(topology, "one", "both@mac_net20")
    assert str(verdict).endswith("-> both 172.16.20.5; answered straight over mac_net10")
    tcp = asked(topology, "one", "both@mac_net20", Probe("tcp", 80))
    assert not tcp.reaches
    assert tcp.answered
    assert tcp.obstacle == (
        "both answers straight over mac_net10, so router sees half of the connection "
        "and drops the rest as invalid"
    )
    kinds = [
        p.traffic.protocol
        for p in predictions(plan(topology, OWNER))
        if (p.source.container, p.target.network) == ("one", "mac_net20")
    ]
    assert kinds == ["icmp"]


def test_partly_allowed_networks_and_single_containers_in_the_report() -> None:
    web = Traffic("tcp", (Ports(80, 80), Ports(8000, 8010)))
    replicas = tuple(container(f"web-{i}", "host1", "10") for i in range(1, 5))
    topology = allowing(
        replace(TUTORIAL, containers=(*TUTORIAL.containers, *replicas)),
        Allow("mac_net20", "mac_net10", both=False, traffic=(web, Traffic("icmp"))),
        *(Allow(replica.name, "mac_net20", both=False) for replica in replicas),
        Allow("bbox1", "bbox4", both=False, traffic=(Traffic("udp"),)),
    )
    written = report(topology, plan(topology, OWNER))
    assert written.matrix["mac_net20"]["mac_net10"] == "gateway: icmp, tcp 80 8000-8010"
    assert written.matrix["mac_net10"]["mac_net20"] == "blocked"
    assert written.exceptions == {
        "web-{1..4}": {"mac_net20": "gateway"},
        "bbox1": {"bbox4": "gateway: udp"},
    }
    assert written.paths["mac_net20 -> mac_net10"].endswith("(icmp, tcp 80 8000-8010)")


def test_many_blocked_networks_are_one_cell() -> None:
    networks = tuple(network(vlan) for vlan in range(10, 25))
    topology = replace(WITHOUT_GATEWAY, networks=networks, containers=())
    assert report(topology, plan(topology, OWNER)).matrix["mac_net12"] == {"mac_net12": "L2", "*": "blocked"}


@pytest.mark.parametrize(
    ("expectation", "message", "hint"),
    [
        (
            Expectation("bbox1", "bbox4", True, Traffic("tcp", (Ports(70, 90),))),
            "bbox1 must reach bbox4, but tcp 70 does not get through: "
            "bbox1 172.16.10.10 -x-> bbox4 172.16.20.11: "
            f"router drops it: rule 5 of {VLANS} (-o eth2.20 -j DROP)",
            "by the policy: bbox1 -> bbox4 allow tcp 80 only",
        ),
        (
            Expectation("bbox1", "mac_net20", False, Traffic("tcp")),
            "bbox1 must not reach mac_net20, yet tcp 80 gets through: "
            "bbox1 172.16.10.10 -> 172.16.10.1 router "
            f"eth2.10 => eth2.20 -> bbox4 172.16.20.11, accepted by rule 3 of {VLANS} "
            "(-s 172.16.10.10/32 -d 172.16.20.11/32 -i eth2.10 -o eth2.20 -p tcp -m tcp --dport 80 "
            "-m conntrack --ctstate NEW -j ACCEPT)",
            "by the policy: allowed by bbox1 -> bbox4",
        ),
        (
            Expectation("mac_net10", "mac_net20", True),
            "mac_net10 must reach mac_net20, but icmp does not get through: "
            "bbox3 172.16.10.11 -x-> bbox2 172.16.20.10: "
            f"router drops it: rule 5 of {VLANS} (-o eth2.20 -j DROP) "
            "(and so for 4 pairs of containers in all)",
            "by the policy: nothing allows mac_net10 -> mac_net20",
        ),
        (
            Expectation("bbox1", "mac_net10", False),
            "bbox1 must not reach mac_net10, yet icmp gets through: bbox1 172.16.10.10 -> mac_net10 -> "
            "bbox3 172.16.10.11",
            "by the policy: both are on mac_net10",
        ),
    ],
)
def test_a_broken_expectation_says_why(expectation: Expectation, message: str, hint: str) -> None:
    allow = Allow("bbox1", "bbox4", both=False, traffic=(Traffic("tcp", (Ports(80, 80),)),))
    topology = replace(allowing(TUTORIAL, allow), expect=(expectation,))
    (problem,) = check_expectations(topology, plan(topology, OWNER))
    assert (problem.path, problem.message, problem.hint) == ("expect", message, hint)


def test_a_broken_expectation_is_reported_where_it_stands() -> None:
    expectation = Expectation("bbox1", "bbox4", place=Place("t.yaml", 7), path="expect[2]")
    expecting = replace(WITHOUT_GATEWAY, expect=(expectation,))
    (problem,) = check_expectations(expecting, plan(expecting, OWNER), Place("t.yaml"))
    assert (problem.place, problem.path) == (Place("t.yaml", 7), "expect[2]")


def test_one_address_of_a_container_is_enough_to_reach_it_and_none_may_be_reached() -> None:
    topology = on_several_networks()
    for reach, problems in ((True, 0), (False, 1)):
        expecting = replace(topology, expect=(Expectation("one", "both", reach),))
        assert len(check_expectations(expecting, plan(expecting, OWNER))) == problems


def test_predictions_ask_on_both_sides_of_every_port_that_a_rule_names() -> None:
    topology = allowing(
        TUTORIAL, Allow("mac_net10", "mac_net20", both=False, traffic=(Traffic("tcp", (Ports(80, 90),)),))
    )
    questions: dict[tuple[Protocol | None, int], bool] = {
        (p.traffic.protocol, p.traffic.ports[0].first if p.traffic.ports else 0): p.reaches
        for p in predictions(plan(topology, OWNER))
        if (p.source.container, p.target.container) == ("bbox1", "bbox4")
    }
    assert questions == {("icmp", 0): False, ("tcp", 1): False, ("tcp", 80): True, ("tcp", 91): False}
