"""What would keep links from being made, seen before anything is touched."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace

from hosts.boot import read_object
from hosts.claims import read_configuration
from hosts.errors import HostError
from hosts.host import Host, Link
from hosts.links.parent import parent_of
from hosts.links.record import object_name
from hosts.links.refusals import (
    refuse_foreign,
    refuse_taken_addresses,
    refuse_taken_vlan,
    refuse_to_orphan,
    refuse_to_touch_the_session,
)
from hosts.links.view import View, carrying, look
from hosts.managers import read_managers
from hosts.ownership import alias
from model.fabric import SubInterface
from model.topology import Persistence

MAX_MTU = 65535


async def foresee_sub_interfaces(
    host: Host,
    wants: Sequence[SubInterface],
    owner: str,
    *,
    adopt: bool = False,
    may_touch_session: bool = False,
    persistence: Persistence = "unit",
) -> tuple[HostError, ...]:
    """What would keep `ensure_sub_interface` from making these, parents first; only looks."""
    way, links, addresses, configuration = await asyncio.gather(
        host.way(), host.links(), host.addresses(), read_configuration(host)
    )
    expected = {want.name for want in wants}
    problems: list[HostError] = []
    coming: dict[str, Link] = {}  # by name; what will be there when its turn comes
    missing: set[str] = set()
    for want in wants:
        link = next((link for link in links if link.name == want.name), None)
        on = next((link for link in links if link.name == want.parent), None)
        managers = await read_managers(host, want.name, on, owner, configuration)
        view = View(owner, (*links, *coming.values()), addresses, None, None, None, {}, managers)
        if link is not None and (not view.is_ours(link) or link.index in carrying(view.links, way)):
            view = await look(host, want.name, owner)
        elif managers.claims:
            view = replace(view, file=await read_object(host, owner, object_name(want.name)))
        try:
            if want.parent not in missing:
                parent = parent_of(host, view, want)
                if link is not None and not view.is_ours(link):
                    refuse_foreign(host, view, link, want, adopt)
                obstacle = view.obstacle(host, want, persistence, adopt)
                # what sits on a link of ours has the same manager as that one, once it has one
                if obstacle and (managers.claims or want.parent not in expected):
                    raise obstacle
                refuse_taken_addresses(host, view, want)
                if link is None or not view.has_shape(link, want):
                    refuse_taken_vlan(host, view, parent, want)
                    if link is not None:
                        refuse_to_orphan(host, view, link, owner)
                if not may_touch_session:
                    refuse_to_touch_the_session(host, view, way, link, parent, want)
        except HostError as problem:
            problems.append(problem)
            if view.named(want.parent) is None:
                missing.add(want.parent)  # once is enough
        if link is None:
            index = -1 - len(coming)
            coming[want.name] = Link(index, want.name, mtu=want.mtu or MAX_MTU, alias=alias(owner))
    return tuple(problems)
