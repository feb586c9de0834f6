"""The plan as the kernel of each machine sees it: who is on which VLAN, and who routes where.

Read from a `Fabric` alone. What the plan says of a container, a link or a route is what counts here, not
what the topology meant by it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network

from model.fabric import Endpoint, Fabric, HostPlan, SubInterface
from model.homing import container_sysctls, default_network
from model.reachability.netfilter import Tables

Segment = tuple[str, int]  # a broadcast domain: trunk name and VLAN id


class Prefix:
    """A subnet that compares fast."""

    __slots__ = ("mask", "network")

    def __init__(self, subnet: IPv4Network) -> None:
        self.network, self.mask = int(subnet.network_address), int(subnet.netmask)

    def __contains__(self, address: int) -> bool:
        return address & self.mask == self.network


@dataclass(frozen=True, slots=True)
class Home:
    """A station's interface on one network."""

    network: str
    segment: Segment
    parent: str  # the sub-interface that its macvlan is on
    prefix: Prefix
    address: int
    gateway: int


@dataclass(frozen=True, slots=True)
class Station:
    """A container on the wire."""

    name: str
    host: str
    homes: tuple[Home, ...]
    default: Home  # where its default route leads
    loose: bool  # whether it takes packets that come in elsewhere than their source is routed to

    def home_on(self, network: str) -> Home:
        """Its interface on a network; KeyError if it has none."""
        for home in self.homes:
            if home.network == network:
                return home
        raise KeyError(network)

    def route(self, address: int) -> tuple[Home, bool]:
        """The interface that it reaches an address by, and whether the address is on link there."""
        for home in self.homes:
            if address in home.prefix:
                return home, True
        return self.default, False

    def endpoint(self, home: Home) -> Endpoint:
        """How the plan calls one of its interfaces."""
        return Endpoint(self.name, self.host, home.network, IPv4Address(home.address))


@dataclass(frozen=True, slots=True)
class Port:
    """A router's interface with an address."""

    link: str
    segment: Segment
    prefix: Prefix
    address: int
    loose: bool  # like a station's
    parent: str | None  # the sub-interface below it, if it is a shim
    parent_answers: bool  # whether that one also answers ARP for the address


class Router:
    """A host that forwards."""

    def __init__(self, plan: HostPlan, ports: Iterable[Port]) -> None:
        self.host = plan.host.name
        self.ports = tuple(ports)
        self.tables = Tables(plan.firewall)
        self._by_address = {(port.segment, port.address): port for port in self.ports}
        self._routes: dict[int, dict[int, Port]] = {}
        self._links: dict[Segment, list[str]] = {}
        for port in self.ports:
            self._routes.setdefault(port.prefix.mask, {})[port.prefix.network] = port
            links = self._links.setdefault(port.segment, [])
            links += [link for link in (port.link, port.parent) if link is not None]

    def port_with(self, segment: Segment, address: int) -> Port | None:
        """The interface that has an address, if the address is asked for on its segment."""
        return self._by_address.get((segment, address))

    def route(self, address: int) -> Port | None:
        """The interface that an address is on link at; None: it would leave by a way that is not ours."""
        for mask, ports in self._routes.items():
            if port := ports.get(address & mask):
                return port
        return None

    def links(self, segment: Segment) -> Sequence[str]:
        """Those of its links that packets may come in by from a segment."""
        return self._links.get(segment, ())


class Wire:
    """Everything that takes part in a fabric."""

    def __init__(self, fabric: Fabric) -> None:
        self.stations = {
            station.name: station for plan in fabric.hosts for station in _stations(plan, _segments(plan))
        }
        self.routers = [
            Router(plan, _ports(plan, _segments(plan)))
            for plan in fabric.hosts
            if ("net.ipv4.ip_forward", "1") in plan.sysctls
        ]

    def gateway(self, station: Station, home: Home, address: int) -> tuple[Router, Port, str] | None:
        """The router that answers a station for an address, with the link that the frame comes in by.

        None if nobody does: no router has the address on this segment, or it is on the very link that
        the station's own macvlan is on, which Linux keeps apart (drivers/net/macvlan.c).
        """
        for router in self.routers:
            port = router.port_with(home.segment, address)
            if port is None:
                continue
            here = station.host == router.host
            if here and port.link == home.parent:
                return None
            if port.parent is not None and port.parent_answers and not here:
                return router, port, port.parent
            return router, port, port.link
        return None


def _segments(plan: HostPlan) -> dict[str, Segment]:
    """The broadcast domain of every link of ours on a host."""
    trunks = {trunk.interface: trunk.name for trunk in plan.host.trunks}
    segments: dict[str, Segment] = {}
    for link in plan.links:
        segments[link.name] = segments[link.parent] if link.vlan is None else (trunks[link.parent], link.vlan)
    return segments


def _stations(plan: HostPlan, segments: dict[str, Segment]) -> Iterable[Station]:
    networks = {network.name: (network, Prefix(network.subnet)) for network in plan.networks}
    for container in plan.containers:
        homes = []
        for attachment in container.attachments:
            if attachment.address is None:
                raise ValueError(f"{container.name} has no address on {attachment.network}: not a plan")
            network, prefix = networks[attachment.network]
            homes.append(
                Home(
                    network.name,
                    segments[network.parent],
                    network.parent,
                    prefix,
                    int(attachment.address),
                    int(network.gateway),
                )
            )
        first = default_network(container)
        yield Station(
            container.name,
            plan.host.name,
            tuple(homes),
            next(home for home in homes if home.network == first),
            _is_loose(dict(container_sysctls(container)).get("net.ipv4.conf.all.rp_filter")),
        )


def _ports(plan: HostPlan, segments: dict[str, Segment]) -> Iterable[Port]:
    links = {link.name: link for link in plan.links}
    for link in plan.links:
        parent = links[link.parent] if link.vlan is None else None
        for interface in link.addresses:
            yield Port(
                link.name,
                segments[link.name],
                Prefix(interface.network),
                int(interface.ip),
                _is_loose(dict(link.settings).get("rp_filter")),
                parent.name if parent else None,
                parent is not None and not _keeps_quiet(parent),
            )


def _is_loose(rp_filter: str | None) -> bool:
    """Whatever the host's own default is, 2 is loose: the kernel takes the greater of the two."""
    return rp_filter == "2"


def _keeps_quiet(link: SubInterface) -> bool:
    return dict(link.settings).get("arp_ignore") == "1"
