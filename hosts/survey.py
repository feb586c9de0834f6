"""Looking at a host before anything is touched, so that a preview already says what cannot work.

Only what is certain to fail is a problem. What may be different by the time the plan is carried out (a
daemon that is down, an interface without a carrier) is left to whoever needs it then.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from ipaddress import IPv4Network
from typing import Any

from hosts.errors import ConflictError, HostError, Unsupported
from hosts.firewall import foresee_firewall
from hosts.host import Host
from hosts.links import foresee_sub_interfaces
from hosts.ownership import DOCKER_LABEL, alias
from model.fabric import DockerNetwork, HostPlan


async def survey(host: Host, plan: HostPlan, owner: str) -> tuple[HostError, ...]:
    """What stands in the way of the plan on one host, each with a way out. Only reads."""
    found = await asyncio.gather(
        foresee_sub_interfaces(host, plan.links, owner, adopt=plan.host.adopt),
        _overlapping_prefixes(host, plan, owner),
        _missing_kernel_support(host, plan),
        _firewall(host, plan, owner),
        _docker(host, plan, owner),
    )
    return tuple(problem for problems in found for problem in problems)


async def _overlapping_prefixes(host: Host, plan: HostPlan, owner: str) -> tuple[HostError, ...]:
    """Prefixes that the host already reaches another way: it would send the gateway's answers there."""
    links, addresses = await asyncio.gather(host.links(), host.addresses())
    wanted = {link.name for link in plan.links}
    others = {
        link.index: link.name
        for link in links
        if link.alias != alias(owner) and link.name not in wanted and link.name != "lo"
    }
    return tuple(
        ConflictError(
            host.name,
            f"the prefix {ours.network} of {link.name} overlaps {theirs.interface} on {others[theirs.link]}",
            "use another subnet for the network, or another address there",
        )
        for link in plan.links
        for ours in link.addresses
        for theirs in addresses
        if theirs.link in others
        and theirs.interface.network.prefixlen < 31  # an address of its own leads nowhere else
        and theirs.interface.ip != ours.ip  # reported with the link
        and theirs.interface.network.overlaps(ours.network)
    )


async def _missing_kernel_support(host: Host, plan: HostPlan) -> tuple[HostError, ...]:
    """802.1Q, as far as one can know without trying: it is loaded, or there is a module."""
    if not any(link.vlan is not None for link in plan.links) or await host.entries("/proc/net/vlan"):
        return ()
    try:
        loadable = await host.run(["modprobe", "--dry-run", "--quiet", "8021q"])
    except Unsupported:
        return ()  # a kernel without modules: it will tell
    if loadable.status == 0:
        return ()
    problem = "the kernel has neither support for 802.1Q VLANs nor a module 8021q"
    hint = "some images lack it: install linux-modules-extra, or another kernel"
    return (Unsupported(host.name, problem, hint),)


async def _firewall(host: Host, plan: HostPlan, owner: str) -> tuple[HostError, ...]:
    problem = await foresee_firewall(host, owner) if plan.firewall is not None else None
    return () if problem is None else (problem,)


async def _docker(host: Host, plan: HostPlan, owner: str) -> tuple[HostError, ...]:
    """Docker networks of others with a name or a prefix that ours need."""
    if not plan.networks and not plan.containers:
        return ()
    try:
        listed = await host.run(["docker", "network", "ls", "--no-trunc", "--format", "{{.ID}}"])
        ids = listed.stdout.decode().split()
        if listed.status or not ids:
            return ()  # the daemon is down: what needs it says so
        inspected = await host.run(["docker", "network", "inspect", *ids])
    except Unsupported:
        problem = "there is no program docker, which its networks and containers need"
        return (Unsupported(host.name, problem, "install Docker on the host, with its command line"),)
    try:
        networks = json.loads(inspected.stdout)
    except ValueError:
        return ()
    foreign = [n for n in networks if (n.get("Labels") or {}).get(DOCKER_LABEL) != owner]
    return tuple(problem for want in plan.networks for problem in _in_the_way(host, want, foreign))


def _in_the_way(host: Host, want: DockerNetwork, foreign: list[dict[str, Any]]) -> Iterator[HostError]:
    for network in foreign:
        name = network["Name"]
        other = (network.get("Labels") or {}).get(DOCKER_LABEL)
        whose = f"the stack {other}" if other else "somebody else"
        if name == want.name:
            yield ConflictError(
                host.name,
                f"there is already a docker network {name} of {whose}",
                f"name the network otherwise, or remove it: docker network rm {name}",
            )
            continue
        for subnet in _subnets(network):
            if subnet.overlaps(want.subnet):
                yield ConflictError(
                    host.name,
                    f"the subnet {want.subnet} of {want.name} overlaps {subnet} of the docker network {name} "
                    f"of {whose}, which Docker refuses",
                    f"use another subnet, or remove that network: docker network rm {name}",
                )


def _subnets(network: dict[str, Any]) -> Iterator[IPv4Network]:
    for config in (network.get("IPAM") or {}).get("Config") or []:
        subnet = config.get("Subnet", "")
        if subnet and ":" not in subnet:
            yield IPv4Network(subnet, strict=False)
