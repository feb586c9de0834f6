"""Asking all hosts, side by side, whether a plan can work, before anything is touched."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterator, Mapping
from concurrent.futures import Future
from dataclasses import dataclass

import pulumi

from hosts import loop
from hosts.errors import ConflictError, HostError
from hosts.survey import Findings, survey
from model.fabric import Fabric, HostPlan
from resources.memory import Memory
from resources.session import session, target


@dataclass(frozen=True)
class Answers:
    """What the hosts said, each in the plan's order."""

    problems: tuple[HostError, ...]  # what stands in the plan's way
    findings: Mapping[str, Findings]  # by host
    warnings: tuple[HostError, ...]  # what may have passed by the time: hosts and daemons that do not answer

    def tell(self, memory: Memory) -> None:
        """Say, in a preview too, what no resource shows. Raises RunError if there are problems."""
        if self.problems:
            raise pulumi.RunError("\n".join(map(str, self.problems)))
        for warning in self.warnings:
            pulumi.log.warn(str(warning))
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

    async def ask_all() -> Answers:
        plans = [plan for plan in fabric.hosts if plan.links]
        answers = await asyncio.gather(*map(ask, plans))
        findings = {
            plan.host.name: answer
            for plan, answer in zip(plans, answers, strict=True)
            if isinstance(answer, Findings)
        }
        found = (problem for found in findings.values() for problem in found.problems)
        return Answers(
            (*_one_by_two_names(findings), *found),
            findings,
            (
                *(answer for answer in answers if isinstance(answer, HostError)),
                *(warning for found in findings.values() for warning in found.warnings),
            ),
        )

    return loop.begin(ask_all())


def _one_by_two_names(findings: Mapping[str, Findings]) -> Iterator[HostError]:
    """Hosts of the topology that are one machine: each would take the other's things for its own."""
    first: dict[str, str] = {}
    for name, found in findings.items():
        other = first.setdefault(found.identity, name)
        if other != name:
            yield ConflictError(
                name,
                f"it is the same machine as {other}: the addresses of both lead there",
                "have one host of the topology for each machine, or correct `address`",
            )
