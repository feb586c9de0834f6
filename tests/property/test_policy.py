"""Laws of sets of traffic, and of what a policy allows."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from model.fabric import plan
from model.policy import End, allows
from model.topology import Ports, Topology, Traffic
from model.traffic import EVERYTHING, NOTHING, TrafficSet, merge_ports
from tests.strategies import port_sets, topologies, traffic_sets, traffics
from tests.tutorial import OWNER

sets = traffic_sets().map(TrafficSet.of) | st.just(NOTHING)
PORTS = (1, 2, 79, 80, 81, 8080, 65534, 65535)


def members(traffic: TrafficSet, some: tuple[Ports, ...] = ()) -> set[object]:
    """What is in a set, as far as a few ports show, those at the edges of `some` among them."""
    ports = {*PORTS, *(p for r in some for p in (r.first - 1, r.first, r.last, r.last + 1))}
    inside: set[object] = {("tcp", p) for p in ports if any(r.first <= p <= r.last for r in traffic.tcp)}
    inside |= {("udp", p) for p in ports if any(r.first <= p <= r.last for r in traffic.udp)}
    return inside | ({"icmp"} if traffic.icmp else set()) | ({"other"} if traffic.other else set())


@given(sets, sets, sets)
def test_sets_of_traffic_are_sets(a: TrafficSet, b: TrafficSet, c: TrafficSet) -> None:
    edges = (*a.tcp, *a.udp, *b.tcp, *b.udp)
    assert members(a | b, edges) == members(a, edges) | members(b, edges)
    assert (a >= b) == (a | b == a) == (members(a, edges) >= members(b, edges))
    assert a | b == b | a
    assert (a | b) | c == a | (b | c)
    assert a | a == a | NOTHING == a
    assert EVERYTHING >= a >= NOTHING


@given(sets, sets)
def test_what_another_set_covers_can_be_left_out(a: TrafficSet, b: TrafficSet) -> None:
    rest = a.without_covered(b)
    assert rest | b == a | b
    assert a >= rest
    assert rest == NOTHING or not b >= rest
    assert not b >= a or rest == NOTHING


@given(st.lists(port_sets()))
def test_merged_ports_are_the_same_ports_in_ranges_apart(several: list[tuple[Ports, ...]]) -> None:
    given_ = [ports for one in several for ports in one]
    merged = merge_ports(given_)
    edges = tuple(given_)
    assert members(TrafficSet(tcp=merged), edges) == {
        member for ports in given_ for member in members(TrafficSet(tcp=(ports,)), edges)
    }
    assert all(b.first > a.last + 1 for a, b in pairwise(merged))


@given(topologies(), traffics(), traffics())
def test_more_traffic_is_never_allowed_more_easily(topology: Topology, one: Traffic, more: Traffic) -> None:
    """What is allowed together is allowed alone; all of it is allowed only if each part is."""
    ends = [End(e.container, e.network) for e in plan(topology, OWNER).endpoints]
    for source in ends:
        for target in ends:
            both = [allows(topology, source, target, part).yes for part in (one, more)]
            everything = allows(topology, source, target, Traffic()).yes
            assert not everything or all(both)
            assert source.network != target.network or everything
