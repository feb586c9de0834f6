"""macvlan-fabric: from the topology in the stack's configuration to a running VLAN fabric."""

from __future__ import annotations

import pulumi

from configuration import KEY, read_topology, stack_file
from model import summary
from model.errors import Place, TopologyError
from model.fabric import plan
from model.reachability import check_expectations, report
from resources.preflight import ask_hosts

try:
    stack, configured = pulumi.get_stack(), pulumi.Config().get("topology")
    topology, unwritten = read_topology(stack, configured, encrypted=pulumi.runtime.is_config_secret(KEY))
    fabric = plan(topology, owner=f"{pulumi.get_project()}/{stack}")
    broken = check_expectations(topology, fabric, Place(stack_file(stack)))
    if broken:
        raise TopologyError(broken)
except TopologyError as error:
    raise pulumi.RunError(str(error)) from None

asked = ask_hosts(fabric, topology.ssh_config)
from components import VlanFabric  # noqa: E402 - it takes its time to load, and so do the hosts to answer

truth = report(topology, fabric)
answers = asked.result()
if answers.problems:
    raise pulumi.RunError("\n".join(map(str, answers.problems)))
for warning in answers.warnings:
    pulumi.log.warn(str(warning))

built = VlanFabric(topology, fabric, answers.findings, configured=unwritten)

pulumi.export("container_ips", built.container_ips)
pulumi.export("networks", summary.networks(topology, fabric))
pulumi.export("gateway", summary.gateway(topology, fabric))
pulumi.export("reachability", {"matrix": truth.matrix, "exceptions": truth.exceptions})
pulumi.export("paths", truth.paths)
