"""Whether a fabric is as its user expects it to be, and if not, why not."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product

from model.errors import Place, Problem
from model.fabric import Fabric
from model.policy import End, connects
from model.reachability.classes import Census, a_pair
from model.reachability.passing import port_classes, rules_by_protocol
from model.reachability.walk import ANY_PROTOCOL, Probe, Verdict, walk
from model.reachability.wire import Home, Station, Wire
from model.topology import Expectation, Ports, Protocol, Topology
from model.traffic import TrafficSet

NOWHERE = Place("topology")


def check_expectations(topology: Topology, fabric: Fabric, place: Place = NOWHERE) -> tuple[Problem, ...]:
    """A problem for each expectation that the plan would break, with the way or the rule that explains it.

    A container stands for itself, a network for each container on it; a container and itself are no pair.
    `reach: true` holds if every source reaches every target with all of the traffic, by one address of the
    target at least. `reach: false` holds if no source reaches any target, by any address, with any of it.
    Of a network as target only the addresses in it count. `place` is for expectations that know none.
    """
    wire = Wire(fabric)
    census = Census(wire, topology.networks)
    problems = []
    for expectation in topology.expect:
        cases = list(_cases(census, topology, expectation))
        broken = [(case, broken) for case in cases if (broken := _broken(wire, expectation, case))]
        if broken:
            pairs = sum(case.pairs for case, _ in broken)
            problems.append(_problem(topology, expectation, broken[0][1], pairs, place))
    return tuple(problems)


@dataclass(frozen=True)
class _Case:
    """A source and a target to look at, which stand for a number of such pairs."""

    source: Station
    target: Station
    homes: Sequence[Home]  # the target's, of which one is enough
    pairs: int = 1


@dataclass(frozen=True)
class _Broken:
    """A connection that is not as expected."""

    probe: Probe
    verdict: Verdict


def _cases(census: Census, topology: Topology, expectation: Expectation) -> Iterator[_Case]:
    networks = {network.name for network in topology.networks}
    stations = census.wire.stations
    name = expectation.source
    sources = list(census.members(name)) if name in networks else [stations[name]]
    if expectation.target not in networks:
        target = stations[expectation.target]
        yield from (_Case(source, target, target.homes) for source in sources if source is not target)
        return
    chosen = {source.name for source in sources}
    for default in dict.fromkeys(source.default.network for source in sources):
        for begin, end in product(*census.everybody(default, expectation.target)):
            alike = tuple(station for station in begin if station.name in chosen)
            if pair := a_pair(alike, end):
                homes = [pair[1].home_on(expectation.target)]
                both = {station.name for station in alike} & {station.name for station in end}
                yield _Case(*pair, homes, len(alike) * len(end) - len(both))


def _broken(wire: Wire, expectation: Expectation, case: _Case) -> _Broken | None:
    """The first connection that shows that a case is not as expected; None if it is."""
    missed = None
    for home in case.homes:
        results = [
            _Broken(probe, walk(wire, case.source, case.target, home, probe))
            for probe in _probes(wire, expectation, case, home)
        ]
        wrong = next((r for r in results if r.verdict.reaches != expectation.reach), None)
        if expectation.reach and wrong is None:
            return None
        if not expectation.reach and wrong is not None:
            return wrong
        missed = missed or wrong
    return missed


def _probes(wire: Wire, expectation: Expectation, case: _Case, home: Home) -> Iterator[Probe]:
    """One packet of each kind that is expected and that a rule on the way can tell apart."""
    traffic = TrafficSet.of([expectation.traffic])
    if traffic.icmp:
        yield Probe("icmp")
    named = rules_by_protocol(wire, walk(wire, case.source, case.target, home, ANY_PROTOCOL))
    protocols: tuple[tuple[Protocol, tuple[Ports, ...]], ...] = (("tcp", traffic.tcp), ("udp", traffic.udp))
    for protocol, wanted in protocols:
        for ports, alike in product(wanted, port_classes(named, protocol)):
            first = max(ports.first, alike.first)
            if first <= min(ports.last, alike.last):
                yield Probe(protocol, first)
    if traffic.other:
        yield ANY_PROTOCOL


def _problem(
    topology: Topology, expectation: Expectation, broken: _Broken, pairs: int, place: Place
) -> Problem:
    verdict, probe = broken.verdict, broken.probe
    must = "must" if expectation.reach else "must not"
    others = f" (and so for {pairs} pairs of containers in all)" if pairs > 1 else ""
    by = (
        f", accepted by {verdict.forward.rules[-1]}"
        if verdict.reaches and verdict.forward and verdict.forward.rules
        else ""
    )
    but = f"but {probe} does not get through" if expectation.reach else f"yet {probe} gets through"
    message = f"{expectation.source} {must} reach {expectation.target}, {but}: {verdict}{by}{others}"
    end = End(verdict.target.container, verdict.target.network)
    why = connects(topology, verdict.source.container, end, probe.traffic).why
    return Problem(expectation.place or place, expectation.path, message, f"by the policy: {why}")
