"""Who gets, keeps and gives up an address in this run, in words for a preview."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from ipaddress import IPv4Address

from model.fabric import Endpoint, Fabric
from model.topology import Topology
from resources.memory import Memory

AT_MOST = 30  # lines; a fabric may have thousands of containers


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
    written = {(c.name, a.network) for c in topology.containers for a in c.attachments if a.address}
    for key, each in after.items():
        had, hosts = before.get(key), holders.get(each.container, ())
        if had is None and key not in written:
            yield f"{each.container} gets {each.address} on {each.network}"
        elif had not in (None, each.address):
            yield f"{each.container} gets {each.address} on {each.network} and gives up {had}"
        elif hosts and each.host not in hosts:
            yield f"{each.container} keeps {each.address} on {each.network} and moves to {each.host}"
