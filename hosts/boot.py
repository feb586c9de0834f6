"""What brings a host's fabric back after a reboot, with nobody's help.

Every object that we make leaves one small data file in its owner's folder, written after the object
was applied and removed before it is: so what is replayed is never more than what once worked. Oneshot
units run one program, `replay.sh`, the same on all hosts: it reads those files, waits a bounded time
for a trunk interface or a network manager that is late, leaves alone what is there already, goes on
after a failure, and exits 1 in the end if there was one. Units and program are shared by all stacks; the
last one out removes them.

There are two units, because dockerd stands in between. Sub-interfaces must exist before it starts: it
makes a missing parent itself, or loses the network that needs it. Forwarding must wait until it has
started: it protects its host with a FORWARD policy of DROP only if it switches forwarding on itself.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from importlib.resources import files

from hosts.change import Change
from hosts.errors import VerificationError
from hosts.host import Completed, Host
from hosts.ownership import LOCK, PREVIOUS, ROOT, file_name, folder, owner_of_folder

PROGRAM_FILE = f"{ROOT}/replay"
UNIT_FOLDER = "/etc/systemd/system"


@dataclass(frozen=True)
class Unit:
    """A systemd unit of ours."""

    name: str
    wanted_by: tuple[str, ...]
    head: str  # the rest of its [Unit] section
    argument: str  # for the program

    @property
    def file(self) -> str:
        """Where it is."""
        return f"{UNIT_FOLDER}/{self.name}"

    @property
    def text(self) -> str:
        """What is in it."""
        return f"""\
# Written by macvlan-fabric, which removes it with the last stack on this host.
[Unit]
{self.head}

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/bin/sh {PROGRAM_FILE} {self.argument}
TimeoutStartSec=180

[Install]
WantedBy={" ".join(self.wanted_by)}
"""


# Names of interfaces are final once udev is done, and firewall services flush what they find when they start;
# ifupdown's networking.service may make links of ours, and has finished before anything is added to them.
LINKS_UNIT = Unit(
    "macvlan-fabric.service",
    ("multi-user.target", "docker.service"),
    """\
Description=VLAN fabric: firewall and sub-interfaces
Wants=network-pre.target
After=network-pre.target systemd-udevd.service firewalld.service ufw.service networking.service
Before=docker.service""",
    "links",
)
FORWARDING_UNIT = Unit(
    "macvlan-fabric-forwarding.service",
    ("multi-user.target",),
    f"""\
Description=VLAN fabric: forwarding
After={LINKS_UNIT.name} docker.service systemd-sysctl.service firewalld.service ufw.service""",
    "forwarding",
)
UNITS = (LINKS_UNIT, FORWARDING_UNIT)

PROGRAM_TEXT = files("hosts").joinpath("replay.sh").read_text()

_OWNER_FILE = "owner"  # keeps the folder, and so the unit, while its stack has no object on the host


@dataclass(frozen=True)
class BootUnitFacts:
    """What is there of units and program, and whether they count on this owner."""

    altered: tuple[str, ...]  # the files that are missing or hold another text
    disabled: tuple[str, ...]  # the units that nothing starts at boot
    registered: bool  # whether this owner's folder is there

    def differences(self) -> tuple[str, ...]:
        """What keeps this owner's objects from coming back at boot, a clause each; () if nothing does."""
        said = [f"{file} is missing or altered" for file in self.altered]
        said += [f"{unit} is not enabled" for unit in self.disabled]
        return tuple(said if self.registered else [*said, "this stack is not registered with it"])


async def read_boot_unit(host: Host, owner: str) -> BootUnitFacts:
    """What is there of them."""
    texts = {PROGRAM_FILE: PROGRAM_TEXT} | {unit.file: unit.text for unit in UNITS}
    contents = await asyncio.gather(*(host.read(file) for file in texts))
    wanted = {
        by: await host.entries(_wants(by)) for by in dict.fromkeys(b for u in UNITS for b in u.wanted_by)
    }
    return BootUnitFacts(
        tuple(file for file, content in zip(texts, contents, strict=True) if content != texts[file].encode()),
        tuple(unit.name for unit in UNITS if any(unit.name not in wanted[by] for by in unit.wanted_by)),
        await host.read(_object_file(owner, _OWNER_FILE)) is not None,
    )


async def ensure_boot_unit(host: Host, owner: str) -> Change:
    """Make units and program exist and be enabled, for this owner too. The units are not started.

    Raises Unsupported on a host without systemd.
    """
    async with host.lock(LOCK):
        facts = await read_boot_unit(host, owner)
        done = []
        if not facts.registered:
            await write_object(host, owner, _OWNER_FILE, f"{owner}\n".encode())
            done.append(f"made the folder {folder(owner)}")
        for file, text in ((PROGRAM_FILE, PROGRAM_TEXT), *((unit.file, unit.text) for unit in UNITS)):
            if file in facts.altered:
                await host.write(file, text.encode())
                done.append(f"wrote {file}")
        if facts.disabled:
            # A reload takes a second on a small host, for nothing: systemd reads everything anew at boot, and
            # a unit that is not loaded when it is asked for.
            await _systemctl(host, "enable", "--no-reload", *(unit.name for unit in UNITS))
            await _write_out(host)
            done.append(f"enabled {' and '.join(facts.disabled)}")
        elif set(facts.altered) - {PROGRAM_FILE}:  # they may be loaded as they were
            await _systemctl(host, "daemon-reload")
        return Change(tuple(done))


async def remove_boot_unit(host: Host, owner: str) -> Change:
    """Forget this owner; remove units and program too if no other owner is left.

    Objects that the owner still has on disk go with its folder: nothing would bring them back, and
    nobody else would ever remove them.
    """
    async with host.lock(LOCK):
        done = []
        for name in await host.entries(folder(owner)):
            await host.remove(f"{folder(owner)}/{name}")
        if await host.remove(folder(owner)):
            done.append(f"removed the folder {folder(owner)}")
        if any(owner_of_folder(name) for name in await host.entries(ROOT)):
            return Change(tuple(done))
        there = [unit for unit in UNITS if await host.read(unit.file) is not None]
        if there:
            await _systemctl(host, "disable", "--no-reload", *(unit.name for unit in there))
            await _systemctl(host, "stop", *(unit.name for unit in there))
        for unit in UNITS:
            for by in unit.wanted_by:  # still there if somebody removed the unit's file by hand
                if await host.remove(f"{_wants(by)}/{unit.name}"):
                    await host.remove(_wants(by))
            if await host.remove(unit.file):
                done.append(f"removed {unit.file}")
        if there:  # else systemd goes on listing what it had loaded
            await _systemctl(host, "daemon-reload")
        if await host.remove(PROGRAM_FILE):
            done.append(f"removed {PROGRAM_FILE}")
        for name in await host.entries(PREVIOUS):  # what others have come to rely on, so was not put back
            await host.remove(f"{PREVIOUS}/{name}")
        await host.remove(PREVIOUS)
        await host.remove(ROOT)
        return Change(tuple(done))


async def _write_out(host: Host) -> None:
    """Have what systemctl did outlive a power cut, as what we write does; it leaves that to the kernel."""
    folders = dict.fromkeys(_wants(by) for unit in UNITS for by in unit.wanted_by)
    await host.run(["sync", *folders])


def _wants(by: str) -> str:
    return f"{UNIT_FOLDER}/{by}.wants"


async def _systemctl(host: Host, *arguments: str) -> Completed:
    completed = await host.run(["systemctl", *arguments])
    if completed.status:
        raise VerificationError(
            host.name,
            f"`systemctl {' '.join(arguments)}` failed: {completed.stderr.decode(errors='replace').strip()}",
            "the fabric would not come back after a reboot: look at systemd on the host, then run again",
        )
    return completed


# One file per object. Whoever calls the writing ones holds the lock.


def _object_file(owner: str, name: str) -> str:
    return f"{folder(owner)}/{file_name(name)}"


async def read_object(host: Host, owner: str, name: str) -> bytes | None:
    """An object's file; None if there is none."""
    return await host.read(_object_file(owner, name))


async def write_object(host: Host, owner: str, name: str, content: bytes) -> bool:
    """Make an object's file have that content; False if it has it already."""
    if await host.read(_object_file(owner, name)) == content:
        return False
    await host.write(_object_file(owner, name), content)
    return True


async def remove_object(host: Host, owner: str, name: str) -> bool:
    """Remove an object's file, and the owner's folder if it is empty then; False if it was gone."""
    removed = await host.remove(_object_file(owner, name))
    if removed:
        await host.remove(folder(owner))
        await host.remove(ROOT)
    return removed


async def owners(host: Host) -> tuple[str, ...]:
    """Everyone who has a folder on the host, in no particular order."""
    return tuple(owner for name in await host.entries(ROOT) if (owner := owner_of_folder(name)))
