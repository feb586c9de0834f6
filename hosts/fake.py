"""A Linux host in memory, behind the same `Host` as a real one.

It keeps the kernel's rules (`hosts.fake_kernel`), iptables' (`hosts.fake_tables`), network managers'
(`hosts.fake_managers`), Docker's (`hosts.fake_docker`) and, as far as we use it, systemd's; shows its whole
state as text; and fails loudly on any program that it does not know. It can fail at any step, be cut off
by what is done to it, be rebooted, and live in a file, so that several processes see the same machine. Its
clock moves only when somebody waits for it.
"""

from __future__ import annotations

import asyncio
import base64
import errno
import fcntl
import json
import os
import threading
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import asdict, dataclass, field, replace
from ipaddress import IPv4Address, IPv4Interface
from pathlib import Path, PurePosixPath
from typing import Any

from hosts import ifupdown
from hosts.boot import FORWARDING_UNIT, LINKS_UNIT, PROGRAM_FILE, PROGRAM_TEXT, UNIT_FOLDER, Unit
from hosts.daemon import SOCKET
from hosts.errors import ConflictError, DeadlineExceeded, HostError, HostUnreachable, Unsupported
from hosts.fake_docker import Docker
from hosts.fake_kernel import FORWARDING, Kernel
from hosts.fake_managers import forget_networks, start_ifupdown, start_networkd
from hosts.fake_tables import Refused, Tables
from hosts.host import DEADLINE, Address, Completed, Host, Link, NetlinkFailure, Way
from hosts.links import at_boot_in, from_boot_content
from hosts.ownership import ADDRESS_PROTOCOL, ROOT, owner_in_alias
from hosts.rollback import UNDO
from model.fabric import SubInterface

_XTABLES_INODE = 4711
_WANTS = f"{UNIT_FOLDER}/multi-user.target.wants"
_SYMLINKS = {f"{_WANTS}/ssh.service": "/lib/systemd/system/ssh.service"}
_FOLDERS = ("/etc", "/run", "/run/systemd/system", "/etc/sysctl.d", "/etc/systemd", UNIT_FOLDER, _WANTS)


@dataclass
class Timer:
    """A transient timer of systemd's, and the program that it starts."""

    due: float  # on the machine's clock
    argv: list[str]


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
    # what the host's own network manager sets up at boot
    devices: tuple[Link, ...] = ()
    device_addresses: tuple[Address, ...] = ()
    boot_sysctls: dict[str, str] = field(default_factory=dict)
    # where ssh comes from: the cable on `uplink`
    peer: str = "192.168.56.1"
    uplink: str = "eth1"
    dialled: str = "192.168.56.101"
    shut_out_by: str = ""  # while the tables say this, somebody's program lets no new connection in
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
        self.docker = self.docker or Docker()
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
        if self.files.get(PROGRAM_FILE, (b"", 0))[0] != PROGRAM_TEXT.encode():
            return "no replay program"
        said: list[str] = []
        ours = sorted(path for path in self.files if PurePosixPath(path).parent.parent == PurePosixPath(ROOT))
        if argument == LINKS_UNIT.argument:
            for path in ours:
                if path.endswith("/firewall"):
                    self._replay_firewall(path, said)
            self._replay_links([path for path in ours if path.endswith(".link")], said)
        else:
            for path in ours:
                firewall = str(PurePosixPath(path).parent / "firewall")
                if path.endswith("/sysctls") and (
                    firewall not in self.files or self._replay_firewall(firewall, said)
                ):
                    self._replay_sysctls(path, said)
        return "".join(f"{line}\n" for line in said)

    def _replay_links(self, pending: list[str], said: list[str]) -> None:
        late = False
        while pending:
            before = len(pending)
            pending = [path for path in pending if not self._replay_link(path, said, late=late)]
            if len(pending) == before and late:
                said += [f"{path}: its parent did not appear" for path in pending]
                return
            late = len(pending) == before

    def _replay_firewall(self, path: str, said: list[str]) -> bool:
        """False if it could not be restored."""
        text = self.files[path][0].decode()
        tables = self.tables[self.backend]
        try:
            tables.restore(text)
            for line in text.splitlines():
                mark, _, rest = line.partition("# jump ")
                if mark or not rest:
                    continue
                table, built_in, chain, comment = rest.split(" ", 3)
                rule = ["-m", "comment", "--comment", comment, "-j", chain]
                if not tables.has(table, built_in, rule):
                    quoted = f'-I {built_in} -m comment --comment "{comment}" -j {chain}'
                    tables.restore(f"*{table}\n{quoted}\nCOMMIT\n")
        except Refused as refused:
            said.append(f"{path}: {refused}")
            return False
        return True

    def _replay_link(self, path: str, said: list[str], *, late: bool) -> bool:
        """False if its parent is not there yet, or it is not made yet by the manager who shall."""
        content = self.files[path][0]
        want = from_boot_content(content)
        if want is None:
            said.append(f"{path}: makes no sense")
            return True
        alias = next(line[6:] for line in content.decode().splitlines() if line.startswith("alias "))
        kernel = self.kernel
        try:
            parent = kernel.link(want.parent)
        except NetlinkFailure:
            return False
        try:
            link = next((link for link in kernel.links.values() if link.name == want.name), None)
            manager = at_boot_in(content).manager
            if link is None and manager not in (None, ifupdown.NAME) and not late:
                return False
            if link is None:
                index = kernel.add(
                    want.name, "macvlan" if want.vlan is None else "vlan", parent.index, want.vlan
                )
                kernel.set(index, alias=alias)
            elif link.alias != alias and manager and _is_made_as(link, parent, want):
                kernel.set(link.index, alias=alias)
            elif link.alias != alias:
                said.append(f"{want.name}: not ours")
                return True
            link = kernel.link(want.name)
            if want.mtu is not None and link.mtu != want.mtu:
                kernel.set(link.index, mtu=want.mtu)
            for key, value in want.settings:
                kernel.write_sysctl(f"net/ipv4/conf/{want.name}/{key}", value)
            for address in want.addresses:
                kernel.replace_address(link.index, address, ADDRESS_PROTOCOL)
            kernel.set(parent.index, up=True)
            kernel.set(link.index, up=True)
        except NetlinkFailure as failure:
            said.append(f"{want.name}: {failure}")
        return True

    def _replay_sysctls(self, path: str, said: list[str]) -> None:
        for line in self.files[path][0].decode().splitlines():
            if not line.startswith("#"):
                key, _, value = line.partition(" ")
                try:
                    self.kernel.write_sysctl(key, value)
                except FileNotFoundError:
                    said.append(f"{key}: not set")

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
        if path.startswith("/proc/sys/"):
            value = self.kernel.sysctls.get(path.removeprefix("/proc/sys/"))
            return None if value is None else f"{value}\n".encode()
        if path == "/proc/locks" and self.xtables_lock:
            return f"1: FLOCK  ADVISORY  WRITE {self.xtables_lock[0]} 00:19:{_XTABLES_INODE} 0 EOF\n".encode()
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
        if argv[0] in self.missing:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), argv[0])
        match tuple(argv):
            case ("iptables", "-V"):
                return 0, f"iptables v1.8.9 ({self.backend})\n", ""
            case ("iptables-save",):
                return 0, self.tables[self.backend].save(), ""
            case ("iptables-nft-save",):
                return 0, self.tables["nf_tables"].save(), ""
            case ("iptables-legacy-save",):
                return 0, self.tables["legacy"].save(), ""
            case ("iptables-restore", "--noflush", "--wait", seconds, *path):
                text = stdin if not path else self.read(path[0]) or b""
                return self._iptables_restore(text.decode(), int(seconds))
            case ("iptables", "--wait", seconds, *arguments):
                return self.run(["iptables", *arguments], stdin)
            case ("ip", *arguments):
                return self._ip(arguments)
            case ("rm", "-f", path):
                self.remove(path)
                return 0, "", ""
            case ("sysctl", "-q", "-w", setting):
                self.kernel.write_sysctl(*setting.split("=", 1))
                return 0, "", ""
            case ("rmdir", path):
                return (0 if self.remove(path) else 1), "", ""
            case ("systemd-run", "--quiet", "--collect", "--property=Type=oneshot", *arguments):
                return self._systemd_run(arguments)
            case ("python3", "-IS", "-c", program, path) if program == UNDO:
                return self._undo(path)
            case ("iptables", "-t", table, "-N", chain):
                return self._iptables_restore(f"*{table}\n:{chain} - [0:0]\nCOMMIT\n", 0)
            case ("iptables", "-t", table, *arguments):
                line = " ".join(f'"{word}"' if " " in word else word for word in arguments)
                return self._iptables_restore(f"*{table}\n{line}\nCOMMIT\n", 0)
            case ("systemctl", *arguments):
                return self._systemctl(arguments)
            case ("sync", *_):
                return 0, "", ""
            case ("networkctl", "reload"):
                for path, state in forget_networks(self.files).items():
                    self.write(path, state)
                return 0, "", ""
            case ("stat", "-c", "%i", "/run/xtables.lock"):
                return 0, f"{_XTABLES_INODE}\n", ""
            case ("modprobe", "--dry-run", "--quiet", module):
                return (0 if module in self.modules else 1), "", ""
            case ("sh", "-c", "command -v docker"):
                return (1 if self.docker is None or "docker" in self.missing else 0), "", ""
        raise AssertionError(f"this fake host does not know {' '.join(argv)!r}")

    def _iptables_restore(self, text: str, seconds: int) -> tuple[int, str, str]:
        if self.xtables_lock and self.backend == "legacy":
            return 4, "", f"Another app is currently holding the xtables lock; waited {seconds}s\n"
        try:
            self.tables[self.backend].restore(text)
        except Refused as refused:
            return 1, "", f"{refused}\n"
        return 0, "", ""

    def _systemctl(self, arguments: list[str]) -> tuple[int, str, str]:
        match arguments:
            case ["daemon-reload"]:
                pass
            case ["stop", *units]:
                for unit in units:
                    self.timers.pop(unit.removesuffix(".timer"), None)
            case ["start", unit]:
                timer = self.timers.get(unit.removesuffix(".service"))
                if timer is None:
                    return 5, "", f"Failed to start {unit}: Unit {unit} not found.\n"
                return self.run(timer.argv, b"")
            case ["enable" | "disable" as verb, "--no-reload", *units]:
                for unit in units:
                    content = self.read(f"{UNIT_FOLDER}/{unit}")
                    if content is None:
                        return 1, "", f"Failed to {verb} unit: Unit file {unit} does not exist.\n"
                    for by in self._wanted_by(content):
                        wants = f"{UNIT_FOLDER}/{by}.wants"
                        if verb == "enable":
                            self.folders.add(wants)
                            self.symlinks[f"{wants}/{unit}"] = f"{UNIT_FOLDER}/{unit}"
                        elif self.symlinks.pop(f"{wants}/{unit}", None):
                            self.remove(wants)  # as remove_marked_symlinks does
            case _:
                raise AssertionError(f"this fake systemctl does not know {arguments}")
        return 0, "", ""

    def _systemd_run(self, arguments: list[str]) -> tuple[int, str, str]:
        options = dict(word[2:].split("=", 1) for word in arguments if word.startswith("--"))
        argv = arguments[len(options) :]
        if options["unit"] in self.timers:
            return 1, "", f"Failed to start: Unit {options['unit']}.timer was already loaded\n"
        due = self.clock + float(options["on-active"].removesuffix("s"))
        self.timers[options["unit"]] = Timer(due, argv)
        return 0, "", ""

    def _undo(self, path: str) -> tuple[int, str, str]:
        """What `hosts.rollback.UNDO` does."""
        if path not in self.files:
            return 0, "", ""
        self.files[f"{path}.undone"] = self.files.pop(path)
        words = self.files[f"{path}.undone"][0].decode().split("\0")[:-1]
        failed = 0
        while words:
            end = 1 + int(words[0])
            program = words[1].lstrip("-")
            try:
                status = self.run([program, *words[2:end]], b"")[0]
            except FileNotFoundError:
                status = 127
            failed += status != 0 and program == words[1]
            del words[:end]
        return min(failed, 1), "", ""

    def _ip(self, arguments: list[str]) -> tuple[int, str, str]:
        kernel = self.kernel
        try:
            match arguments:
                case ["link", "add", "link", parent, "name", name, "type", kind, *more]:
                    vlan = int(more[1]) if kind == "vlan" else None
                    kernel.add(name, kind, kernel.link(parent).index, vlan)
                case ["link", "delete", "dev", name]:
                    kernel.delete(kernel.link(name).index)
                case ["link", "set", "dev", name, "up" | "down" as state]:
                    kernel.set(kernel.link(name).index, up=state == "up")
                case ["link", "set", "dev", name, "mtu", mtu]:
                    kernel.set(kernel.link(name).index, mtu=int(mtu))
                case ["link", "set", "dev", name, "address", mac]:
                    link = kernel.link(name)
                    kernel.links[link.index] = replace(link, mac=mac)
                case ["link", "set", "dev", name, "alias", alias]:
                    kernel.set(kernel.link(name).index, alias=alias)
                case ["address", "add", address, "dev", name, *protocol]:
                    number = int(protocol[1], 0) if protocol else 0
                    kernel.add_address(kernel.link(name).index, IPv4Interface(address), number)
                case ["address", "delete", address, "dev", name]:
                    kernel.delete_address(kernel.link(name).index, IPv4Interface(address))
                case _:
                    raise AssertionError(f"this fake ip does not know {arguments}")
        except NetlinkFailure as failure:
            return 2, "", f"RTNETLINK answers: {failure}\n"
        return 0, "", ""

    @staticmethod
    def _wanted_by(unit: bytes) -> list[str]:
        lines = unit.decode().splitlines()
        return [
            word for line in lines if line.startswith("WantedBy=") for word in line.split("=", 1)[1].split()
        ]

    def exchange(self, path: str, said: bytes) -> bytes | None:
        """What who listens on a Unix socket answers; None if nobody does."""
        return self.docker.exchange(said) if self.docker and path == SOCKET else None

    # as text and as data

    def __repr__(self) -> str:
        return f"<Machine: {'; '.join(self.kernel.dump_links())}>"

    def dump(self) -> str:
        """Everything that is to be seen on the host, in an order that does not depend on how it came about.

        Without /run, and without tables and chains that say nothing: iptables makes those by being used,
        and keeps them.
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
            tuple(devices.links.values()),
            tuple(devices.addresses),
            data["boot_sysctls"],
            **data["session"],
            clock=data["clock"],
            timers={unit: Timer(due, argv) for unit, (due, argv) in data["timers"].items()},
        )


def _is_made_as(link: Link, parent: Link, want: SubInterface) -> bool:
    return (link.parent, link.vlan) == (parent.index, want.vlan) and not owner_in_alias(link.alias)


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
            with self._exclusive(path):
                if not path.exists():
                    self._save(path, self._machine)

    @property
    def name(self) -> str:
        return self._name

    @contextmanager
    def machine(self) -> Iterator[Machine]:
        """The machine, to look at or to change by hand; other processes never see it half-changed."""
        if self._path is None:
            yield self._machine
            return
        with self._exclusive(self._path):
            machine = Machine.from_json(json.loads(self._path.read_text()))
            before = json.dumps(machine.to_json())
            yield machine
            if json.dumps(machine.to_json()) != before:
                self._save(self._path, machine)

    def dump(self) -> str:
        """The machine's whole state."""
        with self.machine() as machine:
            return machine.dump()

    def reconnect(self, fault: Fault | None = None) -> None:
        """Have a session again after a fault, and perhaps the next fault."""
        self.fault, self.steps, self._lost = fault, 0, False

    @contextmanager
    def _exclusive(self, path: Path) -> Iterator[None]:
        with self._guard, path.with_suffix(".guard").open("w") as guard:
            fcntl.flock(guard, fcntl.LOCK_EX)
            yield

    @staticmethod
    def _save(path: Path, machine: Machine) -> None:
        fresh = path.with_suffix(".new")
        fresh.write_text(json.dumps(machine.to_json()))
        fresh.replace(path)

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
