"""Hypothesis strategies of the domain: `topologies()` draws any fabric that a user may declare.

Everything drawn is valid by construction, so a law can be stated over `topologies()` without
`assume`. Small values come first, so a failing example shrinks to one host, one network, no gateway.
"""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Network
from itertools import combinations
from typing import TypeVar, get_args

from hypothesis import strategies as st
from hypothesis.strategies import DrawFn, SearchStrategy

from model.addresses import capacity
from model.homing import home_networks
from model.topology import (
    DEFAULT_TRUNK,
    Allow,
    Attachment,
    Container,
    Expectation,
    Gateway,
    Host,
    NatMode,
    Network,
    Persistence,
    Ports,
    Protocol,
    RestartPolicy,
    Topology,
    Traffic,
    Trunk,
)

T = TypeVar("T")

INTERFACES = ("eth2", "eth3", "enp3s0f1", "bond0", "br-lan")
IMAGES = ("busybox:latest", "nginx", "registry.example:5000/team/app:1.2", "alpine@sha256:" + "0" * 64)
COMMANDS = ((), ("sleep", "infinity"), ("sh", "-c", "echo 'a b' > /x; exec httpd -f"))
_SUFFIXES = ("", "", "", "_x", "-x", ".x", "X")

vlans = st.integers(1, 4094)
nat_modes: SearchStrategy[NatMode] = st.sampled_from(get_args(NatMode))
restart_policies: SearchStrategy[RestartPolicy] = st.sampled_from(get_args(RestartPolicy))


@st.composite
def ports(draw: DrawFn) -> Ports:
    """A single port or a range."""
    first = draw(st.integers(1, 65535))
    return Ports(first, draw(st.just(first) | st.integers(first, 65535)))


@st.composite
def port_sets(draw: DrawFn) -> tuple[Ports, ...]:
    """Up to three ranges, sorted, neither touching nor overlapping."""
    kept: list[Ports] = []
    for candidate in sorted(draw(st.lists(ports(), max_size=3)), key=lambda p: p.first):
        if not kept or candidate.first > kept[-1].last + 1:
            kept.append(candidate)
    return tuple(kept)


@st.composite
def traffics(draw: DrawFn, protocols: Sequence[Protocol] = get_args(Protocol)) -> Traffic:
    """Traffic of one protocol."""
    protocol = draw(st.sampled_from(protocols))
    return Traffic(protocol, () if protocol == "icmp" else draw(port_sets()))


@st.composite
def traffic_sets(draw: DrawFn) -> tuple[Traffic, ...]:
    """What one policy entry lets pass: everything, or each protocol at most once."""
    chosen = draw(st.lists(st.sampled_from(get_args(Protocol)), unique=True, max_size=3))
    return tuple(draw(traffics([protocol])) for protocol in chosen) or (Traffic(),)


def host_address(draw: DrawFn, subnet: IPv4Network, taken: set[IPv4Address]) -> IPv4Address:
    """An address of the subnet that a machine can have and nobody has yet; there must be one."""
    size = subnet.num_addresses - 2
    offset = draw(st.integers(1, size))
    while subnet[offset] in taken:
        offset = offset % size + 1
    taken.add(subnet[offset])
    return subnet[offset]


def _some(draw: DrawFn, things: Sequence[T], at_least: int = 0, at_most: int | None = None) -> list[T]:
    """A part of `things`, in their order."""
    limit = len(things) if at_most is None else min(at_most, len(things))
    indexes = st.lists(st.integers(0, len(things) - 1), unique=True, min_size=at_least, max_size=limit)
    return [things[i] for i in sorted(draw(indexes))] if things else []


def _name(draw: DrawFn, prefix: str, number: int) -> str:
    return f"{prefix}{number}{draw(st.sampled_from(_SUFFIXES))}"


def _draw_hosts(draw: DrawFn) -> tuple[Host, ...]:
    trunk_names = [DEFAULT_TRUNK, *_some(draw, ["lab", "dmz.2"])]
    hosts = []
    for number in range(1, draw(st.integers(1, 4)) + 1):
        name = _name(draw, "host", number)
        own = _some(draw, trunk_names, at_least=1) if number > 1 else trunk_names
        interfaces = draw(st.permutations(INTERFACES))
        trunks = tuple(
            Trunk(trunk, interface, draw(st.sampled_from((None, 1500, 9000))))
            for trunk, interface in zip(own, interfaces, strict=False)
        )
        address = draw(st.sampled_from((name, f"192.0.2.{number}", f"admin@{name}.example")))
        persistence = draw(st.sampled_from(get_args(Persistence)))
        adopt, may_touch_session = draw(st.booleans()), draw(st.booleans())
        hosts.append(
            Host(name, address, trunks, adopt, may_touch_session=may_touch_session, persistence=persistence)
        )
    return tuple(hosts)


def _draw_networks(draw: DrawFn, trunk_names: Sequence[str]) -> tuple[Network, ...]:
    networks: list[Network] = []
    for number in range(1, draw(st.integers(1, 5)) + 1):
        trunk = draw(st.sampled_from(trunk_names))
        used = {network.vlan for network in networks if network.trunk == trunk}
        vlan = draw(st.sampled_from((10, 20, 30, 40, 50)) | vlans)
        while vlan in used:
            vlan = vlan % 4094 + 1
        length = draw(st.sampled_from((24, 16, 22, 26, 28, 29, 30)))
        block = IPv4Network(f"10.{number}.0.0/16")
        step = 1 << (32 - length)
        index = draw(st.integers(0, block.num_addresses // step - 1))
        subnet = IPv4Network((int(block[0]) + index * step, length))
        gateway = draw(
            st.sampled_from((1, subnet.num_addresses - 2)) | st.integers(1, subnet.num_addresses - 2)
        )
        networks.append(
            Network(
                name=_name(draw, "net", number),
                vlan=vlan,
                subnet=subnet,
                gateway=subnet[gateway],
                trunk=trunk,
                mtu=draw(st.sampled_from((None, 1280, 1500))),
            )
        )
    return tuple(networks)


@st.composite
def containers_on(draw: DrawFn, hosts: Sequence[Host], networks: Sequence[Network]) -> tuple[Container, ...]:
    """Up to eight declarations, single or replicated, static or automatic, on one network or several."""
    taken = {network.name: {network.gateway} for network in networks}
    room = {network.name: capacity(network) for network in networks}
    drawn: list[Container] = []

    def attach(network: Network, replicas: int | None) -> Attachment | None:
        if room[network.name] < (replicas or 1):
            return None
        room[network.name] -= replicas or 1
        if replicas or draw(st.booleans()):
            return Attachment(network.name)
        return Attachment(network.name, host_address(draw, network.subnet, taken[network.name]))

    for number in range(1, draw(st.integers(0, 8)) + 1):
        replicas = draw(st.sampled_from((None, None, None, 1, 3)))
        wanted = _some(draw, networks, at_least=1, at_most=3)
        trunks = {network.trunk for network in wanted}
        able = [host for host in hosts if trunks <= {trunk.name for trunk in host.trunks}]
        if not able:
            continue
        places = _some(draw, able, at_least=1, at_most=1 if replicas is None else None)
        attachments = tuple(a for network in wanted if (a := attach(network, replicas)))
        if not attachments:
            continue
        name = _name(draw, "c", number)
        template = Container(
            name=name,
            host=places[0].name,
            attachments=attachments,
            image=draw(st.sampled_from(IMAGES)),
            command=draw(st.sampled_from(COMMANDS)),
            environment=draw(st.sampled_from(((), (("DEBUG", "no"), ("PORT", "8080"))))),
            labels=draw(st.sampled_from(((), (("org.example.role", "web: yes"),)))),
            restart=draw(restart_policies),
            stop_grace=draw(st.sampled_from((10, 0, 60))),
        )
        if replicas is None:
            drawn.append(template)
        for index in range(replicas or 0):
            drawn.append(_replica(template, index, places))
    return tuple(drawn)


def _replica(template: Container, index: int, places: Sequence[Host]) -> Container:
    fields = dict(vars(template))
    fields |= {"name": f"{template.name}-{index + 1}", "host": places[index % len(places)].name}
    return Container(**fields)


def _draw_gateway(
    draw: DrawFn, hosts: Sequence[Host], networks: Sequence[Network], containers: Sequence[Container]
) -> Gateway | None:
    host = draw(st.sampled_from(hosts))
    trunks = {trunk.name for trunk in host.trunks}
    possible = [network for network in networks if network.trunk in trunks]
    if not possible:
        return None
    behind = [n.name for n in (possible if draw(st.booleans()) else _some(draw, possible, at_least=1))]
    homes = {name: frozenset([name]) for name in behind}
    homes |= {container.name: home_networks(container) for container in containers}

    def opens(source: str, target: str) -> bool:
        """Whether `source` can open a connection to `target` through the gateway; see `model.homing`."""
        return min(homes[source]) in behind and not homes[target].isdisjoint(set(behind) - homes[source])

    pairs = [(a, b) for a, b in combinations(homes, 2) if opens(a, b) or opens(b, a)]
    allow = []
    for a, b in _some(draw, pairs, at_most=5):
        source, target = draw(st.permutations((a, b)))
        both = draw(st.booleans()) or not opens(source, target)
        allow.append(Allow(source, target, both, draw(traffic_sets())))
    return Gateway(host.name, tuple(behind), draw(nat_modes), tuple(allow))


def _draw_expectations(
    draw: DrawFn, networks: Sequence[Network], containers: Sequence[Container]
) -> tuple[Expectation, ...]:
    names = [thing.name for thing in (containers if draw(st.booleans()) else networks)]
    return tuple(
        Expectation(source, target, draw(st.booleans()), draw(traffics()))
        for source, target in _some(draw, list(combinations(names, 2)), at_most=4)
    )


@st.composite
def topologies(draw: DrawFn, expectations: bool = False) -> Topology:
    """Any valid topology: 1..4 hosts, up to three trunks, 1..5 networks, with and without a gateway.

    The gateway host may run containers itself. With `expectations`, `expect` holds entries that do not
    contradict each other, but that the policy need not fulfil.
    """
    hosts = _draw_hosts(draw)
    networks = _draw_networks(draw, [trunk.name for trunk in hosts[0].trunks])
    containers = draw(containers_on(hosts, networks))
    gateway = _draw_gateway(draw, hosts, networks, containers) if draw(st.booleans()) else None
    return Topology(
        hosts=hosts,
        networks=networks,
        containers=containers,
        gateway=gateway,
        expect=_draw_expectations(draw, networks, containers) if expectations else (),
        ssh_config=draw(st.sampled_from((None, ".lab/ssh_config"))),
        verify=draw(st.booleans()),
    )
