"""Asking all hosts, side by side, whether a plan can work, before anything is touched."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from concurrent.futures import Future
from dataclasses import dataclass

import pulumi

from hosts import loop
from hosts.errors import HostError
from hosts.survey import Findings, survey
from model.fabric import Fabric, HostPlan
from resources.session import session, target
from resources.state import NETWORK, State


@dataclass(frozen=True)
class Answers:
    """What the hosts said, each in the plan's order."""

    problems: tuple[HostError, ...]  # what stands in the plan's way
    findings: Mapping[str, Findings]  # by host
    warnings: tuple[HostError, ...]  # what may have passed by the time: hosts and daemons that do not answer

    def tell(self, state: State) -> None:
        """Say, in a preview too, what no resource shows: the warnings, and what is taken over as it runs."""
        for warning in self.warnings:
            pulumi.log.warn(str(warning))
        for host, found in self.findings.items():
            for clause in (*found.news, *_adoptions(host, found, state)):
                pulumi.log.info(f"{host}: {clause}")


def _adoptions(host: str, found: Findings, state: State) -> Iterator[str]:
    """What there is to say of each docker object that is taken over now, or was in an earlier run."""
    for each in found.adoptions:
        known = (
            state.has(NETWORK, f"{each.name}-{host}")
            if each.kind == "network"
            else state.is_on(host, each.name)
        )
        clause = each.staying if known else each.taking_over
        if clause:
            yield clause


def ask_hosts(fabric: Fabric, ssh_config: str | None) -> Future[Answers]:
    """Begin to ask; a host that is not up takes ten seconds to be silent."""

    async def ask(plan: HostPlan) -> Findings | HostError:
        try:
            host = await session(plan.host.name, plan.host.address, ssh_config)
            config = target(plan.host.name, plan.host.address, ssh_config).ssh_config
            return await survey(host, plan, fabric.owner, ssh_config=config)
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
        return Answers(
            tuple(problem for found in findings.values() for problem in found.problems),
            findings,
            (
                *(answer for answer in answers if isinstance(answer, HostError)),
                *(warning for found in findings.values() for warning in found.warnings),
            ),
        )

    return loop.begin(ask_all())
