"""What is done around the making of docker objects: what is in the way goes first, who was on it comes back.

Whatever the engine creates is not in its state, so an object of that name with our label is one that a run
left behind which was killed, or of which the state was lost. Docker's provider would only say that the
name is taken. And a docker network that is replaced has running containers on it: they are taken off, run
on, and are put on the new one as soon as it is there.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from ipaddress import IPv4Network
from typing import Any, TypeVar

import pulumi

from hosts import loop
from hosts.change import Change
from hosts.containers import ensure_on
from hosts.docker import read_network
from hosts.host import Host
from hosts.leftovers import make_way_for_network, remove_leftover_container, vacate_network
from model.fabric import HostPlan
from resources.host_ref import HostRef
from resources.session import session
from resources.state import CONTAINER, NETWORK

AT_MOST = 3  # failures of one removal

T = TypeVar("T")


def make_way(at: HostRef) -> pulumi.ResourceHook:
    """To be done before a docker network or container of that host is created.

    Creating fails with a ConflictError if an object of somebody else's is in the way.
    """

    async def remove(host: Host, kind: str, inputs: dict[str, Any]) -> Change:
        name = str(inputs["name"])
        if kind == CONTAINER:
            return await remove_leftover_container(host, name, at.owner)
        parent = (inputs.get("options") or {}).get("parent")
        subnets = [IPv4Network(str(each["subnet"])) for each in inputs.get("ipamConfigs") or ()]
        return await make_way_for_network(host, name, parent, subnets, at.owner)

    async def remove_leftover(arguments: pulumi.ResourceHookArgs) -> None:
        host = await _elsewhere(session(at.host, at.address, at.ssh_config))
        done = await _elsewhere(remove(host, arguments.type, dict(arguments.new_inputs or {})))
        if done:
            pulumi.log.warn(f"{at.host}: {done}, to make way")

    return pulumi.ResourceHook(f"{at.machine}-leftovers", remove_leftover)


def put_back(at: HostRef, plan: HostPlan) -> pulumi.ResourceHook:
    """To be done after a docker network of that host was created: its containers that run are put on it."""

    async def attach(arguments: pulumi.ResourceHookArgs) -> None:
        name = str((arguments.new_inputs or {})["name"])
        addresses = {
            container.name: attachment.address
            for container in plan.containers
            for attachment in container.attachments
            if attachment.network == name and attachment.address is not None
        }
        host = await _elsewhere(session(at.host, at.address, at.ssh_config))
        await _elsewhere(ensure_on(host, name, addresses, at.owner))

    return pulumi.ResourceHook(f"{at.machine}-put-back", attach)


def vacate(at: HostRef) -> pulumi.ErrorHook:
    """To be done when an operation on a docker network of that host has failed.

    If it was to be removed, and containers of ours were on it, they are taken off, and it is tried again. So
    it is if it is gone by now: another network that needed its place was quicker.
    """

    async def take_off(failure: pulumi.ErrorHookArgs) -> bool:
        if failure.failed_operation != "delete" or failure.type != NETWORK:
            return False
        name = str((failure.old_inputs or {})["name"])
        host = await _elsewhere(session(at.host, at.address, at.ssh_config))
        taken_off = await _elsewhere(vacate_network(host, name, at.owner))
        gone = len(failure.errors) < AT_MOST and await _elsewhere(read_network(host, name)) is None
        return bool(taken_off) or gone

    return pulumi.ErrorHook(f"{at.machine}-vacate", take_off)


async def _elsewhere(work: Coroutine[Any, Any, T]) -> T:
    """Do it on the loop on which all sessions live."""
    return await asyncio.wrap_future(loop.begin(work))
