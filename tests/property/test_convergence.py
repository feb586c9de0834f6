"""Where a host ends up depends on the last wish alone: not on the way there, nor on what went wrong on it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import replace
from difflib import unified_diff
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from hosts.boot import UNITS
from hosts.errors import ConflictError, HostError, Unsupported, VerificationError
from hosts.fake import FakeHost, Fault, Machine
from hosts.links import ensure_sub_interface, read_sub_interface
from tests.wishes import (
    OTHER,
    OWNER,
    Surroundings,
    Wish,
    foreign,
    forgo,
    fulfil,
    order_of_foreign_rules,
    session,
    surroundings,
    wishes,
)


def outcome(machine: Machine, *todo: Callable[[FakeHost], Coroutine[Any, Any, None]]) -> Machine:
    """A copy of the machine after these operations, none of which may fail."""
    host = session(machine)
    for operation in todo:
        asyncio.run(operation(host))
    return outcome_of(host)


def outcome_of(host: FakeHost) -> Machine:
    """The machine that a session is with."""
    with host.machine() as machine:
        return machine


def same(here: Machine, there: Machine, arranged: Callable[[str], list[str]] = str.splitlines) -> None:
    """Fail with the difference alone: a whole dump is a hundred lines."""
    lines = unified_diff(arranged(there.dump()), arranged(here.dump()), n=0, lineterm="")
    difference = "\n".join(lines)
    assert not difference, difference


def in_any_order(dump: str) -> list[str]:
    """To compare all but the order of rules."""
    return sorted(dump.splitlines())


def up(wish: Wish, owner: str = OWNER) -> Callable[[FakeHost], Coroutine[Any, Any, None]]:
    return lambda host: fulfil(host, wish, owner)


def down(owner: str = OWNER) -> Callable[[FakeHost], Coroutine[Any, Any, None]]:
    return lambda host: forgo(host, owner)


@settings(deadline=None)
@given(surroundings(), st.lists(wishes(), min_size=2, max_size=4))
def test_any_path_reaches_the_same_state(around: Surroundings, path: list[Wish]) -> None:
    machine = around.machine()
    same(outcome(machine, *map(up, path)), outcome(machine, up(path[-1])))


@settings(deadline=None)
@given(surroundings(), wishes())
def test_the_second_time_nothing_changes(around: Surroundings, wish: Wish) -> None:
    machine = around.machine()
    once = outcome(machine, up(wish))
    host = session(once)
    asyncio.run(fulfil(host, wish))
    changing = ("add_", "set_", "delete_", "write", "run iptables-restore", "run systemctl")
    assert [step for step in host.log if step.startswith(changing)] == []
    same(outcome_of(host), once)


@settings(deadline=None)
@given(surroundings(), st.lists(wishes(), max_size=3))
def test_leaving_returns_the_host_as_it_was(around: Surroundings, path: list[Wish]) -> None:
    machine = around.machine()
    same(outcome(machine, *map(up, path), down()), machine)


@settings(deadline=None)
@given(surroundings(), wishes())
def test_leaving_twice_is_leaving_once(around: Surroundings, wish: Wish) -> None:
    machine = around.machine()
    same(outcome(machine, up(wish), down(), down()), machine)


@settings(deadline=None)
@given(surroundings(), st.lists(wishes(), min_size=1, max_size=3))
def test_what_is_not_ours_is_not_touched(around: Surroundings, path: list[Wish]) -> None:
    machine = around.machine()
    end = outcome(machine, *map(up, path))
    assert foreign(machine) <= foreign(end)
    assert order_of_foreign_rules(end) == order_of_foreign_rules(machine)


def interrupted(
    machine: Machine, operation: Callable[[FakeHost], Coroutine[Any, Any, None]], fault: Fault
) -> Machine | None:
    """A copy of the machine after an operation in which this went wrong; None if it has not so many steps."""
    host = session(machine)
    host.reconnect(fault)
    try:
        asyncio.run(operation(host))
    except HostError:
        return outcome_of(host)
    if fault.step > host.steps:
        return None
    return outcome_of(host)


faults = st.builds(Fault, st.integers(1, 150), effect=st.booleans(), lost=st.booleans())


@settings(max_examples=300, deadline=None)
@given(surroundings(), wishes(), wishes(), faults, st.booleans(), st.sampled_from((0, 3600)))
def test_after_a_fault_the_next_run_converges(
    around: Surroundings, before: Wish, wish: Wish, fault: Fault, reboot: bool, seconds: int
) -> None:
    """Also if a while passes first, and the host undoes what was not confirmed."""
    if reboot:
        around = without_sleepers(around)
    machine = around.machine()
    started = outcome(machine, up(before))
    broken = interrupted(started, up(wish), fault)
    if broken is None:
        return
    broken.pass_time(seconds)
    assert foreign(machine) <= foreign(broken)
    fresh = machine
    if reboot:
        fresh = outcome(machine)
        fresh.reboot()
        broken.reboot()
    order = in_any_order if reboot else str.splitlines  # dockerd puts its rules before ours when it starts
    same(outcome(broken, up(wish)), outcome(fresh, up(wish)), order)
    same(outcome(broken, up(wish), down()), fresh)


PEERS = ("172.16.10.9", "172.16.11.9", "172.16.12.200", "172.16.20.9")  # in a prefix that may be wished for


@settings(max_examples=200, deadline=None)
@given(surroundings(), wishes(), wishes(), st.sampled_from(PEERS), st.booleans())
def test_what_cuts_us_off_is_refused_or_undone_and_leaves_nothing_persistent(
    around: Surroundings, before: Wish, wish: Wish, peer: str, allowed: bool
) -> None:
    machine = replace(around, trunk_up=True).machine()
    host = session(outcome(machine, up(before)))
    with host.machine() as running:
        running.peer = peer
        if not running.answers():
            return
    for link in wish.links:
        was = host.dump()
        try:
            asyncio.run(ensure_sub_interface(host, link, OWNER, may_touch_session=allowed))
        except ConflictError:
            assert not allowed
            assert host.dump() == was
        except VerificationError:
            assert allowed
            assert host.dump() == was
        except Unsupported:
            return  # it needs a link that could not be made
        with host.machine() as running:
            assert running.answers()
            assert not running.timers


@settings(deadline=None)
@given(surroundings(), wishes(), faults)
def test_leaving_converges_after_a_fault(around: Surroundings, wish: Wish, fault: Fault) -> None:
    machine = around.machine()
    broken = interrupted(outcome(machine, up(wish)), down(), fault)
    if broken is not None:
        assert foreign(machine) <= foreign(broken)
        same(outcome(broken, down()), machine)


@settings(deadline=None)
@given(surroundings(), wishes(), faults)
def test_leaving_after_a_run_that_failed(around: Surroundings, wish: Wish, fault: Fault) -> None:
    machine = around.machine()
    broken = interrupted(machine, up(wish), fault)
    if broken is not None:
        same(outcome(broken, down()), machine)


@settings(deadline=None)
@given(surroundings(), wishes(), wishes())
def test_two_stacks_do_not_see_each_other(around: Surroundings, ours: Wish, theirs: Wish) -> None:
    machine = around.machine()
    theirs = Wish((), ours.sysctls, theirs.rules, theirs.masquerade)
    alone = outcome(machine, up(ours))
    both = outcome(alone, up(theirs, OTHER))
    same(outcome(both, up(ours)), both)
    same(outcome(both, down(OTHER)), alone)
    same(outcome(both, down(), down(OTHER)), machine)


def without_sleepers(around: Surroundings) -> Surroundings:
    """Without a VLAN of others that is down on a trunk that is down.

    Raising the trunk raises it. At any other time we put it back; at boot somebody else may be about to
    raise it himself, and would be undone.
    """
    return around if around.trunk_up else replace(around, neighbour=None)


@settings(deadline=None)
@given(surroundings(), wishes())
def test_a_reboot_brings_everything_back(around: Surroundings, wish: Wish) -> None:
    around = without_sleepers(around)
    machine = around.machine()
    machine.reboot()
    running = outcome(machine, up(wish))
    same(outcome(running, _restart_the_units), running)
    rebooted = outcome(running)
    assert rebooted.reboot() == ""
    same(rebooted, running, in_any_order)  # dockerd puts its rules before ours when it starts
    same(outcome(rebooted, up(wish)), rebooted)
    same(outcome(rebooted, down()), machine)


async def _restart_the_units(host: FakeHost) -> None:
    with host.machine() as machine:
        assert [machine.replay(unit.argument) for unit in UNITS] == ["", ""]


TAMPERING: dict[str, Callable[[Machine, str], None]] = {
    "deleted": lambda m, name: m.kernel.delete(m.kernel.link(name).index),
    "down": lambda m, name: m.kernel.set(m.kernel.link(name).index, up=False),
    "mtu": lambda m, name: m.kernel.set(m.kernel.link(name).index, mtu=1290),
    "alias lost": lambda m, name: m.kernel.set(m.kernel.link(name).index, alias=""),
    "alias of others": lambda m, name: m.kernel.set(m.kernel.link(name).index, alias="mine!"),
}


@settings(deadline=None)
@given(surroundings(), wishes(), st.data())
def test_what_was_changed_by_hand_is_seen_and_mended(
    around: Surroundings, wish: Wish, data: st.DataObject
) -> None:
    machine = around.machine()
    running = outcome(machine, up(wish))
    if not wish.links:
        return
    link = data.draw(st.sampled_from(wish.links))
    how = data.draw(st.sampled_from(sorted(TAMPERING)))
    if how == "mtu" and (link.mtu is None or any(other.parent == link.name for other in wish.links)):
        return  # nothing is promised about an MTU that nobody asked for
    changed = outcome(running)
    TAMPERING[how](changed, link.name)

    facts = asyncio.run(read_sub_interface(session(changed), link.name, OWNER))
    assert facts is None or facts.differences(link, OWNER)
    same(outcome(changed, up(wish)), running)
