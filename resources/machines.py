"""Which machine is which: the hosts of the topology, and the machines that the stack has something on.

A resource is named after its machine, so a machine has one name as long as the stack has anything there: the
key of the topology that it had first. Keys and addresses are what people change. A host that gets another
key, or hosts whose keys or addresses are exchanged, are the same machines with the same resources.

What tells a machine from all others is the mark of the stack's boot unit there (`hosts.charge`), a random
word that only this stack's state knows. /etc/machine-id would not do: clones of a machine share it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from itertools import chain, count

from hosts.errors import HostUnreachable
from model.topology import Host


@dataclass(frozen=True)
class Machine:
    """A machine on which the stack has something, as its state has it."""

    name: str  # what its resources are named after
    host: str  # its key in the topology of the last run
    address: str  # and how ssh reached it
    mark: str | None  # of its boot unit; None: an earlier release made it


@dataclass(frozen=True)
class Marked:
    """What an address leads to: the mark of the boot unit there, and whether the stack is known there."""

    mark: str | None
    registered: bool = True


def unknown(hosts: Iterable[Host], machines: Collection[Machine]) -> list[Host]:
    """The hosts that are not known by key and address both, if some machine could be one of them."""
    known = {(machine.host, machine.address) for machine in machines}
    hosts = list(hosts)
    if known <= {(host.name, host.address) for host in hosts}:
        return []
    return [host for host in hosts if (host.name, host.address) not in known]


def names(
    hosts: Collection[Host], machines: Collection[Machine], marked: Mapping[str, Marked]
) -> dict[str, str]:
    """The name of every host's machine, by the host's key.

    `marked` is what answered, by address; it is needed for the `unknown` hosts and for the machines that
    no host is known to be. Raises HostUnreachable for a host that does not answer, and may be a machine that
    has another key now.
    """
    found = _Matching(list(machines))
    rest = [host for host in hosts if not found.take(host, _is_known)]
    rest = [host for host in rest if not found.take(host, lambda h, m: _bears(marked.get(h.address), m))]
    rest = [host for host in rest if not found.take(host, lambda h, m: h.address == m.address)]
    rest = [host for host in rest if not found.take(host, lambda h, m: _succeeds(h, m, marked))]
    for host in rest:
        if found.free and not host.lost and host.address not in marked:
            raise _nobody_knows(host, found.free)
        # A key that was another machine's first is that one's name as long as it lives.
        taken = {*found.names.values(), *(machine.name for machine in machines)}
        choices = chain([host.name], (f"{host.name}-{number}" for number in count(2)))
        found.names[host.name] = next(name for name in choices if name not in taken)
    return found.names


class _Matching:
    """The machines that nobody is yet, and who is which."""

    def __init__(self, free: list[Machine]) -> None:
        self.free = free
        self.names: dict[str, str] = {}

    def take(self, host: Host, fits: Callable[[Host, Machine], bool]) -> bool:
        """Have the host be a machine that fits; False if there is none."""
        for machine in self.free:
            if fits(host, machine):
                self.free.remove(machine)
                self.names[host.name] = machine.name
                return True
        return False


def _is_known(host: Host, machine: Machine) -> bool:
    return (host.name, host.address) == (machine.host, machine.address)


def _bears(found: Marked | None, machine: Machine) -> bool:
    return found is not None and found.mark is not None and found.mark == machine.mark


def _succeeds(host: Host, machine: Machine, marked: Mapping[str, Marked]) -> bool:
    """Whether a host that has another address now still is that machine, or takes its place."""
    if host.name != machine.host:
        return False
    here = marked.get(host.address)
    if here is None or (here.registered and machine.mark is None):
        return True
    # It is another machine. If the former one still answers, what is there has to go, as with a host that is
    # taken out of the topology; else the new one stands in for it.
    before = marked.get(machine.address)
    return before is None or not before.registered


def _nobody_knows(host: Host, free: Iterable[Machine]) -> HostUnreachable:
    known = ", ".join(machine.host for machine in free)
    return HostUnreachable(
        host.name,
        f"it does not answer, so nobody knows whether it is a machine that this stack knows as {known}",
        f"run it again when {host.name} answers; a host that is gone for good stays in the topology, "
        "with `lost: true`",
    )
