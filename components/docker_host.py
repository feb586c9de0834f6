"""A host's docker daemon, reached over the same ssh as everything else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal

import pulumi
import pulumi_docker as docker

from components.trunk import VlanTrunk
from hosts.ownership import DOCKER_LABEL
from hosts.survey import Findings
from model.fabric import HostPlan
from model.homing import container_sysctls
from model.secret import Secret
from model.topology import Container
from resources import (
    Addresses,
    Attachments,
    BootUnit,
    HostRef,
    StuckRun,
    SubInterface,
    make_way,
    put_back,
    vacate,
)
from resources.memory import Memory


class DockerHost(pulumi.ComponentResource):
    """One daemon: the provider that speaks to it, the images its containers need, the containers.

    Everything waits for `boot`, the first thing we do on a host, so that a host that is down is
    reported once and by its name.
    """

    def __init__(
        self,
        plan: HostPlan,
        at: HostRef,
        boot: BootUnit,
        stuck: StuckRun,
        found: Findings,
        memory: Memory,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        self.host, self.machine = at.host, at.machine
        self.owner = at.owner
        self._plan, self._at, self._memory = plan, at, memory
        super().__init__("macvlan-fabric:docker:DockerHost", self.machine, None, opts)
        self.provider = docker.Provider(
            self.machine,
            host=at.docker_url,
            ssh_opts=list(at.ssh_options()),
            disable_docker_daemon_check=True,  # a daemon that is down is the business of what needs it
            opts=pulumi.ResourceOptions(parent=self),
        )
        self.boot = boot
        self.stuck = stuck
        bare = found.bare  # where nothing is, nothing is in the way
        self._hooks = pulumi.ResourceHookBinding(
            before_create=[] if bare else [make_way(at)], on_error=[stuck.hook]
        )
        self._network_hooks = pulumi.ResourceHookBinding(
            after_create=[] if bare else [put_back(at, plan)], on_error=[vacate(at)]
        )
        self._adopted = {(adoption.kind, adoption.name): adoption.id for adoption in found.adoptions}
        # What Docker does not know any more, because somebody removed the container, the state does.
        self._volumes = memory.volumes(self.host) | dict(found.volumes)
        self._made = memory.made_anew(plan, found)
        self.addresses = Addresses(
            plan,
            at,
            bare=found.bare or memory.state.knows_docker,
            made=self._made,
            opts=pulumi.ResourceOptions(parent=self, depends_on=[boot]),
        )
        self.images = {
            image: docker.RemoteImage(
                f"{self.machine}-{image}",
                name=image,
                keep_locally=True,  # someone else may run it too
                opts=pulumi.ResourceOptions(
                    parent=self, provider=self.provider, depends_on=[boot], deleted_with=boot
                ),
            )
            for image in sorted({container.image for container in plan.containers})
        }
        self.register_outputs({})

    def run(self, container: Container, networks: Mapping[str, docker.Network]) -> docker.Container:
        """Run a container on its networks, which are some of `networks`, all of this host's by their names.

        It waits for all of them, but refers to none: a network that is replaced has its containers taken off
        and put on again (`resources.docker_hooks`), and they run on.

        One that is adopted runs already and is only read: its provider could take it into the state, but
        would then replace it, for what it does not read back. It waits for nothing, because a read that waits
        for what has failed never ends.
        """
        if adopted := self.adopted("container", container.name):
            opts = pulumi.ResourceOptions(parent=self, provider=self.provider)
            named = self._memory.container(container.name, self.host)
            return docker.Container.get(named, adopted, opts=opts)
        made = docker.Container(
            self._memory.container(container.name, self.host),
            name=container.name,
            image=_id_of(self.images[container.image], container.image),
            command=list(container.command) or None,
            envs=[_variable(name, value) for name, value in container.environment],
            labels=[
                docker.ContainerLabelArgs(label=label, value=value)
                for label, value in (*container.labels, (DOCKER_LABEL, self.owner))
            ],
            restart=container.restart,
            sysctls=dict(container_sysctls(container)) or None,
            # for `docker stop` and a daemon that shuts down; the provider takes a timeout of 0 for none given
            stop_timeout=container.stop_grace or None,
            stop_signal=None if container.stop_grace else "SIGKILL",
            destroy_grace_seconds=container.stop_grace,
            remove_volumes=False,  # the provider's default takes the anonymous ones along
            volumes=self._volumes_of(container.name),
            networks_advanced=[
                docker.ContainerNetworksAdvancedArgs(
                    name=attachment.network,
                    ipv4_address=str(attachment.address),
                )
                for attachment in container.attachments
            ],
            opts=pulumi.ResourceOptions.merge(
                pulumi.ResourceOptions(
                    parent=self,
                    depends_on=[self.addresses, *networks.values()],
                    # They are what the container has: no reason to replace it. Whenever the engine does, for
                    # whatever reason, it takes the inputs as they are here, ignored or not
                    # (pulumi, step_generator.go: a replacement is checked with the goal's own properties).
                    ignore_changes=["volumes"],
                    replacement_trigger=self.incarnation("container", container.name),
                ),
                self.options(),
            ),
        )
        self.stuck.watch(made)
        return made

    def incarnation(self, kind: Literal["network", "container"], name: str) -> str:
        """What changes when a docker object has to be made anew: on another host, or because it is gone.

        The engine does not see that by itself: a resource that gets another provider is the same to it, and
        what Docker has lost it learns only from a refresh.
        """
        return f"{self.machine}/{self._made.get(f'{kind} {name}', 0)}"

    def _volumes_of(self, container: str) -> list[docker.ContainerVolumeArgs] | None:
        """The volumes that a container of that name has there now, so that its successor has them, too."""
        volumes = sorted(self._volumes.get(container, {}).items())
        return [
            docker.ContainerVolumeArgs(container_path=path, volume_name=name) for path, name in volumes
        ] or None

    def watch(
        self,
        containers: Mapping[str, docker.Container],
        networks: Mapping[str, docker.Network],
        trunk: VlanTrunk,
    ) -> Attachments:
        """See to it that the host's containers, those of ours among these by name, are on their networks.

        `networks` are all of this host's by their names, `trunk` has what they are on.
        """
        ours = [each for each in self._plan.containers if not self.adopted("container", each.name)]
        return Attachments(
            replace(self._plan, containers=tuple(ours)),
            self._at,
            {name: network.id for name, network in networks.items()},
            {link: _incarnation(each) for link, each in trunk.links.items()},
            opts=pulumi.ResourceOptions(
                parent=self,
                depends_on=[containers[container.name] for container in ours],
                deleted_with=self.boot,
            ),
        )

    def addresses_of(
        self, containers: Mapping[str, docker.Container], attachments: Attachments
    ) -> dict[str, pulumi.Output[Any]]:
        """What Docker says the addresses of the host's containers are; by network where there are several."""
        return {
            container.name: _reported(container.name, attachments, containers[container.name])
            for container in self._plan.containers
        }

    def adopted(self, kind: Literal["network", "container"], name: str) -> str | None:
        """The id of the docker object that is taken over for one of the plan's; None: ours is made."""
        return self._adopted.get((kind, name))

    def network_options(self) -> pulumi.ResourceOptions:
        """What its docker networks have in common."""
        hooks = pulumi.ResourceOptions(hooks=self._network_hooks)
        return pulumi.ResourceOptions.merge(self.options(), hooks)

    def options(self) -> pulumi.ResourceOptions:
        """What all docker objects of the host have in common."""
        return pulumi.ResourceOptions(
            provider=self.provider,
            delete_before_replace=True,  # old and new cannot share name, addresses and parent
            deleted_with=self.boot,
            hooks=self._hooks,
        )


def _variable(name: str, value: str | Secret) -> pulumi.Input[str]:
    """An environment variable as Docker takes it; a secret one is encrypted in the state, too."""
    if isinstance(value, Secret):
        return pulumi.Output.secret(f"{name}={value.reveal()}")
    return f"{name}={value}"


def _id_of(image: docker.RemoteImage, name: str) -> pulumi.Output[str]:
    """An image's id; of one that could not be had, its name.

    Else the provider would report that the container lacks an image, instead of the engine skipping it.
    """
    return image.image_id.apply(
        lambda it: it if isinstance(it, str) else name, run_with_unknowns=not pulumi.runtime.is_dry_run()
    )


def _reported(name: str, attachments: Attachments, container: docker.Container) -> pulumi.Output[Any]:
    """The address that Docker reported last: to us, or before we asked, and in a preview, to its provider."""

    def by_network(data: Sequence[docker.outputs.ContainerNetworkData] | None) -> dict[str, str]:
        return {str(each.network_name): str(each.ip_address or "") for each in data or ()}

    def address(seen: Sequence[Any]) -> str | dict[str, str]:
        to_us, to_its_provider = seen
        addresses: dict[str, str] = (to_us or {}).get(name) or to_its_provider
        return next(iter(addresses.values())) if len(addresses) == 1 else addresses

    reported = pulumi.Output.all(attachments.addresses, container.network_datas.apply(by_network))
    return reported.apply(address)


def _incarnation(link: SubInterface) -> pulumi.Output[str]:
    """Which one it is, of all that had its name; known even where it could not be made."""
    return link.incarnation.apply(lambda it: it if isinstance(it, str) else "", run_with_unknowns=True)
