"""The gateway's packet filter and NAT, as data and as `iptables` arguments.

All rules live in chains of our own; FORWARD and POSTROUTING hold one jump each. Nothing here knows
how they reach a host: `hosts.firewall` applies a `Firewall`, `model.reachability` walks packets
through the very same rules. `model.rules` makes them from the policy.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256
from ipaddress import IPv4Network
from typing import Literal

from model.topology import Ports, Protocol

Table = Literal["filter", "nat"]
CtState = Literal["NEW", "RELATED", "ESTABLISHED"]
BuiltIn = Literal["FORWARD", "POSTROUTING"]

MULTIPORT_LIMIT = 15  # XT_MULTI_PORTS: ports in one multiport match, a range counting two


@dataclass(frozen=True)
class Rule:
    """One rule; a field that is None or empty matches everything.

    `target` is ACCEPT, DROP, MASQUERADE, RETURN or the name of a chain of the same firewall.
    """

    target: str
    in_interface: str | None = None
    out_interface: str | None = None
    source: IPv4Network | None = None
    destination: IPv4Network | None = None
    protocol: Protocol | None = None
    ports: tuple[Ports, ...] = ()  # destination ports; at most 15 of them, a range counting two (multiport)
    states: tuple[CtState, ...] = ()
    except_out_interface: str | None = None  # every out interface but this one; never with out_interface


@dataclass(frozen=True)
class Chain:
    """A chain of our own and its rules in order; falling off its end returns to the caller."""

    table: Table
    name: str  # at most 28 characters (iptables)
    rules: tuple[Rule, ...]


@dataclass(frozen=True)
class Jump:
    """The one rule that we put into a built-in chain: an unconditional jump into a chain of ours."""

    table: Table
    built_in: BuiltIn
    chain: str


@dataclass(frozen=True)
class Firewall:
    """Everything that one stack has in one host's tables."""

    owner: str  # in whose name it is made
    chains: tuple[Chain, ...]
    jumps: tuple[Jump, ...]


def owner_tag(owner: str) -> str:
    """The eight hexadecimal digits that stand for an owner in chain names and comments."""
    return _digest(owner, 8)


def chain_name(owner: str, role: str) -> str:
    """`MVF-` + owner tag + role, for example MVF-0a1b2c3d-FORWARD. A role has at most 15 characters."""
    return f"MVF-{owner_tag(owner)}-{role}"


def to_arguments(rule: Rule) -> tuple[str, ...]:
    """What follows `iptables -A CHAIN`: matches and target, without the comment."""
    arguments: list[str] = []
    if rule.source is not None:
        arguments += ["-s", str(rule.source)]
    if rule.destination is not None:
        arguments += ["-d", str(rule.destination)]
    if rule.in_interface is not None:
        arguments += ["-i", rule.in_interface]
    if rule.out_interface is not None:
        arguments += ["-o", rule.out_interface]
    if rule.except_out_interface is not None:
        arguments += ["!", "-o", rule.except_out_interface]
    if rule.protocol is not None:
        arguments += ["-p", rule.protocol]
    if len(rule.ports) == 1:
        arguments += ["-m", str(rule.protocol), "--dport", _port_text(rule.ports[0])]
    elif rule.ports:
        arguments += ["-m", "multiport", "--dports", ",".join(map(_port_text, rule.ports))]
    if rule.states:
        arguments += ["-m", "conntrack", "--ctstate", ",".join(rule.states)]
    return (*arguments, "-j", rule.target)


def rule_comments(firewall: Firewall, chain: Chain) -> tuple[str, ...]:
    """The comment of each rule of a chain: `mvf:<owner tag> <hash of the rule, its chain and its position>`.

    A chain is as wanted if these are the comments that `iptables-save` shows in it, in this order: what it
    prints of a rule differs between versions, a comment does not.
    """
    return tuple(
        _comment(firewall, chain.table, chain.name, str(position), *to_arguments(rule))
        for position, rule in enumerate(chain.rules, 1)
    )


def jump_comment(firewall: Firewall, jump: Jump) -> str:
    """The comment that marks the jump as ours."""
    return _comment(firewall, jump.table, jump.built_in, jump.chain)


def jump_arguments(firewall: Firewall, jump: Jump) -> tuple[str, ...]:
    """What follows `iptables -t TABLE -C|-A|-D BUILT-IN` or `-I BUILT-IN 1`, with its comment."""
    return (*_comment_match(jump_comment(firewall, jump)), "-j", jump.chain)


def render(firewall: Firewall) -> dict[Table, str]:
    """Input for `iptables-restore --noflush`, one text per table that has chains of ours.

    It makes our chains or empties them, and fills them, as one transaction. It never declares a built-in
    chain, which would set its policy; the jumps are not in it, because they are only added where missing.
    """
    return {
        table: "\n".join([f"*{table}", *_table_lines(firewall, table), "COMMIT", ""])
        for table in dict.fromkeys(chain.table for chain in firewall.chains)
    }


def _table_lines(firewall: Firewall, table: Table) -> Iterator[str]:
    chains = [chain for chain in firewall.chains if chain.table == table]
    for chain in chains:
        yield f":{chain.name} - [0:0]"
    for chain in chains:
        for rule, comment in zip(chain.rules, rule_comments(firewall, chain), strict=True):
            *matches, option, target = to_arguments(rule)
            yield " ".join(
                ["-A", chain.name, *matches, "-m", "comment", "--comment", f'"{comment}"', option, target]
            )


def _comment_match(comment: str) -> tuple[str, ...]:
    return ("-m", "comment", "--comment", comment)


def _comment(firewall: Firewall, *content: str) -> str:
    return f"mvf:{owner_tag(firewall.owner)} {_digest(' '.join(content), 12)}"


def _digest(text: str, length: int) -> str:
    return sha256(text.encode()).hexdigest()[:length]


def _port_text(ports: Ports) -> str:
    return f"{ports.first}" if ports.first == ports.last else f"{ports.first}:{ports.last}"
