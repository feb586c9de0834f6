"""The real agent without ssh: a child process on this machine, for tests."""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TypeVar

from hosts import agent
from hosts.connection import RUNTIME, RemoteHost
from hosts.session import open_session

T = TypeVar("T")

# A network and a mount namespace of its own, in which it may do anything; root is not needed for that.
NAMESPACE = ("unshare", *(() if os.geteuid() == 0 else ("--map-root-user",)), "--net", "--mount")


def pythons() -> list[str]:
    """Every Python on this machine that the agent promises to run on; at least the running one."""
    names = [f"python3.{minor}" for minor in range(6, 20)]
    versions = Path(os.environ.get("PYENV_ROOT", "~/.pyenv")).expanduser() / "versions"
    found = [sys.executable, "/usr/bin/python3", *(path for name in names if (path := shutil.which(name)))]
    found += [str(path) for name in names for path in versions.glob(f"*/bin/{name}")]
    distinct = {Path(path).resolve(): path for path in reversed(found) if is_program(Path(path))}
    return sorted(distinct.values())


def is_program(path: Path) -> bool:
    """Is it there, and not one of the scripts by which version managers choose a Python?"""
    try:
        with path.open("rb") as file:
            return file.read(2) != b"#!"
    except OSError:
        return False


def command(python: str = sys.executable) -> tuple[str, ...]:
    return (python, "-ISc", agent.BOOTSTRAP, *agent.BOOTSTRAP_ARGUMENTS)


async def start(
    prefix: Sequence[str] = (), *, python: str = sys.executable, runtime: str = RUNTIME, name: str = "here"
) -> RemoteHost:
    session, greeting = await open_session(name, [*prefix, *command(python)], deadline=20)
    return RemoteHost(session, greeting, runtime=runtime)


@asynccontextmanager
async def host(
    prefix: Sequence[str] = (), *, python: str = sys.executable, runtime: str = RUNTIME, name: str = "here"
) -> AsyncIterator[RemoteHost]:
    """This machine as a `RemoteHost`; `prefix` is what starts the agent, as ssh would."""
    remote = await start(prefix, python=python, runtime=runtime, name=name)
    try:
        yield remote
    finally:
        await remote.close()


def on_host(operation: Callable[[RemoteHost], Awaitable[T]], prefix: Sequence[str] = (), **options: str) -> T:
    """Start an agent, do something on it, end it."""

    async def work() -> T:
        async with host(prefix, **options) as remote:
            return await operation(remote)

    return asyncio.run(work())
