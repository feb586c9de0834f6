"""What a topology means on each host: the complete, concrete wish, computed before anything is touched."""

from __future__ import annotations

from dataclasses import dataclass, replace
from ipaddress import IPv4Address, IPv4Interface, IPv4Network

from model.addresses import AddressPlan, Remembered, plan_addresses
from model.firewall import Firewall
from model.homing import default_network
from model.interfaces import link_names
from model.rules import plan_firewall
from model.topology import Container, Gateway, Host, Network, Topology


@dataclass(frozen=True)
class SubInterface:
    """A link that we make on a host, with the addresses on it.

    With `vlan` it is an 802.1Q sub-interface of the trunk interface `parent`. Without, it is a macvlan
    link in bridge mode on one of our own sub-interfaces: the gateway address of a host that also runs
    containers on that network must sit there, because the kernel never lets a macvlan container
    reach an address on its own parent (Linux, drivers/net/macvlan.c).
    """

    name: str
    parent: str
    vlan: int | None
    mtu: int | None = None  # bytes; None: inherited from the parent when the link is made
    addresses: tuple[IPv4Interface, ...] = ()
    settings: tuple[tuple[str, str], ...] = ()  # (key, value) below /proc/sys/net/ipv4/conf/<name>/

    @property
    def kind(self) -> str:
        """What the kernel calls such a link (IFLA_INFO_KIND)."""
        return "macvlan" if self.vlan is None else "vlan"


@dataclass(frozen=True)
class DockerNetwork:
    """One docker macvlan network on one host. Its name is the network's, the same on every host."""

    name: str
    parent: str  # the sub-interface
    subnet: IPv4Network
    gateway: IPv4Address
    ip_range: IPv4Network | None  # what this host's dockerd may hand out by itself; disjoint between hosts
    aux_addresses: tuple[tuple[str, IPv4Address], ...]  # (name, address): inside ip_range, used elsewhere
    mtu: int | None = None


@dataclass(frozen=True)
class Endpoint:
    """A container's address on a network, after the address plan."""

    container: str
    host: str
    network: str
    address: IPv4Address


@dataclass(frozen=True)
class HostPlan:
    """What one host gets. Links come parents first."""

    host: Host
    links: tuple[SubInterface, ...] = ()
    networks: tuple[DockerNetwork, ...] = ()
    containers: tuple[Container, ...] = ()
    sysctls: tuple[tuple[str, str], ...] = ()  # (dotted key, value)
    firewall: Firewall | None = None  # on the gateway only


@dataclass(frozen=True)
class Fabric:
    """The whole plan; every host of the topology, in its order, and every endpoint."""

    owner: str  # in whose name everything is made
    hosts: tuple[HostPlan, ...]
    endpoints: tuple[Endpoint, ...]


def plan(topology: Topology, owner: str, remembered: Remembered | None = None) -> Fabric:
    """The complete plan of a valid topology. It is the `owner`'s; what is `remembered` stays."""
    addresses = plan_addresses(topology, remembered)
    firewall = plan_firewall(topology, addresses, owner)
    names = link_names(topology)
    taking_part: dict[str, list[Network]] = {host.name: [] for host in topology.hosts}
    for network in topology.networks:
        for host in topology.hosts:
            if (host.name, network.name) in names:
                taking_part[host.name].append(network)
    containers: dict[str, list[Container]] = {host.name: [] for host in topology.hosts}
    for container in topology.containers:
        containers[container.host].append(_addressed(container, addresses))

    def host_plan(host: Host) -> HostPlan:
        gateway = topology.gateway if topology.gateway and topology.gateway.host == host.name else None
        here = taking_part[host.name]
        loose = gateway is not None and _answers_may_come_elsewhere(topology, gateway)
        return HostPlan(
            host=host,
            links=tuple(
                link
                for network in here
                for link in _links(names[host.name, network.name], host, network, gateway, loose)
            ),
            networks=tuple(
                _docker_network(network, names[host.name, network.name][0], addresses, host)
                for network in here
                if (host.name, network.name) in addresses.ranges
            ),
            containers=tuple(containers[host.name]),
            sysctls=(("net.ipv4.ip_forward", "1"),) if gateway else (),
            firewall=firewall if gateway else None,
        )

    return Fabric(
        owner,
        tuple(host_plan(host) for host in topology.hosts),
        tuple(
            Endpoint(
                container.name,
                container.host,
                attachment.network,
                addresses.addresses[container.name, attachment.network],
            )
            for container in topology.containers
            for attachment in container.attachments
        ),
    )


def _addressed(container: Container, addresses: AddressPlan) -> Container:
    attachments = tuple(
        replace(attachment, address=addresses.addresses[container.name, attachment.network])
        for attachment in container.attachments
    )
    return replace(container, attachments=attachments)


def _links(
    names: tuple[str, ...], host: Host, network: Network, gateway: Gateway | None, loose: bool
) -> tuple[SubInterface, ...]:
    """The sub-interface of a network on a host and, where the gateway address needs one, the shim on it."""
    parent = host.trunk(network.trunk).interface
    if gateway is None or network.name not in gateway.networks:
        return (SubInterface(names[0], parent, network.vlan, network.mtu),)
    addresses = (IPv4Interface((network.gateway, network.subnet.prefixlen)),)
    settings = (("rp_filter", "2"),) if loose else ()
    if len(names) == 1:
        return (SubInterface(names[0], parent, network.vlan, network.mtu, addresses, settings),)
    # Linux answers ARP for any of its addresses on any interface. Asked on the wire, the sub-interface would
    # be faster than the shim on it, and give its own MAC address (Linux, ip-sysctl.rst, arp_ignore).
    quiet = (("arp_ignore", "1"),)
    return (
        SubInterface(names[0], parent, network.vlan, network.mtu, settings=quiet),
        SubInterface(names[1], names[0], None, network.mtu, addresses, settings),
    )


def _answers_may_come_elsewhere(topology: Topology, gateway: Gateway) -> bool:
    """Whether a packet may reach the gateway by another interface than its source address is routed to.

    With its source address kept, a connection to a container on several networks is answered by way of the
    container's default network. Strict reverse path filtering (RFC 3704), the default of some
    distributions, would drop such answers.
    """
    return gateway.nat == "routed" and any(
        attachment.network in gateway.networks and attachment.network != default_network(container)
        for container in topology.containers
        for attachment in container.attachments
    )


def _docker_network(network: Network, parent: str, addresses: AddressPlan, host: Host) -> DockerNetwork:
    range_ = addresses.ranges[host.name, network.name]
    return DockerNetwork(
        name=network.name,
        parent=parent,
        subnet=network.subnet,
        gateway=network.gateway,
        ip_range=range_.ip_range,
        aux_addresses=range_.aux_addresses,
        mtu=network.mtu,
    )
