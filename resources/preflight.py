"""Asking all hosts, side by side, whether a plan can work, before anything is touched."""

from __future__ import annotations

import asyncio
from concurrent.futures import Future
from dataclasses import dataclass

from hosts import loop
from hosts.errors import HostError
from hosts.survey import survey
from model.fabric import Fabric, HostPlan
from resources.session import session


@dataclass(frozen=True)
class Answers:
    """What the hosts said, each in the plan's order."""

    problems: tuple[HostError, ...]  # what stands in the plan's way
    silent: tuple[HostError, ...]  # hosts that could not be asked, and why


def ask_hosts(fabric: Fabric, ssh_config: str | None) -> Future[Answers]:
    """Begin to ask; a host that is not up takes ten seconds to be silent."""

    async def ask(plan: HostPlan) -> tuple[HostError, ...] | HostError:
        try:
            host = await session(plan.host.name, plan.host.address, ssh_config)
            return await survey(host, plan, fabric.owner)
        except HostError as error:
            return error

    async def ask_all() -> Answers:
        answers = await asyncio.gather(*(ask(plan) for plan in fabric.hosts if plan.links))
        return Answers(
            tuple(problem for answer in answers if isinstance(answer, tuple) for problem in answer),
            tuple(answer for answer in answers if isinstance(answer, HostError)),
        )

    return loop.begin(ask_all())
