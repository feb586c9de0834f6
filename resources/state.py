"""What the stack's own state knows of earlier runs, for the program that plans the next one."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network
from typing import Any

import pulumi

from model.addresses import HostRange, Remembered
from resources.provider import plain

ADDRESSES = "pulumi-python:dynamic/docker:Addresses"
CONTAINER = "docker:index/container:Container"
NETWORK = "docker:index/network:Network"


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

    def of_type(self, type_: str) -> Iterator[Recorded]:
        """The resources of one type."""
        return (each for each in self.resources if each.type == type_)

    def remembered(self) -> Remembered:
        """The addresses and ranges that were given, so that the plan keeps them."""
        return Remembered(dict(self._addresses()), dict(self._ranges()))

    def knows_docker_of(self, host: str) -> bool:
        """Whether docker objects on that host are, or may be, in the state.

        Then nothing there is swept as a leftover of a lost state: not even if the host has another name now.
        """
        del host  # an object that moves between hosts is recorded under the old one
        return any(True for kind in (CONTAINER, NETWORK) for _ in self.of_type(kind))

    def has(self, type_: str, name: str) -> bool:
        """Whether there is a resource of that type and name."""
        return any(each.name == name for each in self.of_type(type_))

    def is_on(self, host: str, container: str) -> bool:
        """Whether that container is recorded, and was last planned on that host."""
        return self.has(CONTAINER, container) and any(
            container in holders.values()
            for each in self.of_type(ADDRESSES)
            if each.outputs.get("host") == host
            for holders in (each.outputs.get("holders") or {}).values()
        )

    def made(self, host: str) -> Mapping[str, int]:
        """How often each docker object of a host was made anew because it was gone, by kind and name."""
        for each in self.of_type(ADDRESSES):
            if each.outputs.get("host") == host:
                return {str(what): int(count) for what, count in (each.outputs.get("made") or {}).items()}
        return {}

    def _addresses(self) -> Iterator[tuple[tuple[str, str], IPv4Address]]:
        for each in self.of_type(ADDRESSES):
            for network, holders in (each.outputs.get("holders") or {}).items():
                for address, container in holders.items():
                    yield (container, network), IPv4Address(address)

    def _ranges(self) -> Iterator[tuple[tuple[str, str], HostRange]]:
        for each in self.of_type(NETWORK):
            network = str(each.outputs.get("name"))
            for config in each.outputs.get("ipamConfigs") or ():
                if given := config.get("ipRange"):
                    aux = tuple((str(n), IPv4Address(a)) for n, a in (config.get("auxAddress") or {}).items())
                    host = each.name.removeprefix(f"{network}-")
                    yield (host, network), HostRange(IPv4Network(given), tuple(sorted(aux)))


def read_state(stack: str) -> State:
    """The stack's state as it was recorded last; also in a preview, and after a rename of the stack."""
    # It is the engine's own function, the one behind `pulumi.StackReference`; it waits for nothing.
    answer = pulumi.runtime.invoke("pulumi:pulumi:readStackResourceOutputs", {"stackName": stack}).value
    found = (answer or {}).get("outputs") or {}
    return State(
        tuple(
            Recorded(str(each["type"]), urn.rpartition("::")[2], plain(each.get("outputs") or {}))
            for urn, each in found.items()
        )
    )


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
    return State(
        tuple(
            Recorded(each["type"], each["urn"].rpartition("::")[2], plain(each.get("outputs") or {}))
            for each in resources
            if not each.get("delete")
        )
    )
