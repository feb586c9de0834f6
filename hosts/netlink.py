"""A remote kernel's links and addresses: pyroute2 on this side, the agent's netlink socket on the other.

pyroute2 gets one end of a socket pair in place of a netlink socket. What it sends goes down the session; what
the far kernel answers comes out of the socket pair. Netlink is in the host's own byte order, so both ends
must have the same.
"""

from __future__ import annotations

import asyncio
import errno
import functools
import os
import socket
import struct
from collections.abc import Callable, Coroutine
from ipaddress import IPv4Address, IPv4Interface, IPv6Address
from typing import TYPE_CHECKING, Any, TypeVar

from hosts.host import Address, Link, NetlinkFailure
from hosts.session import Session

if TYPE_CHECKING:
    from pyroute2 import AsyncIPRoute

T = TypeVar("T")
IPAddress = IPv4Address | IPv6Address

_HEADER = struct.Struct("=4xHHI4x")  # of struct nlmsghdr: type, flags, sequence number
_ATTRIBUTE = struct.Struct("=HH")  # struct nlattr: length, type
_LINK_ATTRIBUTES = frozenset((1, 3, 4, 5, 18, 20))  # IFLA_ADDRESS, IFNAME, MTU, LINK, LINKINFO, IFALIAS
_ADDRESS_ATTRIBUTES = frozenset((1, 2, 3, 11))  # IFA_ADDRESS, LOCAL, LABEL, PROTO
INTERRUPTED = 0x10  # NLM_F_DUMP_INTR (linux/netlink.h): the listing missed a change
SKIP_STATS = 8  # RTEXT_FILTER_SKIP_STATS (linux/rtnetlink.h)
IFF_UP = 0x1
IFF_LOWER_UP = 0x10000
PROTOCOLS = {0x8100: "802.1q", 0x88A8: "802.1ad"}
MODES = {1: "private", 2: "vepa", 4: "bridge", 8: "passthru", 16: "source"}  # linux/if_link.h


def load() -> None:
    """Import pyroute2: a quarter of a second, best spent while ssh is busy."""
    import pyroute2  # noqa: F401


class _Socket(socket.socket):
    """pyroute2's end. Requests take the direct way: a socket pair holds ten datagrams, then `send` fails."""

    def __init__(self, end: socket.socket, down: Callable[[bytes], None]) -> None:
        super().__init__(end.family, end.type, end.proto, end.detach())
        self._down = down

    def send(self, data: Any, _flags: int = 0, /) -> int:
        self._down(bytes(data))
        return len(data)


class Netlink:
    """Links and addresses of the host at the far end of a session. Made by `open_netlink`.

    All methods raise NetlinkFailure where the kernel refuses, and what `Session.guard` raises.
    """

    def __init__(self, session: Session, route: AsyncIPRoute, pump: asyncio.Task[None]) -> None:
        self._session = session
        self._route = route
        self._pump = pump
        self._listing = asyncio.Lock()  # the kernel does one listing at a time on a socket, else it is EBUSY
        session.broken.add_done_callback(lambda _: self.close())

    def close(self) -> None:
        self._pump.cancel()
        self._route.close()

    async def links(self, deadline: float) -> tuple[Link, ...]:
        from pyroute2.netlink.rtnl import RTM_GETLINK, RTM_NEWLINK
        from pyroute2.netlink.rtnl.ifinfmsg import ifinfmsg

        question = ifinfmsg()
        question["attrs"] = [("IFLA_EXT_MASK", SKIP_STATS)]
        listing = self._list(question, RTM_GETLINK, RTM_NEWLINK, _link)
        return await self._guard(listing, "list the links", deadline)

    async def addresses(self, deadline: float) -> tuple[Address, ...]:
        from pyroute2.netlink.rtnl import RTM_GETADDR, RTM_NEWADDR
        from pyroute2.netlink.rtnl.ifaddrmsg import ifaddrmsg

        question = ifaddrmsg()
        question["family"] = socket.AF_INET
        listing = self._list(question, RTM_GETADDR, RTM_NEWADDR, _address)
        return await self._guard(listing, "list the addresses", deadline)

    async def add_link(self, name: str, deadline: float, **attributes: object) -> int:
        """Make a link; its index."""
        from pyroute2.netlink import NLM_F_REQUEST
        from pyroute2.netlink.rtnl import RTM_GETLINK

        async def both() -> int:
            # One way there and back: the kernel takes the two in this order.
            add = asyncio.ensure_future(self._route.link("add", ifname=name, **attributes))
            get = asyncio.ensure_future(self._route.link((RTM_GETLINK, NLM_F_REQUEST), ifname=name))
            await asyncio.gather(add, get, return_exceptions=True)
            add.result()  # the refusal that counts
            return int(get.result()[0]["index"])

        return await self._guard(both(), f"add the link {name}", deadline)

    async def set_link(self, index: int, deadline: float, **attributes: object) -> None:
        await self._guard(self._route.link("set", index=index, **attributes), f"set link {index}", deadline)

    async def delete_link(self, index: int, deadline: float) -> None:
        await self._guard(self._route.link("del", index=index), f"delete link {index}", deadline)

    async def add_address(self, link: int, interface: IPv4Interface, protocol: int, deadline: float) -> None:
        extra = {"proto": protocol} if protocol else {}
        await self._guard(
            self._route.addr("add", index=link, **_words(interface), **extra),
            f"add {interface} to link {link}",
            deadline,
        )

    async def delete_address(self, link: int, interface: IPv4Interface, deadline: float) -> None:
        await self._guard(
            self._route.addr("del", index=link, **_words(interface)),
            f"delete {interface} from link {link}",
            deadline,
        )

    async def route(self, target: IPAddress, source: IPAddress, deadline: float) -> int | None:
        """The index of the link by which packets from `source` leave for `target`; None if they do not."""
        asked = self._route.route("get", dst=str(target), src=str(source))
        try:
            answers = await self._guard(asked, f"look for the route to {target}", deadline)
        except NetlinkFailure:
            return None
        return next((int(index) for answer in answers if (index := answer.get("oif"))), None)

    async def _guard(self, request: Coroutine[Any, Any, T], what: str, deadline: float) -> T:
        from pyroute2.netlink.exceptions import NetlinkError

        try:
            return await self._session.guard(request, what=what, deadline=deadline)
        except NetlinkError as error:
            why = os.strerror(error.code)
            if error.args[1] != why:
                why += f" ({error.args[1]})"  # the kernel's own words (NLMSGERR_ATTR_MSG)
            raise NetlinkFailure(error.code, f"{self._session.name}: {what}: {why}") from None

    async def _list(
        self, question: Any, request: int, answer: int, read: Callable[[bytes], T]
    ) -> tuple[T, ...]:
        """Everything of a kind, in a state in which it was all there at one time."""
        from pyroute2.netlink import NLM_F_DUMP, NLM_F_REQUEST
        from pyroute2.netlink.exceptions import NetlinkError
        from pyroute2.netlink.nlsocket import NetlinkRequest

        whole = False

        def parse(data: bytes, offset: int, length: int) -> Any:
            nonlocal whole
            kind, flags, sequence = _HEADER.unpack_from(data, offset)
            whole = whole and not flags & INTERRUPTED  # said by any message, the closing one included
            if kind != answer:
                return self._route.marshal.parse_one_message(kind, flags, sequence, data, offset, length)
            header = {"type": kind, "flags": flags, "sequence_number": sequence, "error": None}
            return {"header": header, "object": read(data[offset : offset + length])}

        pause = 0.0
        while True:  # until the caller's patience ends: starting containers can keep a host's links moving
            async with self._listing:
                whole = True
                ask = NetlinkRequest(
                    self._route,
                    question,
                    msg_type=request,
                    msg_flags=NLM_F_REQUEST | NLM_F_DUMP,
                    parser=parse,
                )
                await ask.send()
                try:
                    found = tuple([message["object"] async for message in ask.response()])
                except NetlinkError as error:
                    if error.code != errno.EBUSY:  # a listing that was given up is not quite over
                        raise
                    whole = False
            if whole:
                return found
            await asyncio.sleep(pause)
            pause = min(0.1, pause + 0.01)


async def open_netlink(session: Session) -> Netlink:
    await asyncio.to_thread(load)
    from pyroute2 import AsyncIPRoute

    arrived: asyncio.Queue[bytes] = asyncio.Queue()
    channel = await session.open_channel(arrived.put_nowait)
    near, far = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    near.setblocking(False)
    far.setblocking(False)
    route = AsyncIPRoute(use_socket=_Socket(near, lambda data: session.send_datagram(channel, data)))
    await route.setup_endpoint()

    async def pump() -> None:
        loop = asyncio.get_running_loop()
        with far:
            while True:
                await loop.sock_sendall(far, await arrived.get())

    return Netlink(session, route, asyncio.create_task(pump()))


def _words(interface: IPv4Interface) -> dict[str, object]:
    return {"address": str(interface.ip), "prefixlen": interface.network.prefixlen}


def _link(message: bytes) -> Link:
    return _decode_link(_only(message, _LINK_ATTRIBUTES, 16))


def _address(message: bytes) -> Address:
    return _decode_address(_only(message, _ADDRESS_ATTRIBUTES, 8))


def _only(message: bytes, wanted: frozenset[int], fixed: int) -> bytes:
    """The same message with the wanted attributes alone, and nothing that differs each time it is sent.

    pyroute2 takes the better part of a millisecond for a link, most of it for counters that nobody asked for.
    Without those a message stays the same until the object changes, and need not be decoded again.
    """
    parts = [message[16 : 16 + fixed]]
    offset = 16 + fixed
    while offset + 4 <= len(message):
        length, kind = _ATTRIBUTE.unpack_from(message, offset)
        aligned = (length + 3) & ~3
        if kind & 0x3FFF in wanted:  # without NLA_F_NESTED and NLA_F_NET_BYTEORDER
            parts.append(message[offset : offset + aligned])
        offset += max(4, aligned)
    body = b"".join(parts)
    return struct.pack("=IHHII", 16 + len(body), *struct.unpack_from("=H", message, 4), 0, 0, 0) + body


@functools.lru_cache(maxsize=8192)
def _decode_link(data: bytes) -> Link:
    from pyroute2.netlink.rtnl.ifinfmsg import ifinfmsg

    message: Any = ifinfmsg(data)
    message.decode()
    flags = message["flags"]
    kind = message.get(("linkinfo", "kind"))
    details = ("linkinfo", "data")
    return Link(
        index=message["index"],
        name=message.get("ifname"),
        kind=kind,
        parent=message.get("link"),
        vlan=message.get((*details, "vlan_id")) if kind == "vlan" else None,
        protocol=PROTOCOLS.get(message.get((*details, "vlan_protocol"))) if kind == "vlan" else None,
        mode=message.get((*details, "macvlan_mode")) if kind == "macvlan" else None,
        mtu=message.get("mtu"),
        alias=message.get("ifalias") or "",
        up=bool(flags & IFF_UP),
        carrier=bool(flags & IFF_LOWER_UP),
        mac=message.get("address") or "",
    )


@functools.lru_cache(maxsize=8192)
def _decode_address(data: bytes) -> Address:
    from pyroute2.netlink.rtnl.ifaddrmsg import ifaddrmsg

    message: Any = ifaddrmsg(data)
    message.decode()
    ip = message.get("local") or message.get("address")  # they differ on point-to-point links
    return Address(
        link=message["index"],
        interface=IPv4Interface(f"{ip}/{message['prefixlen']}"),
        protocol=message.get("proto") or 0,
        label=message.get("label") or "",
    )
