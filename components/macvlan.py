"""A network as Docker sees it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pulumi
import pulumi_docker as docker

from components.docker_host import DockerHost
from hosts.ownership import DOCKER_LABEL
from model.fabric import DockerNetwork
from resources import SubInterface


@dataclass(frozen=True)
class Membership:
    """One host's part in a network."""

    host: DockerHost
    network: DockerNetwork
    parent: SubInterface


class MacvlanNetwork(pulumi.ComponentResource):
    """One network of the topology: a docker macvlan network of its name on every host that has it.

    `on` maps the host's name to the docker network there.
    """

    def __init__(
        self, name: str, members: Sequence[Membership], opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("macvlan-fabric:docker:MacvlanNetwork", name, None, opts)
        self.on = {member.host.host: self._network(member) for member in members}
        self.register_outputs({"hosts": list(self.on)})

    def _network(self, member: Membership) -> docker.Network:
        wanted, host = member.network, member.host
        adopted = host.adopted("network", wanted.name)
        options = {"parent": wanted.parent}
        if wanted.mtu is not None:
            options["com.docker.network.driver.mtu"] = str(wanted.mtu)
        made = docker.Network(
            f"{wanted.name}-{host.machine}",
            name=wanted.name,
            driver="macvlan",
            options=options,
            ipam_configs=[
                docker.NetworkIpamConfigArgs(
                    subnet=str(wanted.subnet),
                    gateway=str(wanted.gateway),
                    ip_range=str(wanted.ip_range) if wanted.ip_range else None,
                    aux_address={name: str(address) for name, address in wanted.aux_addresses} or None,
                )
            ],
            labels=[docker.NetworkLabelArgs(label=DOCKER_LABEL, value=host.owner)],
            opts=pulumi.ResourceOptions.merge(
                host.network_options(),
                pulumi.ResourceOptions(
                    parent=self,
                    depends_on=[member.parent, host.addresses],
                    # One that is adopted is taken into the state as it runs, and left as it is. The labels of
                    # earlier releases are no reason to replace any.
                    import_=adopted,
                    ignore_changes=["*"] if adopted else ["labels"],
                    replacement_trigger=host.incarnation("network", wanted.name),
                ),
            ),
        )
        host.stuck.watch(made)
        return made
