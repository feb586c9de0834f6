"""What policy and expectations share: pairs of names, and traffic."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from model.declaration import AllowEntry, Direction, ExpectEntry, Names, PairsEntry
from model.kinds import Given
from model.problems import Placed, Problems
from model.topology import Traffic
from model.traffic import TrafficSet
from model.validation.scope import Scope

MAX_PAIRS = 100_000  # with replicas told apart; 200 networks, each with each, are 20,000


def known_directions(entry: PairsEntry, scope: Scope, problems: Problems) -> Iterator[Direction]:
    """The pairs of an entry whose names exist; each other name, and each repetition, is reported once."""
    judged: dict[str, bool] = {}
    for names in (entry.between, entry.source, entry.target):
        listed = names.value if names else ()
        one_pair = names is entry.between and len(listed) == 2  # the same name twice is another slip there
        seen: set[str] = set()
        for name in listed:
            judged[name.path] = _is_known(name, scope, problems)
            if name.value in seen and not one_pair:
                problems.add(name, f"{name.value} is listed twice", "remove one")
                judged[name.path] = False
            seen.add(name.value)
    for direction in entry.directions():
        if judged[direction.source.path] and judged[direction.target.path]:
            yield direction


def _is_known(name: Given[str], scope: Scope, problems: Problems) -> bool:
    """Whether a name is a network's or container's. False without a report if that cannot be judged."""
    if scope.networks is None or scope.containers is None:
        return False
    if name.value in scope.networks or name.value in scope.replicas:
        return True
    if name.value in scope.containers:
        return scope.containers[name.value].value is not None
    replicated = scope.containers.get(name.value.rpartition("-")[0])
    if replicated is None or (replicated.value and not replicated.value.wrong("replicas", "hosts")):
        problems.unknown(name, "network or container", name.value, [*scope.networks, *scope.containers])
    return False


def networks_of(name: str, scope: Scope) -> frozenset[str]:
    """The networks that a network, a container or a group of replicas is on; none if that is unknown."""
    if name in (scope.networks or {}):
        return frozenset([name])
    declared = scope.replicas.get(name, name)
    made, entry = scope.placements[declared], (scope.containers or {})[declared].value
    if not made or entry is None or entry.wrong("networks"):
        return frozenset()
    return frozenset(attached.network.value for attached in made[0].attached)


def ways(direction: Direction) -> list[tuple[str, str]]:
    """(source, target), and the way back if the entry speaks of both."""
    way = (direction.source.value, direction.target.value)
    return [way, way[::-1]] if direction.both else [way]


def traffic_of(entry: AllowEntry | ExpectEntry, default: TrafficSet) -> TrafficSet | None:
    """An entry's traffic; None if some of it could not be read."""
    if entry.wrong("traffic"):
        return None
    return TrafficSet.of(one.value for one in entry.traffic.value) if entry.traffic else default


def check_traffic(entry: AllowEntry | ExpectEntry, problems: Problems) -> None:
    """No kind of traffic is part of another that stands beside it."""
    given = entry.traffic.value if entry.traffic else ()
    sets = [TrafficSet.of([one.value]) for one in given]
    for index, one in enumerate(sets):
        for other, wide in enumerate(sets):
            if other != index and wide >= one and (wide != one or other < index):
                part = f"is part of {_written(given[other].value)}, which is listed too"
                said = "is listed twice" if wide == one else part
                problems.add(given[index], f"{_written(given[index].value)} {said}", "remove it")
                break


def within_limit(at: Placed, entries: Iterable[PairsEntry], scope: Scope, problems: Problems) -> bool:
    """Whether the entries speak of a number of pairs that anyone can want; reported if not.

    The name of a replicated container stands for all of its replicas, so it is easily more than meant.
    """

    def count(names: Names | None) -> tuple[int, int]:
        counts = [len(scope.placements.get(name.value, ())) or 1 for name in (names.value if names else ())]
        return sum(counts), sum(count * count for count in counts)

    pairs = 0
    for entry in entries:
        among, alone = count(entry.between)
        pairs += (among * among - alone) // 2 + count(entry.source)[0] * count(entry.target)[0]
    if pairs > MAX_PAIRS:
        hint = "name the networks of the replicas instead"
        problems.add(
            at, f"speaks of {pairs:,} pairs, with replicas told apart; {MAX_PAIRS:,} are too many", hint
        )
    return pairs <= MAX_PAIRS


def _written(traffic: Traffic) -> str:
    ports = [f"{p.first}" if p.first == p.last else f"{p.first}-{p.last}" for p in traffic.ports]
    return "/".join([traffic.protocol or "all", *ports])


def entry_in(line: int) -> str:
    """How to name an earlier entry."""
    return f"the entry in line {line}" if line else "an earlier entry"
