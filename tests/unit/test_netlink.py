"""Links and addresses of a real kernel, in a network namespace of the test's own.

Made of veth and macvlan, which kernels have that lack the 802.1Q module; VLANs are for the lab's kernels.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
from collections.abc import Awaitable, Callable
from dataclasses import replace
from ipaddress import IPv4Interface, ip_address

import pytest

from hosts import netlink
from hosts.connection import RemoteHost, Target
from hosts.errors import DeadlineExceeded, HostUnreachable
from hosts.host import Link, NetlinkFailure, Way
from hosts.session import open_session
from tests.local_host import NAMESPACE, command, host, on_host


def in_namespace(work: Callable[[RemoteHost], Awaitable[None]]) -> None:
    on_host(work, NAMESPACE)


async def parent(remote: RemoteHost) -> int:
    await remote.run(["ip", "link", "add", "p0", "type", "veth", "peer", "name", "p1"])
    return (await named(remote, "p0")).index


async def named(remote: RemoteHost, name: str) -> Link:
    return next(link for link in await remote.links() if link.name == name)


def test_what_carries_a_session_is_the_kernels_own_answer() -> None:
    """The link with the address that was dialled, and the one that the answers leave by."""

    async def work() -> None:
        session, greeting = await open_session("here", [*NAMESPACE, *command()], deadline=20)

        async def way(connection: str) -> Way | None:
            target = Target("here", "localhost")
            return await RemoteHost(session, replace(greeting, connection=connection), target=target).way()

        remote = RemoteHost(session, greeting)
        p0, p1 = await parent(remote), (await named(remote, "p1")).index
        for link, address in ((p0, "10.9.0.1/16"), (p1, "10.9.8.1/24")):
            await remote.add_address(link, IPv4Interface(address))
            await remote.set_link(link, up=True)
        near, far, nowhere = (ip_address(text) for text in ("10.9.0.9", "10.9.8.9", "10.8.0.9"))
        assert await way(f"{near} 50022 10.9.0.1 22") == Way(near, frozenset({p0}))
        assert await way(f"{far} 50022 10.9.0.1 22") == Way(far, frozenset({p0, p1}))
        assert await way(f"{nowhere} 50022 10.9.0.1 22") == Way(nowhere, frozenset({p0}))
        local = ip_address("fe80::9%p1")
        assert await way(f"{local} 50022 fe80::1%p1 22") == Way(local, frozenset({p1}))
        assert await way("") == Way(None)  # some other sshd
        assert await remote.way() is None  # no ssh at all
        await session.close()

    asyncio.run(work())


def test_a_link_from_cradle_to_grave() -> None:
    async def work(remote: RemoteHost) -> None:
        index = await parent(remote)
        made = await remote.add_macvlan("m0", index)
        link = await named(remote, "m0")
        assert link == Link(
            index=made, name="m0", kind="macvlan", parent=index, mode="bridge", mtu=1500, mac=link.mac
        )
        assert len(link.mac) == 17
        await remote.set_link(made, mtu=1400, alias="project/stack: ünïcode", up=True)
        changed = await named(remote, "m0")
        assert (changed.mtu, changed.alias, changed.up) == (1400, "project/stack: ünïcode", True)
        assert not changed.carrier  # its parent is down
        for each in ("p0", "p1"):
            await remote.set_link((await named(remote, each)).index, up=True)
        for _ in range(100):  # the kernel tells of carriers with a little delay
            if (await named(remote, "m0")).carrier:
                break
            await asyncio.sleep(0.02)
        assert (await named(remote, "m0")).carrier
        await remote.set_link(made, up=False)
        assert not (await named(remote, "m0")).up
        await remote.set_link(made, alias="")
        assert (await named(remote, "m0")).alias == ""
        await remote.delete_link(made)
        assert {link.name for link in await remote.links()} == {"lo", "p0", "p1"}

    in_namespace(work)


def test_addresses_come_and_go() -> None:
    interface = IPv4Interface("172.16.10.1/24")

    async def work(remote: RemoteHost) -> None:
        index = await parent(remote)
        await remote.add_address(index, interface, protocol=0x99)
        await remote.add_address(index, IPv4Interface("172.16.10.2/32"))
        first, second = await remote.addresses()
        assert (first.link, first.interface, first.label) == (index, interface, "p0")
        assert first.protocol in (0x99, 0)  # IFA_PROTO: Linux 5.18 and newer
        assert second.interface == IPv4Interface("172.16.10.2/32")
        assert second.protocol == 0
        with pytest.raises(NetlinkFailure) as twice:
            await remote.add_address(index, interface)
        assert twice.value.code == errno.EEXIST
        await remote.delete_address(index, interface)
        with pytest.raises(NetlinkFailure) as gone:
            await remote.delete_address(index, interface)
        assert gone.value.code == errno.EADDRNOTAVAIL
        assert [address.interface for address in await remote.addresses()] == [second.interface]

    in_namespace(work)


def test_only_ipv4_addresses_are_listed() -> None:
    async def work(remote: RemoteHost) -> None:
        await remote.set_link(1, up=True)  # gives lo 127.0.0.1/8 and ::1/128
        assert [str(address.interface) for address in await remote.addresses()] == ["127.0.0.1/8"]

    in_namespace(work)


def test_refusals_carry_the_code_and_the_kernels_words() -> None:
    async def work(remote: RemoteHost) -> None:
        index = await parent(remote)
        cases: list[tuple[Awaitable[object], int, str]] = [
            (remote.add_macvlan("p1", index), errno.EEXIST, "here: add the link p1: File exists"),
            (remote.add_macvlan("m0", 77), errno.ENODEV, "add the link m0: "),
            (remote.add_macvlan("m" * 16, index), errno.ERANGE, "Numerical result out of range"),
            (remote.delete_link(77), errno.ENODEV, "delete link 77"),
            (remote.set_link(77, up=True), errno.ENODEV, "set link 77"),
            (remote.set_link(index, mtu=1), errno.EINVAL, "mtu less than device minimum"),
            (remote.add_address(77, IPv4Interface("10.0.0.1/8")), errno.ENODEV, "add 10.0.0.1/8 to link 77"),
        ]
        for request, code, words in cases:
            with pytest.raises(NetlinkFailure, match=words) as refused:
                await request
            assert refused.value.code == code

    in_namespace(work)


def test_many_at_once_on_one_connection() -> None:
    async def work(remote: RemoteHost) -> None:
        index = await parent(remote)
        made = await asyncio.gather(*(remote.add_macvlan(f"m{number}", index) for number in range(100)))
        assert len(set(made)) == 100
        await asyncio.gather(
            *(remote.set_link(link, alias=f"alias of {link}") for link in made),
            *(remote.add_address(link, IPv4Interface(f"10.9.{n}.1/24")) for n, link in enumerate(made)),
            *(remote.links() for _ in range(8)),
            *(remote.addresses() for _ in range(8)),
        )
        links = {link.index: link for link in await remote.links()}
        assert all(links[link].alias == f"alias of {link}" for link in made)
        assert {address.link for address in await remote.addresses()} == set(made)

    in_namespace(work)


def test_a_listing_is_whole_even_if_links_come_and_go_meanwhile() -> None:
    """A listing takes several messages; what is always there must be in it, once."""

    async def work(remote: RemoteHost) -> None:
        index = await parent(remote)
        await asyncio.gather(*(remote.add_macvlan(f"m{number}", index) for number in range(150)))
        lasting = {f"m{number}" for number in range(1, 150, 2)}
        fleeting = [link for link in await remote.links() if link.name[0] == "m" and link.name not in lasting]

        async def churn() -> None:
            for link in fleeting:
                await remote.delete_link(link.index)

        busy = asyncio.create_task(churn())
        listings = 0
        while not busy.done():
            names = [link.name for link in await remote.links()]
            listings += 1
            assert lasting <= set(names)
            assert len(names) == len(set(names))
        await busy
        assert listings

    in_namespace(work)


def test_a_listing_that_missed_a_change_is_taken_again(monkeypatch: pytest.MonkeyPatch) -> None:
    async def work(remote: RemoteHost) -> None:
        before = await remote.links()
        monkeypatch.setattr(netlink, "INTERRUPTED", 0x2)  # NLM_F_MULTI: every listing has it
        kernel = await remote._kernel()
        with pytest.raises(DeadlineExceeded, match="list the links"):
            await kernel.links(deadline=0.2)
        monkeypatch.setattr(netlink, "INTERRUPTED", 0x10)
        assert await remote.links() == before

    in_namespace(work)


def test_a_lost_session_ends_what_waits_for_the_kernel() -> None:
    async def work() -> None:
        async with host(NAMESPACE) as remote:
            await remote.links()
            pending = [asyncio.ensure_future(remote.links()) for _ in range(5)]
            await asyncio.sleep(0)
            await remote.close()
            for each in pending:
                with pytest.raises(HostUnreachable, match="list the links: the session was closed"):
                    await each

    asyncio.run(work())


def test_an_impatient_caller_does_no_harm_to_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    async def work(remote: RemoteHost) -> None:
        index = await parent(remote)
        await asyncio.gather(*(remote.add_macvlan(f"m{number}", index) for number in range(100)))
        kernel = await remote._kernel()
        for _ in range(5):
            with contextlib.suppress(DeadlineExceeded):  # a fast machine may be done in time
                await kernel.links(deadline=0.002)
            assert len(await remote.links()) == 103

    in_namespace(work)
