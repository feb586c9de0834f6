"""Which networks the containers of a host are on, and with which addresses, as Docker has it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from ipaddress import IPv4Address

import pulumi

from hosts.change import Change
from hosts.containers import attachment_differences, ensure_attached, read_reported
from hosts.host import Host
from model.fabric import HostPlan
from resources.host_ref import HostRef
from resources.provider import HostProvider, HostResource, Properties


def attachments_of(machine: str) -> str:
    """The resource's name."""
    return f"{machine}-attachments"


class AttachmentsProvider(HostProvider):
    """Sees and mends what the containers' own resources cannot: they do not read their networks back."""

    wish = ("containers",)
    occasion = ("networks", "parents")
    reported = ("addresses", "volumes")

    async def ensure(self, host: Host, props: Properties) -> Change:
        return await ensure_attached(host, _wanted(props), props["owner"])

    async def differences(self, host: Host, props: Properties) -> Sequence[str]:
        return await attachment_differences(host, _wanted(props), props["owner"])

    async def observed(self, host: Host, props: Properties) -> Properties:
        addresses, volumes = await read_reported(host, props["containers"], props["owner"])
        return {"addresses": addresses, "volumes": volumes}

    async def take_away(self, _host: Host, _props: Properties) -> Change:
        return Change()  # a container takes its attachments along


def _wanted(props: Properties) -> Mapping[str, Mapping[str, IPv4Address]]:
    return {
        container: {network: IPv4Address(address) for network, address in places.items()}
        for container, places in props["containers"].items()
    }


class Attachments(HostResource, module="docker", name="Attachments"):
    """The places of one host's containers on its networks; it waits for all of them.

    `networks` are docker's ids of the networks, by name: nobody is yet on one that was made anew. `parents`
    are the incarnations of what they are on, by link: one that was made anew has no interface on it.
    """

    addresses: pulumi.Output[
        dict[str, dict[str, str]] | None
    ]  # by container and network, as Docker reports them
    volumes: pulumi.Output[dict[str, dict[str, str]] | None]  # the same by container and path inside

    def __init__(
        self,
        plan: HostPlan,
        at: HostRef,
        networks: Mapping[str, pulumi.Input[str]],
        parents: Mapping[str, pulumi.Input[str]],
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        containers = {
            container.name: {a.network: str(a.address) for a in container.attachments}
            for container in plan.containers
        }
        super().__init__(
            AttachmentsProvider(),
            attachments_of(at.machine),
            at.inputs("attachments")
            | {"containers": containers, "networks": networks, "parents": parents}
            | dict.fromkeys(AttachmentsProvider.reported),
            opts,
        )
