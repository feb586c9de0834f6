"""How long it takes to talk to a host: `python -m bench.bench_connection -F .lab/ssh_config host1`.

Compares our one connection with what one would do without it: an `ssh` for each command, alone or sharing a
connection (ControlMaster). It makes and deletes VLAN sub-interfaces 3001 and up of the link that is named.
"""

# ruff: noqa: ASYNC221, ASYNC240
# Nothing else is to happen while something is measured.

from __future__ import annotations

import argparse
import asyncio
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path

from hosts.connection import RemoteHost, connect
from hosts.host import Link
from hosts.ssh import Target

FIRST = 3001  # VLAN id
MANY = 100


def show(what: str, seconds: Iterable[float]) -> None:
    times = sorted(seconds)
    print(f"{what:<58} {statistics.median(times) * 1000:9.2f} {times[0] * 1000:9.2f} {times[-1] * 1000:9.2f}")


def timed(times: int, work: Callable[[], object]) -> list[float]:
    seconds = []
    for _ in range(times):
        begin = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - begin)
    return seconds


async def awaited(times: int, work: Callable[[], Awaitable[object]]) -> list[float]:
    seconds = []
    for _ in range(times):
        begin = time.perf_counter()
        await work()
        seconds.append(time.perf_counter() - begin)
    return seconds


async def start(target: Target, *, fresh: bool) -> None:
    host = await connect(target, fresh=fresh)
    await host.links()
    await host.close()


async def operations(host: RemoteHost, link: Link) -> None:
    names = [f"{link.name}.{FIRST + number}" for number in range(MANY)]
    show("read a file", await awaited(200, lambda: host.read("/etc/hostname")))
    show("write a file (fsync)", await awaited(100, lambda: host.write("/run/bench-connection", b"x" * 1000)))
    await host.remove("/run/bench-connection")
    show("run a program (true)", await awaited(100, lambda: host.run(["true"])))
    show("list the links", await awaited(100, host.links))

    made: list[int] = []

    async def add() -> None:
        made[:] = await asyncio.gather(
            *(host.add_vlan(name, link.index, FIRST + number) for number, name in enumerate(names))
        )

    async def up() -> None:
        await asyncio.gather(*(host.set_link(index, up=True, alias="bench") for index in made))

    async def delete() -> None:
        await asyncio.gather(*(host.delete_link(index) for index in made))

    show(f"{MANY} sub-interfaces: add", await awaited(1, add))
    show(f"{MANY} sub-interfaces: set up, with alias", await awaited(1, up))
    show(f"{MANY} sub-interfaces: list for the first time", await awaited(1, host.links))
    show(f"{MANY} sub-interfaces: list again", await awaited(20, host.links))
    show(f"{MANY} sub-interfaces: delete", await awaited(1, delete))

    async def together() -> None:
        await asyncio.gather(*(host.read("/etc/hostname") for _ in range(64)))

    show("64 reads at once, all together", await awaited(10, together))
    content = b"x" * (16 << 20)
    show(
        "16 MiB to the host and back, through `cat`",
        await awaited(3, lambda: host.run(["cat"], stdin=content)),
    )


async def ours(target: Target, link_name: str) -> None:
    show("connect, be root, list the links", await awaited(7, lambda: start(target, fresh=True)))
    host = await connect(target)
    link = next((link for link in await host.links() if link.name == link_name), None)
    if link is None:
        sys.exit(f"{target.name} has no link {link_name}")
    try:
        await operations(host, link)
    finally:
        await host.close()


async def shared(target: Target, folder: Path) -> None:
    """Everything over a connection that is there already, as ControlMaster makes it."""
    config = folder / "ssh_config"
    config.write_text(
        f"Host *\n ControlMaster auto\n ControlPath {folder}/%C\n ControlPersist 60\n"
        f"Include {Path(target.ssh_config or '~/.ssh/config').absolute()}\n"
    )
    over = Target(target.name, target.address, str(config))
    ssh = ("ssh", "-F", str(config), target.address)
    subprocess.run([*ssh, "true"], check=True)
    try:
        show(
            "ssh HOST true, sharing a connection",
            timed(10, lambda: subprocess.run([*ssh, "true"], check=True)),
        )
        show(
            "connect, be root, list, sharing a connection", await awaited(7, lambda: start(over, fresh=False))
        )
    finally:
        subprocess.run(
            ["ssh", "-F", str(config), "-O", "exit", target.address], stderr=subprocess.DEVNULL, check=True
        )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("host", help="as ssh knows it")
    parser.add_argument("-F", dest="config", help="ssh's configuration")
    parser.add_argument("--link", default="eth2", help="parent for the VLANs (default: eth2)")
    arguments = parser.parse_args()
    target = Target(arguments.host, arguments.host, arguments.config)
    option = ["-F", arguments.config] if arguments.config else []

    print(f"{'milliseconds':<58} {'median':>9} {'least':>9} {'most':>9}")
    python = [sys.executable, "-c"]
    show("import pyroute2 (while ssh connects)",
         timed(5, lambda: subprocess.run([*python, "import pyroute2"], check=True)))  # fmt: skip
    show(
        "ssh HOST true",
        timed(7, lambda: subprocess.run(["ssh", *option, arguments.host, "true"], check=True)),
    )
    with tempfile.TemporaryDirectory(dir="/tmp", prefix="bench-") as folder:  # short, for a socket
        asyncio.run(shared(target, Path(folder)))
    asyncio.run(ours(target, arguments.link))


if __name__ == "__main__":
    main()
