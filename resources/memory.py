"""What the stack remembers, as far as the program needs it: who it is, its machines, its addresses."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Coroutine, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from hosts import loop
from hosts.adoption import Adoption
from hosts.boot import read_boot_unit
from hosts.charge import in_charge
from hosts.given import read_given
from hosts.survey import Findings
from model.addresses import Remembered
from model.fabric import HostPlan
from model.topology import Host, Topology
from resources.addresses import addresses_of
from resources.boot_unit import BootUnitProvider
from resources.machines import Marked, names, unknown
from resources.session import session
from resources.state import ADDRESSES, BOOT_UNIT, CONTAINER, State, read_state

T = TypeVar("T")


@dataclass(frozen=True)
class Memory:
    """The stack as it was when the program began; it does not change while the program runs."""

    owner: str
    state: State = field(default_factory=State)
    machines: Mapping[str, str] = field(default_factory=dict)  # by a host's key, its machine's name
    lost: Collection[str] = ()  # the machines that are gone for good
    found: Remembered = field(default_factory=Remembered)  # what hosts know of which the state knows nothing

    def machine(self, host: str) -> str:
        """What the resources of a host are named after."""
        return self.machines.get(host, host)

    def container(self, name: str, host: str) -> str:
        """What the resource of a container is named after.

        One that is on a lost machine cannot be removed there, so it cannot be replaced either. It gets
        another resource, and the former one is let go of with the machine.
        """
        successor = f"{name}@{self.machine(host)}"
        if self.state.has(CONTAINER, successor) or any(self.state.is_on(m, name) for m in self.lost):
            return successor
        return self.state.resource_of(name) or name

    def name_of(self, type_: str, otherwise: str) -> str:
        """The name of the one resource of a type, as it was recorded, so that it stays the same."""
        return next((each.name for each in self.state.of_type(type_)), otherwise)

    def taken_over(self, host: str) -> dict[str, str]:
        """What was taken over there, by docker's id: what the file said of it then."""
        recorded = self._boot_unit(host)
        wishes = recorded.get("adopted_as") or {}
        return {id_: wishes.get(id_, "") for id_ in recorded.get("adopted") or {}}

    def adoptions(self, host: str) -> tuple[Adoption, ...]:
        """The same as it was found then: of a host that does not answer now, it is all there is to know."""
        wishes = self.taken_over(host)
        named = ((i, *name.split(" ", 1)) for i, name in (self._boot_unit(host).get("adopted") or {}).items())
        return tuple(
            Adoption("network" if kind == "network" else "container", name, id_, wish=wishes[id_])
            for id_, kind, name in named
        )

    def _boot_unit(self, host: str) -> Mapping[str, Any]:
        recorded = (each for each in self.state.of_type(BOOT_UNIT) if each.name == self.machine(host))
        return next((each.outputs for each in recorded), {})

    def remembered(self) -> Remembered:
        """The addresses and ranges that were given, so that the plan keeps them."""
        hosts = {machine: host for host, machine in self.machines.items()}
        known = self.state.remembered(hosts)
        return Remembered({**self.found.addresses, **known.addresses}, {**self.found.ranges, **known.ranges})

    def holders(self) -> dict[str, set[str]]:
        """The hosts on which each container was, by their present keys."""
        hosts = {machine: host for host, machine in self.machines.items()}
        return {
            container: {hosts.get(machine, machine) for machine in machines}
            for container, machines in self.state.holders.items()
        }

    def volumes(self, host: str) -> dict[str, dict[str, str]]:
        """By container and path inside, the volumes that the stack's containers had on that host."""
        return self.state.volumes(self.machine(host))

    def left_behind(self, topology: Topology) -> Iterator[str]:
        """What containers leave that are taken out of the topology, or off their host, a clause each."""
        now = {(container.name, self.machine(container.host)) for container in topology.containers}
        hosts = {machine: host for host, machine in self.machines.items()}
        for machine in self.state.machines():
            for container, volumes in self.state.volumes(machine.name).items():
                if (container, machine.name) not in now:
                    host = hosts.get(machine.name, machine.host)
                    yield from (
                        f"{container} leaves its data of {path} on {host}: docker volume {volume}"
                        for path, volume in volumes.items()
                    )

    def made_anew(self, plan: HostPlan, found: Findings) -> dict[str, int]:
        """How often each docker object of a host was gone, the ones included that are gone now.

        By `container NAME` and `network NAME`. Another number than before is what has one made anew.
        """
        return self.state.made_anew(self.machine(plan.host.name), plan, found)


def recall(topology: Topology, stack: str, new_owner: str) -> Memory:
    """What the stack's state says, with every host of the topology known for the machine that it is.

    Hosts are asked only if the topology no longer has what the state has by the same key and address. Raises
    HostUnreachable for one that may be any machine and does not answer. `new_owner` is the stack's own name
    for itself if the state knows none.
    """
    state = read_state(stack)
    owner, machines = state.owner or new_owner, state.machines()
    known, busy = {(machine.host, machine.address) for machine in machines}, _used(topology)
    used = [h for h in topology.hosts if h.lost or h.name in busy or (h.name, h.address) in known]
    strange = unknown(used, machines)
    marked: Mapping[str, Marked] = {}
    if strange:
        before = [machine for machine in machines if machine.address not in {h.address for h in strange}]
        asked = {host.address: host.name for host in strange if not host.lost}
        asked |= {machine.address: machine.host for machine in before}
        marked = _marks(asked, topology.ssh_config, owner)
    named = names(used, machines, marked)
    lost = [named[host.name] for host in used if host.lost]
    serving = {container.host for container in topology.containers}
    here = [host for host in used if host.name in serving and not host.lost]
    forgotten = [host for host in here if not state.has(ADDRESSES, addresses_of(named[host.name]))]
    found = _given(forgotten, topology.ssh_config, owner) if forgotten else Remembered()
    return Memory(owner, state, named, lost, found)


def _used(topology: Topology) -> set[str]:
    """The hosts that have something to do."""
    used = {container.host for container in topology.containers}
    return used | ({topology.gateway.host} if topology.gateway else set())


def _given(hosts: Iterable[Host], ssh_config: str | None, owner: str) -> Remembered:
    """What the hosts say that was given to the stack's containers; of one that does not answer, nothing."""

    async def ask(host: Host) -> Remembered:
        return await read_given(await session(host.name, host.address, ssh_config), owner)

    answers = _each(ask(host) for host in hosts)
    addresses = {key: given for each in answers if each for key, given in each.addresses.items()}
    ranges = {key: given for each in answers if each for key, given in each.ranges.items()}
    return Remembered(addresses, ranges)


def _marks(addresses: Mapping[str, str], ssh_config: str | None, owner: str) -> dict[str, Marked]:
    """What the machines at these addresses say; those are missing that do not answer."""

    async def ask(address: str, name: str) -> Marked:
        host = await session(name, address, ssh_config)
        unit, mark = await asyncio.gather(
            read_boot_unit(host, owner), in_charge(host, owner, BootUnitProvider.object)
        )
        return Marked(mark, unit.registered)

    answers = _each(ask(address, name) for address, name in addresses.items())
    return {address: answer for address, answer in zip(addresses, answers, strict=True) if answer}


def _each(questions: Iterable[Coroutine[Any, Any, T]]) -> list[T | None]:
    """The answers, side by side; None for what went wrong: the look at the hosts that follows says why."""

    async def ask_all() -> list[T | BaseException]:
        return await asyncio.gather(*questions, return_exceptions=True)

    return [None if isinstance(each, BaseException) else each for each in loop.run(ask_all())]
