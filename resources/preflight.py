"""Asking all hosts, side by side, whether a plan can work, before anything is touched."""

from __future__ import annotations

import asyncio

from hosts import loop
from hosts.errors import HostError
from hosts.survey import survey
from model.fabric import Fabric, HostPlan
from resources.session import session


def preflight(fabric: Fabric, ssh_config: str | None) -> tuple[list[HostError], list[HostError]]:
    """What stands in the way on the hosts, and which hosts could not be asked, each in the plan's order."""

    async def ask(plan: HostPlan) -> tuple[HostError, ...] | HostError:
        try:
            host = await session(plan.host.name, plan.host.address, ssh_config)
            return await survey(host, plan, fabric.owner)
        except HostError as error:
            return error

    async def ask_all() -> list[tuple[HostError, ...] | HostError]:
        return await asyncio.gather(*(ask(plan) for plan in fabric.hosts if plan.links))

    answers = loop.run(ask_all())
    problems = [problem for answer in answers if isinstance(answer, tuple) for problem in answer]
    return problems, [answer for answer in answers if isinstance(answer, HostError)]
