"""Laws of reachability."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace

from hypothesis import given, settings

from model.fabric import Fabric, plan
from model.policy import End, connects
from model.reachability import check_expectations, predictions, report
from model.reachability.passing import passing
from model.reachability.report import OTHERS
from model.reachability.walk import Probe, Verdict, walk
from model.reachability.wire import Wire
from model.topology import Container, Topology
from model.traffic import TrafficSet
from tests.strategies import topologies
from tests.tutorial import OWNER


def probes(topology: Topology) -> list[Probe]:
    """One packet of each kind that the policy could tell apart."""
    entries = topology.gateway.allow if topology.gateway else ()
    edges = {
        port
        for entry in entries
        for traffic in entry.traffic
        for ports in traffic.ports
        for port in (ports.first - 1, ports.first, ports.last, ports.last + 1)
    }
    ports = [port for port in sorted(edges | {8080}) if 1 <= port <= 65535]
    return [Probe("icmp"), *(Probe("tcp", port) for port in ports), *(Probe("udp", port) for port in ports)]


def verdicts(topology: Topology, fabric: Fabric) -> Iterator[tuple[Probe, Verdict]]:
    """Of every container to every address of every other one."""
    wire = Wire(fabric)
    for source in wire.stations.values():
        for target in wire.stations.values():
            if target is not source:
                for home in target.homes:
                    for probe in probes(topology):
                        yield probe, walk(wire, source, target, home, probe)


@given(topologies())
def test_walking_packets_through_the_plan_agrees_with_the_policy(topology: Topology) -> None:
    for probe, verdict in verdicts(topology, plan(topology, OWNER)):
        target = End(verdict.target.container, verdict.target.network)
        decision = connects(topology, verdict.source.container, target, probe.traffic)
        assert verdict.reaches == decision.yes, (str(verdict), decision.why, probe)


@given(topologies())
def test_the_traffic_that_passes_is_what_packets_of_each_kind_do(topology: Topology) -> None:
    wire = Wire(plan(topology, OWNER))
    for probe, verdict in verdicts(topology, plan(topology, OWNER)):
        station, home = wire.stations[verdict.target.container], verdict.target.network
        reach = passing(wire, wire.stations[verdict.source.container], station, station.home_on(home))
        assert (reach.traffic >= TrafficSet.of([probe.traffic])) == verdict.reaches


@settings(max_examples=500)  # a mistake in what is taken as alike shows in few topologies
@given(topologies())
def test_the_report_tells_of_every_pair_what_walking_it_tells(topology: Topology) -> None:
    fabric = plan(topology, OWNER)
    wire = Wire(fabric)
    written = report(topology, fabric)
    exceptions = {
        (begin, end): how
        for sources, row in written.exceptions.items()
        for targets, how in row.items()
        for begin in unfolded(sources)
        for end in unfolded(targets)
    }
    for source in wire.stations.values():
        for target in wire.stations.values():
            for home in target.homes if target is not source else ():
                names = {target.name, f"{target.name}@{home.network}"}
                default = source.default.network
                row = written.matrix[default]
                # the most specific entry holds, as Report promises
                entries = [
                    *(exceptions.get((source.name, name)) for name in names),
                    exceptions.get((source.name, home.network)),
                    *(exceptions.get((default, name)) for name in names),
                    row.get(home.network, row.get(OTHERS)),
                ]
                told = next(how for how in entries if how is not None)
                assert told == str(passing(wire, source, target, home)), (source.name, target.name)


def unfolded(label: str) -> list[str]:
    """The names that a label of the report stands for."""
    names = []
    for part in label.split(", "):
        run = re.fullmatch(r"(.*)\{(\d+)\.\.(\d+)\}(.*)", part)
        if run is None:
            names.append(part)
        else:
            names += [f"{run[1]}{n}{run[4]}" for n in range(int(run[2]), int(run[3]) + 1)]
    return names


@given(topologies())
def test_every_path_shown_is_one_that_works(topology: Topology) -> None:
    fabric = plan(topology, OWNER)
    written = report(topology, fabric)
    works = {str(verdict) for _, verdict in verdicts(topology, fabric) if verdict.reaches}
    for way, path in written.paths.items():
        assert re.sub(r" \([^()]*\)$", "", path) in works or path in works, way
    some = {
        f"{verdict.source.network} -> {verdict.target.network}"
        for _, verdict in verdicts(topology, fabric)
        if verdict.reaches and not _by_another_network(topology, verdict)
    }
    assert some <= set(written.paths)


def _by_another_network(topology: Topology, verdict: Verdict) -> bool:
    """Whether a container on several networks asks from another than its default one."""
    container = topology.container(verdict.source.container)
    return verdict.source.network != min(a.network for a in container.attachments)


@given(topologies(expectations=True))
def test_an_expectation_holds_or_is_explained(topology: Topology) -> None:
    fabric = plan(topology, OWNER)
    wire = Wire(fabric)
    for expectation in topology.expect:
        wanted = TrafficSet.of([expectation.traffic])
        pairs = [
            [
                passing(wire, wire.stations[source.name], wire.stations[target.name], home).traffic
                for home in wire.stations[target.name].homes
                if expectation.target in (target.name, home.network)
            ]
            for source in _named(topology, expectation.source)
            for target in _named(topology, expectation.target)
            if source is not target
        ]
        if expectation.reach:
            holds = all(any(traffic >= wanted for traffic in pair) for pair in pairs)
        else:
            holds = not any(_share(traffic, wanted) for pair in pairs for traffic in pair)
        alone = replace(topology, expect=(expectation,))
        problems = check_expectations(alone, fabric)
        assert len(problems) == (0 if holds else 1)
        assert all(problem.hint for problem in problems)


def _named(topology: Topology, name: str) -> list[Container]:
    return [c for c in topology.containers if name == c.name or name in {a.network for a in c.attachments}]


def _share(one: TrafficSet, other: TrafficSet) -> bool:
    pairs = ((one.tcp, other.tcp), (one.udp, other.udp))
    return (
        (one.icmp and other.icmp)
        or (one.other and other.other)
        or any(a.first <= b.last and b.first <= a.last for x, y in pairs for a in x for b in y)
    )


@given(topologies())
def test_predictions_are_what_walking_tells_and_fewer_are_a_part_of_them(topology: Topology) -> None:
    fabric = plan(topology, OWNER)
    wire = Wire(fabric)
    every = predictions(fabric)
    for prediction in every:
        source, target = wire.stations[prediction.source.container], prediction.target
        station = wire.stations[target.container]
        ports = prediction.traffic.ports
        probe = Probe(prediction.traffic.protocol, ports[0].first if ports else 0)
        verdict = walk(wire, source, station, station.home_on(target.network), probe)
        assert (prediction.reaches, prediction.why) == (verdict.reaches, str(verdict))
        assert (prediction.source, prediction.target) == (verdict.source, verdict.target)
    asked = {(p.source.container, p.target) for p in every if p.traffic.protocol == "icmp"}
    homes = [(station, home) for station in wire.stations.values() for home in station.homes]
    assert asked == {(s, t.endpoint(home)) for s in wire.stations for t, home in homes if t.name != s}
    few = predictions(fabric, most_pairs=3)
    assert set(few) <= set(every)
    assert len({(p.source, p.target) for p in few}) <= 3
