"""Containers on several networks: which way their packets take.

A container's kernel sends what is on one of its own networks straight there, and everything else to one
default gateway. Docker chooses that gateway. Without `gw-priority`, which we never set, and without
IPv6 it takes the network whose name sorts first (moby/moby, libnetwork, `Endpoint.Less`; the same from
20.10 to 29).

So a connection to a network that the container is on stays on layer 2. Any other one leaves by the
default network, with the container's address there, whatever other networks it is on.
"""

from __future__ import annotations

from model.topology import Container


def home_networks(container: Container) -> frozenset[str]:
    """The networks it is on."""
    return frozenset(attachment.network for attachment in container.attachments)


def default_network(container: Container) -> str:
    """The network that its default route leads to."""
    return min(attachment.network for attachment in container.attachments)


def source_network(container: Container, target: str) -> str:
    """The network on whose address it opens a connection to network `target`."""
    return target if target in home_networks(container) else default_network(container)


def container_sysctls(container: Container) -> tuple[tuple[str, str], ...]:
    """What its network namespace needs set, as (dotted key, value).

    A container on several networks may be asked on one and have its route back on another. Loose reverse
    path filtering lets it answer, whatever its host's default is (Linux, Documentation/networking/
    ip-sysctl.rst: the greater of `all` and the interface counts).
    """
    return (("net.ipv4.conf.all.rp_filter", "2"),) if len(container.attachments) > 1 else ()
