"""Containers and the networks that they are on, where the engine and its docker provider do not look.

The provider never reads back which networks a container is on (kreuzwerker/terraform-provider-docker,
`networks_advanced`), so one that was taken off by hand, or has another address, is seen and mended here.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator, Mapping
from ipaddress import IPv4Address

from hosts.change import Change
from hosts.docker import ContainerFacts, connect, read_containers, read_networks, start
from hosts.errors import HostError
from hosts.host import Host
from hosts.interfaces import lost_interfaces, make_interface, name_as_before, take_off

ATTEMPTS = 20
PAUSE = 0.25  # seconds between two
INTERFACES = "interfaces"  # the lock of whoever names containers' interfaces

Attachments = Mapping[str, Mapping[str, IPv4Address]]  # by container and network: the address


async def ensure_attached(host: Host, wanted: Attachments, owner: str) -> Change:
    """Have the owner's containers run on the wanted networks, with the wanted addresses, and on no others.

    A container that is not there is left to whoever makes it, one that is somebody else's to him. Networks
    are left before others are joined, so that containers can exchange their addresses. An interface that
    went with its parent is made again, and one that Docker has made anew is called as before.
    """
    found = await _of_owner(host, wanted, owner)
    done = []
    for container in found:
        for network, attached in container.networks.items():
            address = wanted[container.name].get(network)
            if address is None or attached.wished != address:
                await take_off(host, container, network)
                done.append(f"took {container.name} off {network}")
    joined = []
    for container in found:
        for network, address in wanted[container.name].items():
            attached_now = container.networks.get(network)
            if attached_now is None or attached_now.wished != address:
                await connect(host, container, network, address)
                joined.append((container.name, network))
                done.append(f"put {container.name} on {network} as {address}")
    for container in found:
        if container.should_run:
            await start(host, container)
            done.append(f"started {container.name}")
    if done:
        found = await _of_owner(host, wanted, owner)
    for container in found:
        for network in container.networks:
            if (container.name, network) in joined:
                await name_as_before(host, container, network)
    return Change((*done, *await _with_interfaces(host, found)))


async def ensure_on(host: Host, network: str, addresses: Mapping[str, IPv4Address], owner: str) -> Change:
    """Have the owner's containers that are there be on one network, which was just made, by their names."""
    absent = [each for each in await _of_owner(host, addresses, owner) if network not in each.networks]
    if not absent:
        return Change()
    async with host.lock(INTERFACES):  # others may be put on another network just now
        for container in absent:
            await connect(host, container, network, addresses[container.name])
        for container in await _of_owner(host, [each.name for each in absent], owner):
            await name_as_before(host, container, network)
    return Change(tuple(f"put {each.name} on {network} as {addresses[each.name]}" for each in absent))


async def _with_interfaces(host: Host, containers: Iterable[ContainerFacts]) -> list[str]:
    lost = await lost_interfaces(host, containers)
    networks = {each.name: each for each in await read_networks(host)} if lost else {}
    done = []
    for container, network in lost:
        if network in networks and networks[network].parent:
            await make_interface(host, container, networks[network])
            done.append(f"made the interface of {container.name} on {network} again")
    return done


async def attachment_differences(host: Host, wanted: Attachments, owner: str) -> tuple[str, ...]:
    """In what the owner's containers are attached otherwise than wanted, a clause each; only looks."""
    found = {container.name: container for container in await _of_owner(host, wanted, owner)}
    said = [
        clause for name, places in wanted.items() for clause in _differences(found.get(name), name, places)
    ]
    return (*said, *await interface_differences(host, found.values()))


async def interface_differences(host: Host, containers: Iterable[ContainerFacts]) -> tuple[str, ...]:
    """Which of the containers have lost an interface, a clause each."""
    return tuple(
        f"{container.name} has lost its interface on {network}"
        for container, network in await lost_interfaces(host, containers)
    )


def _differences(
    container: ContainerFacts | None, name: str, wanted: Mapping[str, IPv4Address]
) -> Iterator[str]:
    if container is None:
        yield f"{name} is not there"
        return
    yield from differences_of_places(container, wanted)


ByContainer = dict[str, dict[str, str]]


async def read_reported(host: Host, containers: Iterable[str], owner: str) -> tuple[ByContainer, ByContainer]:
    """What Docker reports of the owner's containers: by network the address, and by path inside the volume.

    An address is "" while the container does not run.
    """
    found = await _of_owner(host, containers, owner)
    addresses = {
        container.name: {network: str(place.present or "") for network, place in container.networks.items()}
        for container in found
    }
    return addresses, {each.name: dict(each.volumes) for each in found if each.volumes}


async def _of_owner(host: Host, names: Iterable[str], owner: str) -> tuple[ContainerFacts, ...]:
    return await read_containers(host, list(names), owner=owner)


def differences_of_places(
    container: ContainerFacts, wanted: Mapping[str, IPv4Address | None]
) -> Iterator[str]:
    """In what one container is otherwise than wanted, of its places and of its running; a clause each."""
    name = container.name
    if container.should_run:
        yield f"{name} does not run"
    for network, address in wanted.items():
        attached = container.networks.get(network)
        if attached is None:
            yield f"{name} is not on {network}"
        elif attached.wished != address:
            yield f"{name} has {attached.wished or attached.present} on {network} instead of {address}"
    yield from (f"{name} is also on {network}" for network in container.networks if network not in wanted)


async def ensure_detached(host: Host, container: str, network: str, owner: str) -> Change:
    """Take the owner's container off a docker network, so that its address there is free.

    Nothing happens if it is not there or not on the network, or if the container is somebody else's.
    """
    complaint: HostError | None = None
    for attempt in range(ATTEMPTS):
        if attempt:  # the engine may be about to remove the container; then Docker refuses until it is gone
            await asyncio.sleep(PAUSE)
        found = await read_containers(host, [container], owner=owner)
        if not found or network not in found[0].networks:
            return Change()
        try:
            await take_off(host, found[0], network)
            return Change((f"took {container} off {network}",))
        except HostError as error:
            complaint = error
    raise HostError(host.name, f"{container} cannot be taken off {network}: {complaint}")
