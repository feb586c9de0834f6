"""Containers: where they run, what they are called, which addresses they have."""

from __future__ import annotations

from collections import Counter
from ipaddress import IPv4Address

from model.declaration import AttachmentEntry, ContainerEntry
from model.kinds import Given, Item
from model.problems import Problems
from model.validation.networks import check_usable
from model.validation.scope import Scope
from model.values import CONTAINER_NAME


def check_containers(scope: Scope, problems: Problems) -> None:
    """Names, references and addresses of all containers."""
    _check_names(scope, problems)
    for item in (scope.containers or {}).values():
        if item.value:
            _check_references(scope, item.value, problems)
            _check_replicas(item, scope, problems)
    _check_addresses(scope, problems)


def _check_names(scope: Scope, problems: Problems) -> None:
    """Names are unique among containers, replicas and networks: policy speaks of all of them."""
    for name, item in (scope.containers or {}).items():
        if network := (scope.networks or {}).get(name):
            line = f" in line {network.line}" if network.line else ""
            hint = "policy could mean either; call one of them differently"
            problems.add(item, f"{name} is the name of a network{line}, too", hint)
        for placement in scope.placements[name]:
            if placement.name != name and placement.name in (scope.containers or {}):
                clash = (scope.containers or {})[placement.name]
                problems.add(clash, f"{placement.name} is the name of a replica of {name}, too", "rename one")
            elif placement.name != name and placement.name in (scope.networks or {}):
                clash_network = (scope.networks or {})[placement.name]
                problems.add(
                    clash_network, f"{placement.name} is the name of a replica of {name}, too", "rename one"
                )


def _check_references(scope: Scope, container: ContainerEntry, problems: Problems) -> None:
    """Its hosts and networks exist, and the hosts have the trunks that carry the networks."""
    hosts = container.hosts.value if container.hosts else (container.host,)
    networks = container.placements("")[0].attached if container.placements("") else ()
    seen: set[str] = set()
    for host in filter(None, hosts):
        if host.value in seen:
            problems.add(
                host, f"{host.value} is listed twice", "replicas take turns: each host is listed once"
            )
        elif scope.hosts is not None and host.value not in scope.hosts:
            problems.unknown(host, "host", host.value, scope.hosts)
        else:
            check_not_lost(scope, host, problems)
        seen.add(host.value)
    attached: set[str] = set()
    for network in networks:
        name = network.network.value
        if name in attached:
            problems.add(network.network, f"{name} is listed twice", "a container is on a network once")
        elif scope.networks is not None and name not in scope.networks:
            problems.unknown(network.network, "network", name, scope.networks)
        attached.add(name)
    for host in filter(None, hosts):
        for name in attached:
            check_trunk(scope, host, name, problems)


def check_not_lost(scope: Scope, host: Given[str], problems: Problems) -> None:
    """Nothing is meant to run on a host that is gone for good."""
    item = (scope.hosts or {}).get(host.value)
    if item and item.value and item.value.lost and item.value.lost.value:
        hint = f"move it to another host, or take `lost` off {host.value}"
        problems.add(host, f"{host.value} is lost", hint)


def check_trunk(scope: Scope, host: Given[str], network: str, problems: Problems) -> None:
    """The host has the trunk that carries the network."""
    trunks, trunk = scope.trunks.get(host.value), scope.trunk_of(network)
    if trunks is None or trunk is None or trunk in trunks:
        return
    able = [name for name, others in scope.trunks.items() if others and trunk in others]
    if able:  # else the network's trunk is unknown, which is reported there
        hint = f"hosts with that trunk: {', '.join(able[:8])}"
        problems.add(host, f"{host.value} has no trunk {trunk}, which carries {network}", hint)


def _check_replicas(item: Item[ContainerEntry], scope: Scope, problems: Problems) -> None:
    made = scope.placements[item.name]
    if len(made) < 2:
        return
    for attached in made[0].attached:
        if attached.address and attached.address.value:
            message = f"{len(made)} replicas cannot share the address {attached.address.value}"
            problems.add(attached.address, message, "leave the address out, and each gets its own")
    longest = CONTAINER_NAME.json["maxLength"]
    if len(item.name) <= longest < len(made[-1].name):
        problems.add(
            item, f"the replica {made[-1].name} has more than {longest} characters", "use a shorter name"
        )


def _check_addresses(scope: Scope, problems: Problems) -> None:
    """Static addresses fit and are unique; automatic ones find room."""
    users: dict[IPv4Address, str] = {}
    automatic: Counter[str] = Counter()
    static: Counter[str] = Counter()
    for made in scope.placements.values():
        for placement in made:
            for attached in placement.attached:
                name = attached.network.value
                if attached.address is None or scope.network(name) is None:
                    continue
                if attached.address.value is None:
                    automatic[name] += 1
                elif len(made) == 1 and _check_address(scope, placement.name, attached, users, problems):
                    static[name] += 1
    for name, count in automatic.items():
        network = scope.network(name)
        if network is None or network.subnet is None:
            continue
        subnet = network.subnet.value
        room = subnet.num_addresses - 3
        if count + static[name] > room:
            message = (
                f"{subnet} has {room} addresses for containers, but {count + static[name]} are on {name}"
            )
            problems.add(
                network.subnet, message, f"a /{_wide_enough(count + static[name])} has room for them"
            )


def _check_address(
    scope: Scope, container: str, attached: AttachmentEntry, users: dict[IPv4Address, str], problems: Problems
) -> bool:
    """Whether a static address is good and nobody else's."""
    name, given = attached.network.value, attached.address
    if given is None or given.value is None:
        return False
    address = given.value
    if not check_usable(given, address, name, scope, problems):
        return False
    if address == scope.gateway_addresses.get(name):
        problems.add(given, f"{address} is the gateway of {name}", "give the container another address")
        return False
    if address in users:
        hint = "every container on a network has its own address, on whatever host it runs"
        problems.add(given, f"{address} is already used by {users[address]}", hint)
        return False
    users[address] = container
    return True


def _wide_enough(containers: int) -> int:
    return 32 - (containers + 2).bit_length()
