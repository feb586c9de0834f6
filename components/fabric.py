"""The whole fabric, in the order that keeps it safe."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any

import pulumi
import pulumi_docker as docker

from components.docker_host import DockerHost
from components.gateway import VlanGateway
from components.macvlan import MacvlanNetwork, Membership
from components.trunk import VlanTrunk
from components.verification import Verification
from hosts.survey import Findings
from model.fabric import Fabric, HostPlan
from model.topology import Topology
from resources import BootUnit, HostRef, HostResource, StuckRun
from resources.memory import Memory
from resources.state import FABRIC


class VlanFabric(pulumi.ComponentResource):
    """Everything a plan asks for, on every host.

    Per host: the boot unit first; on the gateway the firewall, then forwarding; sub-interfaces;
    docker networks on them; containers. Hosts do not wait for each other. `memory` is what the stack knows of
    earlier runs. `findings` are what was seen on the hosts, by name: what is to be mended, and what to be
    taken over as it runs. If the topology says so, the wire is asked at the end; see `Verification`, also
    about `configured`.
    """

    def __init__(
        self,
        topology: Topology,
        fabric: Fabric,
        memory: Memory,
        findings: Mapping[str, Findings] = MappingProxyType({}),
        *,
        configured: str | None = None,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        super().__init__(FABRIC, memory.name_of(FABRIC, "fabric"), None, opts)
        inside = pulumi.ResourceOptions(parent=self)
        trunks: dict[str, VlanTrunk] = {}
        daemons: dict[str, DockerHost] = {}
        ours: list[HostResource] = []
        stuck = StuckRun()
        for plan in fabric.hosts:
            if not _concerned(plan):
                continue
            name = plan.host.name
            found = findings.get(name, Findings())
            if found.present is None:  # nobody knows whether what was taken over is still there
                found = replace(found, adoptions=memory.adoptions(name))
            at = HostRef(
                name,
                memory.machine(name),
                plan.host.address,
                topology.ssh_config,
                fabric.owner,
                memory.state.seed,
                plan.host.may_touch_session,
                found.differences,
                {
                    "boot": tuple(map(str, found.problems)) if found.host_problems else (),
                    "addresses": tuple(map(str, found.docker_problems)),
                },
            )
            boot = BootUnit(
                at.machine,
                at,
                docker=bool(plan.networks or plan.containers),
                adopted=found.adoptions,
                opts=pulumi.ResourceOptions(
                    parent=self,
                    ignore_changes=["adopted", "adopted_as"] if found.present is None else None,
                ),
            )
            after: list[HostResource] = []
            ours.append(boot)
            if plan.firewall or plan.sysctls:
                gateway = VlanGateway(plan, at, boot, opts=inside)
                after = gateway.filtering
                ours += [*gateway.filtering, gateway.forwarding]
            trunks[name] = VlanTrunk(plan, at, boot, after, opts=inside)
            ours += trunks[name].links.values()
            if plan.networks or plan.containers:
                daemons[name] = DockerHost(plan, at, boot, stuck, found, memory, opts=inside)

        self.networks = {
            name: MacvlanNetwork(name, members, opts=inside)
            for name, members in _memberships(fabric, trunks, daemons).items()
        }
        on_host = {
            host: {name: network.on[host] for name, network in self.networks.items() if host in network.on}
            for host in daemons
        }
        self.containers: dict[str, docker.Container] = {
            container.name: daemons[plan.host.name].run(container, on_host[plan.host.name])
            for plan in fabric.hosts
            for container in plan.containers
        }
        reported: dict[str, pulumi.Output[Any]] = {}
        for host, daemon in daemons.items():
            attachments = daemon.watch(self.containers, on_host[host], trunks[host])
            ours.append(attachments)
            reported |= daemon.addresses_of(self.containers, attachments)
        self.container_ips = dict(sorted(reported.items()))
        if topology.verify:
            docks: list[pulumi.CustomResource] = [on for n in self.networks.values() for on in n.on.values()]
            docks += self.containers.values()
            versions = [*(one.version for one in ours), *(one.id for one in docks)]
            Verification(memory, versions, [*ours, *docks], configured, opts=inside)
        self.register_outputs({"container_ips": self.container_ips})


def _concerned(plan: HostPlan) -> bool:
    return bool(plan.links or plan.networks or plan.containers or plan.sysctls or plan.firewall)


def _memberships(
    fabric: Fabric, trunks: dict[str, VlanTrunk], daemons: dict[str, DockerHost]
) -> dict[str, list[Membership]]:
    """Per network, in the plan's order, the hosts it is on."""
    members: dict[str, list[Membership]] = {}
    for plan in fabric.hosts:
        for network in plan.networks:
            host = plan.host.name
            members.setdefault(network.name, []).append(
                Membership(daemons[host], network, trunks[host].links[network.parent])
            )
    return members
