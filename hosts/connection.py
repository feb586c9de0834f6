"""Linux hosts over ssh: `RemoteHost` is `hosts.host.Host` on a real machine.

`connections.run(target, operation)` is the entrance for the rest of the program: a process has one connection
for each target, made when it is first needed and made again after it broke.
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import errno
import getpass
import os
import random
import shlex
import socket
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from ipaddress import IPv4Interface, IPv6Address, ip_address
from typing import TypeVar

from hosts import loop, netlink, ssh
from hosts.errors import (
    AgentError,
    ConflictError,
    DeadlineExceeded,
    HostError,
    HostUnreachable,
    PermissionDenied,
    Unsupported,
)
from hosts.host import DEADLINE, Address, Completed, Host, Link, Way
from hosts.session import Ended, Greeting, Late, Refused, Session, open_session
from hosts.ssh import Target

__all__ = ["Connections", "RemoteHost", "Target", "connect", "connections"]

T = TypeVar("T")

RUNTIME = "/run/macvlan-fabric"  # locks and the like: gone after a reboot, as they should be
PATIENCE = 3.0  # seconds until a shared connection that does not answer gets a rival
RETRY = 3.0  # seconds during which a host that could not be reached counts as unreachable
GRACE = 5.0  # seconds that the answer to a request may take beyond the request's own deadline on the host


class RemoteHost:
    """A Linux host at the far end of a session. Use `connect`."""

    def __init__(
        self, session: Session, greeting: Greeting, *, target: Target | None = None, runtime: str = RUNTIME
    ) -> None:
        self.greeting = greeting
        self._session = session
        self._target = target  # None: the agent is a process of this machine, as in tests
        self._runtime = runtime
        self._netlink: asyncio.Task[netlink.Netlink] | None = None

    @property
    def name(self) -> str:
        return self._session.name

    @property
    def usable(self) -> bool:
        """False once the session has broken or was closed."""
        return not self._session.broken.done()

    async def close(self) -> None:
        await self._session.close()

    # the session itself

    async def way(self) -> Way | None:
        if self._target is None:
            return None
        try:
            peer, _, dialled, _ = self.greeting.connection.split()
            target, source = ip_address(peer), ip_address(dialled)
        except ValueError:  # it is not OpenSSH's sshd
            return Way(None)
        if isinstance(target, IPv6Address) and target.scope_id:  # link-local: it says the link itself
            back = next((link.index for link in await self.links() if link.name == target.scope_id), None)
        else:
            back = await (await self._kernel()).route(target, source, DEADLINE)
        here = [address.link for address in await self.addresses() if address.interface.ip == source]
        return Way(target, frozenset([*here, *([] if back is None else [back])]))

    @contextlib.asynccontextmanager
    async def anew(self, *, patience: float) -> AsyncIterator[RemoteHost]:
        if self._target is None:
            raise AgentError(self.name, "a session with this machine is not dialled anew")
        clock = asyncio.get_running_loop().time
        end = clock() + patience
        while True:
            try:
                other = await connect(self._target, fresh=True)
                break
            except HostUnreachable:
                if clock() >= end:
                    raise
                await asyncio.sleep(0.5)
        try:
            yield other
        finally:
            await other.close()

    # links and addresses

    async def links(self) -> tuple[Link, ...]:
        return await (await self._kernel()).links(DEADLINE)

    async def addresses(self) -> tuple[Address, ...]:
        return await (await self._kernel()).addresses(DEADLINE)

    async def add_vlan(self, name: str, parent: int, vlan: int) -> int:
        kernel = await self._kernel()
        return await kernel.add_link(name, DEADLINE, kind="vlan", link=parent, vlan_id=vlan)

    async def add_macvlan(self, name: str, parent: int) -> int:
        kernel = await self._kernel()
        return await kernel.add_link(name, DEADLINE, kind="macvlan", link=parent, macvlan_mode="bridge")

    async def set_link(
        self, index: int, *, up: bool | None = None, mtu: int | None = None, alias: str | None = None
    ) -> None:
        wanted: dict[str, object] = {}
        if up is not None:
            wanted["state"] = "up" if up else "down"
        if mtu is not None:
            wanted["mtu"] = mtu
        if alias is not None:
            wanted["ifalias"] = alias
        await (await self._kernel()).set_link(index, DEADLINE, **wanted)

    async def delete_link(self, index: int) -> None:
        await (await self._kernel()).delete_link(index, DEADLINE)

    async def add_address(self, link: int, interface: IPv4Interface, *, protocol: int = 0) -> None:
        await (await self._kernel()).add_address(link, interface, protocol, DEADLINE)

    async def delete_address(self, link: int, interface: IPv4Interface) -> None:
        await (await self._kernel()).delete_address(link, interface, DEADLINE)

    async def _kernel(self) -> netlink.Netlink:
        if self._netlink is None:
            self._netlink = asyncio.create_task(self._open_netlink())
        return await asyncio.shield(self._netlink)

    async def _open_netlink(self) -> netlink.Netlink:
        if self.greeting.byteorder != sys.byteorder:
            raise Unsupported(
                self.name,
                f"it is {self.greeting.byteorder}-endian and this machine is {sys.byteorder}-endian",
                "run the program on a machine with the same byte order",
            )
        return await netlink.open_netlink(self._session)

    # programs and files

    async def run(self, argv: Sequence[str], *, stdin: bytes = b"", deadline: float = DEADLINE) -> Completed:
        words = [self._bytes(word, "an argument") for word in argv]
        if not words:
            raise AgentError(self.name, "run: no program was named")
        what = f"run {shlex.join(argv)}"
        try:
            status, stdout, stderr = await self._request(
                b"exec", b"%g" % deadline, stdin, *words, what=what, deadline=deadline + GRACE
            )
        except Late as late:
            printed = late.known[1].decode(errors="replace").strip().splitlines()
            raise DeadlineExceeded(
                self.name,
                f"{what}: not done after {deadline:g} s, stopped"
                + (f"; it said: {printed[-1]}" if printed else ""),
            ) from None
        except Refused as refused:
            if refused.code == errno.ENOENT:
                raise Unsupported(
                    self.name, f"there is no program {argv[0]}", "install the package that contains it"
                ) from None
            raise self._refusal(refused, what) from None
        return Completed(tuple(argv), int(status), stdout, stderr)

    async def exchange(self, path: str, said: bytes, *, deadline: float = DEADLINE) -> bytes | None:
        what = f"ask {path}"
        try:
            heard = await self._request(
                b"exchange",
                b"%g" % deadline,
                self._bytes(path, "a path"),
                said,
                what=what,
                deadline=deadline + GRACE,
            )
        except Late:
            raise DeadlineExceeded(self.name, f"{what}: no answer within {deadline:g} s") from None
        except Refused as refused:
            raise self._refusal(refused, what) from None
        return heard[0] if heard else None

    async def read(self, path: str) -> bytes | None:
        content = await self._file(b"read", path)
        return content[0] if content else None

    async def write(self, path: str, content: bytes, *, mode: int = 0o644) -> None:
        await self._file(b"write", path, b"%d" % mode, content)

    async def remove(self, path: str) -> bool:
        (removed,) = await self._file(b"remove", path)
        return removed == b"1"

    async def entries(self, path: str) -> tuple[str, ...]:
        return tuple(os.fsdecode(name) for name in await self._file(b"entries", path, verb="list"))

    @contextlib.asynccontextmanager
    async def lock(self, name: str, *, deadline: float = 60.0) -> AsyncIterator[None]:
        if not name or not all(letter.isalnum() or letter in "-_." for letter in name):
            raise AgentError(self.name, f"{name!r} is no name for a lock")
        what = f"lock {name}"
        path = os.fsencode(f"{self._runtime}/{name}.lock")
        holder = f"{_user()}@{socket.gethostname()}, process {os.getpid()}"
        async with contextlib.AsyncExitStack() as held:
            try:
                await held.enter_async_context(
                    self._session.hold(
                        path, os.fsencode(holder), b"%g" % deadline, what=what, deadline=deadline + GRACE
                    )
                )
            except Late as late:
                who = late.known[0].decode(errors="replace") or "somebody who did not say who it is"
                raise DeadlineExceeded(
                    self.name,
                    f"{what}: not to be had within {deadline:g} s, held by {who}",
                    "another run is at work on this host; wait for it to end",
                ) from None
            except Refused as refused:
                raise self._refusal(refused, what) from None
            yield

    async def _file(self, request: bytes, path: str, *fields: bytes, verb: str = "") -> tuple[bytes, ...]:
        what = f"{verb or request.decode()} {path}"
        if not path.startswith("/"):
            raise AgentError(self.name, f"{what}: the path does not start at the root")
        try:
            return await self._request(
                request, self._bytes(path, "a path"), *fields, what=what, deadline=DEADLINE
            )
        except Refused as refused:
            raise self._refusal(refused, what) from None

    async def _request(self, verb: bytes, *fields: bytes, what: str, deadline: float) -> tuple[bytes, ...]:
        return await self._session.request(verb, *fields, what=what, deadline=deadline)

    def _bytes(self, text: str, what: str) -> bytes:
        if "\0" in text:
            raise AgentError(self.name, f"{what} cannot contain a NUL character: {text!r}")
        return os.fsencode(text)

    def _refusal(self, refused: Refused, what: str) -> HostError:
        kind, hint = _REFUSALS.get(refused.code, (Unsupported, ""))
        return kind(self.name, f"{what}: {refused.text}", hint)


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a number without a name, as in containers
        return str(os.getuid())


_REFUSALS: dict[int, tuple[type[HostError], str]] = {
    errno.EACCES: (PermissionDenied, "is it immutable (`lsattr`), or confined by a security module?"),
    errno.EPERM: (PermissionDenied, "is it immutable (`lsattr`), or confined by a security module?"),
    errno.EROFS: (Unsupported, "its file system is mounted read-only; make it writable"),
    errno.ENOSPC: (Unsupported, "make room on its file system (`df`); nothing was changed"),
    errno.EDQUOT: (Unsupported, "raise the quota; nothing was changed"),
    errno.EISDIR: (ConflictError, "something that is not a regular file has this name"),
    errno.ENOTDIR: (ConflictError, "a part of the path is a file, not a folder"),
    errno.EEXIST: (ConflictError, "a part of the path is a file, not a folder"),
    errno.ENOENT: (Unsupported, "this kernel, or this link, has no such setting"),
}


async def connect(target: Target, *, deadline: float = ssh.CONNECT, fresh: bool = False) -> RemoteHost:
    """Open a session with a host and become root there.

    `fresh`: over a connection of its own, even if ssh's configuration says to share one.
    Raises HostUnreachable, PermissionDenied (not root, and sudo does not help), Unsupported (no python3).
    """
    if target.address.startswith("-") or not target.address.strip():
        raise HostUnreachable(target.name, f"{target.address!r} is not an address", "give a host name")
    loading = asyncio.get_running_loop().run_in_executor(None, netlink.load)  # while ssh is busy
    attempts = [asyncio.create_task(_attempt(target, deadline, fresh=fresh))]
    try:
        if not fresh:
            await asyncio.wait(attempts, timeout=PATIENCE)
            if not attempts[0].done() and await ssh.shares(target):
                # The connection to be shared may lead nowhere, and nobody has noticed yet.
                attempts.append(asyncio.create_task(_attempt(target, deadline, fresh=True)))
        session, greeting = await _first(attempts)
    finally:
        await _end(attempts)
    await loading
    if greeting.uid != 0:
        await session.close()
        raise PermissionDenied(
            target.name,
            f"{target.address} is user {greeting.uid}, not root, even after sudo",
            "log in as root, or as a user whom sudo makes root",
        )
    return RemoteHost(session, greeting, target=target)


Attempt = asyncio.Task[tuple[Session, Greeting]]


async def _first(attempts: list[Attempt]) -> tuple[Session, Greeting]:
    """The first success, taken out of the list; without one, the first failure."""
    waiting = set(attempts)
    while waiting:
        done, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        for attempt in done:
            if attempt.exception() is None:
                attempts.remove(attempt)
                return attempt.result()
    return attempts[0].result()


async def _end(attempts: list[Attempt]) -> None:
    for attempt in attempts:
        attempt.cancel()
    for outcome in await asyncio.gather(*attempts, return_exceptions=True):
        if not isinstance(outcome, BaseException):
            await outcome[0].close()


async def _attempt(target: Target, deadline: float, *, fresh: bool) -> tuple[Session, Greeting]:
    clock = asyncio.get_running_loop().time
    end = clock() + deadline
    turned_away = 0
    while True:
        try:
            return await open_session(
                target.name, ssh.command(target, fresh=fresh), deadline=max(0.0, end - clock())
            )
        except Ended as ended:
            if not fresh and ssh.retry_alone(ended.complaint):
                fresh = True
                continue
            pause = random.uniform(0.2, 0.8)  # noqa: S311 - so that those turned away do not return together
            if turned_away < 3 and ssh.retry_later(ended.complaint) and clock() + pause < end:
                turned_away += 1
                await asyncio.sleep(pause)
                continue
            raise await ssh.explain(target, ended.complaint, ended.status) from None
        except TimeoutError:
            raise HostUnreachable(
                target.name,
                f"no answer from {target.address} within {deadline:g} s (ssh, then sudo and python3)",
                f"is the host up? try `{ssh.by_hand(target)}`",
            ) from None
        except FileNotFoundError:
            raise HostUnreachable(
                target.name, "there is no ssh on this machine", "install OpenSSH's client"
            ) from None


class Connections:
    """One connection for each target, shared by all threads of the process."""

    def __init__(self, dial: Callable[[Target], Awaitable[RemoteHost]] = connect) -> None:
        self._dial = dial
        self._loop: asyncio.AbstractEventLoop | None = None  # on which what follows lives
        self._hosts: dict[Target, asyncio.Task[RemoteHost]] = {}
        self._failed: dict[Target, float] = {}  # when the last attempt failed, on the loop's clock

    def run(self, target: Target, operation: Callable[[Host], Awaitable[T]]) -> T:
        """Do something on a host, from any thread; waits for the result.

        Operations that are under way when the connection breaks fail with HostUnreachable; the next one makes
        a new connection. A host that could not be reached is not tried again for `RETRY` seconds: what was
        already on its way to it fails at once, with the same words.
        """

        async def work() -> T:
            return await operation(await self.host(target))

        return loop.run(work())

    async def host(self, target: Target) -> RemoteHost:
        """The connected host. Only for code on the background loop."""
        if self._loop is not asyncio.get_running_loop():  # the first time, or in a forked child
            self._loop, self._hosts, self._failed = asyncio.get_running_loop(), {}, {}
            atexit.register(self.close)  # before the loop, which registered itself earlier, is stopped
        task = self._hosts.get(target)
        if task is None or self._stale(target, task):
            task = self._hosts[target] = asyncio.ensure_future(self._connect(target))
        return await asyncio.shield(task)  # not only we may be waiting for it

    async def _connect(self, target: Target) -> RemoteHost:
        try:
            return await self._dial(target)
        except HostError:
            self._failed[target] = asyncio.get_running_loop().time()
            raise

    def _stale(self, target: Target, task: asyncio.Task[RemoteHost]) -> bool:
        if not task.done():
            return False
        if task.cancelled() or task.exception() is None:
            return task.cancelled() or not task.result().usable
        return asyncio.get_running_loop().time() > self._failed.get(target, 0.0) + RETRY

    def close(self) -> None:
        """Close all connections; the next operation makes new ones."""

        async def close() -> None:
            hosts, self._hosts = self._hosts, {}
            for task in hosts.values():
                task.cancel()
            for outcome in await asyncio.gather(*hosts.values(), return_exceptions=True):
                if not isinstance(outcome, BaseException):
                    await outcome.close()

        if self._hosts and self._loop is loop.running():
            loop.run(close())


connections = Connections()
