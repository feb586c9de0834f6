"""What the stack's own state knows of earlier runs, for the program that plans the next one."""

from __future__ import annotations

import hashlib
import json
import subprocess
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from ipaddress import IPv4Address, IPv4Network
from operator import itemgetter
from types import MappingProxyType
from typing import Any

import pulumi

from hosts.survey import Findings
from model.addresses import HostRange, Remembered
from model.fabric import HostPlan
from resources.addresses import addresses_of
from resources.attachments import attachments_of
from resources.machines import Machine
from resources.provider import MARK, VERSION, plain

ADDRESSES = "pulumi-python:dynamic/docker:Addresses"
ATTACHMENTS = "pulumi-python:dynamic/docker:Attachments"
BOOT_UNIT = "pulumi-python:dynamic/boot:BootUnit"
CONTAINER = "docker:index/container:Container"
NETWORK = "docker:index/network:Network"
FABRIC = "macvlan-fabric:index:VlanFabric"
VERIFICATION = "macvlan-fabric:index:Verification"
COMMAND = "command:local:Command"
OF_USE = (ADDRESSES, ATTACHMENTS, BOOT_UNIT, CONTAINER, NETWORK, FABRIC, VERIFICATION, COMMAND)


@dataclass(frozen=True)
class Recorded:
    """A resource as the state has it."""

    type: str
    name: str  # of the resource, the last part of its URN
    outputs: Mapping[str, Any]


@dataclass(frozen=True)
class State:
    """What was recorded when the program began; it does not change while the program runs."""

    resources: tuple[Recorded, ...] = ()
    seed: str = ""  # another one in every state that differs in what was made or mended

    def of_type(self, type_: str) -> Iterator[Recorded]:
        """The resources of one type."""
        return (each for each in self.resources if each.type == type_)

    @property
    def owner(self) -> str | None:
        """In whose name everything was made; None if nothing was."""
        return next((str(each.outputs["owner"]) for each in self.of_type(BOOT_UNIT)), None)

    def machines(self) -> list[Machine]:
        """Every machine on which the stack has something."""
        return [
            Machine(each.name, str(it["host"]), str(it["address"]), it.get(MARK))
            for each in self.of_type(BOOT_UNIT)
            for it in (each.outputs,)
        ]

    def remembered(self, hosts: Mapping[str, str] = MappingProxyType({})) -> Remembered:
        """The addresses and ranges that were given, so that the plan keeps them.

        `hosts` are the present keys of the machines, by their names; a machine that is not among them
        goes by its name.
        """
        ranges = {(hosts.get(m, m), network): given for (m, network), given in self._ranges()}
        return Remembered(dict(self._addresses()), ranges)

    @property
    def knows_docker(self) -> bool:
        """Whether any docker object is in the state, on whatever host.

        Then nothing is swept as a leftover of a lost state: not even on a host that is new here, which may be
        one that had another name, or whose objects are recorded under the host that they move from.
        """
        return any(each.type in (CONTAINER, NETWORK) for each in self.resources)

    def has(self, type_: str, name: str) -> bool:
        """Whether there is a resource of that type and name."""
        return any(each.name == name for each in self.of_type(type_))

    @cached_property
    def holders(self) -> Mapping[str, frozenset[str]]:
        """The machines on which each container was planned that has an address."""
        found: dict[str, set[str]] = {}
        for each in self.of_type(ADDRESSES):
            for holders in (each.outputs.get("holders") or {}).values():
                for container in holders.values():
                    found.setdefault(container, set()).add(each.name.removesuffix(addresses_of("")))
        return {container: frozenset(machines) for container, machines in found.items()}

    def is_on(self, machine: str, container: str) -> bool:
        """Whether that container is recorded, and was last planned on that machine."""
        return container in self._resources_of and machine in self.holders.get(container, ())

    def volumes(self, machine: str) -> dict[str, dict[str, str]]:
        """By container and path inside, the volumes that the stack's containers had there."""
        recorded = (each for each in self.of_type(ATTACHMENTS) if each.name == attachments_of(machine))
        return next((each.outputs.get("volumes") or {} for each in recorded), {})

    def resource_of(self, container: str) -> str | None:
        """The name of the resource that a container has; None if it has none."""
        return self._resources_of.get(container)

    @cached_property
    def _resources_of(self) -> Mapping[str, str]:
        return {str(each.outputs.get("name")): each.name for each in self.of_type(CONTAINER)}

    def made_anew(self, machine: str, plan: HostPlan, found: Findings) -> dict[str, int]:
        """How often each docker object of a machine was gone, the ones included that are gone now.

        By `container NAME` and `network NAME`. Another number than before is what has one made anew.
        """
        wanted = [f"network {each.name}" for each in plan.networks]
        wanted += [f"container {each.name}" for each in plan.containers]
        recorded = {
            f"network {each.name}" for each in plan.networks if self.has(NETWORK, f"{each.name}-{machine}")
        }
        recorded |= {f"container {each.name}" for each in plan.containers if self.is_on(machine, each.name)}
        adopted = {f"{each.kind} {each.name}" for each in found.adoptions}
        there = adopted | (recorded if found.present is None else found.present)
        before = self._made(machine)
        made = {what: before.get(what, 0) + (what in recorded - there) for what in wanted}
        return {what: count for what, count in made.items() if count}

    def _made(self, machine: str) -> Mapping[str, int]:
        for each in self.of_type(ADDRESSES):
            if each.name == addresses_of(machine):
                return each.outputs.get("made") or {}
        return {}

    def _addresses(self) -> Iterator[tuple[tuple[str, str], IPv4Address]]:
        for each in self.of_type(ADDRESSES):
            for network, holders in (each.outputs.get("holders") or {}).items():
                for address, container in holders.items():
                    yield (container, network), IPv4Address(address)

    def _ranges(self) -> Iterator[tuple[tuple[str, str], HostRange]]:
        """By machine and network."""
        for each in self.of_type(NETWORK):
            network = str(each.outputs.get("name"))
            for config in each.outputs.get("ipamConfigs") or ():
                if given := config.get("ipRange"):
                    aux = tuple((str(n), IPv4Address(a)) for n, a in (config.get("auxAddress") or {}).items())
                    machine = each.name.removeprefix(f"{network}-")
                    yield (machine, network), HostRange(IPv4Network(given), tuple(sorted(aux)))


def read_state(stack: str) -> State:
    """The stack's state as it was recorded last; also in a preview, and after a rename of the stack."""
    # It is the engine's own function, the one behind `pulumi.StackReference`; it waits for nothing.
    answer = pulumi.runtime.invoke("pulumi:pulumi:readStackResourceOutputs", {"stackName": stack}).value
    return _state(((answer or {}).get("outputs") or {}).items())


def exported_state(stack: str, folder: str = ".", environment: Mapping[str, str] | None = None) -> State:
    """The same for who is not run by the engine, by `pulumi stack export` in the program's folder.

    Raises LookupError if there is no such stack, or no pulumi.
    """
    argv = ["pulumi", "stack", "export", "--stack", stack, "--non-interactive"]
    try:
        done = subprocess.run(
            argv, cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=60
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise LookupError(f"the state of stack {stack} cannot be read: {error}") from None
    if done.returncode:
        raise LookupError(f"the state of stack {stack} cannot be read: {done.stderr.strip()}")
    resources = (json.loads(done.stdout).get("deployment") or {}).get("resources") or []
    return _state((each["urn"], each) for each in resources if not each.get("delete"))


def _state(resources: Iterable[tuple[str, Mapping[str, Any]]]) -> State:
    """Of resources by their URNs those that are of use here; a state may hold thousands."""
    resources = list(resources)
    digest = hashlib.sha256()
    for urn, each in sorted(resources, key=itemgetter(0)):
        words = [str(value) for key in (VERSION, MARK) if (value := (each.get("outputs") or {}).get(key))]
        if words:  # the engine records the stack itself, and some more, while the program begins
            digest.update("\0".join([urn, *words, ""]).encode())
    return State(
        tuple(
            Recorded(each["type"], urn.rpartition("::")[2], plain(each.get("outputs") or {}))
            for urn, each in resources
            if each["type"] in OF_USE
        ),
        digest.hexdigest()[:16],
    )
