"""What the policy alone implies: who may open a connection to whom.

Nothing here looks at an address, a link or a rule. `model.reachability` walks packets through the
generated plan instead; that both agree is a test.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from model.homing import default_network, home_networks, source_network
from model.topology import Allow, Topology, Traffic
from model.traffic import NOTHING, TrafficSet


class End(NamedTuple):
    """One end of a connection: a container, by its address on one of its networks."""

    container: str
    network: str


@dataclass(frozen=True)
class Decision:
    """Yes or no, and why; true if yes."""

    yes: bool
    why: str  # a clause

    def __bool__(self) -> bool:
        return self.yes


def allows(topology: Topology, source: End, target: End, traffic: Traffic) -> Decision:
    """Whether `source` may open connections of that traffic to `target`.

    Within a network everything is allowed. Between networks the gateway's policy decides: each part of
    the traffic needs an entry that names both ends, each by its network or its container.
    """
    if source.network == target.network:
        return Decision(True, f"both are on {source.network}")
    if topology.gateway is None:
        return Decision(False, "there is no gateway")
    if missing := {source.network, target.network}.difference(topology.gateway.networks):
        return Decision(False, f"the gateway is not on {min(missing)}")
    allowed, by = NOTHING, []
    for entry in topology.gateway.allow:
        if _names(entry, source, target):
            allowed |= TrafficSet.of(entry.traffic)
            by.append(f"{entry.source} {'<->' if entry.both else '->'} {entry.target}")
    if allowed >= TrafficSet.of([traffic]):
        return Decision(True, f"allowed by {' and '.join(by)}")
    if allowed:
        return Decision(False, f"{' and '.join(by)} allow {allowed} only")
    return Decision(False, f"nothing allows {source.network} -> {target.network}")


def connects(topology: Topology, source: str, target: End, traffic: Traffic) -> Decision:
    """Whether connections from container `source` to `target` work, if the plan does what the policy says.

    For containers on one network each this is what the policy allows. A container on several networks opens
    a connection from its address on the target's network if it has one, else from the one on its
    default network. What it answers to a source address that the gateway kept (`routed`) goes

    - straight to the asking container, if it is on that one's network too. The gateway then sees only half
      of a TCP connection and takes the rest for invalid, so TCP fails; all other traffic works;
    - else by way of its default network, which the gateway must be on.
    """
    opener, asked = topology.container(source), topology.container(target.container)
    begin = End(source, source_network(opener, target.network))
    decision = allows(topology, begin, target, traffic)
    gateway = topology.gateway
    if not decision or begin.network == target.network or gateway is None or gateway.nat == "masquerade":
        return decision
    if begin.network in home_networks(asked):
        if TrafficSet.of([traffic]).tcp:
            return Decision(False, f"{target.container} answers straight over {begin.network}")
        return decision
    if default_network(asked) not in gateway.networks:
        return Decision(
            False, f"{target.container} answers by {default_network(asked)}, which the gateway is not on"
        )
    return decision


def _names(entry: Allow, source: End, target: End) -> bool:
    """Whether an entry lets `source` open connections to `target`."""
    return (entry.source in source and entry.target in target) or (
        entry.both and entry.target in source and entry.source in target
    )
