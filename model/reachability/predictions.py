"""What the wire should do, pair by pair: to be compared with what it does."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from model.fabric import Endpoint, Fabric
from model.reachability.passing import port_classes, rules_by_protocol
from model.reachability.walk import ANY_PROTOCOL, Probe, Verdict, walk
from model.reachability.wire import Home, Station, Wire
from model.topology import Traffic

MOST_PAIRS = 10_000
UNNAMED_PORT = 7  # tried where no rule names a port


@dataclass(frozen=True)
class Prediction:
    """One question that `source` can ask `target`, and whether it gets an answer."""

    source: Endpoint  # with the address that it asks from
    target: Endpoint
    traffic: Traffic  # an ICMP echo request, or TCP to one port
    reaches: bool
    why: str  # the way, or what is in it


def predictions(fabric: Fabric, most_pairs: int = MOST_PAIRS) -> tuple[Prediction, ...]:
    """Of every container to every address of every other one, in the order of the plan.

    By ping and by TCP; where rules on the way name TCP ports, on one port of each range that they tell
    apart. If there are more than `most_pairs` pairs, it is as many of them, evenly spread.

    An answer is anything that the target sends back, a refusal too. Where only the first packet of a TCP
    connection would be answered, and the connection not work, there is no prediction for TCP. There is
    none for UDP, because silence shows nothing there: refusals are rate limited (Linux, icmp_ratelimit).
    """
    wire = Wire(fabric)
    sources = list(wire.stations.values())
    targets = [(station, home) for station in sources for home in station.homes]
    pairs = len(sources) * len(targets)
    step = max(pairs / most_pairs, 1)
    numbers = (int(turn * step) for turn in range(int(pairs / step)))
    found: list[Prediction] = []
    for number in numbers:
        source, (target, home) = sources[number // len(targets)], targets[number % len(targets)]
        if source is not target:
            found += _pair(wire, source, target, home)
    return tuple(found)


def _pair(wire: Wire, source: Station, target: Station, home: Home) -> Iterator[Prediction]:
    for probe in _probes(wire, walk(wire, source, target, home, ANY_PROTOCOL)):
        verdict = walk(wire, source, target, home, probe)
        if verdict.answered == verdict.reaches:
            yield Prediction(verdict.source, verdict.target, probe.traffic, verdict.reaches, str(verdict))


def _probes(wire: Wire, verdict: Verdict) -> Iterator[Probe]:
    yield Probe("icmp")
    named = [rule for rule in rules_by_protocol(wire, verdict) if rule.protocol == "tcp"]
    ports = (range_.first for range_ in port_classes(named, "tcp")) if named else (UNNAMED_PORT,)
    yield from (Probe("tcp", port) for port in ports)
