"""A host's docker daemon, reached over the same ssh as everything else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pulumi
import pulumi_docker as docker

from hosts.ownership import DOCKER_LABEL
from model.fabric import HostPlan
from model.homing import container_sysctls
from model.topology import Container
from resources import Addresses, BootUnit, Holdings, HostRef


class DockerHost(pulumi.ComponentResource):
    """One daemon: the provider that speaks to it, the images its containers need, the containers.

    Everything waits for `boot`, the first thing we do on a host, so that a host that is down is
    reported once and by its name.
    """

    def __init__(
        self, plan: HostPlan, at: HostRef, boot: BootUnit, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        self.host = plan.host.name
        self.owner = at.owner
        super().__init__("macvlan-fabric:docker:DockerHost", self.host, None, opts)
        self.provider = docker.Provider(
            self.host,
            host=at.docker_url,
            ssh_opts=list(at.ssh_options()),
            disable_docker_daemon_check=True,  # a daemon that is down is the business of what needs it
            opts=pulumi.ResourceOptions(parent=self),
        )
        self.boot = boot
        self.holdings = Holdings(plan, opts=pulumi.ResourceOptions(parent=self))
        self.addresses = Addresses(plan, at, opts=pulumi.ResourceOptions(parent=self, depends_on=[boot]))
        self.images = {
            image: docker.RemoteImage(
                f"{self.host}-{image}",
                name=image,
                keep_locally=True,  # someone else may run it too
                opts=pulumi.ResourceOptions(parent=self, provider=self.provider, depends_on=[boot]),
            )
            for image in sorted({container.image for container in plan.containers})
        }
        self.register_outputs({})

    def run(self, container: Container, networks: Mapping[str, docker.Network]) -> docker.Container:
        """Run a container on its networks, `networks` by their names."""
        return docker.Container(
            container.name,
            name=container.name,
            image=self.images[container.image].image_id,
            command=list(container.command) or None,
            envs=[f"{name}={value}" for name, value in container.environment],
            labels=[
                docker.ContainerLabelArgs(label=label, value=value)
                for label, value in (*container.labels, (DOCKER_LABEL, self.owner))
            ],
            restart=container.restart,
            sysctls=dict(container_sysctls(container)) or None,
            destroy_grace_seconds=container.stop_grace,
            networks_advanced=[
                docker.ContainerNetworksAdvancedArgs(
                    name=_name_of(networks[attachment.network], attachment.network),
                    ipv4_address=str(attachment.address),
                )
                for attachment in container.attachments
            ],
            opts=pulumi.ResourceOptions(
                parent=self,
                provider=self.provider,
                depends_on=[self.addresses],
                delete_before_replace=True,  # old and new cannot share name and addresses
            ),
        )


def _name_of(network: docker.Network, name: str) -> pulumi.Output[str]:
    """The network's name as its output, so that a network that is replaced takes its containers with it.

    It is known even where the network could not be made; else the provider would report that the
    container lacks a name, instead of the engine skipping it.
    """
    return network.name.apply(lambda _: name, run_with_unknowns=True)


def reported_addresses(container: docker.Container) -> pulumi.Output[str | dict[str, str]]:
    """What Docker says the container's address is; by network if it is on several."""

    def address(networks: Sequence[docker.outputs.ContainerNetworkData] | None) -> str | dict[str, str]:
        by_network = {str(data.network_name): str(data.ip_address or "") for data in networks or []}
        return next(iter(by_network.values())) if len(by_network) == 1 else by_network

    return container.network_datas.apply(address)
