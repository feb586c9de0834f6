"""One host's end of its trunks."""

from __future__ import annotations

from collections.abc import Sequence

import pulumi

from model.fabric import HostPlan
from resources import BootUnit, HostRef, SubInterface


class VlanTrunk(pulumi.ComponentResource):
    """The sub-interfaces of one host, one per VLAN it takes part in, that outlive a reboot.

    `links` maps each interface name to its resource, so that whatever sits on a sub-interface
    depends on this one alone. `after` must be in place before the first address is.
    """

    def __init__(
        self,
        plan: HostPlan,
        at: HostRef,
        boot: BootUnit,
        after: Sequence[pulumi.Resource] = (),
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        super().__init__("macvlan-fabric:net:VlanTrunk", at.machine, None, opts)
        self.links: dict[str, SubInterface] = {}
        for link in plan.links:
            on = self.links.get(link.parent)  # set where the parent is a sub-interface of ours
            self.links[link.name] = SubInterface(
                f"{at.machine}-{link.name}",
                at,
                link,
                adopt=plan.host.adopt,
                persistence=plan.host.persistence,
                opts=pulumi.ResourceOptions(
                    parent=self,
                    depends_on=[boot, *after, *([on] if on is not None else [])],
                    deleted_with=boot,
                ),
            )
        self.register_outputs({"links": list(self.links)})
