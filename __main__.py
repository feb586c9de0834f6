"""macvlan-fabric: from the topology in the stack's configuration to a running VLAN fabric."""

from __future__ import annotations

import pulumi

from configuration import KEY, NAMESPACE, read_topology, stack_file, unique_owner
from hosts.errors import HostError
from model import summary
from model.errors import Place, TopologyError
from model.fabric import plan
from model.reachability import check_expectations, report
from resources.address_news import address_news, exposed
from resources.memory import recall
from resources.preflight import ask_hosts

stack, config = pulumi.get_stack(), pulumi.Config(NAMESPACE)
try:
    secret = pulumi.runtime.is_config_secret(KEY)
    topology, unwritten = read_topology(stack, config.get("topology"), encrypted=secret)
    owner = config.get("owner") or unique_owner(pulumi.get_organization(), pulumi.get_project(), stack)
    memory = recall(topology, stack, owner)
    fabric = plan(topology, memory.owner, memory.remembered())
    if broken := check_expectations(topology, fabric, Place(stack_file(stack))):
        raise TopologyError(broken)
except (TopologyError, HostError) as error:
    raise pulumi.RunError(str(error)) from None

asked = ask_hosts(fabric, topology.ssh_config, memory)
from components import VlanFabric  # noqa: E402 - it takes its time to load, and so do the hosts to answer

truth, answers = report(topology, fabric), asked.result()
answers.tell(memory, address_news(topology, fabric, memory), exposed(topology, fabric))
built = VlanFabric(topology, fabric, memory, answers.findings, configured=unwritten)

pulumi.export("container_ips", built.container_ips)
pulumi.export("networks", summary.networks(topology, fabric))
pulumi.export("gateway", summary.gateway(topology, fabric))
pulumi.export("reachability", {"matrix": truth.matrix, "exceptions": truth.exceptions})
pulumi.export("paths", truth.paths)
