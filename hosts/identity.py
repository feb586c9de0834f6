"""Which machine it is that a session has reached, so that two names for one are seen."""

from __future__ import annotations

import asyncio

from hosts.host import Host

# Drawn by the kernel at every boot (Documentation/admin-guide/sysctl/kernel.rst); containers share it.
BOOT_ID = "/proc/sys/kernel/random/boot_id"
NETWORK_NAMESPACE = "/proc/self/ns/net"  # namespaces(7)


async def read_identity(host: Host) -> str:
    """Equal for two sessions if they have reached the same network stack; another one after every boot.

    "" if the host does not say.
    """
    boot, namespace = await asyncio.gather(host.read(BOOT_ID), host.run(["readlink", NETWORK_NAMESPACE]))
    if not boot or namespace.status:
        return ""
    return f"{boot.decode().strip()} {namespace.stdout.decode().strip()}"
