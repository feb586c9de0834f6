"""What a docker object that is about to be made meets on its host: leftovers of ours make way.

Whatever the engine creates is not in its state, so an object of that name with our label is one that a run
left behind which was killed, or of which the state was lost. Docker's provider would only say that the
name is taken.
"""

from __future__ import annotations

import asyncio

import pulumi

from hosts import loop
from hosts.change import Change
from hosts.leftovers import remove_leftover_container, remove_leftover_network
from resources.host_ref import HostRef
from resources.session import session

CONTAINER = "docker:index/container:Container"


def make_way(at: HostRef) -> pulumi.ResourceHook:
    """To be done before a docker network or container of that host is created.

    Creating fails with a ConflictError if an object of somebody else's is in the way.
    """

    async def remove_leftover(arguments: pulumi.ResourceHookArgs) -> None:
        name = str((arguments.new_inputs or {})["name"])

        async def remove() -> Change:
            host = await session(at.host, at.address, at.ssh_config)
            if arguments.type == CONTAINER:
                return await remove_leftover_container(host, name, at.owner)
            return await remove_leftover_network(host, name, at.owner)

        done = await asyncio.wrap_future(loop.begin(remove()))
        if done:
            pulumi.log.warn(f"{at.host}: {done}, left by an earlier run")

    return pulumi.ResourceHook(f"{at.machine}-leftovers", remove_leftover)
