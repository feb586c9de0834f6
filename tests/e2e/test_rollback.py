"""A host undoes by itself what was not confirmed: real timers, real links, a real cut."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator

import pytest

from hosts import rollback
from hosts.connection import RemoteHost, Target, connect
from hosts.errors import HostUnreachable, VerificationError
from lab import Lab

pytestmark = pytest.mark.e2e

LOG = "/run/undo-test"


@pytest.fixture
def target(lab: Lab) -> Iterator[Target]:
    yield Target("host1", "host1", str(lab.ssh_config))
    lab.ssh("host1", "rm", "-f", LOG)


def on(target: Target, operation: Callable[[RemoteHost], Awaitable[None]]) -> None:
    async def work() -> None:
        host = await connect(target)
        try:
            await operation(host)
        finally:
            await host.close()

    asyncio.run(work())


def record(words: str) -> list[str]:
    return ["sh", "-c", 'printf %s "$1" >>"$0"', LOG, words]


async def leftovers(host: RemoteHost) -> tuple[bytes, tuple[str, ...]]:
    units = await host.run(["systemctl", "list-units", "--all", "--no-legend", "macvlan-fabric-rollback-*"])
    return units.stdout, await host.entries(rollback.FOLDER)


def test_a_confirmed_change_stays_and_nothing_is_left(target: Target) -> None:
    async def work(host: RemoteHost) -> None:
        await rollback.arm(host, "test", [record("undone")], seconds=60)
        await rollback.confirm(host, "test")
        assert await host.read(LOG) is None
        assert await leftovers(host) == (b"", ())
        assert not await rollback.undo(host, "test")

    on(target, work)


def test_an_unconfirmed_change_is_undone_by_the_next_run(target: Target) -> None:
    async def work(host: RemoteHost) -> None:
        await rollback.arm(host, "test", [record("$HOME %n ü\\"), record(".")], seconds=600)

    async def later(host: RemoteHost) -> None:
        await rollback.arm(host, "test", [record("no")], seconds=600)
        assert await host.read(LOG) == "$HOME %n ü\\.".encode()
        await rollback.confirm(host, "test")
        assert await leftovers(host) == (b"", ())

    on(target, work)
    on(target, later)


def test_a_host_that_cut_itself_off_is_back_when_the_timer_ends(target: Target) -> None:
    async def work(host: RemoteHost) -> None:
        await rollback.arm(host, "test", [["ip", "link", "set", "eth1", "up"]], seconds=8)
        cut = asyncio.create_task(host.run(["ip", "link", "set", "eth1", "down"]))
        with pytest.raises(HostUnreachable):
            await connect(target, deadline=4, fresh=True)
        again = await connect(target, deadline=30, fresh=True)
        await asyncio.gather(cut, return_exceptions=True)  # this session may have outlived the cut, or not
        with pytest.raises(VerificationError, match="was not confirmed in time, so the host has undone it"):
            await rollback.confirm(again, "test")
        assert await leftovers(again) == (b"", ())
        await again.close()

    on(target, work)
