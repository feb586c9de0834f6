"""What the rest of the program may ask of a Linux host.

Two things implement `Host`: `hosts.connection.RemoteHost`, a real machine behind ssh, and
`hosts.fake.FakeHost`, a machine in memory. Operations (`hosts.links`, `hosts.firewall`, ...) are
written against this protocol and nothing else.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Interface, IPv6Address
from typing import Protocol

DEADLINE = 15.0  # seconds; for every single operation unless the caller says otherwise


@dataclass(frozen=True)
class Link:
    """A network interface as the kernel reports it (RTM_NEWLINK)."""

    index: int
    name: str
    kind: str | None = None  # "vlan", "macvlan", "bridge", ...; None for a plain device
    parent: int | None = None  # index of the link it sits on
    vlan: int | None = None  # 802.1Q VLAN id of a "vlan" link
    protocol: str | None = None  # "802.1q" or "802.1ad" of a "vlan" link
    mode: str | None = None  # of a "macvlan" link
    mtu: int = 1500
    alias: str = ""
    up: bool = False  # IFF_UP, as configured
    carrier: bool = False  # IFF_LOWER_UP
    mac: str = ""


@dataclass(frozen=True)
class Address:
    """An IPv4 address on a link (RTM_NEWADDR)."""

    link: int  # index
    interface: IPv4Interface
    protocol: int = 0  # IFA_PROTO, kernel 5.18 and newer; 0 elsewhere
    label: str = ""


@dataclass(frozen=True)
class Way:
    """How the packets of a session get to and fro, as the host sees it."""

    peer: IPv4Address | IPv6Address | None  # the other end: we, or the last jump host; None: not known
    links: frozenset[int] = frozenset()  # index of the one with the address that was dialled, of the one back


@dataclass(frozen=True)
class Completed:
    """A finished program on the host."""

    argv: tuple[str, ...]
    status: int
    stdout: bytes
    stderr: bytes


class NetlinkFailure(Exception):
    """The kernel refused a request; `code` is the positive errno."""

    def __init__(self, code: int, what: str) -> None:
        self.code = code
        super().__init__(what)


class Host(Protocol):
    """A Linux host, as root. Every operation ends within its deadline or raises DeadlineExceeded.

    All methods raise `hosts.errors.HostUnreachable` when the session is gone.
    """

    @property
    def name(self) -> str:
        """What the user calls it; used in every message."""

    # the session itself
    async def way(self) -> Way | None:
        """How the session gets here, at this moment; None if no network lies in between."""

    def anew(self, *, patience: float) -> AbstractAsyncContextManager[Host]:
        """Another session, over a connection of its own: whether the host can be reached, not only was.

        HostUnreachable if none is to be had, trying for `patience` seconds and once at least.
        """

    # the kernel's links and addresses; NetlinkFailure where it refuses
    async def links(self) -> tuple[Link, ...]: ...
    async def addresses(self) -> tuple[Address, ...]: ...
    async def add_vlan(self, name: str, parent: int, vlan: int) -> int:
        """Make an 802.1Q sub-interface, down and without alias; the new link's index."""

    async def add_macvlan(self, name: str, parent: int) -> int:
        """Make a macvlan link in bridge mode, down and without alias; the new link's index."""

    async def set_link(
        self, index: int, *, up: bool | None = None, mtu: int | None = None, alias: str | None = None
    ) -> None: ...
    async def delete_link(self, index: int) -> None: ...
    async def add_address(self, link: int, interface: IPv4Interface, *, protocol: int = 0) -> None: ...
    async def delete_address(self, link: int, interface: IPv4Interface) -> None: ...

    # programs and files
    async def run(self, argv: Sequence[str], *, stdin: bytes = b"", deadline: float = DEADLINE) -> Completed:
        """Run a program, never through a shell. A status other than 0 is the caller's to judge.

        Raises Unsupported if there is no such program.
        """

    async def exchange(self, path: str, said: bytes, *, deadline: float = DEADLINE) -> bytes | None:
        """Say something to who listens on a Unix socket; all that comes back until it is closed.

        None if nobody listens there.
        """

    async def read(self, path: str) -> bytes | None:
        """A file's content; None if there is none."""

    async def write(self, path: str, content: bytes, *, mode: int = 0o644) -> None:
        """Replace a file atomically and durably, making its folder; below /proc and /sys in place."""

    async def remove(self, path: str) -> bool:
        """Remove a file, or a folder that is empty; False if it was not there, or not empty."""

    async def entries(self, path: str) -> tuple[str, ...]:
        """The sorted names in a folder; () if there is none."""

    def lock(self, name: str, *, deadline: float = 60.0) -> AbstractAsyncContextManager[None]:
        """Hold the host-wide lock `name` (flock under /run/macvlan-fabric), also against other processes.

        DeadlineExceeded names the holder if it is not to be had in time. Freed when the session ends.
        """
