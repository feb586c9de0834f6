"""Expectations: every entry names what exists, and no two contradict each other."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import product

from model.declaration import Direction, ExpectEntry
from model.problems import Problems
from model.topology import Ports, Traffic
from model.traffic import TrafficSet
from model.validation.pairs import (
    check_traffic,
    entry_in,
    known_directions,
    networks_of,
    traffic_of,
    ways,
    within_limit,
)
from model.validation.scope import Scope

Way = tuple[str, str]


def check_expectations(scope: Scope, problems: Problems) -> None:
    """What is expected to hold; whether it does is not asked here."""
    expect = scope.topology.expect
    if expect is None or not within_limit(expect, expect.value, scope, problems):
        return
    said = _Said(scope)
    for entry in expect.value:
        check_traffic(entry, problems)
        for direction in known_directions(entry, scope, problems):
            name = direction.target.value
            if direction.source.value == name and name not in (scope.networks or {}):
                problems.add(direction.target, f"{name} stands on both sides", "name another container")
            else:
                _check_contradiction(entry, direction, said, problems)


@dataclass(frozen=True)
class _Expected:
    reach: bool
    traffic: TrafficSet
    line: int


@dataclass
class _Said:
    """What was said so far: about a way itself, and about ways that it contains."""

    scope: Scope
    itself: dict[Way, list[_Expected]] = field(default_factory=dict)
    within: dict[Way, list[_Expected]] = field(default_factory=dict)

    def about(self, way: Way) -> list[_Expected]:
        """Everything said about some packet of that way."""
        wider = [expected for other in self._containing(way) for expected in self.itself.get(other, ())]
        return wider + self.within.get(way, [])

    def add(self, way: Way, expected: _Expected) -> None:
        """Remember what is said now."""
        self.itself.setdefault(way, []).append(expected)
        for other in self._containing(way):
            if other != way:
                self.within.setdefault(other, []).append(expected)

    def _containing(self, way: Way) -> list[Way]:
        return list(product(self._groups(way[0]), self._groups(way[1])))

    def _groups(self, name: str) -> list[str]:
        """The name, and the names that include it: its replicas' common one, its only network."""
        groups = dict.fromkeys([name, self.scope.replicas.get(name, name)])
        networks = networks_of(name, self.scope)
        return list(groups | dict.fromkeys(networks if len(networks) == 1 else ()))


def _check_contradiction(entry: ExpectEntry, direction: Direction, said: _Said, problems: Problems) -> None:
    """No packet is expected both to arrive and not to."""
    traffic = traffic_of(entry, TrafficSet.of([Traffic("icmp")]))
    if traffic is None or entry.wrong("reach"):
        return
    reach = entry.reach.value if entry.reach else True
    for way in ways(direction):
        for other in said.about(way):
            if other.reach != reach and _overlap(other.traffic, traffic):
                opposite = "must not reach" if reach else "must reach"
                message = f"contradicts {entry_in(other.line)}, by which {way[0]} {opposite} {way[1]}"
                problems.add(direction.target, message, "keep the one that is meant")
                break
    for way in ways(direction):
        said.add(way, _Expected(reach, traffic, direction.target.line))


def _overlap(one: TrafficSet, other: TrafficSet) -> bool:
    return (
        (one.icmp and other.icmp)
        or (one.other and other.other)
        or _share(one.tcp, other.tcp)
        or _share(one.udp, other.udp)
    )


def _share(some: tuple[Ports, ...], more: tuple[Ports, ...]) -> bool:
    return any(a.first <= b.last and b.first <= a.last for a in some for b in more)
