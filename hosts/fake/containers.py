"""What runs in a container of a machine in memory: its network namespace, as far as we look into it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from hosts.fake.docker import Docker
from hosts.fake.kernel import Kernel


@dataclass(frozen=True)
class Interface:
    """A macvlan interface that a running container has, or should have."""

    endpoint: str
    name: str
    place: dict[str, Any]
    there: bool  # its parent is the link that it was made on


def interfaces(docker: Docker, kernel: Kernel, pid: int) -> Iterator[Interface]:
    """All of the container whose first process that is; of one that has ended, none."""
    for container in docker.containers:
        if (container.get("State") or {}).get("Pid") == pid:
            for place in container["NetworkSettings"]["Networks"].values():
                endpoint = place.get("EndpointID", "")
                if name := docker.interfaces.get(endpoint):
                    yield Interface(endpoint, name, place, docker.sits_on.get(endpoint) in kernel.links)


def fib_trie(docker: Docker, kernel: Kernel, pid: int) -> bytes | None:
    """/proc/PID/net/fib_trie, shortened; None if there is no such process."""
    pids = {(each.get("State") or {}).get("Pid") for each in docker.containers}
    if pid not in pids:
        return None
    macvlan = {each.place["IPAddress"]: each.there for each in interfaces(docker, kernel, pid)}
    everything = [
        place["IPAddress"]
        for container in docker.containers
        if (container.get("State") or {}).get("Pid") == pid
        for place in container["NetworkSettings"]["Networks"].values()
        if place.get("IPAddress")
    ]
    there = [address for address in everything if macvlan.get(address, True)]
    return "".join(f"           |-- {one}\n              /32 host LOCAL\n" for one in there).encode()


def show(docker: Docker, kernel: Kernel, pid: int) -> str:
    """What `ip -o link show` prints there."""
    lines = ["1: lo: <LOOPBACK,UP> mtu 65536 \\    link/loopback 00:00:00:00:00:00 brd 00:00:00:00:00:00\n"]
    for number, each in enumerate(interfaces(docker, kernel, pid), 2):
        if each.there:
            mac = each.place["MacAddress"]
            lines.append(
                f"{number}: {each.name}@if9: <UP> mtu 1500 \\    link/ether {mac} brd ff:ff:ff:ff:ff:ff\n"
            )
    return "".join(lines)


def make(docker: Docker, kernel: Kernel, words: list[str]) -> tuple[int, str, str]:
    """`hosts.interfaces.MAKE`."""
    parent, name, pid, mac, *_ = words
    index = kernel.link(parent).index
    for each in interfaces(docker, kernel, int(pid)):
        if each.there and each.name == name:
            return 2, "", "RTNETLINK answers: File exists\n"
    for each in interfaces(docker, kernel, int(pid)):
        if each.place["MacAddress"] == mac:
            docker.sits_on[each.endpoint], docker.interfaces[each.endpoint] = index, name
            return 0, "", ""
    raise AssertionError(f"nobody in {pid} has lost {mac}")


def rename(docker: Docker, kernel: Kernel, pid: int, name: str, other: str) -> tuple[int, str, str]:
    """`hosts.interfaces.RENAME`."""
    here = {each.name: each for each in interfaces(docker, kernel, pid) if each.there}
    if name not in here or other in here:
        return 2, "", f"RTNETLINK answers: {'File exists' if other in here else 'No such device'}\n"
    docker.interfaces[here[name].endpoint] = other
    return 0, "", ""


def remove(docker: Docker, kernel: Kernel, pid: int, name: str) -> tuple[int, str, str]:
    """`hosts.interfaces.REMOVE`."""
    for each in interfaces(docker, kernel, pid):
        if each.there and each.name == name:
            docker.sits_on[each.endpoint] = -1
            return 0, "", ""
    return 1, "", f'Cannot find device "{name}"\n'
