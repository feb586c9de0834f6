"""The programs on a machine in memory, as far as we call them."""

from __future__ import annotations

import errno
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from ipaddress import IPv4Interface
from typing import TYPE_CHECKING

from hosts.boot import UNIT_FOLDER
from hosts.docker_rights import LOOK
from hosts.fake import containers
from hosts.fake.managers import forget_networks
from hosts.fake.tables import Refused
from hosts.host import NetlinkFailure
from hosts.interfaces import MAKE, REMOVE, RENAME, SHOW
from hosts.rollback import UNDO

if TYPE_CHECKING:
    from hosts.fake.machine import Machine

XTABLES_INODE = 4711  # of /run/xtables.lock


@dataclass
class Timer:
    """A transient timer of systemd's, and the program that it starts."""

    due: float  # on the machine's clock
    argv: list[str]


def run(machine: Machine, argv: Sequence[str], stdin: bytes) -> tuple[int, str, str]:
    """Exit status and output; FileNotFoundError if not installed, AssertionError if not known."""
    if argv[0] in machine.missing:
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), argv[0])
    match tuple(argv):
        case ("iptables", "-V"):
            return 0, f"iptables v1.8.9 ({machine.backend})\n", ""
        case ("iptables-save",):
            return 0, machine.tables[machine.backend].save(), ""
        case ("iptables-nft-save",):
            return 0, machine.tables["nf_tables"].save(), ""
        case ("iptables-legacy-save",):
            return 0, machine.tables["legacy"].save(), ""
        case ("iptables-restore", "--noflush", "--wait", seconds, *path):
            text = stdin if not path else machine.read(path[0]) or b""
            return _iptables_restore(machine, text.decode(), int(seconds))
        case ("iptables", "--wait", seconds, *arguments):
            return machine.run(["iptables", *arguments], stdin)
        case ("ip", *arguments):
            return _ip(machine, arguments)
        case ("rm", "-f", path):
            machine.remove(path)
            return 0, "", ""
        case ("sysctl", "-q", "-w", setting):
            machine.kernel.write_sysctl(*setting.split("=", 1))
            return 0, "", ""
        case ("rmdir", path):
            return (0 if machine.remove(path) else 1), "", ""
        case ("systemd-run", "--quiet", "--collect", "--property=Type=oneshot", *arguments):
            return _systemd_run(machine, arguments)
        case ("python3", "-IS", "-c", program, path) if program == UNDO:
            return _undo(machine, path)
        case ("iptables", "-t", table, "-N", chain):
            return _iptables_restore(machine, f"*{table}\n:{chain} - [0:0]\nCOMMIT\n", 0)
        case ("iptables", "-t", table, *arguments):
            line = " ".join(f'"{word}"' if " " in word else word for word in arguments)
            return _iptables_restore(machine, f"*{table}\n{line}\nCOMMIT\n", 0)
        case ("systemctl", *arguments):
            return _systemctl(machine, arguments)
        case ("sync", *_):
            return 0, "", ""
        case ("networkctl", "reload"):
            for path, state in forget_networks(machine.files).items():
                machine.write(path, state)
            return 0, "", ""
        case ("stat", "-c", "%i", "/run/xtables.lock"):
            return 0, f"{XTABLES_INODE}\n", ""
        case ("modprobe", "--dry-run", "--quiet", module):
            return (0 if module in machine.modules else 1), "", ""
        case ("sh", "-c" | "-ec", script, "sh", *words) if script in (MAKE, RENAME, REMOVE, SHOW):
            return _in_container(machine, script, words)
        case ("readlink", "/proc/self/ns/net"):
            return 0, "net:[4026531840]\n", ""  # of every machine the first
        case ("sh", "-c", program, "sh", path, user) if program == LOOK:
            return _look_at_socket(machine, path, user)
        case ("sh", "-c", "command -v docker"):
            return (1 if machine.docker is None or "docker" in machine.missing else 0), "", ""
    raise AssertionError(f"this fake host does not know {' '.join(argv)!r}")


def _look_at_socket(machine: Machine, path: str, user: str) -> tuple[int, str, str]:
    """What `hosts.docker_rights.LOOK` does."""
    said = ""
    if machine.docker and machine.docker.running:
        mode, uid, gid, group = machine.docker.socket.split()
        said += f"{mode} 1 {uid} {gid} 0 Nov 25 09:45 {path}\n{group}\n"
    if user in machine.users:
        return 0, f"{said}{' '.join(map(str, machine.users[user]))}\n", ""
    return 1, said, f"id: '{user}': no such user\n"


def _iptables_restore(machine: Machine, text: str, seconds: int) -> tuple[int, str, str]:
    if machine.xtables_lock and machine.backend == "legacy":
        return 4, "", f"Another app is currently holding the xtables lock; waited {seconds}s\n"
    try:
        machine.tables[machine.backend].restore(text)
    except Refused as refused:
        return 1, "", f"{refused}\n"
    return 0, "", ""


def _in_container(machine: Machine, script: str, words: list[str]) -> tuple[int, str, str]:
    if machine.docker is None:
        raise AssertionError("nobody runs in a container of a host without docker")
    docker, kernel = machine.docker, machine.kernel
    if script == SHOW:
        return 0, containers.show(docker, kernel, int(words[0])), ""
    if script == RENAME:
        return containers.rename(docker, kernel, int(words[0]), *words[1:])
    if script == REMOVE:
        return containers.remove(docker, kernel, int(words[0]), *words[1:])
    return containers.make(docker, kernel, words)


def _systemctl(machine: Machine, arguments: list[str]) -> tuple[int, str, str]:
    match arguments:
        case ["daemon-reload"]:
            pass
        case ["stop", *units]:
            for unit in units:
                machine.timers.pop(unit.removesuffix(".timer"), None)
        case ["start", unit]:
            timer = machine.timers.get(unit.removesuffix(".service"))
            if timer is None:
                return 5, "", f"Failed to start {unit}: Unit {unit} not found.\n"
            return machine.run(timer.argv, b"")
        case ["enable" | "disable" as verb, "--no-reload", *units]:
            for unit in units:
                content = machine.read(f"{UNIT_FOLDER}/{unit}")
                if content is None:
                    return 1, "", f"Failed to {verb} unit: Unit file {unit} does not exist.\n"
                for by in _wanted_by(content):
                    wants = f"{UNIT_FOLDER}/{by}.wants"
                    if verb == "enable":
                        machine.folders.add(wants)
                        machine.symlinks[f"{wants}/{unit}"] = f"{UNIT_FOLDER}/{unit}"
                    elif machine.symlinks.pop(f"{wants}/{unit}", None):
                        machine.remove(wants)  # as remove_marked_symlinks does
        case _:
            raise AssertionError(f"this fake systemctl does not know {arguments}")
    return 0, "", ""


def _systemd_run(machine: Machine, arguments: list[str]) -> tuple[int, str, str]:
    options = dict(word[2:].split("=", 1) for word in arguments if word.startswith("--"))
    argv = arguments[len(options) :]
    if options["unit"] in machine.timers:
        return 1, "", f"Failed to start: Unit {options['unit']}.timer was already loaded\n"
    due = machine.clock + float(options["on-active"].removesuffix("s"))
    machine.timers[options["unit"]] = Timer(due, argv)
    return 0, "", ""


def _undo(machine: Machine, path: str) -> tuple[int, str, str]:
    """What `hosts.rollback.UNDO` does."""
    if path not in machine.files:
        return 0, "", ""
    machine.files[f"{path}.undone"] = machine.files.pop(path)
    words = machine.files[f"{path}.undone"][0].decode().split("\0")[:-1]
    failed = 0
    while words:
        end = 1 + int(words[0])
        program = words[1].lstrip("-")
        try:
            status = machine.run([program, *words[2:end]], b"")[0]
        except FileNotFoundError:
            status = 127
        failed += status != 0 and program == words[1]
        del words[:end]
    return min(failed, 1), "", ""


def _ip(machine: Machine, arguments: list[str]) -> tuple[int, str, str]:
    kernel = machine.kernel
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


def _wanted_by(unit: bytes) -> list[str]:
    lines = unit.decode().splitlines()
    return [word for line in lines if line.startswith("WantedBy=") for word in line.split("=", 1)[1].split()]
