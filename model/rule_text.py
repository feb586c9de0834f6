"""Rules read back from the arguments they are written as: the inverse of `model.firewall.to_arguments`.

A stack's state keeps a firewall as the lines that a person would type, because those are what a preview
should show; this makes rules of them again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from ipaddress import IPv4Network
from typing import cast

from model.firewall import CtState, Rule
from model.topology import Ports, Protocol


def from_arguments(arguments: Sequence[str]) -> Rule:
    """The rule that `to_arguments` would write so; ValueError for anything it never writes."""
    rule = Rule(target="")
    words = iter(arguments)
    for option in words:
        value = next(words, None)
        if value is None:
            raise ValueError(f"{option} has no value")
        match option:
            case "-s":
                rule = replace(rule, source=IPv4Network(value))
            case "-d":
                rule = replace(rule, destination=IPv4Network(value))
            case "-i":
                rule = replace(rule, in_interface=value)
            case "-o":
                rule = replace(rule, out_interface=value)
            case "!" if value == "-o":
                rule = replace(rule, except_out_interface=next(words))
            case "-p":
                rule = replace(rule, protocol=cast(Protocol, value))
            case "-m":
                pass  # names the match whose option follows
            case "--dport" | "--dports":
                rule = replace(rule, ports=tuple(_ports(text) for text in value.split(",")))
            case "--ctstate":
                rule = replace(rule, states=cast(tuple[CtState, ...], tuple(value.split(","))))
            case "-j":
                rule = replace(rule, target=value)
            case _:
                raise ValueError(f"{option} is not an option of ours")
    if not rule.target:
        raise ValueError("no target")
    return rule


def _ports(text: str) -> Ports:
    first, _, last = text.partition(":")
    return Ports(int(first), int(last or first))
