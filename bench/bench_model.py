"""How long the model takes, and how much memory, as a fabric grows.

    python bench/bench_model.py [SIZE ...]

A fabric of size N has N hosts, N networks and 25 N containers on one trunk. Its policy is what a company
would write: teams of ten networks, in each of which the first may ask the next on some ports, and so
on; everybody may use the two shared networks; a few single containers are let through. One container
in fifty is on two networks, one in ten has a static address. Each size is a process of its own, which reads
the fabric as YAML, plans it and reports what reaches what; times are CPU seconds.
"""

from __future__ import annotations

import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import TypeVar

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parent.parent))

from model.fabric import plan
from model.loading import load
from model.reachability import report
from model.topology import (
    Allow,
    Attachment,
    Container,
    Gateway,
    Host,
    Network,
    Ports,
    Topology,
    Traffic,
    Trunk,
)

T = TypeVar("T")

SIZES = (1, 5, 10, 25, 50, 100, 200)
PER_HOST = 25  # containers
TEAM = 10  # networks

WEB = (Traffic("tcp", (Ports(80, 80), Ports(443, 443), Ports(8000, 8080))), Traffic("icmp"))
DATABASE = (Traffic("tcp", (Ports(5432, 5432),)),)
NAMES = (Traffic("tcp", (Ports(53, 53),)), Traffic("udp", (Ports(53, 53),)))


def company(size: int) -> Topology:
    """The fabric of that size."""
    hosts = tuple(Host(f"host{i}", f"host{i}", (Trunk("trunk", "eth2"),)) for i in range(size))
    networks = tuple(_network(i) for i in range(size))
    containers = tuple(_container(i, size) for i in range(size * PER_HOST))
    names = tuple(network.name for network in networks)
    return Topology(hosts, networks, containers, Gateway("host0", names, "routed", tuple(_policy(size))))


def _network(number: int) -> Network:
    first = (10 << 24) + (number << 8)
    return Network(f"net{number}", number + 1, IPv4Network((first, 24)), IPv4Address(first + 1))


def _container(number: int, size: int) -> Container:
    home, round_ = number % size, number // size
    address = IPv4Address((10 << 24) + (home << 8) + 10 + round_) if number % 10 == 0 else None
    attachments = [Attachment(f"net{home}", address)]
    if number % 50 == 7 and size > 1:
        attachments.append(Attachment(f"net{(home + 1) % size}"))
    host = (number * 7 + round_) % size
    return Container(f"c{number}", f"host{host}", tuple(attachments), "busybox:latest")


def _policy(size: int) -> Iterator[Allow]:
    shared = range(min(2, size))
    for number in range(size):
        yield from (Allow(f"net{number}", f"net{s}", False, NAMES) for s in shared if number not in shared)
        if number % TEAM and number + 1 < size:
            traffic = (WEB, DATABASE)[number % 2]
            yield Allow(f"net{number}", f"net{number + 1}", both=False, traffic=traffic)
    for number in range(0, size * PER_HOST - 1, 101):
        if size > 1:
            yield Allow(f"c{number}", f"c{number + 1}", traffic=DATABASE)


def timed(work: Callable[[], T]) -> tuple[float, T]:
    """CPU seconds that it took, and its result."""
    start = time.process_time()
    result = work()
    return time.process_time() - start, result


def measure(size: int, text: str) -> None:
    """Print one row for a fabric of that size, as it is written."""
    loading, topology = timed(lambda: load(text, "bench.yaml"))
    planning, fabric = timed(lambda: plan(topology, "bench/model"))
    reporting, result = timed(lambda: report(topology, fabric))
    total = loading + planning + reporting
    firewall = fabric.hosts[0].firewall
    rules = sum(len(chain.rules) for chain in firewall.chains) if firewall else 0
    exceptions = sum(map(len, result.exceptions.values()))
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024  # KiB on Linux
    print(
        f"{size:5} {len(topology.containers):10} {rules:6} {exceptions:10} "
        f"{loading:8.3f} {planning:8.3f} {reporting:8.3f} {total:8.3f} {memory:8.0f}",
        flush=True,
    )


def main(arguments: list[str]) -> None:
    """One process per size, or measure in this one if it is called with `--one SIZE`."""
    if arguments[:1] == ["--one"]:
        measure(int(arguments[1]), sys.stdin.read())
        return
    from tests import rendering  # loads much that would count as memory of the model

    print(" size containers  rules exceptions   load s   plan s report s  total s  peak MB", flush=True)
    for size in arguments or SIZES:
        text = rendering.text(company(int(size)))
        subprocess.run([sys.executable, __file__, "--one", str(size)], input=text, text=True, check=True)


if __name__ == "__main__":
    main(sys.argv[1:])
