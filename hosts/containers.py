"""Containers that have to let something go before the engine comes to them."""

from __future__ import annotations

import asyncio
import json

from hosts.change import Change
from hosts.errors import HostError
from hosts.host import Host
from hosts.ownership import DOCKER_LABEL

ATTEMPTS = 20
PAUSE = 0.25  # seconds between two


async def ensure_detached(host: Host, container: str, network: str, owner: str) -> Change:
    """Take the owner's container off a docker network, so that its address there is free.

    Nothing happens if it is not there or not on the network, or if the container is somebody else's.
    """
    complaint = ""
    for attempt in range(ATTEMPTS):
        if attempt:  # the engine may be about to remove the container; then Docker refuses until it is gone
            await asyncio.sleep(PAUSE)
        identity = await _attached(host, container, network, owner)
        if identity is None:
            return Change()
        done = await host.run(["docker", "network", "disconnect", "--force", network, identity])
        if done.status == 0:
            return Change((f"took {container} off {network}",))
        complaint = done.stderr.decode(errors="replace").strip()
    raise HostError(host.name, f"{container} cannot be taken off {network}: {complaint}")


async def _attached(host: Host, container: str, network: str, owner: str) -> str | None:
    """The id of the owner's container of that name, if it is on the network."""
    found = await host.run(["docker", "inspect", "--type", "container", container])
    if found.status:
        return None
    facts = json.loads(found.stdout)[0]
    if facts["Config"]["Labels"].get(DOCKER_LABEL) != owner:
        return None
    return str(facts["Id"]) if network in facts["NetworkSettings"]["Networks"] else None
