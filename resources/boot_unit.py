"""What makes a host's fabric outlive a reboot: the unit that replays it, shared by all stacks there."""

from __future__ import annotations

from collections.abc import Sequence

import pulumi
from pulumi.dynamic import Resource

from hosts.boot import ensure_boot_unit, read_boot_unit
from hosts.change import Change
from hosts.host import Host
from hosts.leave import leave
from resources.host_ref import HostRef
from resources.provider import HostProvider, Properties


class BootUnitProvider(HostProvider):
    """The oneshot unit and its program, with this stack among those that count on it."""

    async def ensure(self, host: Host, props: Properties) -> Change:
        return await ensure_boot_unit(host, props["owner"])

    async def differences(self, host: Host, props: Properties) -> Sequence[str]:
        return (await read_boot_unit(host, props["owner"])).differences()

    async def take_away(self, host: Host, props: Properties) -> Change:
        return await leave(host, props["owner"])


class BootUnit(Resource, module="boot", name="BootUnit"):
    """Brings back at boot what the stack has on the host. The first thing we make there, the last to go."""

    def __init__(self, name: str, at: HostRef, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__(BootUnitProvider(), name, at.inputs(), opts)
