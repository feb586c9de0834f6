"""The interfaces of running containers on their networks, where Docker does not look again.

Docker puts a macvlan interface into a container's network namespace when the container joins a network, and
counts on it from then on. The kernel removes it when its parent goes (macvlan_device_event), and Docker
neither notices nor brings it back before the container starts anew. Here it is made again, as Docker had
made it: same name, same MAC address, same addresses and routes. The container runs on.

Docker gives an interface the next number that it has not used yet (before 28), so a container that
leaves a network and joins it again finds its eth0 called eth1. That is put right, too.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Collection, Iterable

from hosts.docker import ContainerFacts, NetworkFacts, disconnect
from hosts.errors import HostError
from hosts.host import Host

MAKE = """\
ip link add link "$1" name "$2" netns "$3" address "$4" type macvlan mode "$5"
exec nsenter --net="/proc/$3/ns/net" sh -ec '
  echo 1 >"/proc/sys/net/ipv6/conf/$1/disable_ipv6" 2>/dev/null || true  # as Docker does without IPv6
  [ -z "$4" ] || ip link set dev "$1" mtu "$4"
  ip address add "$2" broadcast + dev "$1"
  ip link set dev "$1" up
  [ -z "$3" ] || ip route replace default via "$3" dev "$1"
' sh "$2" "$6" "$7" "$8"
"""
RENAME = """\
exec nsenter --net="/proc/$1/ns/net" sh -ec '
  default=$(ip route show default dev "$1")
  ip link set dev "$1" down
  ip link set dev "$1" name "$2"
  ip link set dev "$2" up
  [ -z "$default" ] || ip route replace $default dev "$2"
' sh "$2" "$3"
"""
REMOVE = 'exec nsenter --net="/proc/$1/ns/net" ip link delete dev "$2"'
SHOW = 'exec nsenter --net="/proc/$1/ns/net" ip -o link show'


async def lost_interfaces(
    host: Host, containers: Iterable[ContainerFacts]
) -> tuple[tuple[ContainerFacts, str], ...]:
    """(container, network) wherever one that runs has no longer the address that Docker says it has."""
    running = [container for container in containers if container.pid]
    tables = await asyncio.gather(*(_local_addresses(host, container.pid) for container in running))
    return tuple(
        (container, network)
        for container, here in zip(running, tables, strict=True)
        for network, attached in container.networks.items()
        if here is not None and attached.present and str(attached.present) not in here
    )


async def _local_addresses(host: Host, pid: int) -> frozenset[str] | None:
    """The IPv4 addresses of a process's network namespace (proc_pid_net(5)); None if it has ended."""
    table = await host.read(f"/proc/{pid}/net/fib_trie")
    if table is None:
        return None
    return frozenset(re.findall(r"\|-- ([0-9.]+)\n +/32 host LOCAL", table.decode(errors="replace")))


async def make_interface(host: Host, container: ContainerFacts, network: NetworkFacts) -> None:
    """Make an interface again that a running container has lost, with the default route if it led there."""
    attached = container.networks[network.name]
    names = await _interfaces(host, container)
    if held := names.pop(attached.mac, None):  # it is down, or without its address
        await _run(host, container, network.name, REMOVE, str(container.pid), held)
    name = held or _name(container, network.name, list(names.values()))
    default = network.name == min(container.networks)  # Docker's choice: see `model.homing`
    await _run(
        host,
        container,
        network.name,
        MAKE,
        network.parent or "",
        name,
        str(container.pid),
        attached.mac,
        network.mode,
        f"{attached.present}/{attached.prefix}",
        str(attached.gateway) if default and attached.gateway else "",
        network.mtu or "",
    )


async def name_as_before(host: Host, container: ContainerFacts, network: str) -> None:
    """Call an interface that Docker has just made as it was called before.

    Nothing happens if the container does not run, or the interface has a name of another kind.
    """
    names = await _interfaces(host, container) if container.pid else {}
    present = names.get(container.networks[network].mac)
    if present is None or not re.fullmatch(r"eth\d+", present):
        return
    name = _name(container, network, [each for each in names.values() if each != present])
    if name != present:
        await _run(host, container, network, RENAME, str(container.pid), present, name)


async def take_off(host: Host, container: ContainerFacts, network: str) -> None:
    """Take a container off a docker network, with its interface.

    Docker removes that one by the name that it gave; one that was renamed here it would leave.
    """
    await disconnect(host, container, network)
    if not container.pid:
        return
    if left := (await _interfaces(host, container)).get(container.networks[network].mac):
        await _run(host, container, network, REMOVE, str(container.pid), left)


def _name(container: ContainerFacts, network: str, taken: Collection[str]) -> str:
    """The name of an interface: the only one that is free, or if others are missing, too, in their order."""
    place = sorted(container.networks).index(network)
    choices = (f"eth{number}" for number in (place, *range(len(taken) + 1)))
    return next(name for name in choices if name not in taken)


async def _interfaces(host: Host, container: ContainerFacts) -> dict[str, str]:
    """The names of a container's interfaces, by MAC address; none if it has ended."""
    shown = await host.run(["sh", "-c", SHOW, "sh", str(container.pid)])
    lines = shown.stdout.decode(errors="replace")
    return {
        mac: name for name, mac in re.findall(r"^\d+: ([^:@]+)[@:].* link/\S+ (\S+)", lines, re.MULTILINE)
    }


async def _run(host: Host, container: ContainerFacts, network: str, script: str, *words: str) -> None:
    done = await host.run(["sh", "-ec", script, "sh", *words])
    if done.status:
        raise HostError(
            host.name,
            f"the interface of {container.name} on {network} cannot be put right: "
            f"{done.stderr.decode(errors='replace').strip()}",
            f"restart the container, which has Docker make it anew: docker restart {container.name}",
        )
