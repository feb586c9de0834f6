"""Asking all hosts, side by side, whether a plan can work, before anything is touched."""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from concurrent.futures import Future
from dataclasses import dataclass

import pulumi

from hosts import loop
from hosts.errors import ConflictError, HostError, makes_no_sense
from hosts.survey import Findings, survey
from model.fabric import Fabric, HostPlan
from model.topology import Topology
from resources.address_news import address_news, exposed
from resources.memory import Memory
from resources.session import session, target

OWNER = "macvlan-fabric:owner"  # the key of the configuration


@dataclass(frozen=True)
class Answers:
    """What the hosts said, each in the plan's order."""

    problems: tuple[HostError, ...]  # what stands in the plan's way of more than one host
    findings: Mapping[str, Findings]  # by host
    warnings: tuple[HostError, ...]  # what may have passed by the time: hosts and daemons that do not answer

    def tell(self, memory: Memory, topology: Topology, fabric: Fabric) -> None:
        """Say, in a preview too, what no resource shows.

        Raises RunError if there are problems: nothing is touched then. But if the engine is to continue on
        errors, an update leaves the problems of one host to its resources, and those of the others are made.
        """
        going_on = _continues() and not pulumi.runtime.is_dry_run()
        hosts = () if going_on else (p for found in self.findings.values() for p in found.problems)
        if problems := (*self.problems, *hosts):
            raise pulumi.RunError("\n".join([*map(str, problems), *_former_selves(problems, memory.owner)]))
        for warning in self.warnings:
            pulumi.log.warn(str(warning))
        for risk in exposed(topology, fabric) if pulumi.runtime.is_dry_run() else ():
            pulumi.log.warn(risk)  # it is there before and after a run
        if news := address_news(topology, fabric, memory):
            pulumi.log.info(news)
        if left := "\n  ".join(memory.left_behind(topology)):
            pulumi.log.info(f"nothing of this is removed:\n  {left}")
        for host, found in self.findings.items():
            for clause in (*found.news, *_adoptions(memory.taken_over(host), found)):
                pulumi.log.info(f"{host}: {clause}")


def _adoptions(known: Collection[str], found: Findings) -> Iterator[str]:
    """What there is to say of each docker object that is taken over now, or was in an earlier run."""
    for each in found.adoptions:
        clause = each.staying if each.id in known else each.taking_over
        if clause:
            yield clause


def ask_hosts(fabric: Fabric, ssh_config: str | None, memory: Memory) -> Future[Answers]:
    """Begin to ask; a host that is not up takes ten seconds to be silent."""

    async def ask(plan: HostPlan) -> Findings | HostError:
        try:
            host = await session(plan.host.name, plan.host.address, ssh_config)
            config = target(plan.host.name, plan.host.address, ssh_config).ssh_config
            taken_over = memory.taken_over(plan.host.name)
            return await survey(host, plan, fabric.owner, ssh_config=config, taken_over=taken_over)
        except HostError as error:
            return error
        except AssertionError:
            raise
        except Exception as error:  # whatever a host can say
            return makes_no_sense(plan.host.name, error)

    async def ask_all() -> Answers:
        plans = [plan for plan in fabric.hosts if plan.links]
        answers = await asyncio.gather(*map(ask, plans))
        findings = {
            plan.host.name: answer
            for plan, answer in zip(plans, answers, strict=True)
            if isinstance(answer, Findings)
        }
        return Answers(
            tuple(_one_by_two_names(findings)),
            findings,
            (
                *(answer for answer in answers if isinstance(answer, HostError)),
                *(warning for found in findings.values() for warning in found.warnings),
            ),
        )

    return loop.begin(ask_all())


def _former_selves(problems: Iterable[HostError], owner: str) -> Iterator[str]:
    """What to do if the other stack is this one, with a state and a stack's file that were lost."""
    theirs = {each for problem in problems for each in re.findall(r"of the stack ([^\s:,]+)", str(problem))}
    project_and_stack = owner.split("/")[:2]
    for each in sorted(theirs - {owner}):
        if each.split("/")[:2] == project_and_stack:
            yield f"if {each} is this stack, whose state was lost: pulumi config set {OWNER} {each}"


def _continues() -> bool:
    """Whether the engine continues on errors. It tells nobody of its option, so only the variable counts."""
    return os.environ.get("PULUMI_CONTINUE_ON_ERROR", "").lower() in ("1", "t", "true")


def _one_by_two_names(findings: Mapping[str, Findings]) -> Iterator[HostError]:
    """Hosts of the topology that are one machine: each would take the other's things for its own."""
    first: dict[str, str] = {}
    for name, found in findings.items():
        other = first.setdefault(found.identity, name) if found.identity else name
        if other != name:
            yield ConflictError(
                name,
                f"it is the same machine as {other}: the addresses of both lead there",
                "have one host of the topology for each machine, or correct `address`",
            )
