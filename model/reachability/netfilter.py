"""What the kernel does with a packet in the chains of a `Firewall`.

Rules are looked up by interface, so a packet costs a few comparisons however many rules there are.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import chain
from operator import attrgetter
from typing import Literal, NamedTuple

from model.firewall import BuiltIn, Chain, CtState, Firewall, Rule, to_arguments
from model.topology import Protocol

_position = attrgetter("position")

State = CtState | Literal["INVALID"]


class Packet(NamedTuple):
    """What rules can match of a packet; addresses as integers."""

    in_interface: str
    out_interface: str
    source: int
    destination: int
    protocol: Protocol | None  # None: a protocol that no rule can name
    port: int  # destination port; 0 without one
    state: State


@dataclass(frozen=True, slots=True)
class RuleAt:
    """A rule and its place."""

    chain: str
    position: int  # counts from 1, as in `iptables -L --line-numbers`
    rule: Rule
    kind: int  # the same number: the same rule of the same chain, but for the names of interfaces

    def __str__(self) -> str:
        return f"rule {self.position} of {self.chain} ({' '.join(to_arguments(self.rule))})"


class Fate(NamedTuple):
    """What becomes of a packet: the target that decided, and the rules that matched up to it, in order."""

    target: str | None  # ACCEPT, DROP, MASQUERADE; None: no rule of ours decides
    rules: tuple[RuleAt, ...]


class Between:
    """The rules that a packet forwarded between two interfaces can come to, chain by chain, in order."""

    def __init__(self, rules: tuple[RuleAt, ...]) -> None:
        self.rules = rules

    @cached_property
    def by_address(self) -> bool:
        """Whether any of them matches an address."""
        return any(at.rule.source or at.rule.destination for at in self.rules)

    @cached_property
    def by_protocol(self) -> tuple[Rule, ...]:
        """Those that name a protocol."""
        return tuple(at.rule for at in self.rules if at.rule.protocol is not None)


class Tables:
    """The chains of one firewall."""

    def __init__(self, firewall: Firewall | None) -> None:
        kinds: dict[tuple[str, Rule], int] = {}
        self._chains = {chain.name: _Chain(chain, kinds) for chain in firewall.chains} if firewall else {}
        self._entries: dict[BuiltIn, list[str]] = {"FORWARD": [], "POSTROUTING": []}
        self._interfaces = _Interfaces(self._chains.values())
        self._between: dict[Hashable, Between] = {}
        self._alike: dict[tuple[int, ...], Between] = {}
        for jump in firewall.jumps if firewall else ():
            self._entries[jump.built_in].append(jump.chain)

    def fate(self, built_in: BuiltIn, packet: Packet) -> Fate:
        """Send a packet through a built-in chain, as far as it is ours."""
        matched: list[RuleAt] = []
        for name in self._entries[built_in]:
            if target := self._traverse(name, packet, matched):
                return Fate(target, tuple(matched))
        return Fate(None, tuple(matched))

    def between(self, in_interface: str, out_interface: str) -> Between:
        """The rules between two interfaces.

        It is one object for all pairs between which the same rules stand, but for the interfaces' names; its
        rules are those of one such pair.
        """
        key = self._interfaces.between(in_interface, out_interface)
        found = self._between.get(key)
        if found is None:
            rules = self._rules_between(in_interface, out_interface)
            found = self._alike.setdefault(tuple(at.kind for at in rules), Between(rules))
            self._between[key] = found
        return found

    def _rules_between(self, in_interface: str, out_interface: str) -> tuple[RuleAt, ...]:
        names = [*self._entries["FORWARD"], *self._entries["POSTROUTING"]]
        rules: list[RuleAt] = []
        for name in names:  # grows while it is walked
            here = self._chains[name].rules_for(in_interface, out_interface)
            rules += here
            for at in here:
                if at.rule.target in self._chains and at.rule.target not in names:
                    names.append(at.rule.target)
        return tuple(rules)

    def _traverse(self, name: str, packet: Packet, matched: list[RuleAt]) -> str | None:
        """The target that decided; None on RETURN and at the end of the chain."""
        for at in self._chains[name].rules_for(packet.in_interface, packet.out_interface):
            if not _matches(at.rule, packet):
                continue
            matched.append(at)
            if at.rule.target == "RETURN":
                return None
            if at.rule.target not in self._chains:
                return at.rule.target
            if target := self._traverse(at.rule.target, packet, matched):
                return target
        return None


class _Interfaces:
    """What sets pairs of interfaces apart. Most have no rule of their own, and few keys stand for those."""

    def __init__(self, chains: Iterable[_Chain]) -> None:
        self._pairs: set[tuple[str | None, str | None]] = set()  # that some rule names together
        self._into: dict[str | None, tuple[int, ...]] = {}  # the rules that name an in interface alone
        self._out: dict[str | None, tuple[int, ...]] = {}
        self._ordered = True
        for chain_ in chains:
            single = set()
            for into, out, at in chain_.named():
                if into is not None and out is not None:
                    self._pairs.add((into, out))
                    continue
                single.add((into is None, out is None))
                names = self._out if into is None else self._into
                names[into or out] = (*names.get(into or out, ()), at.kind)
            # Where a packet meets rules of two of these sorts in one chain, their order counts too.
            self._ordered &= len(single) < 2

    def between(self, into: str, out: str) -> Hashable:
        """The same for two pairs only if the same rules stand between them, but for the interfaces' names."""
        if self._ordered and (into, out) not in self._pairs:
            return self._into.get(into), self._out.get(out)
        return into, out


class _Chain:
    """A chain with its rules sorted by the interfaces they name."""

    def __init__(self, wanted: Chain, kinds: dict[tuple[str, Rule], int]) -> None:
        self._by_interfaces: dict[tuple[str | None, str | None], list[RuleAt]] = {}
        self._found: dict[tuple[str, str], list[RuleAt]] = {}
        for position, rule in enumerate(wanted.rules, 1):
            key = rule.in_interface, rule.out_interface
            kind = kinds.setdefault((wanted.name, _nameless(rule)), len(kinds))
            self._by_interfaces.setdefault(key, []).append(RuleAt(wanted.name, position, rule, kind))

    def named(self) -> Iterator[tuple[str | None, str | None, RuleAt]]:
        """The rules by the interfaces that they name; to name one as an exception is to name it."""
        for (into, out), rules in self._by_interfaces.items():
            for at in rules:
                yield into, out, at
                if at.rule.except_out_interface is not None:
                    yield into, at.rule.except_out_interface, at

    def rules_for(self, into: str, out: str) -> list[RuleAt]:
        """The rules whose interfaces match, in order."""
        found = self._found.get((into, out))
        if found is None:
            get = self._by_interfaces.get
            several = [
                rules for key in ((into, out), (into, None), (None, out), (None, None)) if (rules := get(key))
            ]
            found = several[0] if len(several) == 1 else sorted(chain(*several), key=_position)
            if any(at.rule.except_out_interface == out for at in found):
                found = [at for at in found if at.rule.except_out_interface != out]
            self._found[into, out] = found
        return found


def _nameless(rule: Rule) -> Rule:
    """The rule with every interface that it names called the same."""
    return replace(
        rule,
        in_interface=rule.in_interface and "in",
        out_interface=rule.out_interface and "out",
        except_out_interface=rule.except_out_interface and "out",
    )


def _matches(rule: Rule, packet: Packet) -> bool:
    """All but the interfaces, which the look-up has compared."""
    if rule.states and packet.state not in rule.states:
        return False
    if rule.protocol is not None and rule.protocol != packet.protocol:
        return False
    if rule.ports and not any(ports.first <= packet.port <= ports.last for ports in rule.ports):
        return False
    for network, address in ((rule.source, packet.source), (rule.destination, packet.destination)):
        if network is not None and address & int(network.netmask) != int(network.network_address):
            return False
    return True
