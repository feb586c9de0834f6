"""What known policies imply, and sets of traffic."""

from __future__ import annotations

from dataclasses import replace

import pytest

from model.policy import Decision, End, allows, connects
from model.topology import Allow, Gateway, NatMode, Ports, Topology, Traffic
from model.traffic import EVERYTHING, NOTHING, TrafficSet
from tests.tutorial import TUTORIAL, container, network

PING = Traffic("icmp")
WEB = Traffic("tcp", (Ports(80, 80),))


def allowing(*allow: Allow, topology: Topology = TUTORIAL, nat: NatMode = "routed") -> Topology:
    return replace(
        topology, gateway=Gateway("router", tuple(n.name for n in topology.networks), nat, tuple(allow))
    )


def ends(topology: Topology, source: str, target: str) -> tuple[End, End]:
    first = {c.name: End(c.name, c.attachments[0].network) for c in topology.containers}
    return first[source], first[target]


def decide(topology: Topology, source: str, target: str, traffic: Traffic = PING) -> Decision:
    return allows(topology, *ends(topology, source, target), traffic)


def test_within_a_network_everything_is_allowed() -> None:
    topology = replace(TUTORIAL, gateway=None)
    assert decide(topology, "bbox1", "bbox3") == Decision(True, "both are on mac_net10")


@pytest.mark.parametrize(
    ("topology", "why"),
    [
        (replace(TUTORIAL, gateway=None), "there is no gateway"),
        (replace(TUTORIAL, gateway=Gateway("router", ("mac_net10",))), "the gateway is not on mac_net20"),
        (allowing(), "nothing allows mac_net10 -> mac_net20"),
        (allowing(Allow("bbox3", "mac_net20")), "nothing allows mac_net10 -> mac_net20"),
        (allowing(Allow("mac_net20", "mac_net10", both=False)), "nothing allows mac_net10 -> mac_net20"),
        (allowing(Allow("mac_net10", "bbox4", traffic=(WEB,))), "mac_net10 <-> bbox4 allow tcp 80 only"),
    ],
)
def test_what_is_not_allowed_says_why(topology: Topology, why: str) -> None:
    assert decide(topology, "bbox1", "bbox4") == Decision(False, why)


@pytest.mark.parametrize(
    "entry",
    [
        Allow("mac_net10", "mac_net20", both=False),
        Allow("mac_net20", "mac_net10"),
        Allow("bbox1", "mac_net20", both=False),
        Allow("mac_net10", "bbox4", both=False),
        Allow("bbox1", "bbox4", both=False, traffic=(WEB, PING)),
        Allow("bbox4", "bbox1"),
    ],
)
def test_an_entry_allows_what_it_names(entry: Allow) -> None:
    assert decide(allowing(entry), "bbox1", "bbox4")
    assert decide(allowing(entry), "bbox4", "bbox1").yes is entry.both


def test_parts_may_be_allowed_by_different_entries() -> None:
    low, high = Traffic("udp", (Ports(1, 99),)), Traffic("udp", (Ports(100, 200),))
    topology = allowing(
        Allow("mac_net10", "mac_net20", both=False, traffic=(low,)),
        Allow("bbox1", "bbox4", both=False, traffic=(high,)),
    )
    middle = Traffic("udp", (Ports(90, 110),))
    assert decide(topology, "bbox1", "bbox4", middle)
    assert not decide(topology, "bbox1", "bbox2", middle)
    assert not decide(topology, "bbox1", "bbox4", Traffic("udp", (Ports(190, 201),)))


@pytest.mark.parametrize("nat", ["routed", "masquerade"])
def test_a_container_on_several_networks_answers_where_its_routes_lead(nat: NatMode) -> None:
    topology = replace(
        TUTORIAL,
        networks=(network(10), network(20), network(30)),
        containers=(
            container("both", "host1", "10.5", "20.5"),
            container("one", "host1", "10.6"),
            container("far", "host1", "30.6"),
        ),
    )
    everything = allowing(
        Allow("mac_net10", "mac_net20"), Allow("mac_net20", "mac_net30"), topology=topology, nat=nat
    )
    on_20 = End("both", "mac_net20")
    assert connects(everything, "one", on_20, PING)
    assert connects(everything, "one", on_20, WEB).yes is (nat == "masquerade")
    assert connects(everything, "far", on_20, WEB)
    assert not connects(everything, "both", End("far", "mac_net30"), PING)  # it asks from mac_net10
    assert connects(everything, "both", End("one", "mac_net10"), WEB)
    apart = replace(
        everything,
        gateway=Gateway("router", ("mac_net20", "mac_net30"), nat, (Allow("mac_net20", "mac_net30"),)),
    )
    decision = connects(apart, "far", on_20, PING)
    assert decision.yes is (nat == "masquerade")
    assert nat == "masquerade" or decision.why == ("both answers by mac_net10, which the gateway is not on")


@pytest.mark.parametrize(
    ("traffic", "text"),
    [
        ((), "nothing"),
        ((Traffic(),), "all"),
        ((PING, Traffic("tcp"), Traffic("udp")), "icmp, tcp, udp"),
        ((Traffic("udp", (Ports(8, 9), Ports(5, 7), Ports(1, 1))),), "udp 1 5-9"),
        ((WEB, Traffic("tcp", (Ports(443, 443),))), "tcp 80 443"),
        ((WEB, Traffic("tcp")), "tcp"),
        ((WEB, Traffic()), "all"),
    ],
)
def test_sets_of_traffic_read_well(traffic: tuple[Traffic, ...], text: str) -> None:
    assert str(TrafficSet.of(traffic)) == text


def test_what_all_is_short_of_reads_well() -> None:
    short = TrafficSet(icmp=True, tcp=(Ports(1, 21), Ports(23, 65535)), udp=EVERYTHING.udp, other=True)
    assert str(short) == "all but tcp 22"
    assert str(TrafficSet(udp=EVERYTHING.udp, other=True)) == "all but icmp, tcp"


def test_a_set_of_traffic_contains_its_parts() -> None:
    web = TrafficSet.of([Traffic("tcp", (Ports(80, 90),))])
    assert EVERYTHING >= web >= TrafficSet.of([Traffic("tcp", (Ports(85, 90),))]) >= NOTHING
    assert not web >= TrafficSet.of([Traffic("tcp", (Ports(85, 91),))])
    assert not web >= TrafficSet.of([Traffic("udp", (Ports(85, 90),))])
    assert not TrafficSet.of([PING, Traffic("tcp"), Traffic("udp")]) >= EVERYTHING
