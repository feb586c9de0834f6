"""What our links are called on a host, and where they are."""

from __future__ import annotations

from model.topology import Host, Network, Topology


def sub_interface_name(host: Host, network: Network) -> str:
    """`eth2.10`: the host's trunk interface and the VLAN id; KeyError if the host lacks the trunk."""
    return f"{host.trunk(network.trunk).interface}.{network.vlan}"


def shim_name(host: Host, network: Network) -> str:
    """`eth2.10g`: the macvlan link that carries the gateway address beside local containers."""
    return f"{sub_interface_name(host, network)}g"


def link_names(topology: Topology) -> dict[tuple[str, str], tuple[str, ...]]:
    """The names of the links that are wanted, by (host, network).

    The first is the sub-interface. A second one is the shim: it is there if a gateway runs containers
    of its own on a network that it is the gateway of. The last one is what the host routes through.

    A host gets a network if it runs a container on it or is its gateway, and not otherwise: a host
    that takes no part stays bare.
    """
    hosts = {host.name: host for host in topology.hosts}
    networks = {network.name: network for network in topology.networks}
    names: dict[tuple[str, str], tuple[str, ...]] = {}
    for container in topology.containers:
        for attachment in container.attachments:
            where = (container.host, attachment.network)
            if where not in names:
                names[where] = (sub_interface_name(hosts[where[0]], networks[where[1]]),)
    if topology.gateway is not None:
        host = hosts[topology.gateway.host]
        for name in topology.gateway.networks:
            shim = (shim_name(host, networks[name]),) if (host.name, name) in names else ()
            names[host.name, name] = (sub_interface_name(host, networks[name]), *shim)
    return names


def gateway_interfaces(topology: Topology) -> dict[str, tuple[str, ...]]:
    """The gateway's links by network, in the order of the networks; the last of each has the address."""
    gateway = topology.gateway
    if gateway is None:
        return {}
    names = link_names(topology)
    return {
        network.name: names[gateway.host, network.name]
        for network in topology.networks
        if network.name in gateway.networks
    }
