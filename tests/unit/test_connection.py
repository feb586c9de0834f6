"""One connection for each host, whoever asks; made again after it broke."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from hosts import connection
from hosts.connection import Connections, RemoteHost, Target, connect
from hosts.errors import DeadlineExceeded, HostUnreachable
from hosts.host import Host
from tests.local_host import start

ROOT = Path(__file__).parents[2]
TARGET = Target("here", "localhost")


class Dialler:
    """Makes local sessions, and keeps them in view."""

    def __init__(self) -> None:
        self.made: list[RemoteHost] = []
        self.fail: HostUnreachable | None = None
        self.tried = 0

    async def __call__(self, target: Target) -> RemoteHost:
        self.tried += 1
        if self.fail:
            raise self.fail
        self.made.append(await start(name=target.name))
        return self.made[-1]


@pytest.fixture
def dialler() -> Dialler:
    return Dialler()


@pytest.fixture
def hosts(dialler: Dialler) -> Iterator[Connections]:
    hosts = Connections(dialler)
    yield hosts
    hosts.close()


async def hostname(host: Host) -> bytes | None:
    return await host.read("/proc/sys/kernel/hostname")


def test_threads_share_one_connection(hosts: Connections, dialler: Dialler) -> None:
    with ThreadPoolExecutor(16) as pool:
        names = list(pool.map(lambda _: hosts.run(TARGET, hostname), range(64)))
    assert len(set(names)) == 1
    assert names[0]
    assert len(dialler.made) == 1


def test_each_target_has_its_own(hosts: Connections, dialler: Dialler) -> None:
    hosts.run(TARGET, hostname)
    hosts.run(Target("there", "localhost"), hostname)
    hosts.run(Target("there", "localhost"), hostname)
    assert [host.name for host in dialler.made] == ["here", "there"]


def test_after_a_break_what_was_under_way_fails_and_the_next_connects_anew(
    hosts: Connections, dialler: Dialler
) -> None:
    started = threading.Event()

    async def long(host: Host) -> None:
        started.set()
        await host.run(["sleep", "60"], deadline=60)

    async def kill(host: Host) -> None:
        await host.run(["sh", "-c", "kill -9 $PPID"])

    with ThreadPoolExecutor(4) as pool:
        waiting = [pool.submit(hosts.run, TARGET, long) for _ in range(3)]
        started.wait(20)
        with pytest.raises(HostUnreachable, match=r"here: run sh -c 'kill -9 \$PPID': the session broke"):
            hosts.run(TARGET, kill)
        for each in waiting:
            with pytest.raises(HostUnreachable, match="run sleep 60: the session broke"):
                each.result(20)
    assert hosts.run(TARGET, hostname)
    assert len(dialler.made) == 2


def test_a_host_that_is_down_is_not_tried_again_by_everyone(
    hosts: Connections, dialler: Dialler, monkeypatch: pytest.MonkeyPatch
) -> None:
    dialler.fail = HostUnreachable("here", "down")
    for _ in range(5):
        with pytest.raises(HostUnreachable, match="down"):
            hosts.run(TARGET, hostname)
    assert dialler.tried == 1
    dialler.fail = None
    monkeypatch.setattr(connection, "RETRY", 0.0)
    assert hosts.run(TARGET, hostname)


def test_an_interrupt_in_the_callers_thread_stops_the_operation(hosts: Connections) -> None:
    stopped = threading.Event()
    running = threading.Event()

    async def endless(_: Host) -> None:
        running.set()
        try:
            await asyncio.Event().wait()
        finally:
            stopped.set()

    def interrupted() -> None:
        running.wait(20)
        os.kill(os.getpid(), signal.SIGINT)

    helper = threading.Thread(target=interrupted)
    # a shell has what it starts in the background ignore interrupts; then Python does, too
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        helper.start()
        with pytest.raises(KeyboardInterrupt):
            hosts.run(TARGET, endless)
    finally:
        signal.signal(signal.SIGINT, before)
    helper.join()
    assert stopped.wait(20)


def test_errors_of_an_operation_are_its_own(hosts: Connections, dialler: Dialler) -> None:
    async def fails(_: Host) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        hosts.run(TARGET, fails)
    hosts.run(TARGET, hostname)
    assert len(dialler.made) == 1


def test_every_operation_has_its_own_deadline(hosts: Connections) -> None:
    async def slow(host: Host) -> None:
        await host.run(["sleep", "60"], deadline=0.2)

    begin = time.monotonic()
    with pytest.raises(DeadlineExceeded, match=r"here: run sleep 60: not done after 0\.2 s, stopped"):
        hosts.run(TARGET, slow)
    assert time.monotonic() - begin < 30


@pytest.mark.parametrize("address", ["-oProxyCommand=touch /tmp/x", "", " "])
def test_an_address_is_never_an_option(address: str) -> None:
    with pytest.raises(HostUnreachable, match="is not an address"):
        asyncio.run(connect(Target("here", address)))


def test_there_is_no_ssh(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(HostUnreachable, match="there is no ssh on this machine"):
        asyncio.run(connect(TARGET))


@pytest.mark.parametrize("fork", [False, True])
def test_a_process_ends_at_once_and_silently_with_connections_open(fork: bool) -> None:
    program = """
import os, sys
from hosts.connection import Connections, Target
from tests.local_host import start

async def dial(target):
    return await start(name=target.name)

async def read(host):
    return await host.read("/proc/sys/kernel/ostype")

hosts = Connections(dial)
print(hosts.run(Target("here", "x"), read), flush=True)
if sys.argv[1] == "True" and os.fork():  # the child has a connection of its own
    os.wait()
    print(hosts.run(Target("here", "x"), read))
elif sys.argv[1] == "True":
    print(hosts.run(Target("here", "x"), read), flush=True)
"""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program, str(fork)], cwd=ROOT, capture_output=True, timeout=60,
        check=False,
    )  # fmt: skip
    assert done.stderr == b""
    assert done.stdout == b"b'Linux\\n'\n" * (3 if fork else 1)
    assert done.returncode == 0
