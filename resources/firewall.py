"""A gateway's firewall: chains of our own, and one jump into each from a built-in chain."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pulumi

from hosts.change import Change
from hosts.firewall import OBJECT, ensure_firewall, read_firewall, remove_firewall
from hosts.host import Host
from model import firewall as model
from model.rule_text import from_arguments
from resources.host_ref import HostRef
from resources.provider import HostProvider, HostResource, Properties


class FirewallProvider(HostProvider):
    """All that one stack has in one host's tables."""

    wish = ("chains", "jumps")
    object = OBJECT

    async def ensure(self, host: Host, props: Properties) -> Change:
        return await ensure_firewall(host, from_inputs(props))

    async def differences(self, host: Host, props: Properties) -> Sequence[str] | None:
        facts = await read_firewall(host, props["owner"])
        if not facts.chains and not facts.jumps:
            return None
        return facts.differences(from_inputs(props))

    async def take_away(self, host: Host, props: Properties) -> Change:
        return await remove_firewall(host, props["owner"])


def to_inputs(want: model.Firewall) -> dict[str, Any]:
    """The firewall as the lines a person would type, because that is what a preview should show."""
    return {
        "chains": [
            {
                "table": chain.table,
                "name": chain.name,
                "rules": [" ".join(model.to_arguments(rule)) for rule in chain.rules],
            }
            for chain in want.chains
        ],
        "jumps": [
            {"table": jump.table, "built_in": jump.built_in, "chain": jump.chain} for jump in want.jumps
        ],
    }


def from_inputs(props: Properties) -> model.Firewall:
    """The inverse of `to_inputs`."""
    return model.Firewall(
        props["owner"],
        tuple(
            model.Chain(
                chain["table"], chain["name"], tuple(from_arguments(line.split()) for line in chain["rules"])
            )
            for chain in props["chains"]
        ),
        tuple(model.Jump(jump["table"], jump["built_in"], jump["chain"]) for jump in props["jumps"]),
    )


class Firewall(HostResource, module="net", name="Firewall"):
    """The rules between the networks, and what they do to addresses; in force also after a reboot."""

    def __init__(
        self, name: str, at: HostRef, want: model.Firewall, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__(FirewallProvider(), name, at.inputs("firewall") | to_inputs(want), opts)
