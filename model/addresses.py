"""Which address every container gets, and what each host's Docker may hand out by itself.

Docker's own address management ends at the host: every daemon hands out the same first address
(moby/moby#49921). So all addresses are chosen here, and Docker is told each of them. For containers
that people start by hand on the same network, every host gets a slice of the subnet of its own.

How a subnet is divided. The lower half belongs to nobody; it is the place for static addresses. The
upper half is cut into slices of equal size, as many as their number is close to their size: 16 slices
of 8 addresses in a /24, 256 of 128 in a /16. The division depends on the prefix length alone.

How things choose. Hosts choose slices and containers choose addresses by the same rule: everyone has
an order of preference, made from a hash of its own name, and in the order of the file everyone takes
the first that nobody has yet. Static addresses are taken before anyone chooses. A container prefers
its host's slice, then the lower half, then the rest, so that it is served while there is any address.

The stack's state remembers what was given (`Remembered`). With it nothing ever moves: not through removal,
insertion, another order, scaling, a move to another host, or hosts that come and go. What is remembered is
taken before anyone chooses. An address is free again when its container is gone from the file. A range that
was given to a Docker stays as it is, because any change of it replaces the docker network, and what is new is
not chosen from one while there is anything else.

What holds without a memory, in a first run (each a property test):

- A container, host or network that is appended moves nothing. A network that is inserted anywhere
  moves nothing: networks are independent of each other.
- A container, static or not, or a host that is inserted anywhere moves nothing, unless what it takes was
  in use: then it moves that one user, and whom this one displaces in turn.
- Removing and adding again gives the same plan: it depends on the present file only.

What must have a certain address gets a static one; that holds whatever is declared around it, and an
automatic one that had it before makes way.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from ipaddress import IPv4Address, IPv4Network
from itertools import chain

from model.topology import Network, Topology


@dataclass(frozen=True)
class HostRange:
    """What one host's Docker may hand out by itself on one network."""

    ip_range: IPv4Network
    aux_addresses: tuple[tuple[str, IPv4Address], ...]  # (container, address): inside it, of other hosts


@dataclass(frozen=True)
class Remembered:
    """What earlier runs of the stack gave; its state knows it."""

    addresses: Mapping[tuple[str, str], IPv4Address] = field(default_factory=dict)  # by (container, network)
    ranges: Mapping[tuple[str, str], HostRange] = field(default_factory=dict)  # by (host, network)


@dataclass(frozen=True)
class AddressPlan:
    """Every address, and every host's slice of every network."""

    addresses: Mapping[tuple[str, str], IPv4Address]  # by (container, network)
    ranges: Mapping[tuple[str, str], HostRange]  # by (host, network), where the host runs containers on it


def capacity(network: Network) -> int:
    """How many containers a network has addresses for: all but network, broadcast and gateway address."""
    return max(network.subnet.num_addresses - 3, 0)


def capacity_problem(network: Network, containers: int) -> str | None:
    """What is wrong if that many containers are on a network; None if each of them gets an address."""
    if containers <= capacity(network):
        return None
    return (
        f"{containers} containers are on {network.name}, but {network.subnet} has addresses for "
        f"{capacity(network)} besides its gateway"
    )


def plan_addresses(topology: Topology, remembered: Remembered | None = None) -> AddressPlan:
    """All addresses of a fabric; the module's docstring says what holds of them."""
    remembered = remembered or Remembered()
    members = _members(topology)
    host_names = [host.name for host in topology.hosts]
    slots_by_count: dict[int, Mapping[str, int]] = {}
    addresses: dict[tuple[str, str], IPv4Address] = {}
    ranges: dict[tuple[str, str], HostRange] = {}
    for network in topology.networks:
        division = _Division.of(network.subnet)
        if division.slices not in slots_by_count:
            slots_by_count[division.slices] = _choose_slices(host_names, division.slices)
        here = members[network.name]
        given = {
            host: range_
            for (host, name), range_ in remembered.ranges.items()
            if name == network.name and range_.ip_range.subnet_of(network.subnet)
        }
        slots = slots_by_count[division.slices]
        if given:
            slots = _beside_given(host_names, division, network, given)
        kept = _kept(network, here, remembered)
        chosen = _choose_addresses(network, division, slots, here, kept, given)
        for member, offset in zip(here, chosen, strict=True):
            addresses[member.container, network.name] = network.subnet[offset]
        for host, host_range in _ranges(network, division, slots, here, chosen):
            ranges[host, network.name] = given.get(host, host_range)
    return AddressPlan(addresses, ranges)


def slices(topology: Topology, network: Network) -> Mapping[str, IPv4Network]:
    """The slice of every host that has one, whether or not it uses the network; all are disjoint.

    Where there are more hosts than slices, those that find none left are not in the mapping.
    """
    division = _Division.of(network.subnet)
    slots = _choose_slices([host.name for host in topology.hosts], division.slices)
    return {host: division.slice(network.subnet, slot) for host, slot in slots.items()}


@dataclass(frozen=True)
class _Member:
    """A container on the network at hand."""

    container: str
    host: str
    static: IPv4Address | None


@dataclass(frozen=True)
class _Division:
    """How a subnet is cut; all numbers are powers of two."""

    size: int  # addresses in the subnet
    slices: int  # how many of them, in the upper half

    @classmethod
    def of(cls, subnet: IPv4Network) -> _Division:
        host_bits = 32 - subnet.prefixlen
        return cls(1 << host_bits, 1 << (host_bits // 2))

    @property
    def slice_size(self) -> int:
        return max(self.size // 2 // self.slices, 1)

    def first(self, slot: int) -> int:
        """Offset of a slice in the subnet."""
        return self.size // 2 + slot * self.slice_size

    def slot(self, offset: int) -> int:
        """The slice that an offset in the upper half is in."""
        return (offset - self.size // 2) // self.slice_size

    def slice(self, subnet: IPv4Network, slot: int) -> IPv4Network:
        length = 33 - self.slice_size.bit_length()
        return IPv4Network((int(subnet.network_address) + self.first(slot), length))


def _members(topology: Topology) -> dict[str, list[_Member]]:
    members: dict[str, list[_Member]] = {network.name: [] for network in topology.networks}
    for container in topology.containers:
        for attachment in container.attachments:
            members[attachment.network].append(_Member(container.name, container.host, attachment.address))
    return members


def _preferences(name: str, size: int) -> Iterator[int]:
    """Every number below `size`, a power of two, in an order of the name's own.

    Steps of an odd width visit all residues of a power of two (double hashing).
    """
    digest = int.from_bytes(sha256(name.encode()).digest())
    start, step = digest % size, (digest >> 128) | 1
    return ((start + turn * step) % size for turn in range(size))


def _choose_slices(hosts: Iterable[str], count: int, barred: Iterable[int] = ()) -> Mapping[str, int]:
    slots: dict[str, int] = {}
    taken = set(barred)
    for host in hosts:
        if len(taken) == count:
            break
        slot = next(slot for slot in _preferences(host, count) if slot not in taken)
        taken.add(slot)
        slots[host] = slot
    return slots


def _beside_given(
    hosts: Iterable[str], division: _Division, network: Network, given: Mapping[str, HostRange]
) -> Mapping[str, int]:
    """The slices of the hosts whose Docker was given none yet: none meets what another one has."""
    half = division.size // 2
    barred: set[int] = set()
    for reach in (_reach(network, each.ip_range) for each in given.values()):
        upper = range(max(reach.start, half), reach.stop)
        if upper:
            barred.update(range(division.slot(upper[0]), division.slot(upper[-1]) + 1))
    return _choose_slices([host for host in hosts if host not in given], division.slices, barred)


def _reach(network: Network, range_: IPv4Network) -> range:
    """The offsets in the subnet that a range covers."""
    first = int(range_.network_address) - int(network.subnet.network_address)
    return range(first, first + range_.num_addresses)


def _kept(network: Network, members: Iterable[_Member], remembered: Remembered) -> Mapping[str, int]:
    """The offset for each container that keeps what it has."""
    members = list(members)
    subnet, base = network.subnet, int(network.subnet.network_address)
    taken = {subnet.network_address, subnet.broadcast_address, network.gateway}
    taken.update(member.static for member in members if member.static is not None)
    kept = {}
    for member in members:
        address = remembered.addresses.get((member.container, network.name))
        if member.static is None and address is not None and address in subnet and address not in taken:
            taken.add(address)
            kept[member.container] = int(address) - base
    return kept


def _choose_addresses(
    network: Network,
    division: _Division,
    slots: Mapping[str, int],
    members: Iterable[_Member],
    kept: Mapping[str, int],
    given: Mapping[str, HostRange],
) -> list[int]:
    """The offset in the subnet for each member, in order."""
    base = int(network.subnet.network_address)
    taken = {0, division.size - 1, int(network.gateway) - base}
    taken.update(int(member.static) - base for member in members if member.static is not None)
    taken.update(kept.values())
    handed_out = [_reach(network, each.ip_range) for each in given.values()]
    chosen = []
    for member in members:
        if member.static is not None:
            chosen.append(int(member.static) - base)
            continue
        if member.container in kept:
            chosen.append(kept[member.container])
            continue
        # With a memory its host's slice may be in a Docker's hands already, its own host's or another one's.
        slot = None if given else slots.get(member.host)
        apart = (o for o in _offsets(member, division, slot) if not any(o in each for each in handed_out))
        offset = next(o for o in chain(apart, _offsets(member, division, slot)) if o not in taken)
        taken.add(offset)
        chosen.append(offset)
    return chosen


def _offsets(member: _Member, division: _Division, slot: int | None) -> Iterator[int]:
    """Where a container would like to be: its host's slice, then the lower half, then anywhere."""
    if slot is not None:
        first = division.first(slot)
        yield from (first + offset for offset in _preferences(member.container, division.slice_size))
    yield from _preferences(member.container, division.size // 2)
    yield from _preferences(member.container, division.size)


def _ranges(
    network: Network,
    division: _Division,
    slots: Mapping[str, int],
    members: list[_Member],
    chosen: list[int],
) -> Iterator[tuple[str, HostRange]]:
    """The range of every host that runs one of the members."""
    inside: dict[int, list[tuple[_Member, int]]] = {}
    for member, offset in zip(members, chosen, strict=True):
        slot = (offset - division.size // 2) // division.slice_size
        inside.setdefault(slot, []).append((member, offset))
    for host in dict.fromkeys(member.host for member in members):
        if host not in slots:
            # Every slice is someone else's. A range of the gateway alone makes Docker refuse to choose an
            # address; without any range it would choose one that another host may have chosen too.
            yield host, HostRange(IPv4Network(network.gateway), ())
            continue
        slot = slots[host]
        yield (
            host,
            HostRange(
                division.slice(network.subnet, slot),
                tuple(
                    (member.container, network.subnet[offset])
                    for member, offset in inside.get(slot, ())
                    if member.host != host
                ),
            ),
        )
