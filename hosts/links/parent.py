"""What a link stands on: it must be there, and up, and is put back when nobody needs it any more."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from hosts.errors import Unsupported
from hosts.host import Host, Link
from hosts.links.view import View, carrying
from hosts.ownership import PREVIOUS, ROOT, file_name, owner_in_alias
from model.fabric import SubInterface


def parent_of(host: Host, view: View, want: SubInterface) -> Link:
    """Raises Unsupported if it is not there, or its MTU is too small."""
    parent = view.named(want.parent)
    if parent is None:
        others = ", ".join(
            sorted(
                each.name for each in view.links if each.kind not in ("macvlan", "veth") and each.name != "lo"
            )
        )
        raise Unsupported(
            host.name,
            f"there is no interface {want.parent}, which {want.name} needs as its parent; there are {others}",
            f"correct the trunk of {host.name} in the topology, or make {want.parent} appear on the host",
        )
    if want.mtu is not None and want.mtu > parent.mtu:
        raise Unsupported(
            host.name,
            f"{want.name} needs MTU {want.mtu}, but its parent {parent.name} carries {parent.mtu}",
            f"raise the MTU of {parent.name} on the host, or lower the network's",
        )
    return parent


def was_down_file(parent: str) -> str:
    """Where it is written down that we raised a parent.

    Its name is on the first line; on the others the VLANs of others which the kernel raises along with it
    (vlan_device_event), as long as they are not down again.
    """
    return f"{PREVIOUS}/{file_name(parent)}.down"


async def raise_parent(host: Host, view: View, parent: Link) -> str:
    """Raise a parent that is down; if it is not one of ours, take care to be able to undo that."""
    if not owner_in_alias(parent.alias):
        along = [
            child.name
            for child in view.on(parent)
            if child.kind == "vlan" and not child.up and not owner_in_alias(child.alias)
        ]
        await host.write(
            was_down_file(parent.name), "".join(f"{name}\n" for name in (parent.name, *along)).encode()
        )
        await host.set_link(parent.index, up=True)
        await lower_again(host, await host.links() if along else (), parent)
    else:
        await host.set_link(parent.index, up=True)
    return f"raised {parent.name}, which was down"


async def lower_again(host: Host, links: Sequence[Link], parent: Link) -> None:
    """Put down the VLANs of others that came up with a parent that we raised."""
    name, *along = _lines(await host.read(was_down_file(parent.name))) or [parent.name]
    for child in links:
        if child.name in along and child.parent == parent.index and child.up:
            await host.set_link(child.index, up=False)
    if along:
        await host.write(was_down_file(parent.name), f"{name}\n".encode())


async def lower_unused_parents(host: Host) -> list[str]:
    """Take down again what we raised and nobody uses any more."""
    names = await host.entries(PREVIOUS)
    if not names:
        return []
    way, links, addresses = await asyncio.gather(host.way(), host.links(), host.addresses())
    done = []
    for name in names:
        if not name.endswith(".down"):
            continue
        recorded, *along = _lines(await host.read(f"{PREVIOUS}/{name}")) or [""]
        parent = next((link for link in links if link.name == recorded), None)
        if parent is not None:
            await lower_again(host, links, parent)
            above = [link for link in links if link.parent == parent.index and link.kind != "veth"]
            if any(link.up for link in above if link.name not in along):
                continue  # ours, or somebody else's who has come to rely on it
            relied_on = parent.index in carrying(links, way)
            if parent.up and not relied_on and not any(address.link == parent.index for address in addresses):
                await host.set_link(parent.index, up=False)
                done.append(f"took {parent.name} down again")
        await host.remove(f"{PREVIOUS}/{name}")
    if await host.remove(PREVIOUS):
        await host.remove(ROOT)
    return done


def _lines(content: bytes | None) -> list[str]:
    return (content or b"").decode(errors="replace").splitlines()
