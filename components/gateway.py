"""The router between the networks."""

from __future__ import annotations

import pulumi

from model.fabric import HostPlan
from resources import BootUnit, Firewall, HostRef, HostResource, Sysctls


class VlanGateway(pulumi.ComponentResource):
    """The gateway host's firewall and forwarding; its addresses are on its `VlanTrunk`.

    The firewall comes first and forwarding second, so that nothing passes unfiltered at any moment
    of an update; `filtering` is what the gateway's sub-interfaces have to wait for.
    """

    def __init__(
        self, plan: HostPlan, at: HostRef, boot: BootUnit, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        name = at.machine
        super().__init__("macvlan-fabric:net:VlanGateway", name, None, opts)
        self.filtering: list[HostResource] = []
        if plan.firewall is not None:
            self.filtering.append(
                Firewall(
                    f"{name}-firewall",
                    at,
                    plan.firewall,
                    opts=pulumi.ResourceOptions(parent=self, depends_on=[boot], deleted_with=boot),
                )
            )
        self.forwarding = Sysctls(
            f"{name}-sysctls",
            at,
            dict(plan.sysctls),
            opts=pulumi.ResourceOptions(parent=self, depends_on=[boot, *self.filtering], deleted_with=boot),
        )
        self.register_outputs({})
