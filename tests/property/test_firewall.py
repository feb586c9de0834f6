"""Laws of the gateway's rules."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import product

from hypothesis import given
from hypothesis import strategies as st
from hypothesis.strategies import DataObject

from model.addresses import plan_addresses
from model.firewall import (
    MULTIPORT_LIMIT,
    BuiltIn,
    Chain,
    Firewall,
    Rule,
    render,
    rule_comments,
    to_arguments,
)
from model.interfaces import gateway_interfaces
from model.reachability.netfilter import Packet, State, Tables
from model.reachability.wire import Prefix
from model.rules import plan_firewall
from model.topology import Protocol, Topology
from tests.strategies import topologies
from tests.tutorial import OWNER

gatewayed = topologies().filter(lambda t: t.gateway is not None and len(t.gateway.networks) > 1)


def firewall_of(topology: Topology) -> Firewall:
    firewall = plan_firewall(topology, plan_addresses(topology), OWNER)
    assert firewall is not None
    return firewall


def rules(firewall: Firewall) -> list[Rule]:
    return [rule for chain in firewall.chains for rule in chain.rules]


def without(firewall: Firewall, chain: Chain, position: int) -> Firewall:
    """The firewall less one rule."""
    less = replace(chain, rules=chain.rules[:position] + chain.rules[position + 1 :])
    return replace(firewall, chains=tuple(less if c is chain else c for c in firewall.chains))


def packets(topology: Topology, rule: Rule) -> Iterator[Packet]:
    """Packets of every kind that the rule matches and that other rules might tell apart."""
    links = [link for names in gateway_interfaces(topology).values() for link in names]
    plan = plan_addresses(topology)
    everybody = [0, *(int(address) for address in plan.addresses.values())]
    sources = [a for a in everybody if rule.source is None or a in Prefix(rule.source)]
    targets = [a for a in everybody if rule.destination is None or a in Prefix(rule.destination)]
    protocols: list[Protocol | None] = [rule.protocol] if rule.protocol else [None, "icmp", "tcp", "udp"]
    ports = {p for ports in rule.ports for p in (ports.first, ports.last)} or {0, 8080, 65535}
    states: tuple[State, ...] = rule.states or ("NEW", "ESTABLISHED", "RELATED", "INVALID")
    for into in [rule.in_interface] if rule.in_interface else links:
        for out in [rule.out_interface] if rule.out_interface else [*links, "uplink"]:
            if into != out:
                for rest in product(sources, targets, protocols, sorted(ports), states):
                    yield Packet(into, out, *rest)


@given(gatewayed, st.data())
def test_no_rule_could_be_left_out(topology: Topology, data: DataObject) -> None:
    firewall = firewall_of(topology)
    chain = data.draw(st.sampled_from(firewall.chains))
    position = data.draw(st.integers(0, len(chain.rules) - 1))
    whole, less = Tables(firewall), Tables(without(firewall, chain, position))
    built_in: BuiltIn = "FORWARD" if chain.table == "filter" else "POSTROUTING"
    rule = chain.rules[position]
    assert any(
        whole.fate(built_in, packet).target != less.fate(built_in, packet).target
        for packet in packets(topology, rule)
    ), " ".join(to_arguments(rule))


@given(gatewayed)
def test_what_is_not_between_our_networks_is_not_ours(topology: Topology) -> None:
    """No rule decides about it, whatever the policy is; all that is between them is decided."""
    tables = Tables(firewall_of(topology))
    ours = [names[-1] for names in gateway_interfaces(topology).values()]
    for into, out in product([*ours, "eth0"], repeat=2):
        for state in ("NEW", "ESTABLISHED", "INVALID"):
            packet = Packet(into, out, 1, 2, "tcp", 80, state)
            decided = tables.fate("FORWARD", packet).target
            if into == out or "eth0" in (into, out):
                assert decided is None
            else:
                assert decided in ("ACCEPT", "DROP")
            assert state != "INVALID" or decided != "ACCEPT"


@given(gatewayed)
def test_the_default_drop_grows_with_the_networks_and_not_with_their_pairs(topology: Topology) -> None:
    links = gateway_interfaces(topology)
    firewall = firewall_of(topology)
    assert sum(1 for rule in rules(firewall) if rule.target == "DROP") == len(links)
    assert len(firewall.chains[0].rules) == sum(map(len, links.values()))


@given(gatewayed)
def test_every_rule_is_one_that_iptables_takes(topology: Topology) -> None:
    firewall = firewall_of(topology)
    chains = {chain.name: chain.table for chain in firewall.chains}
    for chain in firewall.chains:
        assert len(chain.name) <= 28
        for rule in chain.rules:
            assert rule.target in {"ACCEPT", "DROP", "MASQUERADE"} or chains[rule.target] == chain.table
            assert sum(1 if p.first == p.last else 2 for p in rule.ports) <= MULTIPORT_LIMIT
            assert not rule.ports or rule.protocol in ("tcp", "udp")
            assert rule.out_interface is None or rule.except_out_interface is None
            assert rule.target != "MASQUERADE" or (chain.table, rule.in_interface) == ("nat", None)
        comments = rule_comments(firewall, chain)
        assert len(set(comments)) == len(comments)
    assert all(chains[jump.chain] == jump.table for jump in firewall.jumps)
    assert set(render(firewall)) == set(chains.values())
