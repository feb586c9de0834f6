"""Which container of a host has which address, so that one that takes an address over gets it.

The engine makes what is new before it removes what is not wanted any more, and replaces containers at the
same time. So the address of a container that was renamed, or that exchanged its own with another one, is
still in use when Docker is asked for it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import pulumi
from pulumi.dynamic import CheckResult, CreateResult, DiffResult, Resource, ResourceProvider, UpdateResult

from hosts.change import Change
from hosts.containers import ensure_detached
from hosts.host import Host
from hosts.leftovers import remove_docker_objects, vacate_network
from model.fabric import DockerNetwork, HostPlan
from resources.host_ref import HostRef
from resources.provider import PROBLEMS, SEED, Properties, changed_keys, plain, refuse_if_blocked
from resources.session import on_host

Holders = Mapping[str, Mapping[str, str]]  # by network and address: the container


def leaving(before: Holders, after: Holders) -> Iterator[tuple[str, str]]:
    """(container, network) wherever an address that a container has is now meant for another one."""
    for network, holders in before.items():
        for address, holder in holders.items():
            if after.get(network, {}).get(address, holder) != holder:
                yield holder, network


def addresses_of(machine: str) -> str:
    """The resource's name."""
    return f"{machine}-addresses"


Networks = Mapping[str, Mapping[str, Any]]  # by name, all that a docker network is made of


def remade(before: Networks, after: Networks) -> Iterator[str]:
    """The docker networks that are replaced, for whatever part of them."""
    return (name for name, made_of in after.items() if before.get(name, made_of) != made_of)


class AddressesProvider(ResourceProvider):
    """Takes a container off a network when its address is meant for another one, or the network is replaced.

    In the first case the container itself is about to be removed or replaced: its own address has changed, or
    it is gone from the plan. In the second it runs on, and is put on the new one (`resources.docker_hooks`).
    """

    serialize_as_secret_always = False

    def check(self, _olds: Properties, news: Properties) -> CheckResult:
        return CheckResult({key: value for key, value in news.items() if key != SEED}, [])

    def diff(self, _id: str, olds: Properties, news: Properties) -> DiffResult:
        changed = changed_keys(plain(olds), plain(news), ("holders", "made", "networks"))
        return DiffResult(bool(changed or news.get(PROBLEMS)), [])

    def create(self, props: Properties) -> CreateResult:
        """Before the state knows of any docker object on the host, each of ours there is a leftover."""

        async def sweep(host: Host) -> Change:
            return await remove_docker_objects(host, props["owner"])

        refuse_if_blocked(props)
        if not props["bare"]:
            done = on_host(props["host"], props["address"], props.get("ssh_config"), sweep)
            if done:
                print(f"{props['host']}: {done}, left by an earlier run", flush=True)
        return CreateResult(props["host"], plain(props))

    def update(self, _id: str, olds: Properties, news: Properties) -> UpdateResult:
        refuse_if_blocked(news)
        moves = list(leaving(olds["holders"], news["holders"]))
        networks = list(remade(plain(olds.get("networks") or {}), plain(news["networks"])))

        async def detach(host: Host) -> None:
            for container, network in moves:
                await ensure_detached(host, container, network, news["owner"])
            for network in networks:
                await vacate_network(host, network, news["owner"])

        if moves or networks:
            on_host(news["host"], news["address"], news.get("ssh_config"), detach)
        return UpdateResult(plain(news))


class Addresses(Resource, module="docker", name="Addresses"):
    """The addresses of one host's containers; each of these must wait for it.

    `bare`: Docker has nothing of ours there but what the state knows. It counts only when this one is new.
    `made`: how often each docker object was made anew because it was gone (`resources.state`).
    """

    def __init__(
        self,
        plan: HostPlan,
        at: HostRef,
        *,
        bare: bool,
        made: Mapping[str, int],
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        holders: dict[str, dict[str, str]] = {network.name: {} for network in plan.networks}
        for container in plan.containers:
            for attachment in container.attachments:
                holders[attachment.network][str(attachment.address)] = container.name
        super().__init__(
            AddressesProvider(),
            addresses_of(at.machine),
            at.inputs("addresses")
            | {
                "holders": holders,
                "bare": bare,
                "made": dict(made) or None,
                "networks": {network.name: _made_of(network) for network in plan.networks},
            },
            pulumi.ResourceOptions.merge(opts, pulumi.ResourceOptions(ignore_changes=["bare"])),
        )


def _made_of(network: DockerNetwork) -> dict[str, Any]:
    """What cannot be changed of a docker network once it is there."""
    parts = {
        "parent": network.parent,
        "subnet": str(network.subnet),
        "gateway": str(network.gateway),
        "ip_range": str(network.ip_range) if network.ip_range else None,
        "aux_addresses": {name: str(address) for name, address in network.aux_addresses},
        "mtu": network.mtu,
    }
    return {name: part for name, part in parts.items() if part}  # as the engine has it afterwards
