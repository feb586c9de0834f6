"""What each docker network of a host holds, so that one that takes something over waits for it.

Docker gives a parent to one network, and no subnet twice. The engine removes what is no longer wanted
last, after everything new is there; so a network on the VLAN of one that goes away, or two that change
places, would be refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import IPv4Network
from itertools import product

import pulumi
from pulumi.dynamic import CreateResult, DiffResult, Resource, ResourceProvider, UpdateResult

from model.fabric import HostPlan
from resources.host_ref import HostRef
from resources.provider import Properties, plain


@dataclass(frozen=True)
class Holding:
    """What is one network's alone on its host."""

    parent: str
    subnet: IPv4Network

    def excludes(self, other: Holding) -> bool:
        """Whether Docker would refuse one while the other is there."""
        return self.parent == other.parent or self.subnet.overlaps(other.subnet)


def taken_over(before: Mapping[str, Holding], after: Mapping[str, Holding]) -> bool:
    """Whether a network shall hold something that another one, by its name, still has."""
    return any(
        name != other and holding.excludes(held)
        for (name, holding), (other, held) in product(after.items(), before.items())
    )


class HoldingsProvider(ResourceProvider):
    """Touches no host: it only tells the engine the order.

    Where something is taken over it is replaced, old before new; then the engine first removes, with their
    containers, all networks that refer to it, those included that are no longer wanted.
    """

    serialize_as_secret_always = False

    def diff(self, _id: str, olds: Properties, news: Properties) -> DiffResult:
        before, after = _holdings(olds), _holdings(news)
        replaces = ["networks"] if taken_over(before, after) else []
        return DiffResult(before != after, replaces, delete_before_replace=True)

    def create(self, props: Properties) -> CreateResult:
        return CreateResult(props["host"], plain(props))

    def update(self, _id: str, _olds: Properties, news: Properties) -> UpdateResult:
        return UpdateResult(plain(news))


def _holdings(props: Properties) -> dict[str, Holding]:
    return {
        name: Holding(held["parent"], IPv4Network(held["subnet"])) for name, held in props["networks"].items()
    }


class Holdings(Resource, module="docker", name="Holdings"):
    """The docker networks of one host; each must get its name from here."""

    networks: pulumi.Output[dict[str, dict[str, str]]]

    def __init__(self, plan: HostPlan, at: HostRef, opts: pulumi.ResourceOptions | None = None) -> None:
        networks = {
            network.name: {"parent": network.parent, "subnet": str(network.subnet)}
            for network in plan.networks
        }
        inputs = {"host": at.host, "networks": networks}
        super().__init__(HoldingsProvider(), f"{at.machine}-holdings", inputs, opts)

    def name_of(self, network: str) -> pulumi.Output[str]:
        """A network's name, by which it depends on this; known also before this is made."""
        return self.networks.apply(lambda _: network, run_with_unknowns=True)
