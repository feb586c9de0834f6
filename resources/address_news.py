"""What a preview says of addresses: who gets, keeps and gives up one, and whose may be handed out again."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from ipaddress import IPv4Address, IPv4Network

from model.fabric import DockerNetwork, Endpoint, Fabric
from model.topology import Topology
from resources.memory import Memory

AT_MOST = 30  # lines; a fabric may have thousands of containers
WARNINGS = 5  # lines, too


def address_news(topology: Topology, fabric: Fabric, memory: Memory) -> str:
    """A line each for what is new since the last run; "" if every container keeps what it has where it is.

    In a first run they are the addresses that nobody has written down.
    """
    before, holders = memory.remembered().addresses, memory.holders()
    after = {(each.container, each.network): each for each in fabric.endpoints}
    lines = [*_news(topology, after, before, holders)]
    lines += [f"{c} gives up {address} on {n}" for (c, n), address in before.items() if (c, n) not in after]
    if not lines:
        return ""
    kept = sum(before.get(key) == each.address for key, each in after.items())
    shown = lines[:AT_MOST] + ([f"and {len(lines) - AT_MOST} more"] if len(lines) > AT_MOST else [])
    if kept:
        shown.append(f"{kept} of {len(after)} are kept")
    return "\n".join(["addresses:", *(f"  {line}" for line in shown)])


def _news(
    topology: Topology,
    after: Mapping[tuple[str, str], Endpoint],
    before: Mapping[tuple[str, str], IPv4Address],
    holders: Mapping[str, Collection[str]],
) -> Iterator[str]:
    written = _written(topology)
    for key, each in after.items():
        had, hosts = before.get(key), holders.get(each.container, ())
        if had is None and key not in written:
            yield f"{each.container} gets {each.address} on {each.network}"
        elif had not in (None, each.address):
            yield f"{each.container} gets {each.address} on {each.network} and gives up {had}"
        elif hosts and each.host not in hosts:
            yield f"{each.container} keeps {each.address} on {each.network} and moves to {each.host}"


def _written(topology: Topology) -> set[tuple[str, str]]:
    """The containers and networks whose address stands in the file."""
    return {(c.name, a.network) for c in topology.containers for a in c.attachments if a.address}


def exposed(topology: Topology, fabric: Fabric) -> list[str]:
    """What to warn of where a Docker may hand out an automatic address to somebody else; a line each.

    Another host's Docker may do so at any time. Its own host's cannot while the container runs, and it is so
    with every address that earlier releases chose: there is one line for all of these.
    """
    lines: list[str] = []
    own: list[Endpoint] = []
    for each, host, network in _handed_out(topology, fabric):
        if host == each.host:
            own.append(each)
        else:
            lines.append(
                f"{each.container} has {each.address} on {each.network}, which {host}'s Docker may hand out "
                f"to somebody else; an `address` in {next(network.subnet.subnets())} is out of its reach"
            )
    shown = lines[:WARNINGS] + ([f"and {len(lines) - WARNINGS} more"] if len(lines) > WARNINGS else [])
    if own:
        shown.append(
            "automatic addresses that their host's Docker may hand out to somebody else while their "
            f"containers are stopped: {len(own)}, such as {own[0].address} of {own[0].container} on "
            f"{own[0].network}; an `address` in the lower half of the subnet is out of its reach"
        )
    return shown


def _handed_out(topology: Topology, fabric: Fabric) -> Iterator[tuple[Endpoint, str, DockerNetwork]]:
    """Every automatic address that a Docker may hand out, with that one's host and docker network."""
    ranges: dict[tuple[str, IPv4Network], list[tuple[str, DockerNetwork]]] = {}
    lengths: dict[str, set[int]] = {}
    for plan in fabric.hosts:
        for network in plan.networks:
            range_ = network.ip_range or network.subnet
            ranges.setdefault((network.name, range_), []).append((plan.host.name, network))
            lengths.setdefault(network.name, set()).add(range_.prefixlen)
    written = _written(topology)
    for each in fabric.endpoints:
        if (each.container, each.network) in written:
            continue
        for length in lengths.get(each.network, ()):
            around = IPv4Network((each.address, length), strict=False)
            for host, network in ranges.get((each.network, around), ()):
                if each.address not in dict(network.aux_addresses).values():
                    yield each, host, network
