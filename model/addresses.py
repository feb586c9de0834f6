"""Which address every container gets, and what each host's Docker may hand out by itself.

Docker's own address management ends at the host: every daemon hands out the same first address
(moby/moby#49921). So all addresses are chosen here, and Docker is told each of them. For containers
that people start by hand on the same network, every host gets a slice of the subnet of its own.

How a subnet is divided. The lower half belongs to nobody; it is the place for static addresses. The
upper half is cut into slices of equal size, as many as their number is close to their size: 16 slices
of 8 addresses in a /24, 256 of 128 in a /16. Every slice has two equal parts: the first is for automatic
addresses of the host that has it, the second is what this host's Docker may hand out by itself. A Docker that
handed out an address of ours while its container is stopped or not yet made would be in that one's way. A
slice of one address has no second part. The division depends on the prefix length alone, but where the second
part is the gateway alone, the parts are exchanged.

How things choose. Hosts choose slices and containers choose addresses by the same rule: everyone has
an order of preference, made from a hash of its own name, and in the order of the file everyone takes
the first that nobody has yet. Static addresses are taken before anyone chooses. A container prefers its
host's own part, then the lower half, then the first part of any slice, then whatever no Docker may hand out.
Only when all these are taken it gets what one may, so that it is served while there is any address.

The stack's state remembers what was given (`Remembered`). With it nothing ever moves: not through removal,
insertion, another order, scaling, a move to another host, or hosts that come and go. What is remembered is
taken before anyone chooses. An address is free again when its container is gone from the file. A range that
was given to a Docker stays as it is, because any change of it replaces the docker network; it may be a whole
slice, as earlier releases gave them, and then its host has no part of its own. What is new is chosen by the
same rule as in a first run.

What holds (each a property test):

- No automatic address is chosen from what a Docker may hand out while any other one is free.
- Forgetting any part of what was given, all of one host for instance, changes nothing if nothing else does:
  who chooses again finds all that taken which was taken before, and his own choice free.

What holds without a memory, in a first run (each a property test):

- A container, host or network that is appended moves nothing. A network that is inserted anywhere
  moves nothing: networks are independent of each other.
- A container, static or not, or a host that is inserted anywhere moves nothing, unless what it takes was
  in use: then it moves that one user, and whom this one displaces in turn.
- Where the first three quarters of a subnet are full, a host's first container moves others, too: those who
  have second parts of slices, because one of these is then for a Docker to hand out.
- Removing and adding again gives the same plan: it depends on the present file only.

What must have a certain address gets a static one; that holds whatever is declared around it, and an
automatic one that had it before makes way.
"""

from __future__ import annotations

from collections.abc import Collection, Container, Iterable, Iterator, Mapping
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
    addresses: dict[tuple[str, str], IPv4Address] = {}
    ranges: dict[tuple[str, str], HostRange] = {}
    for network in topology.networks:
        here, given = members[network.name], _given(network, remembered)
        division = _Division.of(network)
        slots = _slots(host_names, division, network, given)
        using = list(dict.fromkeys(member.host for member in here))
        new = {host: slots.get(host) for host in using if host not in given}
        handed_out = [_reach(network, each.ip_range) for each in given.values()]
        handed_out += [division.handed_out(slot) for slot in new.values() if slot is not None]
        kept = _kept(network, here, remembered)
        chosen = _choose_addresses(network, division, slots, here, kept, handed_out)
        for member, offset in zip(here, chosen, strict=True):
            addresses[member.container, network.name] = network.subnet[offset]
        made = _ranges(network, division, new, here, chosen)
        for host in using:
            ranges[host, network.name] = given[host] if host in given else made[host]
    return AddressPlan(addresses, ranges)


def slices(topology: Topology, network: Network) -> Mapping[str, IPv4Network]:
    """The slice of every host, whether or not it uses the network, in a first run; all are disjoint.

    Where there are more hosts than slices, those that find none left are not in the mapping.
    """
    division = _Division.of(network)
    slots = _slots([host.name for host in topology.hosts], division, network, {})
    return {host: _block(network, division.slice(slot)) for host, slot in slots.items()}


@dataclass(frozen=True)
class _Member:
    """A container on the network at hand."""

    container: str
    host: str
    static: IPv4Address | None


@dataclass(frozen=True)
class _Division:
    """How a subnet is cut, in offsets; all numbers but the gateway's are powers of two."""

    size: int  # addresses in the subnet
    slices: int  # how many of them, in the upper half
    gateway: int

    @classmethod
    def of(cls, network: Network) -> _Division:
        host_bits = 32 - network.subnet.prefixlen
        gateway = int(network.gateway) - int(network.subnet.network_address)
        return cls(1 << host_bits, 1 << (host_bits // 2), gateway)

    @property
    def half(self) -> int:
        """Where the upper half begins."""
        return self.size // 2

    @property
    def slice_size(self) -> int:
        return max(self.half // self.slices, 1)

    def slot(self, offset: int) -> int:
        """The number of the slice that an offset in the upper half is in."""
        return (offset - self.half) // self.slice_size

    def slice(self, slot: int) -> range:
        first = self.half + slot * self.slice_size
        return range(first, first + self.slice_size)

    def own(self, slot: int) -> range:
        """The part for the automatic addresses of the slice's host."""
        return self._parts(slot)[0]

    def handed_out(self, slot: int) -> range:
        """The part that the Docker of the slice's host may hand out; empty if there is none."""
        return self._parts(slot)[1]

    def _parts(self, slot: int) -> tuple[range, range]:
        whole = self.slice(slot)
        middle = whole.start + (self.slice_size + 1) // 2
        first, second = range(whole.start, middle), range(middle, whole.stop)
        # The gateway alone is the range of who has no slice; nobody could tell the two.
        exchanged = second == range(self.gateway, self.gateway + 1)
        return (second, first) if exchanged else (first, second)


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


def _given(network: Network, remembered: Remembered) -> Mapping[str, HostRange]:
    """What every host's Docker was given on a network, by host."""
    return {
        host: range_
        for (host, name), range_ in remembered.ranges.items()
        if name == network.name and range_.ip_range.subnet_of(network.subnet)
    }


def _slots(
    hosts: Iterable[str], division: _Division, network: Network, given: Mapping[str, HostRange]
) -> Mapping[str, int]:
    """The slice of every host that has one.

    A host whose Docker was given the second part of a slice has that slice. Those whose Docker was given
    nothing yet choose slices that meet no given range.
    """
    slots: dict[str, int] = {}
    barred: set[int] = set()
    for host, range_ in given.items():
        met = _met(division, network, range_.ip_range)
        barred.update(met)
        if met and division.handed_out(met[0]) == _reach(network, range_.ip_range):
            slots[host] = met[0]
    chosen = _choose_slices([host for host in hosts if host not in given], division.slices, barred)
    return {**slots, **chosen}


def _met(division: _Division, network: Network, given: IPv4Network) -> range:
    """The slices that a given range meets: none if it is the gateway alone."""
    reach = _reach(network, given)
    first = max(reach.start, division.half)
    if first >= reach.stop or given == IPv4Network(network.gateway):
        return range(0)
    return range(division.slot(first), division.slot(reach[-1]) + 1)


def _reach(network: Network, range_: IPv4Network) -> range:
    """The offsets in the subnet that a range covers."""
    first = int(range_.network_address) - int(network.subnet.network_address)
    return range(first, first + range_.num_addresses)


def _block(network: Network, reach: range) -> IPv4Network:
    """The range that covers these offsets, a power of two of them."""
    return IPv4Network((int(network.subnet.network_address) + reach.start, 33 - len(reach).bit_length()))


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
    handed_out: Collection[range],
) -> list[int]:
    """The offset in the subnet for each member, in order."""
    members = list(members)
    base = int(network.subnet.network_address)
    had = {m.container: int(m.static) - base for m in members if m.static is not None}
    had.update(kept)
    taken = {0, division.size - 1, division.gateway, *had.values()}
    chosen = []
    for member in members:
        offset = had.get(member.container)
        if offset is None:
            offset = _choose(member, division, slots.get(member.host), taken, handed_out)
            taken.add(offset)
        chosen.append(offset)
    return chosen


def _choose(
    member: _Member,
    division: _Division,
    slot: int | None,
    taken: Container[int],
    handed_out: Collection[range],
) -> int:
    """What the container prefers of all that is free; what a Docker may hand out comes last."""

    def free() -> Iterator[int]:
        return (offset for offset in _offsets(member, division, slot) if offset not in taken)

    apart = (offset for offset in free() if not any(offset in each for each in handed_out))
    return next(chain(apart, free()))


def _offsets(member: _Member, division: _Division, slot: int | None) -> Iterator[int]:
    """Where a container would like to be: its host's part, the lower half, first parts, anywhere."""
    if slot is not None:
        own = division.own(slot)
        yield from (own.start + offset for offset in _preferences(member.container, len(own)))
    yield from _preferences(member.container, division.half)
    upper = [division.half + offset for offset in _preferences(member.container, division.half)]
    yield from (offset for offset in upper if offset in division.own(division.slot(offset)))
    yield from upper


def _ranges(
    network: Network,
    division: _Division,
    slots: Mapping[str, int | None],
    members: list[_Member],
    chosen: list[int],
) -> Mapping[str, HostRange]:
    """The ranges of the hosts, which have these slices."""
    inside: dict[int, list[tuple[_Member, int]]] = {}
    for member, offset in zip(members, chosen, strict=True):
        inside.setdefault(division.slot(offset), []).append((member, offset))
    ranges = {}
    for host, slot in slots.items():
        # Every slice may be someone else's. A range of the gateway alone makes Docker refuse to choose an
        # address; without any range it would choose one that another host may have chosen too.
        ranges[host] = HostRange(IPv4Network(network.gateway), ())
        if slot is not None and (part := division.handed_out(slot)):
            others = tuple(
                (member.container, network.subnet[offset])
                for member, offset in inside.get(slot, ())
                if member.host != host and offset in part
            )
            ranges[host] = HostRange(_block(network, part), others)
    return ranges
