"""`python -m verify`: asks the containers of a stack who answers them, and compares with the plan.

Exit status 0 if everything is as expected, 1 if not, 2 if that could not be found out.
"""

from __future__ import annotations

import argparse
import asyncio
import subprocess
import sys
from collections.abc import Sequence

from configuration import read_topology
from hosts import loop
from hosts.errors import HostError
from hosts.host import Host
from model.addresses import Remembered
from model.errors import TopologyError
from model.fabric import Fabric, plan
from model.reachability import predictions
from model.topology import Topology
from resources.session import session
from resources.state import exported_state
from verify.measure import Observation, measure
from verify.table import table


def main(argv: Sequence[str] | None = None) -> int:
    arguments = _parser().parse_args(argv)
    try:
        stack = arguments.stack or _selected_stack()
        topology, _ = read_topology(stack, sys.stdin.read() if arguments.stdin else None)
        fabric = plan(topology, stack, _remembered(topology, stack))  # it changes nothing in its own name
    except (TopologyError, LookupError) as error:
        print(error, file=sys.stderr)
        return 2
    observed = loop.run(_observe(fabric, topology.ssh_config))
    print(table(observed, everything=arguments.all, brief=arguments.brief))
    if any(observation.seen is None for observation in observed):
        return 2
    return 0 if all(observation.agrees for observation in observed) else 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m verify", description=__doc__)
    parser.add_argument("--stack", help="the stack; by default the one that is selected")
    parser.add_argument("--all", action="store_true", help="list every pair, however many there are")
    parser.add_argument("--brief", action="store_true", help="list only what is not as expected")
    parser.add_argument(
        "--stdin", action="store_true", help="read the topology, or the name of its file, from standard input"
    )
    return parser


def _remembered(topology: Topology, stack: str) -> Remembered:
    """The addresses that the stack gave, if it gave any: static ones stand in the topology."""
    chosen = any(place.address is None for each in topology.containers for place in each.attachments)
    return exported_state(stack).remembered() if chosen else Remembered()


def _selected_stack() -> str:
    shown = subprocess.run(["pulumi", "stack", "--show-name"], capture_output=True, text=True, check=False)
    if shown.returncode:
        raise LookupError(f"no stack is selected: {shown.stderr.strip()}\n  hint: name one with --stack")
    return shown.stdout.strip().rpartition("/")[2]


async def _observe(fabric: Fabric, ssh_config: str | None) -> tuple[Observation, ...]:
    """Connect to every host that has containers, and let them all ask."""
    plans = [host for host in fabric.hosts if host.containers]

    async def reach(name: str, address: str) -> Host | HostError:
        try:
            return await session(name, address, ssh_config)
        except HostError as error:
            return error

    reached = await asyncio.gather(*(reach(p.host.name, p.host.address) for p in plans))
    hosts = {p.host.name: host for p, host in zip(plans, reached, strict=True)}
    return await measure(hosts, predictions(fabric))


if __name__ == "__main__":
    sys.exit(main())
