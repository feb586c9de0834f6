"""All the traffic that passes between two ends, as a set."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from model.firewall import Rule
from model.reachability.walk import ANY_PROTOCOL, Probe, Verdict, walk
from model.reachability.wire import Home, Station, Wire
from model.topology import Ports, Protocol
from model.traffic import EVERYTHING, LAST_PORT, NOTHING, TrafficSet, merge_ports


@dataclass(frozen=True)
class Reach:
    """How one end reaches another."""

    layer: int  # 2: they are on one network; 3: they are not
    traffic: TrafficSet

    def __str__(self) -> str:
        """`L2`, `gateway`, `gateway: tcp 80, icmp` or `blocked`."""
        if not self.traffic:
            return "blocked"
        if self.layer == 2:
            return "L2"
        return "gateway" if self.traffic == EVERYTHING else f"gateway: {self.traffic}"


NO_WAY = Reach(3, NOTHING)  # this very object: no packet of any kind passes the first router


def passing(wire: Wire, source: Station, target: Station, home: Home) -> Reach:
    """What passes from `source` to `target`'s address on `home`.

    Packets are walked one of each kind that a rule on the way can tell apart.
    """

    def reaches(probe: Probe) -> bool:
        return walk(wire, source, target, home, probe).reaches

    verdict = walk(wire, source, target, home, ANY_PROTOCOL)
    if verdict.layer == 2:
        return Reach(2, EVERYTHING if verdict.reaches else NOTHING)
    named = rules_by_protocol(wire, verdict)
    if not named and verdict.forward is None:
        return NO_WAY
    return Reach(
        3,
        TrafficSet(
            icmp=reaches(Probe("icmp")),
            tcp=merge_ports(p for p in port_classes(named, "tcp") if reaches(Probe("tcp", p.first))),
            udp=merge_ports(p for p in port_classes(named, "udp") if reaches(Probe("udp", p.first))),
            other=verdict.reaches,
        ),
    )


def port_classes(rules: Iterable[Rule], protocol: Protocol) -> Iterator[Ports]:
    """All ports, as the ranges within which no rule tells one from another."""
    cuts = {1, LAST_PORT + 1}
    for rule in rules:
        if rule.protocol == protocol:
            for ports in rule.ports:
                cuts |= {ports.first, ports.last + 1}
    return (Ports(first, after - 1) for first, after in pairwise(sorted(cuts)))


def rules_by_protocol(wire: Wire, verdict: Verdict) -> Sequence[Rule]:
    """The rules naming a protocol that a connection through a router can come to."""
    (source, own), (_, home) = verdict.source_end, verdict.target_end
    there = wire.gateway(source, own, own.gateway)
    out = there and there[0].route(home.address)
    if verdict.layer == 2 or there is None or out is None:
        return ()
    return there[0].tables.between(there[2], out.link).by_protocol
