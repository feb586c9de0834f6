"""A topology in a few words, as plain data for stack outputs."""

from __future__ import annotations

from typing import Any

from model.fabric import Fabric
from model.topology import Topology


def networks(topology: Topology, fabric: Fabric) -> dict[str, dict[str, Any]]:
    """By name: VLAN id, prefix, gateway address, and the hosts whose containers can be on it."""
    return {
        network.name: {
            "vlan": network.vlan,
            "subnet": str(network.subnet),
            "gateway": str(network.gateway),
            "hosts": [
                plan.host.name for plan in fabric.hosts if network.name in {n.name for n in plan.networks}
            ],
        }
        for network in topology.networks
    }


def gateway(topology: Topology, fabric: Fabric) -> dict[str, Any] | None:
    """The gateway's host, NAT mode and addresses by interface; None without a gateway."""
    if topology.gateway is None:
        return None
    plan = next(plan for plan in fabric.hosts if plan.host.name == topology.gateway.host)
    return {
        "host": topology.gateway.host,
        "nat": topology.gateway.nat,
        "addresses": {link.name: str(address) for link in plan.links for address in link.addresses},
    }
