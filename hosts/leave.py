"""The last thing that a stack does on a host."""

from __future__ import annotations

from collections.abc import Collection

from hosts.boot import remove_boot_unit
from hosts.change import Change
from hosts.firewall import remove_firewall
from hosts.host import Host
from hosts.leftovers import remove_docker_objects
from hosts.links import remove_all_sub_interfaces
from hosts.sysctls import remove_sysctls


async def leave(
    host: Host,
    owner: str,
    adopted: Collection[str] = (),
    *,
    docker: bool = False,
    may_touch_session: bool = False,
) -> Change:
    """Remove whatever that owner has on the host: containers, networks, links, and what brings them back.

    That includes what a run that was killed has left between making and recording it. `adopted` are the ids
    of docker objects that were taken over; `docker` tells that there are docker objects, so that its
    daemon must answer. Raises ConflictError if others have come to rely on something of ours.
    """
    done: list[str] = []
    done += (await remove_docker_objects(host, owner, adopted, expected=docker or bool(adopted))).done
    done += (await remove_all_sub_interfaces(host, owner, may_touch_session=may_touch_session)).done
    done += (await remove_sysctls(host, owner)).done
    done += (await remove_firewall(host, owner)).done
    done += (await remove_boot_unit(host, owner)).done
    return Change(tuple(done))
