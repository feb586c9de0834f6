"""One guest: its disk, its identity, its processes."""

from __future__ import annotations

import hashlib
import os
import select
import shutil
import signal
import subprocess
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Collection, Iterator, List, Optional, Sequence

from . import access
from .command import tail
from .errors import LabError
from .runner import start_time
from .switch import Switch, management_port, trunk_port

RUNNER = Path(__file__).with_name("runner.py")
MEMORY = 1024  # MiB each; taken as it is used
SHARED_MEMORY = Path("/dev/shm")


@dataclass(frozen=True)
class Process:
    """A process and when it was started (clock ticks since boot), which together are never used again."""

    pid: int
    started: str

    def alive(self) -> bool:
        try:
            return start_time(self.pid) == self.started and not self._zombie()
        except (OSError, IndexError):
            return False

    def _zombie(self) -> bool:
        return Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()[0] in "ZX"

    def signal(self, number: int) -> None:
        with suppress(ProcessLookupError):
            os.kill(self.pid, number)

    def await_end(self, timeout: Optional[float] = None) -> bool:
        """Wait until the process has ended (pidfd_open(2)); False if it has not within `timeout` seconds."""
        try:
            handle = os.pidfd_open(self.pid)
        except ProcessLookupError:
            return True
        try:
            return not self.alive() or bool(select.select([handle], [], [], timeout)[0])
        finally:
            os.close(handle)


def read_process(path: Path) -> Optional[Process]:
    """The process that a pid file names, if it is alive."""
    try:
        pid, started = path.read_text().split()
    except (OSError, ValueError):
        return None
    process = Process(int(pid), started)
    return process if process.alive() else None


def is_guest(pid: int) -> bool:
    """Whether a process is part of a guest: its runner, its kernel, or what runs the programs in it."""
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return False
    return b"uml-userspace" in words[0] or any(word.startswith(b"lab.address=") for word in words)


def end_all(pids: Sequence[int]) -> None:
    """SIGKILL processes and wait until they are gone."""
    processes = []
    for pid in pids:
        with suppress(OSError):
            processes.append(Process(pid, start_time(pid)))
    for process in processes:
        process.signal(signal.SIGKILL)
    for process in processes:
        process.await_end()


class Guest:
    """The guest `name` of the lab in `directory`; `number` (1..100) tells addresses and MACs apart."""

    def __init__(self, name: str, number: int, directory: Path, switch: Switch) -> None:
        self.name = name
        self.address = f"192.168.56.{100 + number}"
        self.directory = directory / "guests" / name
        self._number = number
        self._switch = switch
        self._disk = self.directory / "disk.cow"
        self._base = self.directory / "base.img"  # a link to the image in the cache
        self._seed = self.directory / "seed"

    # -- what it is -------------------------------------------------------------------------------------------

    def process(self) -> Optional[Process]:
        """The guest's main process, if it is running."""
        return read_process(self.directory / "pid")

    def attended(self) -> bool:
        """Whether its runner is there: then it runs, or is being started again."""
        return read_process(self.directory / "runner") is not None

    def processes(self) -> List[Process]:
        """Its runner and its main process; each leads a session, so what belongs to it can be told."""
        found = (read_process(self.directory / name) for name in ("runner", "pid"))
        return [process for process in found if process is not None]

    def release(self) -> Optional[str]:
        """The Debian release on its disk, if it has one."""
        return self._base.readlink().parent.name.rpartition("-")[0] if self._disk.exists() else None

    def ready(self) -> Optional[str]:
        """None while it is booting; `ok`, or what is wrong with it, once it says so."""
        try:
            return (self._seed / "ready").read_text().strip() or None
        except OSError:
            return None

    def last_exit(self) -> str:
        """Why its last boot ended; empty if none has."""
        try:
            return (self.directory / "exit").read_text().strip()
        except OSError:
            return ""

    def console(self) -> Path:
        return self.directory / "console.log"

    def host_key(self) -> str:
        """Its public host key, as in a .pub file."""
        return (self._seed / "etc" / "ssh" / "ssh_host_ed25519_key.pub").read_text()

    # -- what is done to it -----------------------------------------------------------------------------------

    def prepare(self, hosts_file: str, authorized_key: str) -> None:
        """Write what the guest takes from the lab when it boots (image/rootfs/usr/lib/lab/seed)."""
        etc = self._seed / "etc"
        files = {
            "hostname": f"{self.name}\n",
            "hosts": hosts_file,
            "ssh/authorized_keys": authorized_key,
            "systemd/network/10-management.network": (
                f"[Match]\nName=eth1\n\n[Network]\nAddress={self.address}/24\nLinkLocalAddressing=no\nIPv6AcceptRA=no\n"
            ),
        }
        for name, text in files.items():
            path = etc / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        access.make_key(etc / "ssh" / "ssh_host_ed25519_key", self.name)

    def start(self, kernel: Path, image: Path, cpu: int) -> None:
        """Start its process; returns as soon as that runs, long before it has booted.

        A guest without a disk gets a copy-on-write copy of `image`. `cpu` is the processor it is kept on.
        """
        if not self._disk.exists():
            self._base.unlink(missing_ok=True)
            self._base.symlink_to(image)
        elif not self._base.exists():
            raise LabError(
                f"{self.name}: the image it was made from is no longer in the cache",
                f"python3 -m lab reset {self.name}  makes a bare host of it",
            )
        shutil.rmtree(self.directory / "uml", ignore_errors=True)
        (self.directory / "exit").unlink(missing_ok=True)
        argv = ["taskset", "-c", str(cpu), sys.executable, "-I", str(RUNNER)]
        argv += [".", str(kernel), *self._parameters()]
        with (self.directory / "runner.log").open("w") as log:
            inside = self._switch.inside(["env", f"TMPDIR={_memory_folder(self.directory)}", *argv])
            # setsid ends at once: the runner is nobody's child, because it outlives whoever starts it.
            starter = subprocess.Popen(
                ["setsid", "--fork", *inside],
                cwd=self.directory,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
            )
        assert starter.stdout is not None
        with starter, starter.stdout:
            if not starter.stdout.readline():
                raise LabError(f"{self.name}: did not start:\n{tail(self.directory / 'runner.log')}")

    def _parameters(self) -> List[str]:
        number = f"{100 + self._number:02x}"
        machine = hashlib.sha256(f"{self._switch.name}/{self.name}".encode()).hexdigest()[:32]
        nics = (
            f"vec{index}:transport=tap,ifname={port},depth=128,gro=0,mac=02:00:00:00:0{index + 1}:{number}"
            for index, port in enumerate((management_port(self.name), trunk_port(self.name)))
        )
        return [
            # Paths relative to its folder, where it stays: that one may be called anything.
            *(
                "ubd0=disk.cow,base.img",
                "root=/dev/ubda",
                "rw",
                f"mem={MEMORY}M",
                "seccomp=auto",
                "noreboot",
                "panic=1",
            ),
            *("uml_dir=uml", f"umid={self.name}", "hostfs=/proc/self/cwd/seed"),
            *("con=null", "con0=fd:0,fd:1", "con1=null", "ssl=null", "quiet"),
            *("net.ifnames=0", "dummy.numdummies=0", "bonding.max_bonds=0", *nics),
            *(
                f"systemd.hostname={self.name}",
                f"systemd.machine_id={machine}",
                f"lab.address={self.address}",
            ),
        ]

    def kill(self) -> None:
        """Cut its power; returns when all its processes are gone. Nothing happens if it is off."""
        runner = read_process(self.directory / "runner")
        if runner is not None:
            runner.signal(signal.SIGTERM)
            runner.await_end()
        process = self.process()
        if process is not None:  # its runner was killed before it
            os.killpg(process.pid, signal.SIGKILL)
            process.await_end()

    def keep_on(self, cpu: int) -> None:
        """Move it to another processor. Nothing happens if it is off."""
        leaders = {process.pid for process in self.processes()}
        for _ in range(2):  # what is started during the first round may have been before its parent was moved
            for thread in _threads(leaders):
                with suppress(ProcessLookupError):
                    os.sched_setaffinity(thread, {cpu})

    def erase(self) -> None:
        """Forget all that was ever written to its disk. It must be off."""
        self._disk.unlink(missing_ok=True)

    def trouble(self) -> str:
        """The end of what it said, for an error message."""
        log = tail(self.console()) or tail(self.directory / "runner.log")
        return f"{log}\n    (all of it: {self.console()})"


def _threads(leaders: Collection[int]) -> Iterator[int]:
    """All threads of all processes in the sessions of these."""
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # it has just ended
            if os.getsid(int(process.name)) in leaders:
                yield from (int(thread.name) for thread in (process / "task").iterdir())


def _memory_folder(fallback: Path) -> Path:
    """Where a guest's memory lives: a file, without a name, in memory if there is room for it."""
    try:
        free = os.statvfs(SHARED_MEMORY)
    except OSError:
        return fallback
    return SHARED_MEMORY if free.f_bavail * free.f_frsize > 2 * MEMORY << 20 else fallback
