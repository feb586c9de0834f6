"""A fault at every single step of every operation, on the jobs that users have."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from copy import deepcopy
from dataclasses import replace
from typing import Any

import pytest

from hosts import ifupdown, networkd
from hosts.boot import ensure_boot_unit
from hosts.errors import HostError
from hosts.fake import FakeHost, Fault, Machine
from hosts.firewall import ensure_firewall
from hosts.leave import leave
from hosts.links import ensure_sub_interface, remove_sub_interface
from hosts.sysctls import ensure_sysctls
from model.fabric import HostPlan, plan
from model.topology import Allow, Persistence, Topology
from tests.tutorial import OWNER, TUTORIAL, network
from tests.wishes import Surroundings, foreign, order_of_foreign_rules, session

Job = Callable[[FakeHost], Coroutine[Any, Any, None]]


def job(topology: Topology) -> Job:
    """What `pulumi up` does to the gateway, in the engine's order."""
    wanted: HostPlan = plan(topology, OWNER).hosts[0]

    async def up(host: FakeHost) -> None:
        await ensure_boot_unit(host, OWNER)
        assert wanted.firewall is not None
        await ensure_firewall(host, wanted.firewall)
        await ensure_sysctls(host, dict(wanted.sysctls), OWNER)
        for link in wanted.links:
            await ensure_sub_interface(host, link, OWNER, persistence=wanted.host.persistence)
        for name in ("eth2.10", "eth2.20", "eth2.30"):
            if name not in {link.name for link in wanted.links}:
                await remove_sub_interface(host, name, OWNER)

    return up


async def down(host: FakeHost) -> None:
    await leave(host, OWNER)


async def nothing(_: FakeHost) -> None:
    pass


def by(topology: Topology, persistence: Persistence) -> Topology:
    """The same, its links made by that manager at boot."""
    return replace(topology, hosts=tuple(replace(host, persistence=persistence) for host in topology.hosts))


def with_gateway(**changes: Any) -> Topology:
    assert TUTORIAL.gateway is not None
    return replace(TUTORIAL, gateway=replace(TUTORIAL.gateway, **changes))


MOVED = replace(TUTORIAL, networks=(TUTORIAL.networks[0], replace(TUTORIAL.networks[1], vlan=30)))
WIDER = replace(
    with_gateway(
        networks=("mac_net10", "mac_net20", "mac_net30"),
        allow=(Allow("mac_net10", "mac_net20"), Allow("mac_net10", "mac_net30", both=False)),
    ),
    networks=(*TUTORIAL.networks, network(30)),
)

JOBS: dict[str, tuple[Job, Job]] = {
    "from a bare host to the tutorial": (nothing, job(TUTORIAL)),
    "nothing to do": (job(TUTORIAL), job(TUTORIAL)),
    "another VLAN id": (job(TUTORIAL), job(MOVED)),
    "one network more": (job(TUTORIAL), job(WIDER)),
    "one network less": (job(WIDER), job(TUTORIAL)),
    "routed, and nothing allowed": (job(TUTORIAL), job(with_gateway(nat="routed", allow=()))),
    "back to a bare host": (job(TUTORIAL), down),
}

AROUND = Surroundings(trunk_up=False, neighbour="theirs", docker=True, their_chain=True, file=True)

MANAGED: dict[str, tuple[str, Job, Job]] = {
    "made by ifupdown": (ifupdown.NAME, nothing, job(by(TUTORIAL, "ifupdown"))),
    "made by networkd": (networkd.NAME, nothing, job(by(TUTORIAL, "networkd"))),
    "another VLAN id, by ifupdown": (
        ifupdown.NAME,
        job(by(TUTORIAL, "ifupdown")),
        job(by(MOVED, "ifupdown")),
    ),
    "another VLAN id, by networkd": (networkd.NAME, job(by(TUTORIAL, "auto")), job(by(MOVED, "auto"))),
    "from the unit to networkd": (networkd.NAME, job(TUTORIAL), job(by(TUTORIAL, "networkd"))),
    "from networkd to the unit": (networkd.NAME, job(by(TUTORIAL, "networkd")), job(TUTORIAL)),
    "back to a bare host, by ifupdown": (ifupdown.NAME, job(by(TUTORIAL, "auto")), down),
    "back to a bare host, by networkd": (networkd.NAME, job(by(TUTORIAL, "auto")), down),
}


def after(machine: Machine, *jobs: Job, fault: Fault | None = None) -> tuple[Machine, int]:
    """A copy of the machine after these, and how many steps they took."""
    host = session(machine)
    host.reconnect(fault)
    for each in jobs:
        asyncio.run(each(host))
    with host.machine() as end:
        return end, host.steps


def broken(machine: Machine, work: Job, fault: Fault) -> Machine:
    """A copy of the machine after work in which this went wrong."""
    host = session(machine)
    host.reconnect(fault)
    with pytest.raises(HostError):
        asyncio.run(work(host))
    with host.machine() as end:
        return end


@pytest.mark.parametrize("name", [*JOBS, *MANAGED])
@pytest.mark.parametrize("effect", [False, True], ids=["before its effect", "after its effect"])
def test_whatever_step_fails_the_next_run_converges(name: str, effect: bool) -> None:
    manager, before, work = MANAGED[name] if name in MANAGED else (None, *JOBS[name])
    machine = replace(AROUND, manager=manager).machine()
    bare, foreign_there, rules_there = machine.dump(), foreign(machine), order_of_foreign_rules(machine)
    started, _ = after(machine, before)
    good, steps = after(started, work)
    expected = good.dump()
    gone: dict[str, str] = {}  # what leaving makes of a state: many steps leave the same one
    for step in range(1, steps + 1):
        half = broken(started, work, Fault(step, effect))
        assert foreign_there <= foreign(half), step
        assert order_of_foreign_rules(half) == rules_there, step
        later = deepcopy(half)
        later.pass_time(3600)  # the host has undone what was not confirmed
        for machine_then in (half, later):
            state = machine_then.dump() + repr(sorted(machine_then.files.keys() - machine.files.keys()))
            if state not in gone:
                assert after(machine_then, work)[0].dump() == expected, step
                gone[state] = after(machine_then, down)[0].dump()
            assert gone[state] == bare, step


@pytest.mark.parametrize("name", [*JOBS, *MANAGED])
def test_whatever_step_the_power_fails_at_the_next_run_converges(name: str) -> None:
    manager, before, work = MANAGED[name] if name in MANAGED else (None, *JOBS[name])
    machine = rebooted(replace(AROUND, manager=manager, trunk_up=True).machine())
    started, _ = after(machine, before)
    good, steps = after(started, work)
    expected, bare = in_any_order(good), in_any_order(machine)
    assert in_any_order(rebooted(good)) == expected
    seen: set[str] = set()
    for step in range(1, steps + 1):
        half = broken(started, work, Fault(step, effect=True))
        if half.dump() not in seen:
            seen.add(half.dump())
            booted = rebooted(half)
            assert in_any_order(after(booted, work)[0]) == expected, step
            assert in_any_order(after(booted, down)[0]) == bare, step


def rebooted(machine: Machine) -> Machine:
    with session(machine).machine() as copy:
        copy.reboot()
        return copy


def in_any_order(machine: Machine) -> list[str]:
    """All but the order of rules: dockerd puts its own before ours when it starts."""
    return sorted(machine.dump().splitlines())
