"""Sets of traffic: what a policy entry allows, what a rule passes."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from model.topology import Ports, Traffic

LAST_PORT = 65535
EVERY_PORT = (Ports(1, LAST_PORT),)


def merge_ports(ports: Iterable[Ports]) -> tuple[Ports, ...]:
    """The same ports as few ranges: sorted, none touching another."""
    merged: list[Ports] = []
    for ports_ in sorted(ports, key=lambda p: p.first):
        if merged and ports_.first <= merged[-1].last + 1:
            merged[-1] = Ports(merged[-1].first, max(merged[-1].last, ports_.last))
        else:
            merged.append(ports_)
    return tuple(merged)


def _within(ports: Ports, ranges: tuple[Ports, ...]) -> bool:
    return any(r.first <= ports.first and ports.last <= r.last for r in ranges)


@dataclass(frozen=True)
class TrafficSet:
    """A set of traffic between two ends. Equal sets are equal objects: the ranges are merged."""

    icmp: bool = False
    tcp: tuple[Ports, ...] = ()  # destination ports, merged
    udp: tuple[Ports, ...] = ()
    other: bool = False  # every other IP protocol

    @classmethod
    def of(cls, traffic: Iterable[Traffic]) -> TrafficSet:
        """The union of what is given."""
        total = NOTHING
        for one in traffic:
            match one.protocol:
                case None:
                    return EVERYTHING
                case "icmp":
                    total |= cls(icmp=True)
                case "tcp":
                    total |= cls(tcp=merge_ports(one.ports) or EVERY_PORT)
                case "udp":
                    total |= cls(udp=merge_ports(one.ports) or EVERY_PORT)
        return total

    def __bool__(self) -> bool:
        return self != NOTHING

    def __or__(self, more: TrafficSet) -> TrafficSet:
        return TrafficSet(
            self.icmp or more.icmp,
            merge_ports((*self.tcp, *more.tcp)),
            merge_ports((*self.udp, *more.udp)),
            self.other or more.other,
        )

    def __ge__(self, part: TrafficSet) -> bool:
        """Whether `part` is a part of it."""
        return (
            self.icmp >= part.icmp
            and self.other >= part.other
            and all(_within(ports, self.tcp) for ports in part.tcp)
            and all(_within(ports, self.udp) for ports in part.udp)
        )

    def without_covered(self, by: TrafficSet) -> TrafficSet:
        """A part that still gives `self | by` together with `by`; what is all, or a range, stays whole."""
        if self.other and not by.other:
            return self
        return TrafficSet(
            self.icmp and not by.icmp,
            tuple(ports for ports in self.tcp if not _within(ports, by.tcp)),
            tuple(ports for ports in self.udp if not _within(ports, by.udp)),
        )

    def __str__(self) -> str:
        """`all`, `nothing`, `icmp, tcp 80 443 8000-8080`, or `all but tcp`."""
        if self.other:
            rest = TrafficSet(not self.icmp, _other_ports(self.tcp), _other_ports(self.udp))
            return f"all but {rest}" if rest else "all"
        named = ["icmp" if self.icmp else "", _ports_text("tcp", self.tcp), _ports_text("udp", self.udp)]
        return ", ".join(part for part in named if part) or "nothing"


NOTHING = TrafficSet()
EVERYTHING = TrafficSet(True, EVERY_PORT, EVERY_PORT, True)


def _other_ports(ports: tuple[Ports, ...]) -> tuple[Ports, ...]:
    edges = [0, *(edge for p in ports for edge in (p.first, p.last)), LAST_PORT + 1]
    gaps = zip(edges[::2], edges[1::2], strict=True)
    return tuple(Ports(last + 1, first - 1) for last, first in gaps if last + 1 < first)


def _ports_text(protocol: str, ports: tuple[Ports, ...]) -> str:
    if not ports:
        return ""
    if ports == EVERY_PORT:
        return protocol
    ranges = (f"{p.first}" if p.first == p.last else f"{p.first}-{p.last}" for p in ports)
    return f"{protocol} {' '.join(ranges)}"
