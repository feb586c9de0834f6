"""One running agent (`hosts.agent`) and the conversation with it.

A session is a child process - ssh, or in tests python3 itself - whose standard input and output carry
messages. Any number of tasks of one event loop use it at the same time. It lives until it is closed or
breaks; a broken session never recovers, and everything that waits for it fails with the reason.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib.resources
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar, cast

from hosts import agent
from hosts.errors import AgentError, DeadlineExceeded, HostError, HostUnreachable

T = TypeVar("T")

PING = 3.0  # seconds between two signs of life that we ask for
MISSED = 4  # pings without any sign of life until the session counts as broken
NOISE = 256 * 1024  # bytes of login banners before the agent's greeting
COMPLAINT = 16 * 1024  # bytes kept of what ssh and the agent write to standard error


@dataclass(frozen=True)
class Greeting:
    """What the agent says of its host."""

    uid: int
    python: str
    byteorder: str
    kernel: str
    hostname: str
    connection: str  # sshd's SSH_CONNECTION: our address and port, its own; "" if there was no sshd


class Refused(Exception):
    """The host's operating system refused a request."""

    def __init__(self, code: int, text: str) -> None:
        self.code = code  # errno
        self.text = text
        super().__init__(text)


class Late(Exception):
    """A request reached its own deadline on the host; `known` is what the agent could say by then."""

    def __init__(self, known: tuple[bytes, ...]) -> None:
        self.known = known
        super().__init__("deadline")


class Ended(Exception):
    """The child process ended, or closed its output, before the agent greeted."""

    def __init__(self, complaint: str, status: int | None) -> None:
        self.complaint = complaint
        self.status = status
        super().__init__(complaint)


class Session(asyncio.SubprocessProtocol):
    """Use `open_session`."""

    def __init__(self, name: str) -> None:
        self.name = name
        loop = asyncio.get_running_loop()
        self.greeted: asyncio.Future[Greeting] = loop.create_future()
        self.broken: asyncio.Future[HostError] = loop.create_future()
        self._exited: asyncio.Future[None] = loop.create_future()  # and nothing of it is left
        self._number = 0
        self._waiting: dict[int, asyncio.Future[list[bytes]]] = {}
        self._channels: dict[int, Callable[[bytes], None]] = {}
        self._messages: agent.Messages | None = None  # None until the greeting
        self._noise = b""
        self._complaint = b""
        self._quiet = 0  # pings since the last sign of life
        self._heartbeat: asyncio.TimerHandle | None = None
        self._process: asyncio.SubprocessTransport
        self._input: asyncio.WriteTransport

    # what users of a session call

    async def request(self, verb: bytes, *fields: bytes, what: str, deadline: float) -> tuple[bytes, ...]:
        """Send a request and wait for its reply: the fields after `ok`.

        Raises Refused, Late, DeadlineExceeded if no answer came within `deadline` seconds, and
        HostUnreachable if the session broke. `what` names the operation in messages: "read /etc/hosts".
        """
        reply, number = self._ask(verb, fields)
        try:
            outcome, *rest = await self.guard(reply, what=what, deadline=deadline)
        except (DeadlineExceeded, asyncio.CancelledError):
            self._tell(0, b"cancel", b"%d" % number)
            raise
        finally:
            self._waiting.pop(number, None)
        return self._judge(outcome, rest, what)

    async def guard(self, awaitable: Awaitable[T], *, what: str, deadline: float) -> T:
        """Await something that depends on the session, for at most `deadline` seconds."""
        if self.broken.done():
            if asyncio.iscoroutine(awaitable):
                awaitable.close()
            raise self._error(what)
        future = asyncio.ensure_future(awaitable)
        try:
            await asyncio.wait((future, self.broken), timeout=deadline, return_when=asyncio.FIRST_COMPLETED)
            if future.done():
                return future.result()
        finally:
            future.cancel()
        if self.broken.done():
            raise self._error(what)
        raise DeadlineExceeded(
            self.name,
            f"{what}: no answer within {deadline:g} s",
            "it may have happened nevertheless; the next run looks at what is there",
        )

    async def open_channel(self, receive: Callable[[bytes], None]) -> int:
        """A netlink socket on the host; `receive` gets the kernel's datagrams."""
        what = "open a netlink socket"
        reply, number = self._ask(b"netlink", ())
        try:
            outcome, *rest = await self.guard(reply, what=what, deadline=10.0)
        finally:
            self._waiting.pop(number, None)
        self._judge(outcome, rest, what)
        self._channels[number] = receive
        return number

    def send_datagram(self, channel: int, datagram: bytes) -> None:
        self._tell(channel, b"datagram", datagram)

    @contextlib.asynccontextmanager
    async def hold(self, *fields: bytes, what: str, deadline: float) -> AsyncIterator[None]:
        """Send a `lock` request, and the matching `unlock` at the end. Raises as `request` does."""
        reply, number = self._ask(b"lock", fields)
        try:
            outcome, *rest = await self.guard(reply, what=what, deadline=deadline)
            self._judge(outcome, rest, what)
        except BaseException:
            self._tell(0, b"cancel", b"%d" % number)
            raise
        finally:
            self._waiting.pop(number, None)
        try:
            yield
        finally:
            self._tell(0, b"unlock", b"%d" % number)

    async def close(self) -> None:
        """End the agent and the child process."""
        self._break("was closed")
        await self._exited

    # the child process

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._process = cast(asyncio.SubprocessTransport, transport)
        self._input = cast(asyncio.WriteTransport, self._process.get_pipe_transport(0))
        text = source()
        self._input.write(b"%08x" % len(text) + text)

    def pipe_data_received(self, fd: int, data: bytes) -> None:
        if fd == 2:
            self._complaint = (self._complaint + data)[-COMPLAINT:]
            return
        self._quiet = 0
        if self._messages is None:
            self._noise += data
            _, found, data = self._noise.partition(agent.GREETING)
            if not found:
                if len(self._noise) > NOISE:
                    self._complaint += b"it printed a lot that is not the agent: " + self._noise[:200]
                    self._end()
                return
            self._messages = agent.Messages()
        try:
            for number, fields in self._messages.feed(data):
                self._receive(number, fields)
        except (ValueError, IndexError) as error:
            self._break(f"broke: what came from the host makes no sense ({error})")

    def pipe_connection_lost(self, fd: int, _exc: Exception | None) -> None:
        if fd == 1:
            # What ssh has to say, and its status, come a moment later; but a program that ssh left behind
            # may hold its standard error open for ever.
            asyncio.get_running_loop().call_later(0.3, self._end)

    def process_exited(self) -> None:
        asyncio.get_running_loop().call_later(0.3, self._end)

    def connection_lost(self, _exc: Exception | None) -> None:
        self._end()
        self._exited.set_result(None)

    # inside

    def _ask(self, verb: bytes, fields: Sequence[bytes]) -> tuple[asyncio.Future[list[bytes]], int]:
        self._number += 1
        reply = self._waiting[self._number] = asyncio.get_running_loop().create_future()
        self._tell(self._number, verb, *fields)
        return reply, self._number

    def _tell(self, number: int, *fields: bytes) -> None:
        if not self.broken.done():
            self._input.write(agent.encode(number, *fields))

    def _receive(self, number: int, fields: list[bytes]) -> None:
        if waiting := self._waiting.get(number):
            if not waiting.done():
                waiting.set_result(fields)
        elif fields[0] == b"datagram" and number in self._channels:
            self._channels[number](fields[1])
        elif number in self._channels:
            self._break(f"broke: its netlink socket failed ({fields[-1].decode(errors='replace')})")
        elif fields[0] == b"hello":
            self._greet([field.decode(errors="replace") for field in fields[1:]])

    def _greet(self, facts: list[str]) -> None:
        version, uid, python, byteorder, kernel, hostname, connection = facts
        if int(version) != agent.VERSION:
            raise ValueError(f"agent version {version}, not {agent.VERSION}")
        self.greeted.set_result(Greeting(int(uid), python, byteorder, kernel, hostname, connection))
        self._beat()

    def _beat(self) -> None:
        """Find out early when the host is gone, and let the agent know that we are not."""
        if self.broken.done():
            return
        if self._quiet >= MISSED:
            self._break(f"broke: no sign of life for {MISSED * PING:g} s")
            return
        self._quiet += 1
        self._tell(0, b"ping")
        self._heartbeat = asyncio.get_running_loop().call_later(PING, self._beat)

    def _judge(self, outcome: bytes, rest: list[bytes], what: str) -> tuple[bytes, ...]:
        if outcome == b"ok":
            return tuple(rest)
        if outcome == b"late":
            raise Late(tuple(rest))
        if outcome == b"errno":
            raise Refused(int(rest[0]), rest[1].decode(errors="replace"))
        raise AgentError(self.name, f"{what}: the agent failed:\n{b' '.join(rest).decode(errors='replace')}")

    def _end(self) -> None:
        """The far end is gone."""
        words = self._complaint.decode(errors="replace").strip().splitlines()
        self._break("broke: " + ("; ".join(words[-2:]) or "the connection was closed"))

    def _break(self, why: str) -> None:
        if self.broken.done():
            return
        if self._heartbeat:
            self._heartbeat.cancel()
        if not self.greeted.done():
            complaint = self._complaint.decode(errors="replace") or f"the session {why}"
            self.greeted.set_exception(Ended(complaint, self._process.get_returncode()))
        self.broken.set_result(
            HostUnreachable(
                self.name,
                f"the session {why}",
                "is the host still up? the next operation makes a new session",
            )
        )
        self._process.close()  # and kills it

    def _error(self, what: str) -> HostError:
        error = self.broken.result()
        return type(error)(error.host, f"{what}: {error.message}", error.hint)


async def open_session(name: str, argv: Sequence[str], *, deadline: float) -> tuple[Session, Greeting]:
    """Start a child process that runs the bootstrap, and wait for the agent's greeting.

    Raises Ended if it ended without one, TimeoutError after `deadline` seconds.
    """
    loop = asyncio.get_running_loop()
    _, session = await loop.subprocess_exec(lambda: Session(name), *argv)
    try:
        async with asyncio.timeout(deadline):
            return session, await session.greeted
    except BaseException:
        await session.close()
        raise


def source() -> bytes:
    """The agent's program, as it is sent."""
    return (importlib.resources.files("hosts") / "agent.py").read_bytes()
