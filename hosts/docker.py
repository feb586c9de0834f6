"""What Docker has on a host: its networks and containers, as facts, through docker's own client."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network
from typing import Any

from hosts.errors import HostError, Unsupported
from hosts.host import Completed, Host
from hosts.ownership import DOCKER_LABEL

# What docker's client says without a daemon: up to version 28, and from then on.
_DAEMON_DOWN = ("Cannot connect to the Docker daemon", "failed to connect to the docker API")


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


@dataclass(frozen=True)
class ContainerFacts:
    """A docker container, running or not."""

    id: str
    name: str
    owner: str | None  # whose label it has; None: nobody's of us
    image: str  # as it was named when it was made
    grace: int | None  # seconds between the stop signal and the kill; None: Docker's 10
    networks: Mapping[str, Attached]  # by the network's name


@dataclass(frozen=True)
class Attached:
    """A container's place on a network."""

    wished: IPv4Address | None  # what was asked for, and comes back with every start
    present: IPv4Address | None  # what it has while it runs


async def read_networks(host: Host) -> tuple[NetworkFacts, ...]:
    """Every docker network. Raises Unsupported without docker, or if its daemon does not run."""
    ids = (await docker(host, "network", "ls", "--no-trunc", "--format", "{{.ID}}")).stdout.decode().split()
    return tuple(map(_network, await _inspect(host, "network", ids)))


async def read_network(host: Host, name: str) -> NetworkFacts | None:
    """The docker network of that name; None if it is not there, or no daemon runs that could tell."""
    found = map(_network, await _inspect(host, "network", [name]))
    return next((network for network in found if network.name == name), None)  # not one with such an id


async def read_containers(
    host: Host, names: Iterable[str] | None = None, *, owner: str | None = None
) -> tuple[ContainerFacts, ...]:
    """The containers of these names that are there, or all; of that owner, if one is given.

    Raises as `read_networks` does.
    """
    if names is None:
        only = ("--filter", f"label={DOCKER_LABEL}={owner}") if owner is not None else ()
        listed = await docker(host, "ps", "--all", "--quiet", "--no-trunc", *only)
        names = listed.stdout.decode().split()
    found = map(_container, await _inspect(host, "container", list(names)))
    return tuple(container for container in found if owner in (None, container.owner))


async def has_docker(host: Host) -> bool:
    """Whether docker's client is there; its daemon may be down."""
    try:
        await host.run(["docker", "--version"])
    except Unsupported:
        return False
    return True


async def docker(host: Host, *arguments: str, deadline: float = 60.0) -> Completed:
    """Run docker's client. Raises Unsupported without it or its daemon, HostError if it fails."""
    try:
        done = await host.run(["docker", *arguments], deadline=deadline)
    except Unsupported:
        raise Unsupported(
            host.name,
            "there is no program docker, which its networks and containers need",
            "install Docker on the host, with its command line",
        ) from None
    if done.status:
        said = done.stderr.decode(errors="replace").strip().splitlines() or [f"exit status {done.status}"]
        failed = f"`docker {' '.join(arguments[:2])}` failed: {said[-1]}"
        if any(words in said[-1] for words in _DAEMON_DOWN):
            raise Unsupported(host.name, failed, "start it on the host: systemctl start docker")
        raise HostError(host.name, failed)
    return done


async def _inspect(host: Host, kind: str, names: Sequence[str]) -> list[dict[str, Any]]:
    """What docker says of those that are there; one may vanish at any moment, which is no failure."""
    if not names:
        return []
    done = await host.run(["docker", "inspect", "--type", kind, *names])
    try:
        facts: list[dict[str, Any]] = json.loads(done.stdout or b"[]")
    except ValueError:
        raise HostError(
            host.name, f"`docker inspect` makes no sense: {done.stdout[:200].decode(errors='replace')}"
        ) from None
    return facts


def _network(facts: Mapping[str, Any]) -> NetworkFacts:
    options = facts.get("Options") or {}
    configs = (facts.get("IPAM") or {}).get("Config") or []
    return NetworkFacts(
        facts["Id"],
        facts["Name"],
        facts.get("Driver", ""),
        (facts.get("Labels") or {}).get(DOCKER_LABEL),
        options.get("parent"),
        options.get("com.docker.network.driver.mtu"),
        tuple(IPv4Network(subnet, strict=False) for subnet in _given(configs, "Subnet")),
        tuple(IPv4Address(gateway) for gateway in _given(configs, "Gateway")),
    )


def _given(configs: Iterable[Mapping[str, str]], key: str) -> Iterator[str]:
    """The IPv4 values of an IPAM key."""
    return (config[key] for config in configs if config.get(key) and ":" not in config[key])


def _container(facts: Mapping[str, Any]) -> ContainerFacts:
    config = facts.get("Config") or {}
    networks = (facts.get("NetworkSettings") or {}).get("Networks") or {}
    return ContainerFacts(
        facts["Id"],
        facts["Name"].removeprefix("/"),
        (config.get("Labels") or {}).get(DOCKER_LABEL),
        config.get("Image", ""),
        config.get("StopTimeout"),
        {
            name: Attached(
                _address((place.get("IPAMConfig") or {}).get("IPv4Address")), _address(place.get("IPAddress"))
            )
            for name, place in networks.items()
        },
    )


def _address(text: str | None) -> IPv4Address | None:
    return IPv4Address(text) if text else None
