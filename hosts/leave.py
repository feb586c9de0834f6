"""The last thing that a stack does on a host."""

from __future__ import annotations

from hosts.boot import remove_boot_unit
from hosts.change import Change
from hosts.firewall import remove_firewall
from hosts.host import Host
from hosts.links import remove_all_sub_interfaces
from hosts.sysctls import remove_sysctls


async def leave(host: Host, owner: str) -> Change:
    """Remove whatever that owner still has on the host, then what brings it back at boot.

    Usually only the latter is left. But a run that was killed between making an object and recording
    it leaves one that the stack's state knows nothing of, and nobody else would ever remove it.
    """
    done: list[str] = []
    done += (await remove_all_sub_interfaces(host, owner)).done
    done += (await remove_sysctls(host, owner)).done
    done += (await remove_firewall(host, owner)).done
    done += (await remove_boot_unit(host, owner)).done
    return Change(tuple(done))
