"""The lab: Debian hosts on one machine, on a management network and a trunk, without virtualisation hardware."""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import shlex
import shutil
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Dict, Iterator, List, Mapping, Optional, Sequence, Tuple, Union

from . import access, image, kernel
from .capture import Capture
from .errors import LabError
from .guest import Guest, end_all, is_guest
from .progress import Progress
from .switch import PREFIX, Switch, management_port, trunk_port

DEFAULT_HOSTS = ("router", "host1", "host2")
BOOT_DEADLINE = 180.0  # seconds until a guest must be ready
POWER_OFF_DEADLINE = 60.0  # seconds until a guest that was asked to power off is cut off
POLL_INTERVAL = 0.02  # seconds between two looks at a guest's report


@dataclass(frozen=True)
class HostState:
    """What can be seen of a host from outside."""

    name: str
    address: str
    release: Optional[str]  # of its disk; None if it has none yet
    state: str  # up | booting | off, and why
    pid: Optional[int]
    cables: Mapping[str, bool]  # management, trunk: plugged in
    missing_vlans: Tuple[int, ...]  # that its trunk port does not carry


class Lab:
    """The lab whose folder is `directory`; other folders are other labs, side by side with it.

    `hosts` get the addresses 192.168.56.101, .102, ... in their order. `release` names the Debian release of a host's
    disk where it is not the default; it counts when the disk is made. Nothing happens before a method is called; all
    methods raise LabError. `progress` is where long steps are shown.
    """

    def __init__(
        self,
        directory: Union[str, "os.PathLike[str]"],
        hosts: Sequence[str] = DEFAULT_HOSTS,
        release: Optional[Mapping[str, str]] = None,
        progress: Optional[Progress] = None,
    ) -> None:
        self.directory = Path(directory).absolute()
        self.hosts = tuple(hosts)
        self._progress = progress or Progress()
        self._release = dict(release or {})
        _check_names(self.hosts, self._release)
        identity = hashlib.sha256(os.fsencode(self.directory.resolve())).hexdigest()[:8]
        self.switch = Switch(f"{PREFIX}{identity}", self.directory.resolve())
        self.guests: Dict[str, Guest] = {
            name: Guest(name, number, self.directory, self.switch)
            for number, name in enumerate(self.hosts, 1)
        }

    # -- getting onto the hosts ---------------------------------------------------------------------------------

    @property
    def ssh_config(self) -> Path:
        """An ssh_config(5) with the hosts as aliases; works from anywhere on this machine."""
        return self.directory / "ssh_config"

    @property
    def known_hosts(self) -> Path:
        return self.directory / "known_hosts"

    @property
    def addresses(self) -> Dict[str, str]:
        """Each host's address on the management network."""
        return {name: guest.address for name, guest in self.guests.items()}

    def ssh(
        self,
        host: str,
        *argv: str,
        timeout: float = 60,
        input: Optional[str] = None,
        check: bool = False,
        user: str = "root",
    ) -> "subprocess.CompletedProcess[str]":
        """Run `argv` (words, not shell text) on `host`; for shell text: `ssh(host, "sh", "-c", text)`.

        Raises subprocess.TimeoutExpired after `timeout` seconds and, with `check`, subprocess.CalledProcessError.
        """
        return subprocess.run(
            self.ssh_argv(host, user, shlex.join(argv)),
            input=input if input is not None else "",
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            timeout=timeout,
            check=check,
        )

    def ssh_argv(self, host: str, user: str = "root", *words: str) -> List[str]:
        """The ssh command line for `host`; `words` are joined with spaces and read by a shell there, as ssh does."""
        self._guest(host)
        if not self.ssh_config.exists():
            raise LabError(f"the lab in {self.directory} is down", "python3 -m lab up")
        return ["ssh", "-F", str(self.ssh_config), "-l", user, host, *(["--", *words] if words else [])]

    def inside(self, *argv: str) -> List[str]:
        """The command line that runs `argv` of this machine inside the lab's network namespace."""
        if not self.switch.exists():
            raise LabError(f"the lab in {self.directory} is down", "python3 -m lab up")
        return self.switch.inside(argv)

    # -- life and death -----------------------------------------------------------------------------------------

    def build(self) -> None:
        """Build kernel and images into the cache, as far as they are not there."""
        releases = sorted({self._image_of(guest) for guest in self.guests.values()})
        with ThreadPoolExecutor(1 + len(releases)) as pool:
            built = pool.submit(kernel.build, self._progress)
            images = [pool.submit(image.build, name, built.result, self._progress) for name in releases]
            for future in [built, *images]:
                future.result()

    def up(self, *hosts: str) -> None:
        """Have all hosts (or these) running, with sshd and Docker ready. What runs already is left alone."""
        self.build()
        with self._lock():
            self._prepare()
            self._start(self._chosen(hosts))

    def down(self, cut: bool = False) -> None:
        """Power all hosts off (with `cut`: without asking them) and leave no process, namespace or tap behind.

        Disks stay: the next `up` boots the same hosts. Nothing happens if the lab is down.
        """
        with self._lock():
            if not cut:
                self._power_off([guest for guest in self.guests.values() if guest.process()])
            self._hang_up(list(self.guests.values()))
            for guest in self.guests.values():
                guest.kill()
            self._end_strays(guests_only=False)
            self.switch.remove()

    def destroy(self) -> None:
        """`down` at once, and remove the lab's folder."""
        self.down(cut=True)
        shutil.rmtree(self.directory, ignore_errors=True)

    def start(self, *hosts: str) -> None:
        """Switch hosts on and wait until they are ready."""
        self.up(*hosts)

    def kill(self, *hosts: str) -> None:
        """Cut the power of hosts. Their disks keep what they had written out."""
        with self._lock():
            guests = self._chosen(hosts)
            self._hang_up(guests)
            for guest in guests:
                guest.kill()

    def reboot(self, *hosts: str) -> None:
        """Reboot hosts properly, all at the same time, and wait until they are ready again."""
        with self._lock():
            guests = self._chosen(hosts)
            before = {guest.name: guest.process() for guest in guests}
            off = [name for name, process in before.items() if process is None]
            if off:
                raise LabError(f"{', '.join(off)}: off", f"python3 -m lab start {' '.join(off)}")
            with self._progress.step(f"rebooting {_names(guests)}"):
                self._tell(guests, "systemctl", "reboot")
                self._hang_up(guests)
                deadline = time.monotonic() + BOOT_DEADLINE
                for guest in guests:
                    while guest.attended() and guest.process() in (before[guest.name], None):
                        if time.monotonic() > deadline:
                            raise LabError(f"{guest.name}: did not reboot within {BOOT_DEADLINE:.0f} s")
                        time.sleep(POLL_INTERVAL)
                self._await_ready(guests, deadline)

    def reset(self, *hosts: str) -> None:
        """Make bare hosts of them: power cut, a fresh disk, cables plugged in, every VLAN; then boot them."""
        self.build()
        with self._lock():
            self._prepare()
            guests = self._chosen(hosts)
            self._hang_up(guests)
            for guest in guests:
                guest.kill()
                guest.erase()
                self.switch.restore(guest.name)
            self._start(guests)

    # -- the wires ----------------------------------------------------------------------------------------------

    def cable(self, host: str, state: str, management: bool = False) -> None:
        """Plug the trunk cable of `host` `in` or pull it `out`; with `management` the other one."""
        if state not in ("in", "out"):
            raise LabError(f"cable {state!r}: a cable is in or out")
        self._guest(host)
        self.switch.cable(management_port(host) if management else trunk_port(host), state == "in")

    def vlan_filter(self, host: str, vlan: int, action: str) -> None:
        """Make the switch port of `host` `drop` a VLAN's frames, both ways, or `pass` them again."""
        if action not in ("drop", "pass"):
            raise LabError(f"VLAN filter {action!r}: drop or pass")
        self._guest(host)
        self.switch.filter(trunk_port(host), vlan, action == "pass")

    def capture(self, vlan: Optional[int] = None, management: bool = False) -> Capture:
        """Record what enters the trunk's ports (or the management network's) while the result is open."""
        ports = {(management_port if management else trunk_port)(host): host for host in self.hosts}
        return Capture(self.switch, ports, vlan)

    # -- looking ------------------------------------------------------------------------------------------------

    def status(self) -> List[HostState]:
        plugged = self.switch.plugged()
        missing = self.switch.missing()
        return [
            HostState(
                name=name,
                address=guest.address,
                release=guest.release(),
                state=_state(guest),
                pid=process.pid if process else None,
                cables={
                    "management": plugged.get(management_port(name), False),
                    "trunk": plugged.get(trunk_port(name), False),
                },
                missing_vlans=tuple(vlan for port, vlan in missing if port == trunk_port(name)),
            )
            for name, guest in self.guests.items()
            for process in [guest.process()]
        ]

    # -- how ----------------------------------------------------------------------------------------------------

    @contextmanager
    def _lock(self) -> Iterator[None]:
        """One command at a time changes what runs in this lab."""
        try:
            self.directory.mkdir(parents=True, exist_ok=True)
            lock = os.open(self.directory / "lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise LabError(f"{self.directory}: cannot be written: {error.strerror}") from error
        try:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                with self._progress.step("waiting for another lab command"):
                    fcntl.flock(lock, fcntl.LOCK_EX)
            yield
        finally:
            os.close(lock)

    def _guest(self, host: str) -> Guest:
        try:
            return self.guests[host]
        except KeyError:
            raise LabError(f"host {host!r}: not in this lab", f"it has {', '.join(self.hosts)}") from None

    def _chosen(self, hosts: Sequence[str]) -> List[Guest]:
        return [self._guest(host) for host in hosts or self.hosts]

    def _image_of(self, guest: Guest) -> str:
        return self._release.get(guest.name) or guest.release() or image.DEFAULT_RELEASE

    def _prepare(self) -> None:
        """Keys, ssh configuration and switch; heals what a removed folder or a killed process has left."""
        access.make_key(self.directory / "id_ed25519", "lab")
        hosts_file = "127.0.0.1\tlocalhost\n" + "".join(
            f"{ip}\t{name}\n" for name, ip in self.addresses.items()
        )
        authorized = (self.directory / "id_ed25519.pub").read_text()
        for guest in self.guests.values():
            guest.prepare(hosts_file, authorized)
        self.known_hosts.write_text(
            access.known_hosts_text({name: guest.host_key() for name, guest in self.guests.items()})
        )
        proxy = access.proxy_command(self.switch.inside([]))
        self.ssh_config.write_text(access.ssh_config_text(self.directory, self.addresses, proxy))
        self.switch.plug_in(self.hosts)
        self._end_strays(guests_only=True)

    def _end_strays(self, guests_only: bool) -> None:
        """End what runs in the namespace and is no guest of ours.

        With `guests_only` that is what a folder removed by hand or a killed process has left of guests; else all.
        """
        ours = {process.pid for guest in self.guests.values() for process in guest.processes()}
        strays = [
            pid
            for pid in self.switch.processes()
            if _session(pid) not in ours and (not guests_only or is_guest(pid))
        ]
        end_all(strays)

    def _start(self, guests: Sequence[Guest]) -> None:
        off = [guest for guest in guests if guest.process() is None]
        for guest in off:
            guest.start(kernel.path(), image.path(self._image_of(guest)), self._processor(guest))
        if guests:
            with self._progress.step(f"booting {_names(guests)}"):
                self._await_ready(guests, time.monotonic() + BOOT_DEADLINE)

    def _processor(self, guest: Guest) -> int:
        """Where a guest stays: one that changes processors is slower. Labs side by side begin with different ones."""
        cpus = sorted(os.sched_getaffinity(0))
        first = int(self.switch.name[len(PREFIX) :], 16)
        return cpus[(first + self.hosts.index(guest.name)) % len(cpus)]

    def _await_ready(self, guests: Sequence[Guest], deadline: float) -> None:
        """Wait for guests that boot, which is all work: who has a processor for itself is ready much earlier."""
        waiting = list(guests)
        while waiting:
            for guest in list(waiting):
                report = guest.ready()
                if report == "ok":
                    waiting.remove(guest)
                    for other, place in zip(waiting, guests):  # as if those that are ready were not there
                        other.keep_on(self._processor(place))
                elif report is not None:
                    raise LabError(
                        f"{guest.name} has booted, but {report}", f"python3 -m lab ssh {guest.name}"
                    )
                elif not guest.attended():
                    raise LabError(
                        f"{guest.name} went off while booting ({guest.last_exit()}):\n{guest.trouble()}"
                    )
                elif time.monotonic() > deadline:
                    raise LabError(f"{guest.name}: not ready after {BOOT_DEADLINE:.0f} s:\n{guest.trouble()}")
            time.sleep(POLL_INTERVAL if waiting else 0)
        for guest in guests:
            guest.keep_on(self._processor(guest))

    def _power_off(self, guests: Sequence[Guest]) -> None:
        if not guests:
            return
        with self._progress.step(f"powering off {_names(guests)}"):
            self._tell([guest for guest in guests if guest.ready()], "systemctl", "poweroff")
            deadline = time.monotonic() + POWER_OFF_DEADLINE
            for guest in guests:
                process = guest.process()
                if process is not None and guest.ready():
                    process.await_end(max(0.0, deadline - time.monotonic()))

    def _hang_up(self, guests: Sequence[Guest]) -> None:
        """End the connections that ssh shares: they would outlive the host, and hide what became of it."""
        for guest in guests:
            for socket in access.shared_connections(self.directory, guest.name):
                argv = ["ssh", "-F", str(self.ssh_config), "-S", str(socket), "-O", "exit", guest.name]
                subprocess.run(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=10)

    def _tell(self, guests: Sequence[Guest], *argv: str) -> None:
        """Run a command on several hosts at once; one that cuts its own connection has still run."""
        with ThreadPoolExecutor(max(1, len(guests))) as pool:
            for guest in guests:
                pool.submit(self.ssh, guest.name, *argv, timeout=30)


def _check_names(hosts: Sequence[str], release: Mapping[str, str]) -> None:
    for name in hosts:
        if not re.fullmatch(r"[a-z][a-z0-9-]*", name) or len(name) > access.LONGEST_NAME:
            rest = access.LONGEST_NAME - 1
            raise LabError(f"host name {name!r}: a letter, then up to {rest} of a-z, 0-9 and -")
    if len(set(hosts)) != len(hosts) or not 1 <= len(hosts) <= 100:
        raise LabError(f"hosts {', '.join(hosts)}: 1 to 100 different names")
    for name, wanted in release.items():
        if name not in hosts:
            raise LabError(f"release of {name!r}: not a host of this lab", f"it has {', '.join(hosts)}")
        if wanted not in image.RELEASES:
            raise LabError(f"release {wanted!r} of {name}: unknown", f"known are {', '.join(image.RELEASES)}")


def _names(guests: Sequence[Guest]) -> str:
    return ", ".join(guest.name for guest in guests)


def _session(pid: int) -> int:
    try:
        return os.getsid(pid)
    except ProcessLookupError:
        return -1


def _state(guest: Guest) -> str:
    if guest.process() is None:
        why = guest.last_exit()
        return f"off ({why})" if why else "off"
    report = guest.ready()
    return "booting" if report is None else "up" if report == "ok" else f"up, but {report}"
