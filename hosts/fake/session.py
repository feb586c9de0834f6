"""A session with a machine in memory, which can go wrong at any step."""

from __future__ import annotations

import asyncio
import fcntl
import os
import threading
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from ipaddress import IPv4Interface
from pathlib import Path

from hosts.errors import ConflictError, DeadlineExceeded, HostError, HostUnreachable, Unsupported
from hosts.fake.file import exclusive, opened, save
from hosts.fake.machine import Machine
from hosts.host import DEADLINE, Address, Completed, Host, Link, Way


@dataclass(frozen=True)
class Fault:
    """What goes wrong at one step. A step is one call of a `Host` method; they are counted from 1."""

    step: int
    effect: bool  # whether the host has done it before it goes wrong
    lost: bool = True  # the session ends with it, so that all later steps fail, too


class FakeHost(Host):
    """A session with a `Machine`.

    With `path`, the machine lives in that file (made as `Machine.bare` if there is none), and other
    sessions, also of other processes, see the same one.
    """

    def __init__(
        self,
        name: str = "router",
        machine: Machine | None = None,
        *,
        path: Path | None = None,
        fault: Fault | None = None,
    ) -> None:
        self._name = name
        self._machine = machine or Machine.bare()
        self._path = path
        self._guard = threading.Lock()
        self.fault = fault
        self.steps = 0
        self.log: list[str] = []  # every step, for people
        self._lost = False
        if path is not None:
            with self._guard, exclusive(path):
                if not path.exists():
                    save(path, self._machine.to_json())

    @property
    def name(self) -> str:
        return self._name

    @contextmanager
    def machine(self) -> Iterator[Machine]:
        """The machine, to look at or to change by hand; other processes never see it half-changed."""
        if self._path is None:
            yield self._machine
            return
        with self._guard, opened(self._path) as data:
            machine = Machine.from_json(data)
            yield machine
            data.update(machine.to_json())

    def dump(self) -> str:
        """The machine's whole state."""
        with self.machine() as machine:
            return machine.dump()

    def reconnect(self, fault: Fault | None = None) -> None:
        """Have a session again after a fault, and perhaps the next fault."""
        self.fault, self.steps, self._lost = fault, 0, False

    @contextmanager
    def _step(self, what: str) -> Iterator[Machine]:
        """One step: count it, let it happen on the machine, and go wrong where that was asked for.

        Its answer does not come if the step itself has cut the machine off.
        """
        if self._lost:
            raise HostUnreachable(self._name, f"the session was lost before: {what}", "run it again")
        self.steps += 1
        self.log.append(what)
        fault = self.fault if self.fault and self.fault.step == self.steps else None
        if fault and not fault.effect:
            raise self._go_wrong(fault, what)
        with self.machine() as machine:
            if not machine.answers():
                raise self._silent(what)
            try:
                yield machine
            except IsADirectoryError as error:
                raise ConflictError(self._name, f"{what}: {error}", "remove it, then run again") from None
            except OSError as error:
                raise HostError(self._name, f"{what}: {error}") from None
            answers = machine.answers()
        if not answers:
            raise self._silent(what)
        if fault:
            raise self._go_wrong(fault, what)

    def _silent(self, what: str) -> HostUnreachable:
        return HostUnreachable(self._name, f"no sign of life: {what}", "is the host still up?")

    def _go_wrong(self, fault: Fault, what: str) -> HostError:
        self._lost = fault.lost
        if fault.lost:
            return HostUnreachable(self._name, f"the session was lost during: {what}", "run it again")
        return DeadlineExceeded(
            self._name, f"no answer in time: {what}", "it may have happened; run it again"
        )

    # Host

    async def way(self) -> Way | None:
        with self._step("way") as machine:
            return machine.way()

    @asynccontextmanager
    async def anew(self, *, patience: float) -> AsyncIterator[FakeHost]:
        what = f"dial for {patience:g} s"
        if not self._lost:
            with self.machine() as machine:
                if not machine.lets_in():
                    machine.pass_time(patience)
                lets_in = machine.lets_in()
            if not lets_in:
                raise self._silent(what)
        with self._step(what):
            pass
        yield self

    async def links(self) -> tuple[Link, ...]:
        with self._step("links") as machine:
            return tuple(machine.kernel.shown(link) for link in machine.kernel.links.values())

    async def addresses(self) -> tuple[Address, ...]:
        with self._step("addresses") as machine:
            return tuple(machine.kernel.addresses)

    async def add_vlan(self, name: str, parent: int, vlan: int) -> int:
        with self._step(f"add_vlan {name} {vlan}") as machine:
            return machine.kernel.add(name, "vlan", parent, vlan)

    async def add_macvlan(self, name: str, parent: int) -> int:
        with self._step(f"add_macvlan {name}") as machine:
            return machine.kernel.add(name, "macvlan", parent)

    async def set_link(
        self, index: int, *, up: bool | None = None, mtu: int | None = None, alias: str | None = None
    ) -> None:
        with self._step(f"set_link {index} up={up} mtu={mtu} alias={alias}") as machine:
            machine.kernel.set(index, up=up, mtu=mtu, alias=alias)

    async def delete_link(self, index: int) -> None:
        with self._step(f"delete_link {index}") as machine:
            machine.kernel.delete(index)

    async def add_address(self, link: int, interface: IPv4Interface, *, protocol: int = 0) -> None:
        with self._step(f"add_address {link} {interface}") as machine:
            machine.kernel.add_address(link, interface, protocol)

    async def delete_address(self, link: int, interface: IPv4Interface) -> None:
        with self._step(f"delete_address {link} {interface}") as machine:
            machine.kernel.delete_address(link, interface)

    async def run(self, argv: Sequence[str], *, stdin: bytes = b"", deadline: float = DEADLINE) -> Completed:
        del deadline  # everything here is instant
        with self._step(f"run {' '.join(argv)}") as machine:
            try:
                status, out, err = machine.run(argv, stdin)
            except FileNotFoundError:
                raise Unsupported(self._name, f"there is no program {argv[0]}", "install it") from None
            return Completed(tuple(argv), status, out.encode(), err.encode())

    async def exchange(self, path: str, said: bytes, *, deadline: float = DEADLINE) -> bytes | None:
        del deadline
        with self._step(f"ask {path} {said.splitlines()[0].decode()}") as machine:
            return machine.exchange(path, said)

    async def read(self, path: str) -> bytes | None:
        with self._step(f"read {path}") as machine:
            return machine.read(path)

    async def write(self, path: str, content: bytes, *, mode: int = 0o644) -> None:
        with self._step(f"write {path}") as machine:
            machine.write(path, content, mode)

    async def remove(self, path: str) -> bool:
        with self._step(f"remove {path}") as machine:
            return machine.remove(path)

    async def entries(self, path: str) -> tuple[str, ...]:
        with self._step(f"entries {path}") as machine:
            return machine.entries(path)

    @asynccontextmanager
    async def lock(self, name: str, *, deadline: float = 60.0) -> AsyncIterator[None]:
        with self._step(f"lock {name}"):
            pass
        path = self._path
        async with self._in_memory(name, deadline) if path is None else self._in_file(path, name, deadline):
            yield

    @asynccontextmanager
    async def _in_memory(self, name: str, deadline: float) -> AsyncIterator[None]:
        locks = self._machine.locks
        end = asyncio.get_running_loop().time() + deadline
        while name in locks:
            if asyncio.get_running_loop().time() >= end:
                raise self._locked(name, deadline, locks[name])
            await asyncio.sleep(0)
        locks[name] = f"a session with {self._name}"
        try:
            yield
        finally:
            locks.pop(name, None)

    @asynccontextmanager
    async def _in_file(self, path: Path, name: str, deadline: float) -> AsyncIterator[None]:
        end = asyncio.get_running_loop().time() + deadline
        with path.with_suffix(f".lock-{name}").open("a+") as file:
            while True:
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if asyncio.get_running_loop().time() >= end:
                        file.seek(0)
                        raise self._locked(name, deadline, file.read() or "another session") from None
                    await asyncio.sleep(0.01)
            file.truncate(0)
            file.write(f"process {os.getpid()}")
            file.flush()
            yield

    def _locked(self, name: str, deadline: float, holder: str) -> DeadlineExceeded:
        return DeadlineExceeded(
            self._name, f"the lock {name} was held for {deadline:g} s by {holder}", "wait for it to finish"
        )
