"""Docker objects of ours that no state knows of, and what to do about them.

A run that was killed between making an object and recording it leaves one behind; a state that was lost
leaves them all. Docker then refuses to make another one of the same name, address or parent. What is
ours says so by its label, and whoever is about to make an object of its name knows that it is not in
the state: so it goes first.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from ipaddress import IPv4Network

from hosts.change import Change
from hosts.docker import (
    ContainerFacts,
    NetworkFacts,
    read_containers,
    read_containers_of,
    read_containers_on,
    read_network,
    read_networks,
    remove_containers,
    remove_network,
)
from hosts.errors import ConflictError, Unsupported
from hosts.host import Host
from hosts.interfaces import take_off


async def remove_leftover_container(host: Host, name: str, owner: str) -> Change:
    """Make way for a new container of that name: remove one of the owner's.

    Raises ConflictError if there is one of somebody else's.
    """
    for container in await read_containers(host, [name]):
        if container.owner != owner:
            raise ConflictError(
                host.name,
                f"there is already a container {name} of {whose(container)}",
                f"name the container otherwise, or remove it: docker rm -f {name}",
            )
        return Change(tuple(await _remove_containers(host, [container])))
    return Change()


async def make_way_for_network(
    host: Host, name: str, parent: str | None, subnets: Collection[IPv4Network], owner: str
) -> Change:
    """Make way for a new docker network: remove those of the owner's that have its name, or what it needs.

    Docker gives a parent to one network, and no subnet twice. The engine removes what is not wanted any more
    last, so one that has another name may still hold either. Their containers are taken off them.
    They may well run on: a provider that could not reach the daemon has the state forget the network alone
    (kreuzwerker/terraform-provider-docker, a refresh). Whoever knows of them puts them on the new one
    (`hosts.containers`).

    Raises ConflictError if one of that name is somebody else's, or somebody else's container is on ours.
    """
    done: list[str] = []
    for network in await read_networks(host):
        if network.owner != owner:
            if network.name == name:
                raise ConflictError(
                    host.name,
                    f"there is already a docker network {name} of {whose(network)}",
                    f"name the network otherwise, or remove it: docker network rm {name}",
                )
            continue
        held = parent is not None and network.parent == parent
        held = held or any(a.overlaps(b) for a in network.subnets for b in subnets)
        if network.name == name or held:
            done += (await vacate(host, network, owner)).done
            await remove_network(host, network)
            done.append(f"removed docker network {network.name}")
    return Change(tuple(done))


async def vacate_network(host: Host, name: str, owner: str) -> Change:
    """Take the owner's containers off his docker network, so that it can be removed; they run on.

    Nothing happens if there is none. Raises ConflictError if somebody else's container is on it.
    """
    network = await read_network(host, name)
    return await vacate(host, network, owner) if network and network.owner == owner else Change()


async def vacate(host: Host, network: NetworkFacts, owner: str) -> Change:
    """The same for a network that was just seen."""
    done = []
    for container in await _ours_on(host, [network], owner):
        await take_off(host, container, network.name)
        done.append(f"took {container.name} off {network.name}")
    return Change(tuple(done))


async def remove_docker_objects(
    host: Host, owner: str, adopted: Collection[str] = (), *, expected: bool = True
) -> Change:
    """Remove every container and docker network of the owner's, and the adopted ones, by their ids.

    Raises ConflictError if somebody else's container is on one of the networks. Unless something is
    `expected` to be there, a host without a running daemon has nothing of ours.
    """
    try:
        networks = [each for each in await read_networks(host) if each.owner == owner or each.id in adopted]
    except Unsupported:
        if expected:
            raise
        return Change()
    labelled, taken_over = await read_containers_of(host, owner), await read_containers(host, adopted)
    there = {each.id: each for each in (*labelled, *taken_over)}  # Docker lists the youngest first
    containers = sorted(there.values(), key=lambda each: each.name)
    done = await _remove_containers(host, containers)
    done += await _remove_networks(host, networks, owner)
    left = [
        f"left the data of {each.name} in {path}: docker volume {volume}"
        for each in containers
        for path, volume in each.volumes.items()
    ]
    return Change((*done, *left))


async def remove_adopted_containers(host: Host, ids: Collection[str]) -> Change:
    """Remove containers that were taken over and are not wanted any more; those that are gone are fine."""
    return Change(tuple(await _remove_containers(host, await read_containers(host, ids))))


def whose(thing: NetworkFacts | ContainerFacts) -> str:
    """In words, who has made a docker object."""
    return f"the stack {thing.owner}" if thing.owner else "somebody else"


async def _remove_containers(host: Host, containers: Sequence[ContainerFacts]) -> list[str]:
    await remove_containers(host, containers)
    return [f"removed container {container.name}" for container in containers]


async def _remove_networks(host: Host, networks: Sequence[NetworkFacts], owner: str) -> list[str]:
    if not networks:
        return []
    done = await _remove_containers(host, await _ours_on(host, networks, owner))
    for each in networks:
        await remove_network(host, each)
    return done + [f"removed docker network {network.name}" for network in networks]


async def _ours_on(host: Host, networks: Sequence[NetworkFacts], owner: str) -> Sequence[ContainerFacts]:
    """The owner's containers on his networks. Raises ConflictError if somebody else's are on them, too."""
    names = {network.name for network in networks}
    on_them = await read_containers_on(host, names)
    for container in on_them:
        if container.owner != owner:
            network = min(names.intersection(container.networks))
            raise ConflictError(
                host.name,
                f"the docker network {network} cannot be removed: container {container.name} of "
                f"{whose(container)} is on it",
                f"take it off first: docker network disconnect {network} {container.name}",
            )
    return on_them
