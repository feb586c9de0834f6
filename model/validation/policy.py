"""Policy: every entry names what exists and lets something pass that nothing else lets pass."""

from __future__ import annotations

from model.declaration import AllowEntry, Direction
from model.problems import Problems, listing
from model.traffic import EVERYTHING, TrafficSet
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

Allowed = dict[tuple[str, str], list[tuple[TrafficSet, int]]]  # by way: what, and in which line


def check_policy(scope: Scope, problems: Problems) -> None:
    """What the gateway is told to let pass."""
    allow = scope.gateway.allow if scope.gateway else None
    if allow is None or not within_limit(allow, allow.value, scope, problems):
        return
    allowed: Allowed = {}
    for entry in allow.value:
        check_traffic(entry, problems)
        for direction in known_directions(entry, scope, problems):
            if direction.source.value == direction.target.value:
                message = f"{direction.target.value} stands on both sides"
                problems.add(direction.target, message, "what is on one network needs no gateway")
            elif _passes_gateway(direction, scope, problems):
                _check_redundancy(entry, direction, allowed, problems)


def _passes_gateway(direction: Direction, scope: Scope, problems: Problems) -> bool:
    """Whether some connection between the two passes the gateway; reported if none does."""
    if not scope.routed_is_whole:
        return False
    source, target = direction.source, direction.target
    both_ends = [(name, networks_of(name.value, scope)) for name in (source, target)]
    if not all(networks and all(map(scope.network, networks)) for _, networks in both_ends):
        return False
    for name, networks in both_ends:
        if networks.isdisjoint(scope.routed):
            on = "" if name.value in networks else f", as {' and '.join(sorted(networks))} is not"
            hint = listing("networks behind it", list(scope.routed))
            problems.add(name, f"{name.value} is not behind the gateway{on}", hint)
            return False
    if any(_opens(*way, scope) for way in ways(direction)):
        return True
    message = f"no connection from {source.value} to {target.value} passes the gateway"
    if shared := both_ends[0][1] & both_ends[1][1]:
        hint = f"both are on {' and '.join(sorted(shared))}, where they reach each other without it"
    else:
        default = min(both_ends[0][1])
        hint = f"the default route of {source.value} is on {default}, the first of its networks by name"
    problems.add(target, message, hint)
    return False


def _opens(source: str, target: str, scope: Scope) -> bool:
    """Whether a connection can be opened through the gateway; the rule is that of `model.homing`."""
    own, others = networks_of(source, scope), networks_of(target, scope)
    return min(own) in scope.routed and not others.isdisjoint(scope.routed.keys() - own)


def _check_redundancy(entry: AllowEntry, direction: Direction, allowed: Allowed, problems: Problems) -> None:
    """An entry that adds nothing to one before it, or leaves nothing to it, is a slip."""
    traffic = traffic_of(entry, EVERYTHING)
    if traffic is None or entry.wrong("between", "from", "to"):
        return
    name = f"{direction.source.value} to {direction.target.value}"
    before = {way: allowed.get(way, []) for way in ways(direction)}
    if all(any(known >= traffic for known, _ in entries) for entries in before.values()):
        line = next(line for entries in before.values() for known, line in entries if known >= traffic)
        message = f"{name} with {traffic} is already allowed by {entry_in(line)}"
        problems.add(direction.target, message, "remove one of the two")
    elif lines := [line for entries in before.values() for known, line in entries if traffic >= known]:
        message = f"{name} with {traffic} includes all of {entry_in(lines[0])}"
        problems.add(direction.target, message, "remove the narrower one of the two")
    for way in before:
        allowed.setdefault(way, []).append((traffic, direction.target.line))
