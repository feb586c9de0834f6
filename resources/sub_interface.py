"""A sub-interface with its addresses, and the file that brings it back at boot."""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import IPv4Interface

import pulumi
from pulumi.dynamic import CheckResult

from hosts.change import Change
from hosts.host import Host
from hosts.links import ensure_sub_interface, is_gone, read_sub_interface, remove_sub_interface
from model import fabric
from model.topology import Persistence
from resources.host_ref import HostRef
from resources.provider import FOUND, SEED, HostProvider, HostResource, Properties


class SubInterfaceProvider(HostProvider):
    """A link of the trunk, or on one of ours."""

    wish = ("name", "parent", "vlan", "mtu", "addresses", "settings", "persistence")
    identity = ("owner", "name")

    def check(self, olds: Properties, news: Properties) -> CheckResult:
        """Name the link's incarnation, as long as it is not recorded under one already.

        A link that was deleted has taken the interfaces of the containers on it along (Linux,
        macvlan_device_event), so what sits on it must be made anew, too: it refers to the incarnation.
        """
        result = super().check(olds, news)
        gone = is_gone(result.inputs["name"]) in (result.inputs.get(FOUND) or ())
        made = self.word("incarnation", result.inputs, news.get(SEED) or "")
        result.inputs["incarnation"] = (not gone and olds.get("incarnation")) or made
        return result

    def id_of(self, props: Properties) -> str:
        return f"{props['host']}/{props['name']}"

    def object_of(self, props: Properties) -> str:
        return str(props["name"])

    async def ensure(self, host: Host, props: Properties) -> Change:
        change = await ensure_sub_interface(
            host,
            _wished(props),
            props["owner"],
            adopt=bool(props.get("adopt")),
            may_touch_session=bool(props.get("may_touch_session")),
            persistence=_persistence(props),
        )
        for clause in change.done:
            if clause.startswith("adopted"):
                print(f"{host.name}: {clause}", flush=True)  # the engine shows it beside the resource
        return change

    async def differences(self, host: Host, props: Properties) -> Sequence[str] | None:
        facts = await read_sub_interface(host, props["name"], props["owner"])
        wished = _wished(props)
        if facts is None or not facts.ours or (facts.parent, facts.vlan) != (wished.parent, wished.vlan):
            return None  # what is there, if anything, has to make way
        return facts.differences(wished, props["owner"], _persistence(props), adopt=bool(props.get("adopt")))

    async def take_away(self, host: Host, props: Properties) -> Change:
        return await remove_sub_interface(
            host, props["name"], props["owner"], may_touch_session=bool(props.get("may_touch_session"))
        )


def _wished(props: Properties) -> fabric.SubInterface:
    return fabric.SubInterface(
        props["name"],
        props["parent"],
        props.get("vlan"),
        props.get("mtu"),
        tuple(IPv4Interface(address) for address in props["addresses"]),
        tuple(sorted((props.get("settings") or {}).items())),
    )


def _persistence(props: Properties) -> Persistence:
    persistence: Persistence = props.get("persistence") or "unit"
    return persistence


class SubInterface(HostResource, module="net", name="SubInterface"):
    """A link that we make on a host, up, with its addresses, back after a reboot."""

    incarnation: pulumi.Output[str]  # another one for every time it was made

    def __init__(
        self,
        name: str,
        at: HostRef,
        want: fabric.SubInterface,
        *,
        adopt: bool = False,
        persistence: Persistence = "unit",
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        wish = {
            "name": want.name,
            "parent": want.parent,
            "vlan": want.vlan,
            "mtu": want.mtu,
            "addresses": [str(address) for address in want.addresses],
            "settings": dict(want.settings),
            "adopt": adopt,
            "persistence": persistence if persistence != "unit" else None,  # as in states of before
            "incarnation": None,  # by `check`
        }
        super().__init__(SubInterfaceProvider(), name, at.inputs(f"link {want.name}") | wish, opts)
