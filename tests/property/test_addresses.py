"""Laws of the address plan."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network
from typing import TypeVar

from hypothesis import given
from hypothesis import strategies as st
from hypothesis.strategies import DataObject, DrawFn

from model.addresses import (
    AddressPlan,
    HostRange,
    Remembered,
    capacity,
    capacity_problem,
    plan_addresses,
    slices,
)
from model.topology import Attachment, Container, Host, Network, Topology, Trunk
from tests.strategies import topologies

T = TypeVar("T")
Users = dict[tuple[str, str], IPv4Address]  # by (container, network)


@st.composite
def crowded(draw: DrawFn) -> Topology:
    """Small networks that are nearly or entirely full, on more hosts than there are slices."""
    hosts = tuple(
        Host(f"host{i}", f"host{i}", (Trunk("trunk", "eth2"),)) for i in range(draw(st.integers(1, 9)))
    )
    networks = []
    containers = []
    for number in range(1, draw(st.integers(1, 3)) + 1):
        subnet = IPv4Network(((10 << 24) + (number << 8), draw(st.integers(26, 30))))
        gateway = subnet[draw(st.integers(1, subnet.num_addresses - 2))]
        network = Network(f"net{number}", number, subnet, gateway)
        networks.append(network)
        free = [address for address in subnet.hosts() if address != gateway]
        nearly = st.integers(len(free) * 3 // 4, len(free))  # then the order of second parts counts
        count = draw(st.integers(0, len(free)) | nearly | st.just(len(free)))
        statics = draw(st.lists(st.sampled_from(free), unique=True, max_size=count))
        for i in range(count):
            address = statics[i] if i < len(statics) else None
            host = draw(st.sampled_from(hosts)).name
            containers.append(_container(f"c{number}-{i}", host, network.name, address))
    return Topology(hosts, tuple(networks), tuple(draw(st.permutations(containers))))


def _container(name: str, host: str, network: str, address: IPv4Address | None = None) -> Container:
    return Container(name, host, (Attachment(network, address),), "busybox:latest")


any_topology = topologies() | crowded()


def declared(topology: Topology) -> dict[tuple[str, str], IPv4Address | None]:
    """Every attachment, with its static address."""
    return {(c.name, a.network): a.address for c in topology.containers for a in c.attachments}


def moved(before: AddressPlan, after: AddressPlan) -> Users:
    """Who has another address than before, with the address it had."""
    return {who: address for who, address in before.addresses.items() if after.addresses.get(who) != address}


def insert(things: tuple[T, ...], position: int, thing: T) -> tuple[T, ...]:
    return (*things[:position], thing, *things[position:])


def with_container(data: DataObject, topology: Topology, *, position: int) -> Topology | None:
    """One container more, static on any free address or automatic, at a position; None if all is full."""
    counts = dict.fromkeys((n.name for n in topology.networks), 0)
    for _, on in declared(topology):
        counts[on] += 1
    roomy = [n for n in topology.networks if counts[n.name] < capacity(n)]
    if not roomy:
        return None
    network = data.draw(st.sampled_from(roomy))
    statics = {address for (_, name), address in declared(topology).items() if name == network.name}
    offset = data.draw(st.integers(1, network.subnet.num_addresses - 2))
    static = data.draw(st.sampled_from((None, network.subnet[offset])))
    if static in statics or static == network.gateway:
        static = None
    host = data.draw(st.sampled_from([h for h in topology.hosts if _has(h, network.trunk)] or topology.hosts))
    newcomer = _container("newcomer", host.name, network.name, static)
    return replace(topology, containers=insert(topology.containers, position, newcomer))


def _has(host: Host, trunk: str) -> bool:
    return any(t.name == trunk for t in host.trunks)


@given(any_topology)
def test_everybody_has_an_address_of_his_own_that_a_machine_can_have(topology: Topology) -> None:
    plan = plan_addresses(topology)
    assert plan.addresses.keys() == declared(topology).keys()
    for network in topology.networks:
        here = [address for (_, name), address in plan.addresses.items() if name == network.name]
        assert len(set(here)) == len(here)
        for address in here:
            assert address in network.subnet
            assert address not in (
                network.subnet.network_address,
                network.subnet.broadcast_address,
                network.gateway,
            )


@given(any_topology)
def test_static_addresses_are_kept(topology: Topology) -> None:
    plan = plan_addresses(topology)
    for who, address in declared(topology).items():
        assert address in (None, plan.addresses[who])


@given(any_topology)
def test_automatic_addresses_are_their_host_s_own_while_it_has_any(topology: Topology) -> None:
    """Its own is the part of its slice that its Docker may not hand out."""
    plan = plan_addresses(topology)
    hosts = {container.name: container.host for container in topology.containers}
    for network in topology.networks:
        taken = unavailable(plan, network)
        of_hosts = slices(topology, network)
        for container in automatic(topology, network):
            if slice_ := of_hosts.get(hosts[container]):
                handed_out = plan.ranges[hosts[container], network.name].ip_range
                own = {address for address in slice_ if address not in handed_out}
                assert plan.addresses[container, network.name] in own or own <= taken


@given(any_topology)
def test_what_a_docker_may_hand_out_is_chosen_only_when_all_else_is_taken(topology: Topology) -> None:
    plan = plan_addresses(topology)
    for network in topology.networks:
        chosen = {plan.addresses[container, network.name] for container in automatic(topology, network)}
        assert_apart(chosen, plan, network)


def assert_apart(chosen: set[IPv4Address], plan: AddressPlan, network: Network) -> None:
    """None of them is in a range, or everything that is in none is taken."""
    ranges = ranges_of(plan, network)
    if any(address in range_ for address in chosen for range_ in ranges):
        taken = unavailable(plan, network)
        assert all(a in taken or any(a in range_ for range_ in ranges) for a in network.subnet)


def automatic(topology: Topology, network: Network) -> list[str]:
    """The containers that have no static address on a network."""
    return [
        container
        for (container, on), static in declared(topology).items()
        if on == network.name and not static
    ]


def unavailable(plan: AddressPlan, network: Network) -> set[IPv4Address]:
    """What nobody can be given any more."""
    taken = {address for (_, name), address in plan.addresses.items() if name == network.name}
    return taken | {network.gateway, network.subnet.network_address, network.subnet.broadcast_address}


def ranges_of(plan: AddressPlan, network: Network) -> list[IPv4Network]:
    """What the Dockers may hand out, but for those that may hand out nothing."""
    ranges = [each.ip_range for (_, name), each in plan.ranges.items() if name == network.name]
    return [each for each in ranges if each != IPv4Network(network.gateway)]


@given(any_topology)
def test_slices_are_disjoint_parts_of_the_upper_half(topology: Topology) -> None:
    for network in topology.networks:
        upper = list(network.subnet.subnets())[1]
        own = list(slices(topology, network).values())
        assert all(one.subnet_of(upper) for one in own)
        assert not any(a.overlaps(b) for i, a in enumerate(own) for b in own[:i])


@given(any_topology)
def test_docker_may_only_hand_out_what_is_its_host_s_own(topology: Topology) -> None:
    """The range is half of its slice, or the gateway alone; all others' addresses in it are kept out."""
    plan = plan_addresses(topology)
    hosts = {container.name: container.host for container in topology.containers}
    assert plan.ranges.keys() == {(hosts[container], network) for container, network in plan.addresses}
    for network in topology.networks:
        ranges = ranges_of(plan, network)
        assert not any(a.overlaps(b) for i, a in enumerate(ranges) for b in ranges[:i])
    for (host, name), host_range in plan.ranges.items():
        network = topology.network(name)
        own = slices(topology, network).get(host)
        if own is None or own.num_addresses == 1:
            assert host_range.ip_range == IPv4Network(network.gateway)
        else:
            assert host_range.ip_range in own.subnets()
            assert host_range.ip_range != IPv4Network(network.gateway)
        others = {
            (container, address)
            for (container, on), address in plan.addresses.items()
            if on == name and address in host_range.ip_range and hosts[container] != host
        }
        assert set(host_range.aux_addresses) == others
        assert len(host_range.aux_addresses) == len(others)


@given(any_topology, st.data())
def test_an_appended_container_moves_nobody(topology: Topology, data: DataObject) -> None:
    """A static one may have been put on somebody's automatic address; that one has to move."""
    larger = with_container(data, topology, position=len(topology.containers))
    if larger is not None:
        before, after = plan_addresses(topology), plan_addresses(larger)
        newcomer = larger.containers[-1]
        if newcomer.attachments[0].address is None and before.ranges.keys() == after.ranges.keys():
            assert not moved(before, after)
        assert_only_displaced(before, after, newcomer, larger)


@given(any_topology, st.data())
def test_an_inserted_container_moves_only_whom_it_displaces(topology: Topology, data: DataObject) -> None:
    position = data.draw(st.integers(0, len(topology.containers)))
    larger = with_container(data, topology, position=position)
    if larger is not None:
        newcomer = larger.containers[position]
        assert_only_displaced(plan_addresses(topology), plan_addresses(larger), newcomer, larger)


def assert_only_displaced(
    before: AddressPlan, after: AddressPlan, newcomer: Container, topology: Topology
) -> None:
    """Nobody moved whose address was not taken by the newcomer, or by somebody who had to move.

    Where the newcomer has its host's Docker hand out a part, those may move who have second parts of slices.
    """
    holders = {(network, address): name for (name, network), address in after.addresses.items()}
    gone = moved(before, after)
    for (_, name), address in gone.items():
        network = topology.network(name)
        if before.ranges.keys() != after.ranges.keys() and second_part(network, address):
            continue
        holder = holders.get((name, address))
        assert holder is not None
        assert holder == newcomer.name or (holder, name) in gone
    taken = {(name, address) for (who, name), address in after.addresses.items() if who == newcomer.name}
    if before.ranges.keys() == after.ranges.keys() and taken.isdisjoint(
        (network, address) for (_, network), address in before.addresses.items()
    ):
        assert not gone


def second_part(network: Network, address: IPv4Address) -> bool:
    """Whether it is in the second part of a slice, where the gateway alone is none."""
    half, bits = network.subnet.num_addresses // 2, 32 - network.subnet.prefixlen
    slice_size = half >> (bits // 2)
    offset, gateway = (int(each) - int(network.subnet[half]) for each in (address, network.gateway))
    if offset < 0 or slice_size < 2:
        return False
    exchanged = slice_size == 2 and gateway > 0 and gateway % 2 == 1 and offset == gateway - 1
    return exchanged or offset % slice_size >= slice_size // 2


@given(any_topology, st.data())
def test_a_host_or_a_network_more_moves_nothing_where_it_takes_nothing(
    topology: Topology, data: DataObject
) -> None:
    before = plan_addresses(topology)
    host = Host("newcomer", "newcomer", topology.hosts[0].trunks)
    appended = replace(topology, hosts=(*topology.hosts, host))
    assert plan_addresses(appended) == before
    inserted = replace(
        topology, hosts=insert(topology.hosts, data.draw(st.integers(0, len(topology.hosts))), host)
    )
    if all(_takes_a_free_slice(topology, inserted, network) for network in topology.networks):
        assert plan_addresses(inserted) == before
    network = Network("newcomer", 4094, IPv4Network("192.168.7.0/24"), IPv4Address("192.168.7.1"))
    position = data.draw(st.integers(0, len(topology.networks)))
    assert plan_addresses(replace(topology, networks=insert(topology.networks, position, network))) == before


def _takes_a_free_slice(before: Topology, after: Topology, network: Network) -> bool:
    taken = slices(after, network).get("newcomer")
    return taken not in slices(before, network).values()


@given(crowded())
def test_every_address_of_a_network_can_be_used_and_no_more(topology: Topology) -> None:
    for network in topology.networks:
        usable = capacity(network)
        assert usable == sum(1 for _ in network.subnet.hosts()) - 1
        assert capacity_problem(network, usable) is None
        assert capacity_problem(network, usable + 1) is not None
        full = tuple(_container(f"c{i}", topology.hosts[0].name, network.name) for i in range(usable))
        plan = plan_addresses(replace(topology, containers=full))
        assert set(plan.addresses.values()) == set(network.subnet.hosts()) - {network.gateway}


@given(any_topology, st.data())
def test_with_a_memory_nothing_ever_moves(before: Topology, data: DataObject) -> None:
    """Whatever goes, comes, changes place in the file, or goes to another host."""
    first = plan_addresses(before)
    stay = data.draw(st.lists(st.sampled_from(before.containers), unique=True)) if before.containers else []
    hosts = data.draw(st.permutations(before.hosts))
    moving = [replace(each, host=data.draw(st.sampled_from(hosts)).name) for each in stay]
    gone = [each for each in before.containers if each.name not in {one.name for one in stay}]
    coming = [replace(each, name=f"new-{each.name}") for each in gone]
    containers = tuple(data.draw(st.permutations([*moving, *coming])))
    after = replace(before, hosts=tuple(hosts), containers=containers)
    second = plan_addresses(after, Remembered(first.addresses, first.ranges))
    kept = {who: first.addresses[who] for who in declared(after) if who in first.addresses}
    assert {who: second.addresses[who] for who in kept} == kept
    for network in after.networks:
        used = [address for (_, name), address in second.addresses.items() if name == network.name]
        assert len(set(used)) == len(used)
        assert network.gateway not in used
        assert all(address in network.subnet.hosts() for address in used)
    for place, range_ in second.ranges.items():
        assert range_ == first.ranges.get(place, range_)


@given(any_topology, st.data())
def test_what_is_new_keeps_out_of_what_any_docker_was_given(before: Topology, data: DataObject) -> None:
    """Of whole slices, too, as earlier releases gave them."""
    first = plan_addresses(before)
    whole = data.draw(st.booleans())
    given_ = {
        (host, name): HostRange(slices(before, before.network(name))[host], ())
        if whole and host in slices(before, before.network(name))
        else range_
        for (host, name), range_ in first.ranges.items()
    }
    new = [
        replace(container, name=f"new-{container.name}") if data.draw(st.booleans()) else container
        for container in before.containers
    ]
    after = replace(before, containers=tuple(new))
    second = plan_addresses(after, Remembered(first.addresses, given_))
    for network in after.networks:
        chosen = {
            second.addresses[container, network.name]
            for container in automatic(after, network)
            if (container, network.name) not in first.addresses
        }
        assert_apart(chosen, second, network)


@given(any_topology, st.data())
def test_forgetting_any_part_of_what_was_given_changes_nothing(topology: Topology, data: DataObject) -> None:
    """All of one host is such a part."""
    plan = plan_addresses(topology)
    hosts = {container.name: container.host for container in topology.containers}
    forgotten = data.draw(st.sampled_from(topology.hosts)).name
    without = Remembered(
        {who: address for who, address in plan.addresses.items() if hosts[who[0]] != forgotten},
        {place: range_ for place, range_ in plan.ranges.items() if place[0] != forgotten},
    )
    assert plan_addresses(topology, without) == plan
    part = Remembered(
        {who: address for who, address in plan.addresses.items() if data.draw(st.booleans())},
        {place: range_ for place, range_ in plan.ranges.items() if data.draw(st.booleans())},
    )
    assert plan_addresses(topology, part) == plan


@given(any_topology)
def test_what_is_remembered_of_others_changes_nothing(topology: Topology) -> None:
    """Of containers that are gone, and of addresses that are nobody's to have any more."""
    strange = {(f"gone-{i}", network.name): network.gateway for i, network in enumerate(topology.networks)}
    strange |= {
        (container.name, attachment.network): IPv4Address("203.0.113.1")
        for container in topology.containers
        for attachment in container.attachments
    }
    assert plan_addresses(topology, Remembered(strange)) == plan_addresses(topology)


HOSTS = st.lists(st.sampled_from([f"host{i}" for i in range(24)]), min_size=1, max_size=12, unique=True)


@given(HOSTS, HOSTS, st.integers(22, 26))
def test_a_host_that_comes_gets_a_slice_while_there_is_one(
    first: list[str], second: list[str], length: int
) -> None:
    """Whatever hosts were there before it, and wherever in the file it stands."""

    def on(names: list[str]) -> Topology:
        hosts = tuple(Host(name, name, (Trunk("trunk", "eth2"),)) for name in names)
        network = Network("net", 1, IPv4Network((10 << 24, length)), IPv4Address("10.0.0.1"))
        return Topology(hosts, (network,), tuple(_container(f"on-{name}", name, "net") for name in names))

    before = plan_addresses(on(first))
    after = plan_addresses(on(second), Remembered(before.addresses, before.ranges))
    remembered = {place: range_ for place, range_ in before.ranges.items() if place in after.ranges}
    assert {place: after.ranges[place] for place in remembered} == remembered
    given = {range_.ip_range for range_ in before.ranges.values() if range_.ip_range.num_addresses > 1}
    for place, range_ in after.ranges.items():
        others = {*given, *(each.ip_range for at, each in after.ranges.items() if at != place)}
        if place not in before.ranges:
            assert not any(range_.ip_range.overlaps(other) for other in others if other.num_addresses > 1)
    free = (1 << ((32 - length) // 2)) - len(given)
    coming = [range_ for place, range_ in after.ranges.items() if place not in before.ranges]
    assert sum(range_.ip_range.num_addresses > 1 for range_ in coming) == min(len(coming), free)
    for (container, _), address in after.addresses.items():
        if (container, "net") not in before.addresses:  # nobody's Docker has handed it out
            assert not any(address in range_ for range_ in given)
