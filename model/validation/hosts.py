"""Hosts: each is one machine, each of its trunks one interface."""

from __future__ import annotations

from model.declaration import HostEntry
from model.kinds import Item
from model.problems import Problems
from model.validation.scope import Scope


def check_hosts(scope: Scope, problems: Problems) -> None:
    """No machine twice, no interface twice on a machine."""
    machines: dict[str, Item[HostEntry]] = {}
    for name, item in (scope.hosts or {}).items():
        host = item.value
        if host is None:
            continue
        if host.address or "address" not in host.given:
            at = host.address or item
            machine = (host.address.value if host.address else name).rpartition("@")[2].casefold()
            if machine in machines:
                other = machines[machine].name
                hint = "two hosts on one machine would undo each other's work; declare the machine once"
                problems.add(at, f"{machine} is the address of {other} already", hint)
            machines.setdefault(machine, item)
        interfaces: dict[str, str] = {}
        for trunk, entry in (scope.trunks[name] or {}).items():
            if entry.interface is None:
                continue
            interface = entry.interface.value
            if interface in interfaces:
                hint = "an interface leads to one switch; networks that share it share a trunk"
                message = f"{interface} is the interface of trunk {interfaces[interface]} already"
                problems.add(entry.interface, message, hint)
            interfaces.setdefault(interface, trunk)
