"""What a fabric can do, small enough to be read in a preview."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby, product

from model.fabric import Fabric
from model.reachability.classes import Census, Group, a_pair
from model.reachability.passing import Reach, passing
from model.reachability.walk import Probe, walk
from model.reachability.wire import Wire
from model.topology import Topology
from model.traffic import EVERYTHING, TrafficSet

MANY_BLOCKED = 10  # in a row of the matrix; more are shown as one
OTHERS = "*"
_RUN = 3  # so many successive replicas are shown as one

Cells = dict[str, dict[str, str]]  # by source, then by target: how the one reaches the other


@dataclass(frozen=True)
class Report:
    """Plain data in the order of the topology, fit for stack outputs.

    How A reaches B is `L2`, `gateway` (everything passes), `gateway: tcp 80, icmp` (only that) or `blocked`.

    `matrix` says it of networks, that is, of every container of the one and of the other that nothing
    sets apart; it holds for containers that people start by hand, too. In a row with more than ten
    blocked networks these are not listed, but stand together as `*`.

    `exceptions` says it of containers that differ from that, as source, as target or both. An entry for a
    pair of containers holds before one for the source container and a network, this one before one for
    a network and the target container, and each before the matrix. A container on several networks is
    a source by its default network, and a target by each (`name@network`).

    `paths` shows the way of one connection per pair of networks, of those that some containers have.
    """

    matrix: Cells
    exceptions: Cells
    paths: dict[str, str]


def report(topology: Topology, fabric: Fabric) -> Report:
    """The report of a plan."""
    wire = Wire(fabric)
    census = Census(wire, topology.networks)
    names = [network.name for network in topology.networks]
    matrix: Cells = {}
    exceptions: Cells = {}
    paths: dict[str, str] = {}
    for source in names:
        row: dict[str, str] = {}
        for target in names:
            way = _Way(wire, census, source, target)
            row[target] = str(way.ordinary)
            for begin, end, reach in way.exceptions():
                exceptions.setdefault(begin, {})[end] = str(reach)
            if path := way.example():
                paths[f"{source} -> {target}"] = path
        matrix[source] = _fold_blocked(row)
    return Report(matrix, exceptions, paths)


class _Way:
    """Everybody's way from one network to another."""

    def __init__(self, wire: Wire, census: Census, source: str, target: str) -> None:
        self._wire, self._census = wire, census
        self._source, self._target = source, target
        self.ordinary = census.reach(source, target)
        odd_sources, odd_targets = census.way(source, target)
        # In both, and in what is known of the pairs, 0 stands for ordinary containers.
        self._sources: list[Group] = [(census.ordinary(source),), *odd_sources]
        self._targets: list[Group] = [(census.ordinary(target),), *odd_targets]
        self._reach = {(0, 0): self.ordinary}
        if odd_sources or odd_targets:
            self._reach |= self._find_out()

    def exceptions(self) -> Iterator[tuple[str, str, Reach]]:
        """Source, target and how it is, wherever a reader would not conclude it from the wider entries."""
        for (i, j), reach in self._reach.items():
            wider = self.ordinary
            for general in ((0, j), (i, 0)):
                if general != (i, j) and self._reach.get(general, self.ordinary) != self.ordinary:
                    wider = self._reach[general]
            if reach != wider:
                source = _label(self._sources[i]) if i else self._source
                target = _label(self._targets[j], self._target) if j else self._target
                yield source, target, reach

    def example(self) -> str:
        """The way of one connection between declared containers; empty if there is none."""
        if not any(reach.traffic for reach in self._reach.values()):
            return ""
        for begin, end in product(*self._census.everybody(self._source, self._target)):
            if pair := a_pair(begin, end):
                home = pair[1].home_on(self._target)
                reach = passing(self._wire, *pair, home)
                if reach.traffic:
                    path = str(walk(self._wire, *pair, home, _one_of(reach.traffic)))
                    return path if reach.traffic == EVERYTHING else f"{path} ({reach.traffic})"
        return ""

    def _find_out(self) -> Iterator[tuple[tuple[int, int], Reach]]:
        """How every other pair is, one container for each group."""
        for (i, begin), (j, end) in product(enumerate(self._sources), enumerate(self._targets)):
            if (i or j) and (pair := a_pair(begin, end)):
                yield (i, j), passing(self._wire, *pair, pair[1].home_on(self._target))


def _one_of(traffic: TrafficSet) -> Probe:
    """A packet of a set of traffic."""
    if traffic.icmp:
        return Probe("icmp")
    if traffic.tcp:
        return Probe("tcp", traffic.tcp[0].first)
    if traffic.udp:
        return Probe("udp", traffic.udp[0].first)
    return Probe(None)


def _fold_blocked(row: dict[str, str]) -> dict[str, str]:
    blocked = [name for name, how in row.items() if how == "blocked"]
    if len(blocked) <= MANY_BLOCKED:
        return row
    return {name: how for name, how in row.items() if how != "blocked"} | {OTHERS: "blocked"}


def _label(stations: Group, network: str | None = None) -> str:
    """The names, runs of replicas as `web-{1..3}`; with the network where that does not go without saying."""
    names = [
        f"{station.name}@{network}" if network and len(station.homes) > 1 else station.name
        for station in stations
    ]
    return ", ".join(_fold_runs(names))


def _fold_runs(names: Iterable[str]) -> Iterator[str]:
    split = [re.fullmatch(r"(.*-)([1-9][0-9]*)(@.*)?", name) or name for name in names]

    def run(numbered: tuple[int, re.Match[str] | str]) -> object:
        position, name = numbered
        return name if isinstance(name, str) else (name[1], name[3], int(name[2]) - position)

    for _, group in groupby(enumerate(split), key=run):
        members = [name for _, name in group]
        first, last = members[0], members[-1]
        if len(members) < _RUN or isinstance(first, str) or isinstance(last, str):
            yield from (name if isinstance(name, str) else name[0] for name in members)
        else:
            yield f"{first[1]}{{{first[2]}..{last[2]}}}{first[3] or ''}"
