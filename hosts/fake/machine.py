"""A whole Linux host in memory: what it consists of, and what happens to it."""

from __future__ import annotations

import base64
import errno
import os
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from ipaddress import IPv4Address, IPv4Interface
from pathlib import PurePosixPath
from typing import Any
from uuid import uuid4

from hosts import ifupdown
from hosts.boot import FORWARDING_UNIT, LINKS_UNIT, UNIT_FOLDER, Unit
from hosts.daemon import SOCKET
from hosts.fake import containers
from hosts.fake.docker import Docker
from hosts.fake.kernel import FORWARDING, Kernel
from hosts.fake.managers import start_ifupdown, start_networkd
from hosts.fake.programs import XTABLES_INODE, Timer, run
from hosts.fake.replay import replay
from hosts.fake.tables import Tables
from hosts.host import Address, Link, Way
from hosts.identity import BOOT_ID

_WANTS = f"{UNIT_FOLDER}/multi-user.target.wants"
_SYMLINKS = {f"{_WANTS}/ssh.service": "/lib/systemd/system/ssh.service"}
_FOLDERS = ("/etc", "/run", "/run/systemd/system", "/etc/sysctl.d", "/etc/systemd", UNIT_FOLDER, _WANTS)


@dataclass(repr=False)
class Machine:
    """The host itself. Tests change it by hand, as another program or an administrator would."""

    kernel: Kernel
    backend: str = "nf_tables"  # what `iptables` works on
    tables: dict[str, Tables] = field(default_factory=lambda: {"nf_tables": Tables(), "legacy": Tables()})
    files: dict[str, tuple[bytes, int]] = field(default_factory=dict)  # content and mode, by path
    symlinks: dict[str, str] = field(default_factory=lambda: dict(_SYMLINKS))
    folders: set[str] = field(default_factory=lambda: set(_FOLDERS))
    modules: set[str] = field(default_factory=set)  # that modprobe would find
    missing: set[str] = field(default_factory=set)  # programs that are not installed
    xtables_lock: tuple[int, str] | None = None  # pid and name of who holds it
    dockerd: bool = False  # starts at boot
    docker: Docker | None = None  # None: not installed
    networkd: bool = False  # starts at boot
    users: dict[str, list[int]] = field(default_factory=dict)  # their groups, the first one first
    # what the host's own network manager sets up at boot
    devices: tuple[Link, ...] = ()
    device_addresses: tuple[Address, ...] = ()
    boot_sysctls: dict[str, str] = field(default_factory=dict)
    # where ssh comes from: the cable on `uplink`
    peer: str = "192.168.56.1"
    uplink: str = "eth1"
    dialled: str = "192.168.56.101"
    shut_out_by: str = ""  # while the tables say this, somebody's program lets no new connection in
    boot_id: str = field(default_factory=lambda: str(uuid4()))  # another one after every boot
    clock: float = 0.0  # seconds
    timers: dict[str, Timer] = field(default_factory=dict)  # by unit, without its ending
    locks: dict[str, str] = field(default_factory=dict)  # holder by name; of a machine that is not in a file

    @classmethod
    def bare(cls, address: str = "192.168.56.101/24", *, trunk_up: bool = True) -> Machine:
        """A host as in the tutorial: eth1 for management, eth2 as the trunk, nothing else."""
        devices = (
            Link(1, "lo", mtu=65536, up=True, carrier=True, mac="00:00:00:00:00:00"),
            Link(2, "eth1", up=True, carrier=True, mac="02:00:00:00:01:01"),
            Link(3, "eth2", up=trunk_up, carrier=trunk_up, mac="02:00:00:00:02:01"),
        )
        addresses = (Address(1, IPv4Interface("127.0.0.1/8")), Address(2, IPv4Interface(address)))
        return cls(
            Kernel.booted(devices, addresses),
            devices=devices,
            device_addresses=addresses,
            dialled=address.partition("/")[0],
        )

    def reboot(self, *, without: Sequence[str] = ()) -> str:
        """Lose what only the kernel and /run know, start again; what the boot unit printed.

        `without` names devices that appear only after the boot unit has lost its patience.
        """
        kinds, protocol = self.kernel.kinds, self.kernel.address_protocol
        self.kernel = Kernel.booted(self.devices, self.device_addresses, self.boot_sysctls)
        self.kernel.kinds, self.kernel.address_protocol = kinds, protocol
        self.tables = {"nf_tables": Tables(), "legacy": Tables()}
        self.files = {path: file for path, file in self.files.items() if not path.startswith("/run/")}
        self.folders = {path for path in self.folders if not path.startswith("/run/")} | {*_FOLDERS}
        self.boot_id = str(uuid4())
        self.timers.clear()
        self.locks.clear()
        self.xtables_lock = None
        late = [link for link in self.kernel.links.values() if link.name in without]
        for link in late:
            del self.kernel.links[link.index]
        self.start_managers()
        said = self._start(LINKS_UNIT)
        for link in late:
            self.kernel.links[link.index] = link
        if late:
            self.start_managers(hotplug=True)
        if self.dockerd:
            self.start_docker()
        return said + self._start(FORWARDING_UNIT)

    def start_managers(self, *, hotplug: bool = False) -> None:
        """What the host's network managers do when they start, or when a link appears."""
        if f"{_WANTS}/{ifupdown.UNIT}" in self.symlinks and not hotplug:
            start_ifupdown(self.kernel, self.files)
        if self.networkd:
            for path, state in start_networkd(self.kernel, self.files).items():
                self.write(path, state)

    def start_docker(self) -> None:
        """What dockerd does to a host when it starts: its bridge, its rules, and forwarding."""
        self.dockerd = True
        self.docker = self.docker or Docker.installed()
        self.files["/run/docker.pid"] = (b"123", 0o644)
        if not any(link.name == "docker0" for link in self.kernel.links.values()):
            index = self.kernel.add("docker0", None, None)
            self.kernel.add_address(index, IPv4Interface("172.17.0.1/16"))
        tables = self.tables[self.backend]
        switched_on = self.kernel.sysctls[FORWARDING] == "0"
        self.kernel.write_sysctl(FORWARDING, "1")
        policy = ":FORWARD DROP [0:0]\n" if switched_on else ""
        if not tables.has("filter", "FORWARD", ["-j", "DOCKER-USER"]):
            tables.restore(
                f"*filter\n{policy}:DOCKER-USER - [0:0]\n-A DOCKER-USER -j RETURN\n"
                "-I FORWARD -i docker0 -j ACCEPT\n-I FORWARD -j DOCKER-USER\nCOMMIT\n"
                "*nat\n-I POSTROUTING -s 172.17.0.0/16 ! -o docker0 -j MASQUERADE\nCOMMIT\n"
            )

    def _start(self, unit: Unit) -> str:
        """What starts at boot, if it is enabled; what it printed."""
        enabled = any(f"{UNIT_FOLDER}/{by}.wants/{unit.name}" in self.symlinks for by in unit.wanted_by)
        return self.replay(unit.argument) if enabled and unit.file in self.files else ""

    def replay(self, argument: str = LINKS_UNIT.argument) -> str:
        """What `replay.sh` does with that argument: what it printed."""
        return replay(self, argument)

    # the session

    def way(self) -> Way:
        """How sshd's packets get to its peer and back."""
        dialled, peer = IPv4Address(self.dialled), IPv4Address(self.peer)
        here = {address.link for address in self.kernel.addresses if address.interface.ip == dialled}
        back = self.kernel.route(peer)
        return Way(peer, frozenset(here | {self._uplink() if back is None else back}))

    def answers(self) -> bool:
        """Whether what it sends to the peer of its sessions goes to the cable where that one is."""
        back = self.kernel.route(IPv4Address(self.peer))
        uplink = self.kernel.links.get(self._uplink())
        return uplink is not None and uplink.up and back in (None, uplink.index)

    def lets_in(self) -> bool:
        """Whether a new connection would come about."""
        shut = bool(self.shut_out_by) and self.shut_out_by in self.tables[self.backend].save()
        return self.answers() and not shut

    def _uplink(self) -> int:
        return next((link.index for link in self.kernel.links.values() if link.name == self.uplink), 0)

    def pass_time(self, seconds: float) -> None:
        """Let timers that are due by then do their work."""
        self.clock += seconds
        for unit, timer in list(self.timers.items()):
            if timer.due <= self.clock:
                del self.timers[unit]
                self.run(timer.argv, b"")

    # files

    def read(self, path: str) -> bytes | None:
        """As `cat`; None if there is no such file."""
        if path == BOOT_ID:
            return f"{self.boot_id}\n".encode()
        if path.startswith("/proc/sys/"):
            value = self.kernel.sysctls.get(path.removeprefix("/proc/sys/"))
            return None if value is None else f"{value}\n".encode()
        if self.docker and (process := re.fullmatch(r"/proc/(\d+)/net/fib_trie", path)):
            return containers.fib_trie(self.docker, self.kernel, int(process[1]))
        if path == "/proc/locks" and self.xtables_lock:
            return f"1: FLOCK  ADVISORY  WRITE {self.xtables_lock[0]} 00:19:{XTABLES_INODE} 0 EOF\n".encode()
        if self.xtables_lock and path == f"/proc/{self.xtables_lock[0]}/comm":
            return f"{self.xtables_lock[1]}\n".encode()
        if self.symlinks.get(path) == "/dev/null" or path in self.folders:
            raise IsADirectoryError(errno.EISDIR, "Not a regular file", path)
        if path in self.symlinks:
            return self.read(self.symlinks[path])
        return self.files[path][0] if path in self.files else None

    def write(self, path: str, content: bytes, mode: int = 0o644) -> None:
        """Make or replace a file, and the folders above it."""
        if path.startswith("/proc/sys/"):
            self.kernel.write_sysctl(path.removeprefix("/proc/sys/"), content.decode().strip())
            return
        parents = {str(parent) for parent in PurePosixPath(path).parents} - {"/"}
        if path in self.folders or parents & self.files.keys():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), path)
        self.folders |= parents
        self.symlinks.pop(path, None)
        self.files[path] = (content, mode)

    def remove(self, path: str) -> bool:
        """As `rm`, or `rmdir` of an empty folder."""
        if path in self.files:
            del self.files[path]
        elif path in self.symlinks:
            del self.symlinks[path]
        elif path in self.folders and not self.entries(path):
            self.folders.remove(path)
        else:
            return False
        return True

    def entries(self, path: str) -> tuple[str, ...]:
        """As `ls`."""
        if path == "/proc/net/vlan" and "vlan" in self.kernel.kinds:
            return ("config",)
        inside = PurePosixPath(path)
        sysctls = (f"/proc/sys/{key}" for key in self.kernel.sysctls if path.startswith("/proc/"))
        everything = (*self.files, *self.symlinks, *self.folders, *sysctls)
        below = (PurePosixPath(each) for each in everything if each.startswith(f"{path}/"))
        return tuple(sorted({each.relative_to(inside).parts[0] for each in below}))

    # programs

    def run(self, argv: Sequence[str], stdin: bytes) -> tuple[int, str, str]:
        """Exit status and output; FileNotFoundError if not installed, AssertionError if not known."""
        return run(self, argv, stdin)

    def exchange(self, path: str, said: bytes) -> bytes | None:
        """What who listens on a Unix socket answers; None if nobody does."""
        return self.docker.exchange(said, self.kernel) if self.docker and path == SOCKET else None

    # as text and as data

    def __repr__(self) -> str:
        return f"<Machine: {'; '.join(self.kernel.dump_links())}>"

    def dump(self) -> str:
        """Everything that is to be seen on the host, in an order that does not depend on how it came about.

        Without /run, without what Docker keeps when nothing uses it (images, volumes), and without tables
        and chains that say nothing: iptables makes those by being used, and keeps them.
        """
        lines = [*self.kernel.dump()]
        for backend, tables in sorted(self.tables.items()):
            lines += [f"{backend} {line}" for line in tables.dump()]
        for path, (content, mode) in sorted(self.files.items()):
            if not path.startswith("/run/"):
                lines += [f"file {path} {mode:o}"]
                lines += [f"  {line}" for line in content.decode("utf-8", "backslashreplace").split("\n")]
        lines += [f"symlink {path} -> {target}" for path, target in sorted(self.symlinks.items())]
        lines += [f"folder {path}" for path in sorted(self.folders) if not path.startswith("/run/")]
        lines += self.docker.dump() if self.docker else ()
        return "".join(f"{line}\n" for line in lines)

    def to_json(self) -> dict[str, Any]:
        """For `from_json`."""
        return {
            "kernel": self.kernel.to_json(),
            "backend": self.backend,
            "tables": {backend: tables.to_json() for backend, tables in self.tables.items()},
            "files": {
                path: [base64.b64encode(content).decode(), mode]
                for path, (content, mode) in self.files.items()
            },
            "symlinks": self.symlinks,
            "folders": sorted(self.folders),
            "modules": sorted(self.modules),
            "missing": sorted(self.missing),
            "xtables_lock": self.xtables_lock,
            "dockerd": self.dockerd,
            "docker": asdict(self.docker) if self.docker else None,
            "networkd": self.networkd,
            "users": self.users,
            "devices": Kernel(
                {link.index: link for link in self.devices}, list(self.device_addresses)
            ).to_json(),
            "boot_sysctls": self.boot_sysctls,
            "session": {
                "peer": self.peer,
                "uplink": self.uplink,
                "dialled": self.dialled,
                "shut_out_by": self.shut_out_by,
            },
            "boot_id": self.boot_id,
            "clock": self.clock,
            "timers": {unit: [timer.due, timer.argv] for unit, timer in self.timers.items()},
        }

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Machine:
        """What `to_json` gave."""
        devices = Kernel.from_json(data["devices"])
        return cls(
            Kernel.from_json(data["kernel"]),
            data["backend"],
            {backend: Tables.from_json(tables) for backend, tables in data["tables"].items()},
            {path: (base64.b64decode(content), mode) for path, (content, mode) in data["files"].items()},
            data["symlinks"],
            set(data["folders"]),
            set(data["modules"]),
            set(data["missing"]),
            tuple(data["xtables_lock"]) if data["xtables_lock"] else None,
            data["dockerd"],
            Docker(**data["docker"]) if data["docker"] else None,
            data["networkd"],
            data["users"],
            tuple(devices.links.values()),
            tuple(devices.addresses),
            data["boot_sysctls"],
            **data["session"],
            boot_id=data["boot_id"],
            clock=data["clock"],
            timers={unit: Timer(due, argv) for unit, (due, argv) in data["timers"].items()},
        )
