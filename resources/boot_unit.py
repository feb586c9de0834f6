"""What makes a host's fabric outlive a reboot: the unit that replays it, shared by all stacks there."""

from __future__ import annotations

from collections.abc import Sequence

import pulumi
from pulumi.dynamic import ConfigureRequest, Resource

from hosts.boot import ensure_boot_unit, read_boot_unit
from hosts.change import Change
from hosts.errors import HostUnreachable
from hosts.host import Host
from hosts.leave import leave
from resources.host_ref import HostRef
from resources.lost import lost_hosts
from resources.provider import HostProvider, Properties


class BootUnitProvider(HostProvider):
    """The oneshot unit and its program, with this stack among those that count on it.

    It stands for the stack on its host: removing it removes everything, in one session and in the right
    order. So whatever else is there is declared to be deleted with it, and a host that is lost
    for good is let go of by not asking it.
    """

    wish = ("docker", "adopted")
    lost: frozenset[str] = frozenset()

    def configure(self, req: ConfigureRequest) -> None:
        self.lost = lost_hosts(req.config.get("topology"))

    async def ensure(self, host: Host, props: Properties) -> Change:
        return await ensure_boot_unit(host, props["owner"])

    async def differences(self, host: Host, props: Properties) -> Sequence[str]:
        return (await read_boot_unit(host, props["owner"])).differences()

    def delete(self, id_: str, props: Properties) -> None:
        if props["host"] in self.lost:
            print(f"{props['host']} is lost: nothing was removed there", flush=True)
            return
        try:
            super().delete(id_, props)
        except HostUnreachable as error:
            hint = f"{error.hint}; if it is gone for good: `lost: true` for it in the topology"
            raise HostUnreachable(error.host, error.message, hint) from None

    async def take_away(self, host: Host, props: Properties) -> Change:
        adopted = props.get("adopted") or ()
        return await leave(host, props["owner"], adopted, docker=bool(props.get("docker")))


class BootUnit(Resource, module="boot", name="BootUnit"):
    """Brings back at boot what the stack has on the host. The first thing we make there, the last to go.

    `docker`: whether the stack has containers or networks there. `adopted`: the ids of docker objects that it
    has taken over, which carry no label of ours.
    """

    def __init__(
        self,
        name: str,
        at: HostRef,
        *,
        docker: bool = False,
        adopted: Sequence[str] = (),
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        wish = {"docker": docker, "adopted": sorted(adopted)}
        super().__init__(BootUnitProvider(), name, at.inputs() | wish, opts)
