"""A change that would cut us off: refused before it is made, or undone by the host. (For real: tests/e2e.)"""

from __future__ import annotations

import asyncio
import re
import shutil
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from ipaddress import IPv4Interface

import pytest

from hosts import rollback
from hosts.change import Change
from hosts.connection import RemoteHost
from hosts.errors import ConflictError, HostError, HostUnreachable, VerificationError
from hosts.fake import FakeHost, Fault, Machine
from hosts.firewall import ensure_firewall, read_firewall, remove_firewall
from hosts.host import DEADLINE, Completed, Way
from hosts.leave import leave
from hosts.links import (
    ensure_sub_interface,
    foresee_sub_interfaces,
    read_sub_interface,
    remove_sub_interface,
)
from hosts.ownership import alias
from hosts.session import open_session
from model.fabric import SubInterface, plan
from model.firewall import Firewall
from model.topology import Gateway, Topology
from tests.local_host import NAMESPACE, command
from tests.tutorial import OWNER, TUTORIAL

PLAIN = SubInterface("eth2.10", "eth2", 10)
GATEWAY = replace(PLAIN, addresses=(IPv4Interface("172.16.10.1/24"),))


def firewall_of(topology: Topology) -> Firewall:
    firewall = plan(topology, OWNER).hosts[0].firewall
    assert firewall is not None
    return firewall


FIREWALL = firewall_of(TUTORIAL)

HINT = "set `may_touch_session: true` for router: it undoes the change by itself if that cuts us off"


def from_inside(machine: Machine, peer: str = "172.16.10.99") -> Machine:
    """ssh comes from a router on the management network whose address is in a subnet of ours."""
    machine.peer = peer
    return machine


@pytest.fixture
def host() -> FakeHost:
    return FakeHost("router", Machine.bare())


def ensure(host: FakeHost, want: SubInterface = GATEWAY, *, allowed: bool = False) -> Change:
    return asyncio.run(ensure_sub_interface(host, want, OWNER, may_touch_session=allowed))


def remove(host: FakeHost, name: str = "eth2.10", *, allowed: bool = False) -> Change:
    return asyncio.run(remove_sub_interface(host, name, OWNER, may_touch_session=allowed))


def refusal(host: FakeHost, want: SubInterface = GATEWAY, *, adopt: bool = False) -> str:
    """What it is refused with, before anything is touched and when a preview asks."""
    before = host.dump()
    with pytest.raises(ConflictError) as caught:
        asyncio.run(ensure_sub_interface(host, want, OWNER, adopt=adopt))
    assert host.dump() == before
    foreseen = asyncio.run(foresee_sub_interfaces(host, [want], OWNER, adopt=adopt))
    assert [str(problem) for problem in foreseen] == [str(caught.value)]
    allowing = foresee_sub_interfaces(host, [want], OWNER, adopt=adopt, may_touch_session=True)
    assert asyncio.run(allowing) == ()
    return str(caught.value)


def failure(host: FakeHost, want: SubInterface = GATEWAY) -> HostError:
    """What an allowed change fails with that cuts us off; nothing is left of it."""
    before = host.dump()
    with pytest.raises(HostError) as caught:
        ensure(host, want, allowed=True)
    assert_nothing_left(host)
    assert host.dump() == before
    return caught.value


def assert_nothing_left(host: FakeHost) -> None:
    with host.machine() as machine:
        assert machine.timers == {}
        assert machine.entries(rollback.FOLDER) == ()
        assert machine.answers()


# Refused


def test_a_prefix_around_the_place_where_ssh_comes_from(host: FakeHost) -> None:
    with host.machine() as machine:
        from_inside(machine)
    assert refusal(host) == (
        "router: the prefix 172.16.10.0/24 of eth2.10 covers 172.16.10.99, where our ssh session comes from: "
        "the host would send its answers there\n"
        f"  hint: use another subnet, reach the host from elsewhere, or {HINT}"
    )


def through_the_fabric(host: FakeHost) -> None:
    """ssh comes in by eth2.10, which somebody made by hand."""
    with host.machine() as machine:
        kernel = machine.kernel
        index = kernel.add("eth2.10", "vlan", kernel.link("eth2").index, 10)
        kernel.set(index, up=True)
        kernel.add_address(index, GATEWAY.addresses[0])
        from_inside(machine)
        machine.uplink, machine.dialled = "eth2.10", "172.16.10.1"


CARRIES = (
    "router: eth2.10 carries our ssh session from 172.16.10.99, so it is not touched\n"
    f"  hint: reach the host over another interface, or {HINT}"
)


def test_the_sessions_own_interface_is_not_adopted(host: FakeHost) -> None:
    through_the_fabric(host)
    assert refusal(host, adopt=True) == CARRIES


def test_the_sessions_own_interface_is_neither_changed_nor_deleted(host: FakeHost) -> None:
    through_the_fabric(host)
    asyncio.run(ensure_sub_interface(host, GATEWAY, OWNER, adopt=True, may_touch_session=True))
    assert not ensure(host)  # as it is it may stay
    assert refusal(host, replace(GATEWAY, mtu=1400)) == CARRIES
    assert refusal(host, replace(GATEWAY, vlan=11)) == CARRIES
    before = host.dump()
    with pytest.raises(ConflictError) as caught:
        remove(host)
    assert str(caught.value) == CARRIES
    with pytest.raises(ConflictError):
        asyncio.run(leave(host, OWNER))
    assert host.dump() == before


def test_what_is_below_the_sessions_interface_is_not_made_anew(host: FakeHost) -> None:
    ensure(host, PLAIN)
    with host.machine() as machine:
        kernel = machine.kernel
        index = kernel.add("shim", "macvlan", kernel.link("eth2.10").index)
        kernel.set(index, up=True, alias=alias(OWNER))
        kernel.add_address(index, GATEWAY.addresses[0])
        from_inside(machine)
        machine.uplink, machine.dialled = "shim", "172.16.10.1"
    assert refusal(host, replace(PLAIN, vlan=11)) == CARRIES


def test_a_parent_that_would_come_up_with_such_a_prefix(host: FakeHost) -> None:
    with host.machine() as machine:
        eth2 = machine.kernel.link("eth2").index
        machine.kernel.set(eth2, up=False)
        machine.kernel.add_address(eth2, IPv4Interface("10.99.0.5/24"))
        from_inside(machine, "10.99.0.1")
    assert "eth2.10 needs eth2 up, whose address 10.99.0.5/24 covers 10.99.0.1, where our" in refusal(
        host, PLAIN
    )
    failure(host, PLAIN)
    with host.machine() as machine:
        assert not machine.kernel.link("eth2").up


# Not refused


def test_a_trunk_that_carries_the_session_untagged(host: FakeHost) -> None:
    """Hosts with one interface: a sub-interface on it leaves it alone, coming and going."""
    with host.machine() as machine:
        before = machine.kernel.link("eth1")
    bare = host.dump()
    want = SubInterface("eth1.10", "eth1", 10, addresses=GATEWAY.addresses)
    assert asyncio.run(foresee_sub_interfaces(host, [want], OWNER)) == ()
    ensure(host, want)
    with host.machine() as machine:
        assert machine.kernel.link("eth1") == before
    remove(host, "eth1.10")
    assert host.dump() == bare
    assert [step for step in host.log if step.startswith(f"set_link {before.index} ")] == []


def test_a_trunk_that_we_raised_and_the_session_has_come_to_need(host: FakeHost) -> None:
    with host.machine() as machine:
        machine.kernel.set(machine.kernel.link("eth2").index, up=False)
    ensure(host, PLAIN)
    with host.machine() as machine:
        machine.uplink = "eth2"  # as if behind a default route, with the address on lo
        machine.peer = "203.0.113.9"
    remove(host)
    with host.machine() as machine:
        assert machine.kernel.link("eth2").up


# Armed, confirmed, made persistent: in this order


def test_where_nothing_is_risky_nothing_is_armed(host: FakeHost) -> None:
    ensure(host, PLAIN)
    ensure(host, replace(PLAIN, mtu=1400))
    remove(host)
    assert [step for step in host.log if "systemd-run" in step or step.startswith("dial")] == []


def test_an_address_is_confirmed_over_a_new_connection_before_it_is_persistent(host: FakeHost) -> None:
    ensure(host)
    order = ("run systemd-run", "add_address", "dial", f"remove {rollback.FOLDER}", "write /etc/")
    places = [min(n for n, step in enumerate(host.log) if step.startswith(what)) for what in order]
    assert places == sorted(places)
    assert_nothing_left(host)
    host.log.clear()
    assert not ensure(host)
    assert [step for step in host.log if step.startswith(("run", "dial"))] == []


def test_a_removed_address_stays_in_its_boot_file_until_it_is_confirmed(host: FakeHost) -> None:
    ensure(host)
    host.log.clear()
    remove(host)
    order = ("run systemd-run", "delete_link", "dial", f"remove {rollback.FOLDER}", "remove /etc/")
    places = [min(n for n, step in enumerate(host.log) if step.startswith(what)) for what in order]
    assert places == sorted(places)


# Undone


def test_a_new_prefix_that_steals_the_answers(host: FakeHost) -> None:
    with host.machine() as machine:
        from_inside(machine)
    error = failure(host)
    assert isinstance(error, VerificationError)
    assert str(error).startswith(
        "router: with the change of eth2.10 in place no new connection could be made (no sign of life: "
    )
    assert "; the host has undone it by itself after 30 s, and nothing was made persistent" in str(error)


@pytest.mark.parametrize(
    "want",
    [
        replace(GATEWAY, addresses=(*GATEWAY.addresses, IPv4Interface("10.99.0.1/24"))),
        replace(GATEWAY, addresses=(IPv4Interface("10.99.0.1/24"),), mtu=1300),
        replace(GATEWAY, vlan=11, addresses=(IPv4Interface("10.99.0.1/24"),)),
    ],
    ids=["one more", "another one", "another VLAN"],
)
def test_a_link_that_is_there_is_put_back_as_it_was(host: FakeHost, want: SubInterface) -> None:
    ensure(host, replace(GATEWAY, mtu=1400))
    with host.machine() as machine:
        from_inside(machine, "10.99.0.2")
    failure(host, want)
    facts = asyncio.run(read_sub_interface(host, "eth2.10", OWNER))
    assert facts is not None
    assert facts.differences(replace(GATEWAY, mtu=1400), OWNER) == ()


def test_what_stands_on_a_link_is_put_back_with_it(host: FakeHost) -> None:
    shim = SubInterface("shim", "eth2.10", None, addresses=GATEWAY.addresses)
    ensure(host, PLAIN)
    ensure(host, shim)
    with host.machine() as machine:
        from_inside(machine, "10.99.0.2")
    failure(host, replace(PLAIN, vlan=11, addresses=(IPv4Interface("10.99.0.1/24"),)))
    facts = asyncio.run(read_sub_interface(host, "shim", OWNER))
    assert facts is not None
    assert facts.differences(shim, OWNER) == ()


def test_the_sessions_own_interface_deleted(host: FakeHost) -> None:
    through_the_fabric(host)
    asyncio.run(ensure_sub_interface(host, GATEWAY, OWNER, adopt=True, may_touch_session=True))
    before = host.dump()
    with pytest.raises(VerificationError, match="the host has undone it by itself"):
        remove(host, allowed=True)
    assert host.dump() == before
    assert_nothing_left(host)


def test_a_firewall_that_somebody_answers_by_letting_nobody_in(host: FakeHost) -> None:
    with host.machine() as machine:
        machine.shut_out_by = "MVF-"
    before = host.dump()
    with pytest.raises(VerificationError) as caught:
        asyncio.run(ensure_firewall(host, FIREWALL))
    assert "with the change of firewall in place no new connection could be made" in str(caught.value)
    assert "; it was undone at once, and nothing was made persistent" in str(caught.value)
    assert host.dump() == before
    assert_nothing_left(host)


def test_a_firewall_is_put_back_as_it_was(host: FakeHost) -> None:
    """What is to be replaced comes back rule by rule, and what others have in the tables is left alone."""
    other = firewall_of(replace(TUTORIAL, gateway=Gateway("router", ("mac_net10", "mac_net20"), "routed")))
    asyncio.run(host.run(["iptables", "-t", "filter", "-A", "FORWARD", "-i", "eth9", "-j", "DROP"]))
    asyncio.run(ensure_firewall(host, FIREWALL))
    before = host.dump()
    with host.machine() as machine:
        machine.shut_out_by = ":FORWARD"  # always
    with pytest.raises(VerificationError):
        asyncio.run(ensure_firewall(host, other))
    assert host.dump() == before
    with pytest.raises(VerificationError):
        asyncio.run(remove_firewall(host, OWNER))
    assert host.dump() == before
    assert asyncio.run(read_firewall(host, OWNER)).differences(FIREWALL) == ()


# Cut off for another reason


class Redialled(FakeHost):
    """Its session may break for a reason of its own: another one is always to be had."""

    @asynccontextmanager
    async def anew(self, *, patience: float) -> AsyncIterator[FakeHost]:
        del patience
        yield FakeHost(self.name, self._machine)


def test_a_session_that_breaks_during_a_change_is_what_is_told_and_the_change_undone_at_once() -> None:
    host = Redialled("router", Machine.bare())
    ensure(host)
    at = next(n for n, step in enumerate(host.log, 1) if step.startswith("add_address"))
    host = Redialled("router", Machine.bare(), fault=Fault(at, effect=True))
    before = host.dump()
    with pytest.raises(HostUnreachable, match="the session was lost during: add_address"):
        ensure(host)
    assert_nothing_left(host)
    assert host.dump() == before


def test_a_host_that_does_not_come_back_is_told(host: FakeHost) -> None:
    with host.machine() as machine:
        from_inside(machine)
        machine.missing.add("ip")  # so nothing undoes it
    with pytest.raises(HostUnreachable) as caught:
        ensure(host, allowed=True)
    assert "no connection since a change of eth2.10, although it was to be undone after 30 s" in str(
        caught.value
    )


def test_the_next_run_undoes_at_once_what_the_last_one_left(host: FakeHost) -> None:
    """Whatever it is about to look at: the timer must not come in between."""
    ensure(host, PLAIN)
    before = host.dump()
    asyncio.run(rollback.arm(host, "other", [["-ip", "link", "delete", "dev", "eth2.10"]], seconds=30))
    assert ensure(host, PLAIN)
    assert_nothing_left(host)
    assert host.dump() == before


# The commands themselves, on a real kernel


class WithoutSystemd(RemoteHost):
    """A network namespace: all is real, but systemd's part. No new connection ever comes about."""

    armed: tuple[str, ...] = ()

    async def way(self) -> Way | None:
        return Way(None)

    @asynccontextmanager
    async def anew(self, *, patience: float) -> AsyncIterator[RemoteHost]:
        if patience > 0:
            raise HostUnreachable(self.name, f"nobody answers within {patience:g} s")
        yield self

    async def run(self, argv: Sequence[str], *, stdin: bytes = b"", deadline: float = DEADLINE) -> Completed:
        if argv[0] == "systemd-run":
            self.armed = tuple(argv[argv.index("python3") :])
        elif argv[:2] == ["systemctl", "start"]:
            return await super().run(self.armed)
        if argv[0] not in ("systemd-run", "systemctl"):
            return await super().run(argv, stdin=stdin, deadline=deadline)
        return Completed(tuple(argv), 0, b"", b"")

    async def shown(self) -> str:
        script = "ip -d link show; ip -4 address show; cat /proc/sys/net/ipv4/conf/m0/rp_filter; find /etc"
        printed = (await self.run(["sh", "-c", script])).stdout.decode()
        return re.sub(r"^\d+: ", "", printed, flags=re.MULTILINE)  # a link made again has another index


ON_P0 = SubInterface("m0", "p0", None, 1400, GATEWAY.addresses, (("rp_filter", "2"),))
OTHER = (IPv4Interface("10.99.0.1/24"),)


@pytest.mark.skipif(shutil.which("ip") is None, reason="no ip on this machine")
@pytest.mark.parametrize(
    ("there", "want"),
    [
        (None, ON_P0),
        (ON_P0, replace(ON_P0, addresses=(*GATEWAY.addresses, *OTHER))),
        (ON_P0, replace(ON_P0, addresses=OTHER, mtu=1300, settings=(("rp_filter", "1"),))),
        (ON_P0, replace(ON_P0, parent="p1")),
    ],
    ids=["new", "one more address", "other attributes", "another parent"],
)
def test_a_real_kernel_is_led_back(there: SubInterface | None, want: SubInterface) -> None:
    async def work() -> None:
        session, greeting = await open_session("here", [*NAMESPACE, *command()], deadline=20)
        plain, host = RemoteHost(session, greeting), WithoutSystemd(session, greeting)
        script = """
            mount -t tmpfs none /run && mkdir -p /run/etc /run/systemd/system && mount --bind /run/etc /etc
            ip link add p0 type veth peer name p1 && ip link set p0 up && ip link set p1 up"""
        done = await plain.run(["sh", "-c", script])
        assert done.status == 0, done.stderr
        if there is not None:
            await ensure_sub_interface(plain, there, OWNER)
        before = await host.shown()
        with pytest.raises(VerificationError, match="it was undone at once"):
            await ensure_sub_interface(host, want, OWNER)
        assert await host.shown() == before
        if there is not None:
            with pytest.raises(VerificationError, match="it was undone at once"):
                await remove_sub_interface(host, "m0", OWNER)
            assert await host.shown() == before
        await session.close()

    asyncio.run(work())
