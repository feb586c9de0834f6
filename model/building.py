"""From declarations in which nothing is wrong to the `Topology` they make."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import product
from typing import TypeVar

from model.declaration import (
    ContainerEntry,
    ExpectEntry,
    GatewayEntry,
    HostEntry,
    NetworkEntry,
    PairsEntry,
    Placement,
    TopologyEntry,
)
from model.errors import Place
from model.kinds import Given, Item
from model.topology import (
    Allow,
    Attachment,
    Container,
    Expectation,
    Gateway,
    Host,
    Network,
    Ports,
    Protocol,
    Topology,
    Traffic,
    Trunk,
)
from model.traffic import merge_ports
from model.validation.scope import Scope

T = TypeVar("T")
U = TypeVar("U")


def topology_of(entry: TopologyEntry, file: str) -> Topology:
    """The topology that valid declarations, read from `file`, make."""
    scope = Scope(entry)
    return Topology(
        hosts=tuple(_host(item.name, known(item.value)) for item in known(entry.hosts).value),
        networks=tuple(_network(item.name, known(item.value), scope) for item in known(entry.networks).value),
        containers=tuple(
            _container(placement, known(item.value))
            for item in (entry.containers.value if entry.containers else ())
            for placement in scope.placements[item.name]
        ),
        gateway=_gateway(entry.gateway, scope) if entry.gateway else None,
        expect=tuple(
            expectation
            for one in (entry.expect.value if entry.expect else ())
            for expectation in _expectations(one, scope, file)
        ),
        ssh_config=_or(entry.ssh_config, Topology.ssh_config),
        verify=_or(entry.verify, Topology.verify),
    )


def _host(name: str, entry: HostEntry) -> Host:
    trunks = tuple(
        Trunk(trunk, known(declared.interface).value, _or(declared.mtu, Trunk.mtu))
        for trunk, declared in known(entry.named_trunks()).items()
    )
    address = entry.address.value if entry.address else name
    return Host(
        name,
        address,
        trunks,
        _or(entry.adopt, Host.adopt),
        _or(entry.lost, Host.lost),
        _or(entry.may_touch_session, Host.may_touch_session),
        _or(entry.persistence, Host.persistence),
    )


def _network(name: str, entry: NetworkEntry, scope: Scope) -> Network:
    return Network(
        name,
        known(entry.vlan).value,
        known(entry.subnet).value,
        scope.gateway_addresses[name],
        known(scope.trunk_of(name)),
        _or(entry.mtu, Network.mtu),
    )


def _container(placement: Placement, entry: ContainerEntry) -> Container:
    return Container(
        name=placement.name,
        host=known(placement.host).value,
        attachments=tuple(
            Attachment(attached.network.value, known(attached.address).value)
            for attached in placement.attached
        ),
        image=known(entry.image).value,
        command=_or(entry.command, Container.command),
        environment=_pairs(entry.environment),
        labels=_pairs(entry.labels),
        restart=_or(entry.restart, Container.restart),
        stop_grace=_or(entry.stop_grace, Container.stop_grace),
    )


def _pairs(given: Given[tuple[Item[Given[T]], ...]] | None) -> tuple[tuple[str, T], ...]:
    items = given.value if given else ()
    return tuple((item.name, known(item.value).value) for item in sorted(items, key=lambda item: item.name))


def _gateway(entry: GatewayEntry, scope: Scope) -> Gateway:
    allow = entry.allow.value if entry.allow else ()
    return Gateway(
        host=known(entry.host).value,
        networks=tuple(scope.routed),
        nat=_or(entry.nat, Gateway.nat),
        allow=tuple(
            Allow(source, target, both, _traffics(one.traffic, Traffic()))
            for one in allow
            for source, target, both in _named(one, scope)
        ),
    )


def _expectations(entry: ExpectEntry, scope: Scope, file: str) -> Iterable[Expectation]:
    place, reach = Place(file, entry.line), _or(entry.reach, Expectation.reach)
    for source, target, both in _named(entry, scope):
        for traffic in _traffics(entry.traffic, Expectation.traffic):
            yield Expectation(source, target, reach, traffic, place, entry.path)
            if both:
                yield Expectation(target, source, reach, traffic, place, entry.path)


def _named(entry: PairsEntry, scope: Scope) -> Iterable[tuple[str, str, bool]]:
    """An entry's pairs, with every replica by its own name; a container and itself are no pair."""
    for direction in entry.directions():
        names = (direction.source.value, direction.target.value)
        ends = ([made.name for made in scope.placements.get(name, ())] or [name] for name in names)
        for source, target in product(*ends):
            if source != target or source not in scope.replicas:
                yield source, target, direction.both


def _traffics(given: Given[tuple[Given[Traffic], ...]] | None, default: Traffic) -> tuple[Traffic, ...]:
    """The kinds of traffic, each protocol once: in the order of the file, its ports merged."""
    ports: dict[Protocol | None, list[Ports]] = {}
    for one in given.value if given else ():
        ports.setdefault(one.value.protocol, []).extend(one.value.ports)
    return tuple(Traffic(protocol, merge_ports(ranges)) for protocol, ranges in ports.items()) or (default,)


def known(value: T | None) -> T:
    """What must be there once everything that can be wrong was reported."""
    if value is None:
        raise AssertionError("a value is missing that no problem was reported about")
    return value


def _or(given: Given[T] | None, default: U) -> T | U:
    """What was given, or what holds by default."""
    return given.value if given else default
