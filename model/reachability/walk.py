"""One connection, walked through the plan packet by packet.

The first packet goes from the asking container over its VLAN, or by its default route to the gateway,
through the gateway's rules and NAT, to the asked one. Then the answer goes back by the routes of the
asked container, and at last the rest of the connection goes the first way again, with the state that
connection tracking has for it by then. It works if all three arrive.

Assumed: hosts, containers and links are up; hosts and containers have no routes or rules beyond the plan
that concern these networks; nobody behind an uplink knows the networks; a server answers from the
address that it was asked on (TCP and ICMP always do, a UDP server may not if it has several).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import IPv4Address
from typing import NamedTuple

from model.fabric import Endpoint
from model.reachability.netfilter import Packet, RuleAt, State
from model.reachability.wire import Home, Port, Router, Station, Wire
from model.topology import Ports, Protocol, Traffic


class Probe(NamedTuple):
    """One kind of packet: a protocol and, for TCP and UDP, a destination port."""

    protocol: Protocol | None  # None: any protocol but icmp, tcp and udp
    port: int = 0

    @property
    def traffic(self) -> Traffic:
        """The same as a policy says it; of other protocols it can only name all of them together."""
        return Traffic(self.protocol, (Ports(self.port, self.port),) if self.port else ())

    def __str__(self) -> str:
        return f"{self.protocol or 'other protocols'}{f' {self.port}' if self.port else ''}"


ANY_PROTOCOL = Probe(None)


@dataclass(frozen=True, slots=True)
class Passage:
    """A packet's way through a router."""

    router: str
    asked: IPv4Address  # the router's address that it was sent to
    in_interface: str
    out_interface: str
    rules: tuple[RuleAt, ...]  # that it matched in FORWARD, in order; the last one accepted it
    masqueraded: IPv4Address | None = None  # its new source address


class _Lost(Exception):
    """The connection does not work; the text, a clause that says why, is only made if it is asked for."""

    def __init__(self, why: Callable[[], str]) -> None:
        self._why = why

    def __str__(self) -> str:
        return self._why()


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a connection works, how, and if not, why not."""

    source_end: tuple[Station, Home]
    target_end: tuple[Station, Home]
    lost: _Lost | None
    forward: Passage | None = None  # None: on layer 2, or it did not get through
    answer: Passage | None = None  # None: on layer 2, or there is none
    answered: bool = (
        True  # whether the answer to the first packet arrives; it may, and the connection not work
    )

    @property
    def source(self) -> Endpoint:
        """The container that asks, and the address it asks from."""
        return self.source_end[0].endpoint(self.source_end[1])

    @property
    def target(self) -> Endpoint:
        """The container that is asked."""
        return self.target_end[0].endpoint(self.target_end[1])

    @property
    def reaches(self) -> bool:
        """Whether it works."""
        return self.lost is None

    @property
    def obstacle(self) -> str:
        """Why it does not work, a clause; empty if it does."""
        return str(self.lost or "")

    @property
    def layer(self) -> int:
        """2 if both ends are on one network, else 3."""
        return 2 if self.source_end[1].network == self.target_end[1].network else 3

    @property
    def seen_as(self) -> IPv4Address:
        """The source address that the target sees."""
        return (self.forward and self.forward.masqueraded) or self.source.address

    def __str__(self) -> str:
        """The way in one line."""
        source, target = self.source, self.target
        start, end = f"{source.container} {source.address}", f"{target.container} {target.address}"
        if self.lost:
            return f"{start} -x-> {end}: {self.obstacle}"
        if self.forward is None:
            return f"{start} -> {target.network} -> {end}"
        way = self.forward
        nat = f" (masquerade to {way.masqueraded})" if way.masqueraded else ""
        line = f"{start} -> {way.asked} {way.router} {way.in_interface} => {way.out_interface}{nat} -> {end}"
        if self.answer is None:
            return f"{line}; answered straight over {source.network}"
        if self.answer.in_interface != way.out_interface:
            return f"{line}; answered by way of {self.answer.asked} {self.answer.in_interface}"
        return line


def walk(wire: Wire, source: Station, target: Station, home: Home, probe: Probe) -> Verdict:
    """What becomes of a connection from `source` to `target`'s address on `home`."""
    own, on_link = source.route(home.address)
    ends = (source, own), (target, home)
    if on_link:
        if own.segment == home.segment:
            return Verdict(*ends, None)
        return Verdict(
            *ends,
            _Lost(lambda: f"{own.network} is not the same VLAN on {source.host} and {target.host}"),
            answered=False,
        )
    connection = _Connection(wire, source, own, target, home, probe)
    try:
        connection.run()
    except _Lost as lost:
        lost = lost.with_traceback(None)
        return Verdict(*ends, lost, connection.forward, connection.answer, connection.answered)
    return Verdict(*ends, None, connection.forward, connection.answer)


class _Connection:
    """A connection through a router; `forward` and `answer` are filled in as far as it gets."""

    def __init__(
        self, wire: Wire, source: Station, own: Home, target: Station, home: Home, probe: Probe
    ) -> None:
        self.wire = wire
        self.source, self.own = source, own
        self.target, self.home = target, home
        self.probe = probe
        self.forward: Passage | None = None
        self.answer: Passage | None = None
        self.answered = False

    def run(self) -> None:
        router, port, link = self._ask_gateway(self.source, self.own)
        out = router.route(self.home.address)
        if out is None:
            raise _Lost(lambda: f"{router.host} has no address on {self.home.network} and so no route to it")
        rules = self._pass(router, link, out.link, "NEW")
        seen_as = self._translate(router, link, out)
        self.forward = Passage(
            router.host,
            IPv4Address(port.address),
            link,
            out.link,
            rules,
            IPv4Address(seen_as) if seen_as != self.own.address else None,
        )
        self._deliver(router, out, self.target, self.home)
        back, on_link = self.target.route(seen_as)
        if back != self.home and not self.target.loose:
            raise _Lost(
                lambda: (
                    f"{self.target.name} may refuse it: it comes in on {self.home.network}, "
                    f"but its source is routed to {back.network}"
                )
            )
        if on_link and seen_as == self.own.address:
            if back.segment != self.own.segment:
                raise _Lost(lambda: f"{self.target.name} answers on another VLAN")
            self.answered = True
            self._rest_unseen(router, link, out)
        else:
            self._answer(router, back, seen_as if on_link else back.gateway)
            self._pass(router, link, out.link, "ESTABLISHED")

    def _answer(self, router: Router, back: Home, next_hop: int) -> None:
        """The answer's way through the router, which restores the address that it had rewritten."""
        found = self.wire.gateway(self.target, back, next_hop)
        if found is None or found[0] is not router:
            raise _Lost(
                lambda: (
                    f"{self.target.name} answers by way of {IPv4Address(next_hop)}, its gateway on "
                    f"{back.network}, which nobody has"
                )
            )
        _, port, link = found
        if router.route(self.home.address) != port and not port.loose:
            raise _Lost(
                lambda: (
                    f"{router.host} may refuse the answer: it comes in on {port.link}, "
                    f"but {IPv4Address(self.home.address)} is routed elsewhere"
                )
            )
        out = router.route(self.own.address)
        if out is None:
            raise _Lost(lambda: f"{router.host} has no route back to {self.own.network}")
        rules = self._pass(router, link, out.link, "ESTABLISHED", answer=True)
        self._deliver(router, out, self.source, self.own)
        self.answer = Passage(router.host, IPv4Address(next_hop), link, out.link, rules)
        self.answered = True

    def _rest_unseen(self, router: Router, link: str, out: Port) -> None:
        """The rest of a connection whose answers miss the router.

        Of TCP it has seen the SYN alone, so the ACK that follows is invalid (Linux,
        nf_conntrack_proto_tcp.c); of all else every packet looks like the first.
        """
        state: State = "INVALID" if self.probe.protocol == "tcp" else "NEW"
        try:
            self._pass(router, link, out.link, state)
        except _Lost:
            raise _Lost(
                lambda: (
                    f"{self.target.name} answers straight over {self.own.network}, so {router.host} "
                    "sees half of the connection and drops the rest as invalid"
                )
            ) from None

    def _ask_gateway(self, station: Station, home: Home) -> tuple[Router, Port, str]:
        found = self.wire.gateway(station, home, home.gateway)
        if found is None:
            raise _Lost(lambda: f"nobody has {IPv4Address(home.gateway)}, the gateway of {home.network}")
        return found

    def _pass(
        self, router: Router, into: str, out: str, state: State, *, answer: bool = False
    ) -> tuple[RuleAt, ...]:
        """Through FORWARD; the rules on the way."""
        ends = (self.own.address, self.home.address)
        start, end = reversed(ends) if answer else ends
        packet = Packet(into, out, start, end, self.probe.protocol, 0 if answer else self.probe.port, state)
        fate = router.tables.fate("FORWARD", packet)
        if fate.target not in (None, "ACCEPT"):
            what = "the answer" if answer else "it"
            raise _Lost(lambda: f"{router.host} drops {what}: {fate.rules[-1]}")
        return fate.rules

    def _translate(self, router: Router, into: str, out: Port) -> int:
        """Through POSTROUTING; the source address from there on."""
        packet = Packet(
            into, out.link, self.own.address, self.home.address, self.probe.protocol, self.probe.port, "NEW"
        )
        fate = router.tables.fate("POSTROUTING", packet)
        return out.address if fate.target == "MASQUERADE" else self.own.address

    def _deliver(self, router: Router, out: Port, station: Station, home: Home) -> None:
        """From the router to a station on link."""
        if out.segment != home.segment:
            raise _Lost(lambda: f"{home.network} is not the same VLAN on {router.host} and {station.host}")
        if router.host == station.host and out.link == home.parent:
            raise _Lost(
                lambda: f"{station.name} cannot be reached from {out.link}, which its own interface is on"
            )
