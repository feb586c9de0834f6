"""From the policy to the gateway's rules: as few as express it.

The shape, for a gateway on networks 10 and 20 that may talk to each other (the tutorial):

    filter  FORWARD      -> the chain below it, once
            ...-FORWARD     -i eth2.10 ! -o eth2.10 -> ...-VLANS      one per network
                            -i eth2.20 ! -o eth2.20 -> ...-VLANS
            ...-VLANS       -i eth2.10 -o eth2.20 RELATED,ESTABLISHED ACCEPT
                            -i eth2.20 -o eth2.10 RELATED,ESTABLISHED ACCEPT
                            -i eth2.10 -o eth2.20 NEW ACCEPT
                            -i eth2.20 -o eth2.10 NEW ACCEPT
                            -o eth2.10 DROP                           one per network
                            -o eth2.20 DROP
    nat     POSTROUTING  -> the chain below it, once
            ...-POSTROUTING -o eth2.10 MASQUERADE
                            -o eth2.20 MASQUERADE

So the default drop between n networks takes 2n rules. A packet that comes from elsewhere passes n short
rules; one that leaves for elsewhere, or stays within its VLAN, matches no ACCEPT and no DROP: what is
not between two of our networks (the uplink, the management network, Docker's bridges) is not ours to
judge and goes on in FORWARD.

MASQUERADE is the one rule that reaches further. `-o eth2.10` also rewrites what comes from the uplink, as
it does in the tutorial: the network's containers see the gateway as the source of all that is routed to
them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from ipaddress import IPv4Address, IPv4Network, collapse_addresses

from model.addresses import AddressPlan
from model.firewall import MULTIPORT_LIMIT, Chain, Firewall, Jump, Rule, chain_name
from model.homing import default_network, home_networks
from model.interfaces import gateway_interfaces
from model.topology import Gateway, Ports, Protocol, Topology
from model.traffic import EVERY_PORT, NOTHING, TrafficSet, merge_ports

Way = tuple[str, str]  # through the gateway: the network that a packet comes from, the one it goes to
Ends = tuple[IPv4Address | None, IPv4Address | None]  # source, destination; None: everybody on the network


def plan_firewall(topology: Topology, addresses: AddressPlan, owner: str) -> Firewall | None:
    """The gateway's rules for a topology; None without a gateway, or if it has nothing to keep apart."""
    gateway = topology.gateway
    if gateway is None or len(gateway.networks) < 2:
        return None
    links = gateway_interfaces(topology)
    route = {network: names[-1] for network, names in links.items()}
    opened = _opened(topology, gateway, addresses)
    answers = {(out, into) for into, out in opened}
    if gateway.nat == "routed":
        answers |= _answers_elsewhere(topology, gateway, addresses, opened)
    order = {network: number for number, network in enumerate(links)}

    def in_order(ways: Iterable[Way]) -> list[Way]:
        return sorted(ways, key=lambda way: (order[way[0]], order[way[1]]))

    vlans = chain_name(owner, "VLANS")
    between = [
        *(
            Rule("ACCEPT", route[into], route[out], states=("RELATED", "ESTABLISHED"))
            for into, out in in_order(answers | opened.keys())
        ),
        *(
            rule
            for into, out in in_order(opened)
            for rule in _new_rules(route[into], route[out], opened[into, out])
        ),
        *(Rule("DROP", out_interface=link) for link in route.values()),
    ]
    # Frames may also be addressed to the sub-interface below a shim; what comes in there is judged as well.
    entries = [
        Rule(vlans, in_interface=link, except_out_interface=route[network])
        for network, names in links.items()
        for link in names
    ]
    forward = chain_name(owner, "FORWARD")
    chains = [Chain("filter", forward, tuple(entries)), Chain("filter", vlans, tuple(between))]
    jumps = [Jump("filter", "FORWARD", forward)]
    targets = {out for _, out in opened}
    if gateway.nat == "masquerade" and targets:
        postrouting = chain_name(owner, "POSTROUTING")
        rules = tuple(
            Rule("MASQUERADE", out_interface=link) for network, link in route.items() if network in targets
        )
        chains.append(Chain("nat", postrouting, rules))
        jumps.append(Jump("nat", "POSTROUTING", postrouting))
    return Firewall(owner, tuple(chains), tuple(jumps))


def _opened(
    topology: Topology, gateway: Gateway, addresses: AddressPlan
) -> dict[Way, dict[Ends, TrafficSet]]:
    """Which connections may be opened on each way through the gateway, as the policy says."""
    containers = {container.name: container for container in topology.containers}
    opened: dict[Way, dict[Ends, TrafficSet]] = {}

    def allow(source: str, target: str, traffic: TrafficSet) -> None:
        opener, asked = containers.get(source), containers.get(target)
        into = source if opener is None else default_network(opener)
        source_address = None if opener is None else addresses.addresses[source, into]
        for out in (target,) if asked is None else sorted(home_networks(asked)):
            if into == out or not {into, out} <= behind or (opener and out in home_networks(opener)):
                continue  # no way through the gateway, or no need of one
            target_address = None if asked is None else addresses.addresses[target, out]
            by_ends = opened.setdefault((into, out), {})
            ends = source_address, target_address
            by_ends[ends] = by_ends.get(ends, NOTHING) | traffic

    behind = set(gateway.networks)
    for entry in gateway.allow:
        traffic = TrafficSet.of(entry.traffic)
        allow(entry.source, entry.target, traffic)
        if entry.both:
            allow(entry.target, entry.source, traffic)
    return opened


def _answers_elsewhere(
    topology: Topology, gateway: Gateway, addresses: AddressPlan, opened: dict[Way, dict[Ends, TrafficSet]]
) -> set[Way]:
    """Ways that answers take although their connections come in by another network of the same container.

    With its source address kept, a connection reaches a container on several networks on any of them, and is
    answered by way of its default network. A masqueraded one is answered where it came in.
    """
    ways: set[Way] = set()
    for container in topology.containers:
        homes, leaves_by = home_networks(container), default_network(container)
        if len(homes) == 1 or leaves_by not in gateway.networks:
            continue
        for (into, out), by_ends in opened.items():
            if out in homes and out != leaves_by and into not in homes:
                own = addresses.addresses[container.name, out]
                if any(target in (None, own) for _, target in by_ends):
                    ways.add((leaves_by, into))
    return ways


def _new_rules(into: str, out: str, by_ends: dict[Ends, TrafficSet]) -> Iterator[Rule]:
    """The rules that open connections on one way, the general ones first, none implied by the others."""
    shapes: dict[tuple[Protocol | None, tuple[Ports, ...]], set[Ends]] = {}
    for (source, target), traffic in by_ends.items():
        general = NOTHING
        for wider in {(None, None), (source, None), (None, target)} - {(source, target)}:
            general |= by_ends.get(wider, NOTHING)
        for shape in _shapes(traffic.without_covered(general)):
            shapes.setdefault(shape, set()).add((source, target))
    rules = [
        Rule("ACCEPT", into, out, source, target, protocol, ports, ("NEW",))
        for (protocol, ports), ends in shapes.items()
        for source, target in _blocks(ends)
    ]
    yield from sorted(rules, key=_generality)


def _generality(rule: Rule) -> tuple[object, ...]:
    narrow = [end for end in (rule.source, rule.destination) if end is not None]
    ends = [int(end.network_address) if end else -1 for end in (rule.source, rule.destination)]
    return len(narrow), ends, rule.protocol or "", [ports.first for ports in rule.ports]


def _shapes(traffic: TrafficSet) -> Iterator[tuple[Protocol | None, tuple[Ports, ...]]]:
    """Protocol and ports of the rules that match a set of traffic."""
    if traffic.other:
        yield None, ()
        return
    if traffic.icmp:
        yield "icmp", ()
    protocols: tuple[tuple[Protocol, tuple[Ports, ...]], ...] = (("tcp", traffic.tcp), ("udp", traffic.udp))
    for protocol, ranges in protocols:
        if ranges == EVERY_PORT:
            yield protocol, ()
        else:
            for part in _multiports(ranges):
                yield protocol, part


def _multiports(ranges: tuple[Ports, ...]) -> Iterator[tuple[Ports, ...]]:
    """The ranges in as few groups as fit into one rule each: wide ones cost two places, single ports one."""
    wide = [ports for ports in ranges if ports.first != ports.last]
    single = [ports for ports in ranges if ports.first == ports.last]
    most = MULTIPORT_LIMIT // 2
    while wide or single:
        room = MULTIPORT_LIMIT - 2 * len(wide[:most])
        yield merge_ports((*wide[:most], *single[:room]))
        wide, single = wide[most:], single[room:]


def _blocks(ends: set[Ends]) -> Iterator[tuple[IPv4Network | None, IPv4Network | None]]:
    """The same pairs of addresses, with neighbours that fill a prefix exactly taken together."""
    sources: dict[IPv4Address | None, set[IPv4Address | None]] = {}
    for source, target in ends:
        sources.setdefault(target, set()).add(source)
    targets: dict[IPv4Network | None, set[IPv4Address | None]] = {}
    for target, several in sources.items():
        for block in _collapse(several):
            targets.setdefault(block, set()).add(target)
    for source_block, several in targets.items():
        for target_block in _collapse(several):
            yield source_block, target_block


def _collapse(addresses: set[IPv4Address | None]) -> Iterator[IPv4Network | None]:
    if None in addresses:
        yield None
    yield from collapse_addresses(IPv4Network(address) for address in addresses if address is not None)
