"""Asking all hosts, side by side, whether a plan can work, before anything is touched."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Collection, Iterable, Iterator, Mapping
from concurrent.futures import Future
from dataclasses import dataclass

import pulumi

from hosts import loop
from hosts.errors import ConflictError, HostError, makes_no_sense
from hosts.survey import Findings, survey
from model.fabric import Fabric, HostPlan
from resources.memory import Memory
from resources.session import session, target


@dataclass(frozen=True)
class Answers:
    """What the hosts said, each in the plan's order."""

    problems: tuple[HostError, ...]  # what stands in the plan's way of more than one host
    findings: Mapping[str, Findings]  # by host
    warnings: tuple[HostError, ...]  # what may have passed by the time: hosts and daemons that do not answer

    def tell(self, memory: Memory, news: str = "", risks: Iterable[str] = ()) -> None:
        """Say, in a preview too, what no resource shows; `news` is what there is to say besides.

        `risks` are what only a preview warns of, because they are there before and after a run.

        Raises RunError if there are problems: nothing is touched then. If the engine is to continue on
        errors, problems of one host are left to its resources, so that those of the others are made.
        """
        hosts = () if _continues() else (p for found in self.findings.values() for p in found.problems)
        if problems := (*self.problems, *hosts):
            raise pulumi.RunError("\n".join(map(str, problems)))
        for warning in self.warnings:
            pulumi.log.warn(str(warning))
        for risk in risks if pulumi.runtime.is_dry_run() else ():
            pulumi.log.warn(risk)
        if news:
            pulumi.log.info(news)
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
