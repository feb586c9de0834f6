"""What makes a host's fabric outlive a reboot: the unit that replays it, shared by all stacks there."""

from __future__ import annotations

from collections.abc import Sequence

import pulumi
from pulumi.dynamic import ConfigureRequest, CreateResult, DiffResult, UpdateResult

from hosts.adoption import Adoption
from hosts.boot import ensure_boot_unit, read_boot_unit
from hosts.change import Change
from hosts.errors import HostUnreachable
from hosts.host import Host
from hosts.leave import leave
from hosts.leftovers import remove_adopted_containers
from resources.host_ref import HostRef
from resources.lost import TOPOLOGY, LostHosts, lost_hosts
from resources.provider import MARK, HostProvider, HostResource, Properties
from resources.session import on_host


class BootUnitProvider(HostProvider):
    """The oneshot unit and its program, with this stack among those that count on it.

    It stands for the stack on its host: removing it removes everything, in one session and in the right
    order. So whatever else is there is declared to be deleted with it, and a host that is lost
    for good is let go of by not asking it.
    """

    wish = ("docker", "adopted", "adopted_as")
    object = "boot"
    lost: LostHosts = LostHosts()

    def configure(self, req: ConfigureRequest) -> None:
        self.lost = lost_hosts(req.config.get(TOPOLOGY))

    def diff(self, id_: str, olds: Properties, news: Properties) -> DiffResult:
        """As for all kinds; and one of an earlier release gets the mark by which its machine is known."""
        result = super().diff(id_, olds, news)
        return DiffResult(bool(result.changes or not olds.get(MARK)), result.replaces)

    async def ensure(self, host: Host, props: Properties) -> Change:
        return await ensure_boot_unit(host, props["owner"])

    def create(self, props: Properties) -> CreateResult:
        _tell_what_is_adopted({}, props)
        return super().create(props)

    async def differences(self, host: Host, props: Properties) -> Sequence[str]:
        return (await read_boot_unit(host, props["owner"])).differences()

    def update(self, id_: str, olds: Properties, news: Properties) -> UpdateResult:
        _tell_what_is_adopted(olds, news)
        before, now = _adopted(olds), _adopted(news)
        let_go = [each for each in before if each not in now and before[each].startswith("container ")]
        if let_go:
            on_host(
                news["host"],
                news["address"],
                news.get("ssh_config"),
                lambda host: remove_adopted_containers(host, let_go),
            )
        return super().update(id_, olds, news)

    def delete(self, id_: str, props: Properties) -> None:
        if self.lost.covers(props["host"], props["address"]):
            print(f"{props['host']} is lost: nothing was removed there", flush=True)
            return
        try:
            super().delete(id_, props)
        except HostUnreachable as error:
            hint = f"{error.hint}; if it is gone for good: `lost: true` for it in the topology"
            raise HostUnreachable(error.host, error.message, hint) from None

    async def take_away(self, host: Host, props: Properties) -> Change:
        return await leave(
            host,
            props["owner"],
            _adopted(props),
            docker=bool(props.get("docker")),
            may_touch_session=bool(props.get("may_touch_session")),
        )


def _adopted(props: Properties) -> dict[str, str]:
    """What was taken over, by docker's id: `network mac_net10`."""
    return props.get("adopted") or {}


def _tell_what_is_adopted(olds: Properties, news: Properties) -> None:
    for each, name in _adopted(news).items():
        if each not in _adopted(olds):
            print(f"{news['host']}: adopted docker {name}", flush=True)


class BootUnit(HostResource, module="boot", name="BootUnit"):
    """Brings back at boot what the stack has on the host. The first thing we make there, the last to go.

    `docker`: whether the stack has containers or networks there. `adopted`: those that it has taken over,
    which carry no label of ours; a container that is not adopted any more is removed.
    """

    def __init__(
        self,
        name: str,
        at: HostRef,
        *,
        docker: bool = False,
        adopted: Sequence[Adoption] = (),
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        names = {adoption.id: f"{adoption.kind} {adoption.name}" for adoption in adopted}
        wishes = {adoption.id: adoption.wish for adoption in adopted if adoption.wish}
        wish = {"docker": docker, "adopted": names, "adopted_as": wishes or None}
        super().__init__(BootUnitProvider(), name, at.inputs("boot") | wish, opts)
