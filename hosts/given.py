"""What a host's Docker has of an owner's addresses and ranges: the memory of a stack whose state was lost."""

from __future__ import annotations

import asyncio

from hosts.docker import read_containers_of, read_networks
from hosts.errors import Unsupported
from hosts.host import Host
from model.addresses import HostRange, Remembered


async def read_given(host: Host, owner: str) -> Remembered:
    """The addresses of the owner's containers, running or not, and the ranges of his docker networks there.

    Nothing where Docker is not there, or does not run.
    """
    try:
        containers, networks = await asyncio.gather(read_containers_of(host, owner), read_networks(host))
    except Unsupported:
        return Remembered()
    return Remembered(
        {
            (container.name, network): address
            for container in containers
            for network, place in container.networks.items()
            if (address := place.wished or place.present)
        },
        {
            (host.name, network.name): HostRange(network.ranges[0], network.aux_addresses)
            for network in networks
            if network.owner == owner and network.ranges
        },
    )
