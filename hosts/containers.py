"""Containers that have to let something go before the engine comes to them."""

from __future__ import annotations

import json

from hosts.change import Change
from hosts.errors import HostError
from hosts.host import Host
from hosts.ownership import DOCKER_LABEL


async def ensure_detached(host: Host, container: str, network: str, owner: str) -> Change:
    """Take the owner's container off a docker network, so that its address there is free.

    Nothing happens if it is not there or not on the network, or if the container is somebody else's.
    """
    found = await host.run(["docker", "inspect", "--type", "container", container])
    if found.status:
        return Change()
    facts = json.loads(found.stdout)[0]
    if facts["Config"]["Labels"].get(DOCKER_LABEL) != owner:
        return Change()
    if network not in facts["NetworkSettings"]["Networks"]:
        return Change()
    done = await host.run(["docker", "network", "disconnect", "--force", network, facts["Id"]])
    if done.status:
        complaint = done.stderr.decode(errors="replace").strip()
        raise HostError(host.name, f"{container} cannot be taken off {network}: {complaint}")
    return Change((f"took {container} off {network}",))
