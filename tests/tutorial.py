"""The reference job as a `Topology`, and short ways to vary it."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network
from typing import Any

from model.topology import Allow, Attachment, Container, Gateway, Host, Network, Topology, Trunk

OWNER = "macvlan-fabric/dev"


def host(name: str) -> Host:
    return Host(name, name, (Trunk("trunk", "eth2"),))


def network(vlan: int) -> Network:
    """`mac_net10` with 172.16.10.0/24, and so on; VLAN ids up to 255."""
    return Network(
        f"mac_net{vlan}", vlan, IPv4Network(f"172.16.{vlan}.0/24"), IPv4Address(f"172.16.{vlan}.1")
    )


def container(name: str, on: str, *addresses: str) -> Container:
    """A container with addresses such as `10.11` for 172.16.10.11, or `10` for an automatic one there."""
    attachments = []
    for address in addresses:
        vlan, _, last = address.partition(".")
        attachments.append(
            Attachment(f"mac_net{vlan}", IPv4Address(f"172.16.{vlan}.{last}") if last else None)
        )
    return Container(name, on, tuple(attachments), "busybox:latest")


# What a user writes for the router alone, two networks joined without any container.
LONE_ROUTER: dict[str, Any] = {
    "hosts": {"router": {"trunk": "eth2"}},
    "networks": {
        "mac_net10": {"vlan": 10, "subnet": "172.16.10.0/24"},
        "mac_net20": {"vlan": 20, "subnet": "172.16.20.0/24"},
    },
    "gateway": {"host": "router", "allow": [["mac_net10", "mac_net20"]]},
}

TUTORIAL = Topology(
    hosts=(host("router"), host("host1"), host("host2")),
    networks=(network(10), network(20)),
    containers=(
        container("bbox1", "host1", "10.10"),
        container("bbox2", "host1", "20.10"),
        container("bbox3", "host2", "10.11"),
        container("bbox4", "host2", "20.11"),
    ),
    gateway=Gateway("router", ("mac_net10", "mac_net20"), allow=(Allow("mac_net10", "mac_net20"),)),
)
