"""Taking links of ours away."""

from __future__ import annotations

import asyncio
import errno

from hosts import rollback
from hosts.boot import remove_object
from hosts.change import Change
from hosts.errors import HostError
from hosts.host import Host, Link, NetlinkFailure
from hosts.links.cut_off import guarded, made_again
from hosts.links.parent import lower_unused_parents
from hosts.links.record import note_file, notes_folder, object_name, wishes_in
from hosts.links.refusals import carries_the_session, refuse_to_orphan
from hosts.links.view import carrying, look
from hosts.managers import names_in_files, withdraw_files
from hosts.ownership import LOCK, UNFINISHED, alias, folder


async def remove_sub_interface(
    host: Host, name: str, owner: str, *, may_touch_session: bool = False
) -> Change:
    """Remove our link of that name with all addresses on it, and its file. One that is gone is fine.

    A foreign link that has taken the name stays. Raises ConflictError if links that are not this
    owner's sit on it, because the kernel would delete them, too; and, without `may_touch_session`, if it
    carries our own session.
    """
    async with host.lock(LOCK):
        await rollback.settle(host)
        view = await look(host, name, owner)
        link = view.named(name)
        done = []
        ours = link if link is not None and view.is_ours(link) else None
        if ours is not None:
            refuse_to_orphan(host, view, ours, owner)
            way = await host.way()
            carries = ours.index in carrying(view.links, way)
            if carries and not may_touch_session:
                raise carries_the_session(host, ours, way)
        # Should its removal be undone, our own boot file is there still and makes it at boot.
        done += await withdraw_files(host, view.managers, name, ours)
        if ours is not None:
            risky = carries or any(view.interfaces(each) for each in view.tower(ours))
            undo = list(made_again(view, ours, {name: view.settings})) if risky else []
            async with guarded(host, way, name, owner, undo):
                await _delete(host, ours)
            foreign = view.facts(ours).foreign_addresses
            with_them = f" and with it {', '.join(map(str, foreign))}, added by others" if foreign else ""
            done.append(f"deleted {name}{with_them}")
        if await remove_object(host, owner, object_name(name)):
            done.append(f"removed its boot file in {folder(owner)}")
        await host.remove(note_file(name, owner))
        done += await lower_unused_parents(host)
        return Change(tuple(done))


async def remove_all_sub_interfaces(host: Host, owner: str, *, may_touch_session: bool = False) -> Change:
    """Remove every link that is ours, by its alias, files or note, and lower the parents left unused."""
    links, files, notes, configured = await asyncio.gather(
        host.links(),
        wishes_in(host, folder(owner), ".link"),
        wishes_in(host, notes_folder(owner), ""),
        names_in_files(host, owner),
    )
    ours = {link.name: link for link in links if link.alias == alias(owner)}
    known = dict.fromkeys(configured, True)
    known |= {wish.name: wish.vlan is not None for wish in (*files, *notes)}
    known |= {name: link.kind == "vlan" for name, link in ours.items()}
    done: list[str] = []
    for name in sorted(known, key=lambda name: known[name]):  # what sits on others first
        done += (await remove_sub_interface(host, name, owner, may_touch_session=may_touch_session)).done
    async with host.lock(LOCK):
        done += await lower_unused_parents(host)
        await host.remove(notes_folder(owner))
        await host.remove(UNFINISHED)
    return Change(tuple(done))


async def _delete(host: Host, link: Link) -> None:
    try:
        await host.delete_link(link.index)
    except NetlinkFailure as failure:
        if failure.code != errno.ENODEV:
            raise HostError(host.name, f"{link.name} cannot be deleted: {failure}") from failure
