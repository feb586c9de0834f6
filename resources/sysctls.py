"""A host's kernel parameters, as far as the fabric needs them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pulumi

from hosts.change import Change
from hosts.host import Host
from hosts.sysctls import OBJECT, ensure_sysctls, remove_sysctls, sysctl_differences
from resources.host_ref import HostRef
from resources.provider import HostProvider, HostResource, Properties


class SysctlsProvider(HostProvider):
    """All parameters of one host, shared with whoever else needs the same values there."""

    wish = ("values",)
    object = OBJECT

    async def ensure(self, host: Host, props: Properties) -> Change:
        return await ensure_sysctls(host, props["values"], props["owner"])

    async def differences(self, host: Host, props: Properties) -> Sequence[str]:
        return await sysctl_differences(host, props["values"], props["owner"])

    async def take_away(self, host: Host, props: Properties) -> Change:
        return await remove_sysctls(host, props["owner"])


class Sysctls(HostResource, module="net", name="Sysctls"):
    """Kernel parameters of a host by dotted key, in force also after a reboot."""

    def __init__(
        self, name: str, at: HostRef, values: Mapping[str, str], opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__(SysctlsProvider(), name, at.inputs("sysctls") | {"values": dict(values)}, opts)
