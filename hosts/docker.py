"""What Docker has on a host, its networks and containers, as facts, and the little that we change of it.

Everything here raises Unsupported without docker, or if its daemon does not run, and HostError with the
daemon's words if it refuses.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Interface, IPv4Network
from typing import Any
from urllib.parse import quote

from hosts.daemon import PATIENCE, ask, change, list_containers
from hosts.errors import HostError
from hosts.host import Host
from hosts.ownership import DOCKER_LABEL

STOPPING = 10  # seconds that Docker gives a container to stop, if it says nothing else
AT_ONCE = 16  # questions about single objects


@dataclass(frozen=True)
class NetworkFacts:
    """A docker network."""

    id: str
    name: str
    driver: str
    owner: str | None  # whose label it has; None: nobody's of us
    parent: str | None  # the interface that a macvlan is on
    mtu: str | None  # the driver's option, if it was given
    subnets: tuple[IPv4Network, ...]
    gateways: tuple[IPv4Address, ...]
    ranges: tuple[IPv4Network, ...] = ()  # what Docker hands out addresses from; (): from the whole subnets
    mode: str = "bridge"  # of a macvlan
    internal: bool = False
    ipv6: bool = False
    scope: str = "local"  # or swarm, or global
    ipam_driver: str = "default"
    config_only: bool = False  # a template for others
    aux_addresses: tuple[tuple[str, IPv4Address], ...] = ()  # (name, address): none that Docker hands out

    @property
    def holds(self) -> tuple[IPv4Network, ...]:
        """The prefixes in which Docker makes no other network.

        Only Docker's own allocator compares, and nobody asks it about a template. `null` and plugins have
        spaces of addresses of their own (moby/moby, libnetwork: `Network.deriveAddressSpace`).
        """
        return () if self.config_only or self.ipam_driver != "default" else self.subnets


@dataclass(frozen=True)
class ContainerFacts:
    """A docker container, running or not."""

    id: str
    name: str
    owner: str | None  # whose label it has; None: nobody's of us
    image: str  # as it was named when it was made
    grace: int | None  # seconds between the stop signal and the kill; None: Docker's 10
    networks: Mapping[str, Attached]  # by the network's name
    volumes: Mapping[str, str] = field(default_factory=dict)  # by the path inside: the volume's name
    status: str = "running"  # as Docker calls it: created, running, paused, restarting, exited, dead
    restart: str = ""  # its restart policy: no, on-failure, always, unless-stopped
    command: tuple[str, ...] = ()
    environment: frozenset[str] = field(default=frozenset(), repr=False)  # NAME=VALUE; some are secret
    labels: Mapping[str, str] = field(default_factory=dict)
    sysctls: Mapping[str, str] = field(default_factory=dict)  # of its own, as they were asked for
    pid: int = 0  # of its first process; 0 while it does not run

    @property
    def should_run(self) -> bool:
        """Whether it is down though its restart policy says that it runs; a job that has ended is not."""
        return self.status in ("exited", "created", "dead") and self.restart in ("always", "unless-stopped")


@dataclass(frozen=True)
class Attached:
    """A container's place on a network."""

    wished: IPv4Address | None  # what was asked for, and comes back with every start
    present: IPv4Address | None  # what it has while it runs
    # of its interface, while it runs
    mac: str = ""
    prefix: int = 32  # bits
    gateway: IPv4Address | None = None


async def read_networks(host: Host) -> tuple[NetworkFacts, ...]:
    """Every docker network."""
    return tuple(map(_network, await ask(host, "/networks")))


async def read_network(host: Host, name: str) -> NetworkFacts | None:
    """The docker network of that name; None if it is not there."""
    return next((network for network in await read_networks(host) if network.name == name), None)


async def read_containers(
    host: Host, names: Iterable[str], *, owner: str | None = None
) -> tuple[ContainerFacts, ...]:
    """The containers of these names or ids that are there; of that owner, if one is given."""
    wanted = list(names)
    gate = asyncio.Semaphore(AT_ONCE)

    async def read(name: str) -> Any:
        async with gate:
            return await ask(host, f"/containers/{quote(name, safe='')}/json")

    found = [_container(facts) for facts in await asyncio.gather(*map(read, wanted)) if facts]
    return tuple(
        container
        for container in found
        if owner in (None, container.owner)
        and (container.name in wanted or container.id in wanted)  # else the name is how an id begins
    )


async def read_containers_of(host: Host, owner: str) -> tuple[ContainerFacts, ...]:
    """The owner's containers."""
    labelled = await list_containers(host, "label", f"{DOCKER_LABEL}={owner}")
    return await read_containers(host, labelled, owner=owner)


async def read_containers_on(host: Host, networks: Collection[str]) -> tuple[ContainerFacts, ...]:
    """The containers on docker networks of these names, running or not, whose ever they are."""
    attached = await read_containers(host, await list_containers(host, "network", *networks))
    return tuple(each for each in attached if not each.networks.keys().isdisjoint(networks))


async def remove_containers(host: Host, containers: Sequence[ContainerFacts]) -> None:
    """Stop containers, each with its own grace but all at once, and remove them.

    Their anonymous volumes stay: what a service has stored there nobody can make again.
    """

    async def remove(container: ContainerFacts) -> None:
        grace = STOPPING if container.grace is None else container.grace
        it = f"/containers/{container.id}"
        await change(host, f"stop {container.name}", "POST", f"{it}/stop", deadline=grace + PATIENCE)
        await change(host, f"remove {container.name}", "DELETE", f"{it}?force=true")

    outcomes = await asyncio.gather(*map(remove, containers), return_exceptions=True)
    failure = next((outcome for outcome in outcomes if outcome is not None), None)
    if failure is None:
        return
    # What somebody else is about to remove, Docker refuses to remove; it may be gone by now.
    if not isinstance(failure, HostError) or await read_containers(host, [each.id for each in containers]):
        raise failure


async def remove_network(host: Host, network: NetworkFacts) -> None:
    """Remove a docker network that no container is on."""
    await change(host, f"remove the network {network.name}", "DELETE", f"/networks/{network.id}")


async def connect(host: Host, container: ContainerFacts, network: str, address: IPv4Address) -> None:
    """Put a container on a docker network, with that address."""
    place = {"IPAMConfig": {"IPv4Address": str(address)}}
    wish = {"Container": container.id, "EndpointConfig": place}
    path = f"/networks/{quote(network, safe='')}/connect"
    await change(host, f"put {container.name} on {network} as {address}", "POST", path, wish)


async def start(host: Host, container: ContainerFacts) -> None:
    """Start a container that is there and does not run."""
    await change(host, f"start {container.name}", "POST", f"/containers/{container.id}/start", {})


async def disconnect(host: Host, container: ContainerFacts, network: str) -> None:
    """Take a container off a docker network."""
    wish = {"Container": container.id, "Force": True}
    path = f"/networks/{quote(network, safe='')}/disconnect"
    await change(host, f"take {container.name} off {network}", "POST", path, wish)


def _network(facts: Mapping[str, Any]) -> NetworkFacts:
    options = facts.get("Options") or {}
    ipam = facts.get("IPAM") or {}
    configs = ipam.get("Config") or []
    return NetworkFacts(
        facts["Id"],
        facts["Name"],
        facts.get("Driver", ""),
        (facts.get("Labels") or {}).get(DOCKER_LABEL),
        options.get("parent"),
        options.get("com.docker.network.driver.mtu"),
        tuple(_networks(_given(configs, "Subnet"))),
        tuple(_addresses(_given(configs, "Gateway"))),
        tuple(_networks(_given(configs, "IPRange"))),
        options.get("macvlan_mode") or "bridge",
        bool(facts.get("Internal")),
        bool(facts.get("EnableIPv6")),
        facts.get("Scope") or "local",
        ipam.get("Driver") or "default",
        bool(facts.get("ConfigOnly")),
        tuple(sorted(_auxiliary(configs))),
    )


def _auxiliary(configs: Iterable[Mapping[str, Any]]) -> Iterator[tuple[str, IPv4Address]]:
    for config in configs:
        for name, text in (config.get("AuxiliaryAddresses") or {}).items():
            yield from ((name, address) for address in _addresses([text]))


def _given(configs: Iterable[Mapping[str, str]], key: str) -> Iterator[str]:
    """The IPv4 values of an IPAM key."""
    return (config[key] for config in configs if config.get(key) and ":" not in config[key])


def _networks(texts: Iterable[str]) -> Iterator[IPv4Network]:
    """Those that are prefixes: a plugin may say what it likes."""
    for text in texts:
        with contextlib.suppress(ValueError):
            yield IPv4Network(text, strict=False)


def _addresses(texts: Iterable[str]) -> Iterator[IPv4Address]:
    """Those that are addresses; some plugins say them with the length of their prefix."""
    for text in texts:
        with contextlib.suppress(ValueError):
            yield IPv4Interface(text).ip


def _container(facts: Mapping[str, Any]) -> ContainerFacts:
    config = facts.get("Config") or {}
    on_host = facts.get("HostConfig") or {}
    networks = (facts.get("NetworkSettings") or {}).get("Networks") or {}
    return ContainerFacts(
        facts["Id"],
        facts["Name"].removeprefix("/"),
        (config.get("Labels") or {}).get(DOCKER_LABEL),
        config.get("Image", ""),
        config.get("StopTimeout"),
        {
            name: Attached(
                _address((place.get("IPAMConfig") or {}).get("IPv4Address")),
                _address(place.get("IPAddress")),
                place.get("MacAddress") or "",
                place.get("IPPrefixLen") or 32,
                _address(place.get("Gateway")),
            )
            for name, place in networks.items()
        },
        {
            mount["Destination"]: mount["Name"]
            for mount in facts.get("Mounts") or ()
            if mount.get("Type") == "volume" and mount.get("Name")
        },
        (facts.get("State") or {}).get("Status", "running"),
        (on_host.get("RestartPolicy") or {}).get("Name", ""),
        tuple(config.get("Cmd") or ()),
        frozenset(config.get("Env") or ()),
        config.get("Labels") or {},
        on_host.get("Sysctls") or {},
        (facts.get("State") or {}).get("Pid", 0),
    )


def _address(text: str | None) -> IPv4Address | None:
    return IPv4Address(text) if text else None
