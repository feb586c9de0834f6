"""Which ends behave alike.

Most containers of a network are ordinary: they route by it, no rule names them, and the gateway's host
does not set them apart. One stands for all of them. So what a whole fabric can do is found out by walking
a packet per pair of networks, and a few more where a container is not ordinary.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from dataclasses import replace
from itertools import product

from model.reachability.netfilter import RuleAt
from model.reachability.passing import NO_WAY, Reach, passing
from model.reachability.wire import Home, Prefix, Station, Wire
from model.topology import Network

ANYBODY = ""  # the name of a network's ordinary container where it stands for all
NO_MATCH: frozenset[Hashable] = frozenset()


Group = tuple[Station, ...]  # they behave alike on one way between two networks


def a_pair(sources: Group, targets: Group) -> tuple[Station, Station] | None:
    """A source and a target that are not the same container; None if there are no two."""
    for source in sources[:2]:
        for target in targets[:2]:
            if source is not target:
                return source, target
    return None


class Census:
    """The containers of a fabric, by what they are as sources and as targets.

    A container is a source by its default network, and a target on each of its networks.
    """

    def __init__(self, wire: Wire, networks: Sequence[Network]) -> None:
        self.wire = wire
        self._anybody = {network.name: _anybody(network) for network in networks}
        self._sources: dict[str, list[Station]] = {network.name: [] for network in networks}
        self._targets: dict[str, list[Station]] = {network.name: [] for network in networks}
        for station in wire.stations.values():
            self._sources[station.default.network].append(station)
            for home in station.homes:
                self._targets[home.network].append(station)
        self._apart = {name for name, station in wire.stations.items() if self._is_apart(station)}
        self._odd_sources = {name: self._maybe_odd(stations) for name, stations in self._sources.items()}
        self._odd_targets = {name: self._maybe_odd(stations) for name, stations in self._targets.items()}
        self._reach: dict[Hashable, Reach] = {}

    def ordinary(self, network: str) -> Station:
        """Somebody ordinary on a network, declared or not."""
        return self._anybody[network]

    def way(self, source: str, target: str) -> tuple[list[Group], list[Group]]:
        """Who may behave differently from ordinary containers between two networks: as source, as target."""
        begin, end = self._matchers(source, target)
        sources = self._sources[source] if begin else self._odd_sources[source]
        targets = self._targets[target] if end else self._odd_targets[target]
        if targets and not begin and not end and self.reach(source, target) is NO_WAY:
            targets = []  # what never comes as far as a target is the same to all
        here, there = self._anybody[source].default, self._anybody[target].default
        return self._groups(sources, here, there, begin), self._groups(targets, there, here, end)

    def reach(self, source: str, target: str) -> Reach:
        """How ordinary containers of a network reach those of another.

        Found out once for all pairs of networks between which the same rules stand, interface names apart.
        """
        begin, end = self._anybody[source], self._anybody[target]
        kind = self._kind(begin.default, end.default)
        found = self._reach.get(kind) if kind is not None else None
        if found is None:
            found = passing(self.wire, begin, end, end.default)
            if kind is not None:
                self._reach[kind] = found
        return found

    def _kind(self, here: Home, there: Home) -> Hashable | None:
        """What a packet from one network to another meets; None if that depends on its addresses."""
        if here is there:
            return None
        kind: list[Hashable] = []
        for router in self.wire.routers:
            into, out = router.port_with(here.segment, here.gateway), router.route(there.address)
            back = router.port_with(there.segment, there.gateway)
            if into is None or out is None or back is None:
                kind.append((into is None, out is None, back is None))
                continue
            if back is not out or into.parent_answers or out.parent_answers:
                return None
            forth, answers = (
                router.tables.between(into.link, out.link),
                router.tables.between(out.link, into.link),
            )
            if forth.by_address or answers.by_address:
                return None
            kind.append((forth, answers))
        return tuple(kind)

    def members(self, network: str) -> Sequence[Station]:
        """All containers on a network."""
        return self._targets[network]

    def everybody(self, source: str, target: str) -> tuple[list[Group], list[Group]]:
        """Like `way`, with the declared ordinary containers, if there are any, as a group in front."""
        sources, targets = self.way(source, target)
        return (
            _with_ordinary(self._sources[source], sources),
            _with_ordinary(self._targets[target], targets),
        )

    def _is_apart(self, station: Station) -> bool:
        """Whether a router treats it in its own way, being on its host."""
        return any(router.host == station.host for router in self.wire.routers) and any(
            self.wire.gateway(station, home, home.gateway)
            != self.wire.gateway(self._anybody[home.network], home, home.gateway)
            for home in station.homes
        )

    def _maybe_odd(self, stations: Iterable[Station]) -> list[Station]:
        return [s for s in stations if len(s.homes) > 1 or s.name in self._apart]

    def _groups(self, stations: list[Station], own: Home, other: Home, matcher: _Matcher) -> list[Group]:
        """Those that are not ordinary, by what sets them apart.

        That is: the rules that match their address, the network by which they send to the other one,
        and whether they are apart.
        """
        groups: dict[Hashable, list[Station]] = {}
        for station in stations:
            matched = matcher.matches(station.home_on(own.network).address) if matcher else NO_MATCH
            network = station.route(other.address)[0].network
            apart = station.name in self._apart and station.name
            if matched or network != own.network or apart:
                groups.setdefault((matched, network, apart), []).append(station)
        return [tuple(group) for group in groups.values()]

    def _matchers(self, source: str, target: str) -> tuple[_Matcher, _Matcher]:
        """The rules between two networks, in either direction, by the addresses they match at either end."""
        here, there = self._anybody[source].default, self._anybody[target].default
        begin = end = NO_MATCHER
        for router in self.wire.routers:
            for into, out in product(router.links(here.segment), router.links(there.segment)):
                forth, back = router.tables.between(into, out), router.tables.between(out, into)
                if forth.by_address or back.by_address:
                    begin, end = begin or _Matcher(), end or _Matcher()
                    begin.add(forth.rules, at_source=True)
                    end.add(forth.rules, at_source=False)
                    begin.add(back.rules, at_source=False)
                    end.add(back.rules, at_source=True)
        return begin, end


def _with_ordinary(stations: list[Station], odd: list[Group]) -> list[Group]:
    names = {station.name for group in odd for station in group}
    rest = tuple(station for station in stations if station.name not in names)
    return [rest, *odd] if rest else odd


class _Matcher:
    """Tells addresses apart by the rules that match them at one end.

    Rules that follow each other with the same target may change places. So two addresses are alike if in each
    such block the same rules match, but for the address.
    """

    def __init__(self) -> None:
        self._by_mask: dict[int, dict[int, set[Hashable]]] = {}

    def __bool__(self) -> bool:
        return bool(self._by_mask)

    def add(self, rules: Iterable[RuleAt], *, at_source: bool) -> None:
        """Take note of the rules that match an address at this end, given in the order of their chains."""
        block, before = 0, ("", "")
        for at in rules:
            if (at.chain, at.rule.target) != before:
                block, before = block + 1, (at.chain, at.rule.target)
            prefix = at.rule.source if at_source else at.rule.destination
            if prefix is not None:
                rest = replace(at.rule, source=None) if at_source else replace(at.rule, destination=None)
                networks = self._by_mask.setdefault(int(prefix.netmask), {})
                networks.setdefault(int(prefix.network_address), set()).add((at_source, block, rest))

    def matches(self, address: int) -> frozenset[Hashable]:
        """What an address shares with those that are like it."""
        matched: set[Hashable] = set()
        for mask, networks in self._by_mask.items():
            matched |= networks.get(address & mask, NO_MATCH)
        return frozenset(matched)


NO_MATCHER = _Matcher()


def _anybody(network: Network) -> Station:
    """An ordinary container, with the one address that no container has: the network's own."""
    home = Home(
        network.name,
        (network.trunk, network.vlan),
        "",
        Prefix(network.subnet),
        int(network.subnet.network_address),
        int(network.gateway),
    )
    return Station(ANYBODY, ANYBODY, (home,), home, loose=False)
