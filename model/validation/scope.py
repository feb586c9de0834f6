"""What is declared, by name, as far as it could be read: the ground on which references are judged."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from ipaddress import IPv4Address

from model.declaration import (
    ContainerEntry,
    GatewayEntry,
    HostEntry,
    NetworkEntry,
    Placement,
    TopologyEntry,
    TrunkEntry,
)
from model.kinds import Given, Item
from model.topology import DEFAULT_TRUNK


@dataclass(frozen=True)
class Scope:
    """The declarations by name. What is None was reported; nothing can be said about references to it."""

    topology: TopologyEntry

    @cached_property
    def hosts(self) -> Mapping[str, Item[HostEntry]] | None:
        """The hosts."""
        hosts = self.topology.hosts
        return {item.name: item for item in hosts.value} if hosts else None

    @cached_property
    def networks(self) -> Mapping[str, Item[NetworkEntry]] | None:
        """The networks."""
        networks = self.topology.networks
        return {item.name: item for item in networks.value} if networks else None

    @cached_property
    def containers(self) -> Mapping[str, Item[ContainerEntry]] | None:
        """The declarations of containers, each of which makes one or several; empty without such a key."""
        containers = self.topology.containers
        if containers is None:
            return None if "containers" in self.topology.given else {}
        return {item.name: item for item in containers.value}

    @cached_property
    def placements(self) -> Mapping[str, tuple[Placement, ...]]:
        """The containers that each declaration makes, as far as it could be read."""
        return {
            name: item.value.placements(name) if item.value else ()
            for name, item in (self.containers or {}).items()
        }

    @cached_property
    def replicas(self) -> Mapping[str, str]:
        """The declaration that each container comes from, by the container's name."""
        return {placement.name: name for name, made in self.placements.items() for placement in made}

    @cached_property
    def trunks(self) -> Mapping[str, Mapping[str, TrunkEntry] | None]:
        """Every host's trunks by their names."""
        return {
            name: item.value.named_trunks() if item.value else None
            for name, item in (self.hosts or {}).items()
        }

    @property
    def gateway(self) -> GatewayEntry | None:
        """The gateway."""
        return self.topology.gateway

    @cached_property
    def routed(self) -> Mapping[str, Given[str]]:
        """The networks behind the gateway that exist, and where it is said that they are."""
        gateway = self.gateway
        if gateway is None or self.networks is None:
            return {}
        if "networks" not in gateway.given:
            return {name: Given(name, gateway.line, gateway.path) for name in self.networks}
        listed = gateway.networks.value if gateway.networks else ()
        return {name.value: name for name in listed if name.value in self.networks}

    @property
    def routed_is_whole(self) -> bool:
        """Whether `routed` is all that is behind the gateway: no name in its list was wrong."""
        gateway = self.gateway
        if gateway is None or self.networks is None or gateway.wrong("networks"):
            return False
        listed = gateway.networks.value if gateway.networks else ()
        return all(name.value in self.networks for name in listed)

    def network(self, name: str) -> NetworkEntry | None:
        """The network of that name, if it exists and is a map."""
        item = (self.networks or {}).get(name)
        return item.value if item else None

    def trunk_of(self, network: str) -> str | None:
        """The name of the trunk that carries a network; None if that cannot be known."""
        entry = self.network(network)
        if entry is None:
            return None
        if "trunk" not in entry.given:
            return DEFAULT_TRUNK
        return entry.trunk.value if entry.trunk else None

    @cached_property
    def gateway_addresses(self) -> Mapping[str, IPv4Address]:
        """Every network's gateway address, declared or by default, as far as it can be known."""
        known = {}
        for name in self.networks or {}:
            entry = self.network(name)
            if entry and entry.gateway:
                known[name] = entry.gateway.value
            elif entry and entry.subnet and "gateway" not in entry.given:
                known[name] = entry.subnet.value[1]
        return known

    def home(self, address: IPv4Address) -> str | None:
        """The network whose subnet an address is in."""
        for name, item in (self.networks or {}).items():
            if item.value and item.value.subnet and address in item.value.subnet.value:
                return name
        return None

    def carrier(self, host: str, network: str) -> TrunkEntry | None:
        """The trunk entry of a host that carries a network; None if there is none or nobody knows."""
        name = self.trunk_of(network)
        return (self.trunks.get(host) or {}).get(name) if name else None

    def uses(self) -> Iterator[tuple[str, str]]:
        """(host, network) wherever a host needs a sub-interface for containers."""
        seen = set()
        for made in self.placements.values():
            for placement in made:
                for attached in placement.attached:
                    use = (placement.host.value if placement.host else "", attached.network.value)
                    if use not in seen:
                        seen.add(use)
                        yield use
