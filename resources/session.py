"""The one way from a provider's thread to a host."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

from hosts.errors import HostError, makes_no_sense
from hosts.host import Host
from hosts.ssh import Target
from resources.orphan import end_with_engine

T = TypeVar("T")

# A folder of `hosts.fake` machines, one file each: the lifecycle tests run the real engine on them.
FAKE_HOSTS = "MACVLAN_FABRIC_FAKE_HOSTS"


def target(name: str, address: str, ssh_config: str | None) -> Target:
    """How ssh reaches a host. A `~` in the configuration's path is the present user's, not the state's."""
    return Target(name, address, str(Path(ssh_config).expanduser()) if ssh_config else None)


def on_host(name: str, address: str, ssh_config: str | None, operation: Callable[[Host], Awaitable[T]]) -> T:
    """Do something on a host over this process's one connection to it; waits for the result.

    From now on the process ends with its engine. Raises `hosts.errors.HostError`.
    """
    from hosts import loop

    end_with_engine()

    async def work() -> T:
        try:
            return await operation(await session(name, address, ssh_config))
        except (HostError, AssertionError):
            raise
        except Exception as error:  # whatever a host can say
            raise makes_no_sense(name, error) from error

    return loop.run(work())


async def session(name: str, address: str, ssh_config: str | None) -> Host:
    """This process's connection to a host; only on the background loop (`hosts.loop`)."""
    # Imported on first use: a run in which nothing changes needs no host, and not the time to load all this.
    if folder := os.environ.get(FAKE_HOSTS):
        from hosts.fake import FakeHost

        return FakeHost(name, path=Path(folder) / f"{address}.json")
    from hosts.connection import connections

    return await connections.host(target(name, address, ssh_config))
