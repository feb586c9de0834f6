"""`python -m tests.e2e.truth`: random topologies, and whether the wire does what the plan says of them.

A seed is a topology. It becomes the stack's configuration on the lab's hosts by `pulumi up`; then every
container asks every other one, and the answers are compared with what was predicted. The next seed
follows by changing the configuration, so that the ways between topologies are tested as well. Names come from
a small stock, and much of a name's usual definition recurs, so that a change meets what is there.

To see a failure again, start with the seed before it.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from random import Random
from typing import get_args

from engine.recipe import cache_folder
from engine.shell import environment
from hosts import loop
from hosts.connection import connections
from lab import Lab
from model.errors import TopologyError
from model.fabric import Fabric, plan
from model.loading import load_value
from model.reachability import predictions
from model.topology import (
    Allow,
    Attachment,
    Container,
    Gateway,
    Host,
    NatMode,
    Network,
    Ports,
    Topology,
    Traffic,
    Trunk,
)
from resources.session import target
from resources.state import exported_state
from tests import rendering
from tests.e2e.hostdump import assert_same, dump_all
from tests.project import ROOT, Project
from verify.measure import Observation, measure
from verify.table import table

HOSTS = tuple(Host(name, name, (Trunk("trunk", "eth2"),)) for name in ("router", "host1", "host2"))
NETWORKS = {"red": 10, "green": 20, "blue": 30, "amber": 40}  # with their usual VLAN ids
CONTAINERS = ("c1", "c2", "c3", "c4", "c5", "c6")
LENGTHS = (16, 22, 24, 25, 28)  # of prefixes; even the last has room for all containers
TRAFFIC = (
    Traffic("icmp"),
    Traffic("tcp"),
    Traffic("tcp", (Ports(80, 80),)),
    Traffic("tcp", (Ports(22, 22), Ports(8000, 8010))),
    Traffic("udp"),
    Traffic("udp", (Ports(53, 53),)),
)


def draw(seed: int, ssh_config: str) -> Topology:
    """The topology of a seed: 2..4 networks, 2..6 containers, mostly a gateway with a policy."""
    random = Random(seed)  # noqa: S311 - nothing here is secret
    networks = _networks(random)
    containers = tuple(_containers(random, networks))
    topology = Topology(HOSTS, networks, containers, ssh_config=ssh_config)
    return _with_gateway(random, topology) if random.random() < 0.85 else topology


def _networks(random: Random) -> tuple[Network, ...]:
    names = random.sample(list(NETWORKS), random.randint(2, len(NETWORKS)))
    vlans = {name: NETWORKS[name] for name in names}
    if random.random() < 0.3:
        vlans = dict(zip(names, random.sample(list(vlans.values()), len(names)), strict=True))
    unused = iter(random.sample(sorted(set(range(1, 4095)) - set(NETWORKS.values())), len(names)))
    networks = []
    for name in names:
        vlan = next(unused) if random.random() < 0.2 else vlans[name]
        block = IPv4Network(f"10.{NETWORKS[name]}.0.0/16")
        subnet = next(block.subnets(new_prefix=24))
        gateway = subnet[1]
        if random.random() < 0.3:
            subnet = random.choice(list(block.subnets(new_prefix=random.choice(LENGTHS))))
            gateway = subnet[random.randint(1, subnet.num_addresses - 2)]
        networks.append(Network(name, vlan, subnet, gateway))
    return tuple(networks)


def _containers(random: Random, networks: Sequence[Network]) -> Iterator[Container]:
    taken = {network.gateway for network in networks}

    def address(network: Network) -> IPv4Address | None:
        kind = random.random()
        if kind < 0.4:
            return None
        if kind < 0.8 and (free := [host for host in list(network.subnet)[10:13] if host not in taken]):
            taken.add(free[-1])  # which often is what another container had before
            return free[-1]
        while (chosen := network.subnet[random.randint(1, network.subnet.num_addresses - 2)]) in taken:
            pass
        taken.add(chosen)
        return chosen

    for name in random.sample(CONTAINERS, random.randint(2, len(CONTAINERS))):
        homes = random.sample(list(networks), min(random.choice((1, 1, 1, 1, 2, 2, 3)), len(networks)))
        yield Container(
            name,
            random.choice(("host1", "host1", "host2", "host2", "router")),
            tuple(Attachment(network.name, address(network)) for network in homes),
            "busybox:latest",
            ("sleep", "infinity"),
            stop_grace=0,
        )


def _with_gateway(random: Random, topology: Topology) -> Topology:
    """Behind it most or all networks; of the policy entries that come to mind those that say something."""
    every = tuple(network.name for network in topology.networks)
    behind = every if random.random() < 0.7 else tuple(random.sample(every, random.randint(1, len(every))))
    nat: NatMode = random.choice(get_args(NatMode))
    gateway = Gateway(random.choice(("router", "router", "host1")), behind, nat)
    names = [*every, *every, *(container.name for container in topology.containers)]
    for _ in range(random.randint(1, 7)):
        traffic = random.sample(TRAFFIC, random.choice((1, 1, 2))) if random.random() < 0.6 else [Traffic()]
        source, target = random.sample(names, 2)
        entry = Allow(source, target, random.random() < 0.5, tuple(traffic))
        wider = replace(gateway, allow=(*gateway.allow, entry))
        if _is_valid(replace(topology, gateway=wider)):
            gateway = wider
    return replace(topology, gateway=gateway)


def _is_valid(topology: Topology) -> bool:
    try:
        load_value(rendering.document(topology), "drawn")
    except TopologyError:
        return False
    return True


@dataclass(frozen=True)
class Outcome:
    """What came of one topology."""

    seed: int
    topology: Topology
    observed: tuple[Observation, ...]
    misplaced: tuple[str, ...]  # containers of which Docker reports another address than the plan says

    @property
    def measured(self) -> int:
        """How many predictions could be tried."""
        return sum(observation.seen is not None for observation in self.observed)

    @property
    def disagreements(self) -> int:
        """How many of them were wrong or could not be tried, and addresses that were."""
        return sum(not observation.agrees for observation in self.observed) + len(self.misplaced)

    def __str__(self) -> str:
        """One line; with everything that it takes to understand them if there are disagreements."""
        gateway = self.topology.gateway
        what = (
            f"{len(self.topology.networks)} networks, {len(self.topology.containers)} containers, "
            f"{f'{gateway.nat} on {gateway.host}' if gateway else 'no gateway'}"
        )
        line = f"seed {self.seed} ({what}): {counts([self])}"
        if not self.disagreements:
            return line
        return "\n".join(
            [line, *self.misplaced, table(self.observed, everything=True), rendering.text(self.topology)]
        )


def counts(outcomes: Sequence[Outcome]) -> str:
    """The sums, as a clause."""
    observed = [observation for outcome in outcomes for observation in outcome.observed]
    pairs = {(o.seed, p.source, p.target) for o in outcomes for p in (b.prediction for b in o.observed)}
    reach = sum(observation.prediction.reaches for observation in observed)
    return (
        f"{len(pairs)} pairs, {len(observed)} predicted ({reach} reach, {len(observed) - reach} blocked), "
        f"{sum(outcome.measured for outcome in outcomes)} measured, "
        f"{sum(outcome.disagreements for outcome in outcomes)} disagreements"
    )


def try_out(seed: int, lab: Lab, project: Project) -> Outcome:
    """Change the stack to the topology of a seed, and ask everybody.

    AssertionError if `pulumi up` fails, with the topology.
    """
    topology = draw(seed, str(lab.ssh_config))
    state = exported_state(project.stack, str(project.folder), project.environment)
    fabric = plan(topology, f"macvlan-fabric/{project.stack}", state.remembered())
    project.write(rendering.document(topology))
    run = project.up()
    assert run.status == 0, f"seed {seed}:\n{rendering.text(topology)}\n{run.output}"
    observed = loop.run(_measured(fabric, topology.ssh_config))
    return Outcome(seed, topology, observed, tuple(_misplaced(topology, fabric, project)))


async def _measured(fabric: Fabric, ssh_config: str | None) -> tuple[Observation, ...]:
    plans = [host for host in fabric.hosts if host.containers]
    targets = [target(each.host.name, each.host.address, ssh_config) for each in plans]
    hosts = await asyncio.gather(*map(connections.host, targets))
    return await measure({host.name: host for host in hosts}, predictions(fabric))


def _misplaced(topology: Topology, fabric: Fabric, project: Project) -> Iterator[str]:
    """Silence proves nothing of a container that is not where it should be."""
    reported = project.outputs()["container_ips"]
    for container in topology.containers:
        planned = {e.network: str(e.address) for e in fabric.endpoints if e.container == container.name}
        found = reported.get(container.name)
        if found not in (planned, *(planned.values() if len(planned) == 1 else ())):
            yield f"{container.name} should have {planned}, and has {found}"


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.e2e.truth", description=__doc__)
    parser.add_argument("--count", type=int, default=25, help="how many topologies")
    parser.add_argument("--seed", type=int, default=1, help="of the first one; the others count up from it")
    parser.add_argument("--dir", type=Path, default=ROOT / ".lab" / "truth", help="the lab's folder")
    arguments = parser.parse_args(argv)
    lab = Lab(arguments.dir)
    lab.up()
    try:
        lab.reset()
        with tempfile.TemporaryDirectory() as folder:
            state = Path(folder, "state")
            state.mkdir()
            settings = environment(cache_folder(), state, ROOT / ".venv").applied_to(os.environ)
            project = Project(Path(folder, "project"), settings)
            return _run(range(arguments.seed, arguments.seed + arguments.count), lab, project)
    finally:
        lab.down()


def _run(seeds: Sequence[int], lab: Lab, project: Project) -> int:
    """All seeds one after the other, from bare hosts and back to them; the exit status."""
    before = dump_all(lab)
    outcomes = []
    try:
        for seed in seeds:
            outcomes.append(try_out(seed, lab, project))
            print(outcomes[-1], flush=True)
            if len(outcomes) == 1:
                project.assert_clean()
        project.destroy().check()
        assert_same(dump_all(lab), before)
    except AssertionError as failure:
        print(failure, file=sys.stderr)
        return 1
    finally:
        print(f"{len(outcomes)} topologies: {counts(outcomes)}")
    return 1 if any(outcome.disagreements for outcome in outcomes) else 0


if __name__ == "__main__":
    sys.exit(main())
