"""macvlan-fabric: from the topology in the stack's configuration to a running VLAN fabric."""

from __future__ import annotations

import pulumi

from configuration import KEY, read_topology, stack_file
from model import summary
from model.errors import Place, TopologyError
from model.fabric import plan
from model.reachability import check_expectations, report
from resources.preflight import ask_hosts
from resources.state import read_state

try:
    stack, configured = pulumi.get_stack(), pulumi.Config().get("topology")
    topology, unwritten = read_topology(stack, configured, encrypted=pulumi.runtime.is_config_secret(KEY))
    state = read_state(stack)
    fabric = plan(topology, f"{pulumi.get_project()}/{stack}", state.remembered())
    if broken := check_expectations(topology, fabric, Place(stack_file(stack))):
        raise TopologyError(broken)
except TopologyError as error:
    raise pulumi.RunError(str(error)) from None

asked = ask_hosts(fabric, topology.ssh_config)
from components import VlanFabric  # noqa: E402 - it takes its time to load, and so do the hosts to answer

truth, answers = report(topology, fabric), asked.result()
if answers.problems:
    raise pulumi.RunError("\n".join(map(str, answers.problems)))
answers.tell(state)

built = VlanFabric(topology, fabric, state, answers.findings, configured=unwritten)

pulumi.export("container_ips", built.container_ips)
pulumi.export("networks", summary.networks(topology, fabric))
pulumi.export("gateway", summary.gateway(topology, fabric))
pulumi.export("reachability", {"matrix": truth.matrix, "exceptions": truth.exceptions})
pulumi.export("paths", truth.paths)
