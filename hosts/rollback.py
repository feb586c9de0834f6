"""A change that would cut us off heals itself: the host undoes it unless we confirm in time.

    async with rollback.guarded(host, "gateway", [["iptables-restore", "/run/macvlan-fabric/before"]]):
        ...  # make the change
    ...  # only now make it persistent

It is confirmed over a new connection: that the old one still works says little, because firewalls and
routes treat what is under way differently from what begins.

A timer of systemd's is the clock, so that it runs on without us. Whoever removes the file with the commands
first - the timer to run them, or we to confirm - has decided; so it can never be both. The file is below
/run: a host that reboots meanwhile comes back as it was before the change.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from hashlib import sha256

from hosts.errors import AgentError, HostError, HostUnreachable, Unsupported, VerificationError
from hosts.host import Host

FOLDER = "/run/macvlan-fabric/rollback"
SECONDS = 30.0  # until an unconfirmed change is undone; more than a change and a new connection take
PATIENCE = 10.0  # seconds of trying to get a new connection while the change is in place
NO_SUCH_UNIT = 5  # systemctl's status (LSB: program is not installed)
MARGIN = 30.0  # seconds that the undoing may take

# What the timer starts, with the file's path as its argument. The file holds the commands, each as the number
# of its words and then the words, all ended by NUL. One that begins with `-` may fail, as in systemd's units.
UNDO = """
import os, subprocess, sys
path = sys.argv[1]
try:
    os.rename(path, path + ".undone")
except FileNotFoundError:
    sys.exit(0)
with open(path + ".undone", "rb") as file:
    words = file.read().split(b"\\0")[:-1]
failed = 0
while words:
    end = 1 + int(words[0])
    program = words[1].lstrip(b"-")
    try:
        status = subprocess.call([program, *words[2:end]])
    except OSError:
        status = 127
    failed += status != 0 and program == words[1]
    del words[:end]
sys.exit(failed != 0)
"""


def name_of(owner: str, what: str) -> str:
    """Under which name a change of that object is armed; another one for every object of every owner."""
    digest = sha256(f"{owner}/{what}".encode()).hexdigest()[:12]
    return f"{re.sub('[^a-zA-Z0-9._]', '-', what)}.{digest}"


@asynccontextmanager
async def guarded(
    host: Host, name: str, undo_by: Sequence[Sequence[str]], *, seconds: float = SECONDS
) -> AsyncIterator[None]:
    """Around a change: it stays only if the host can be reached over a new connection with it in place.

    Else the host undoes it: at once if the session that made it still works, by itself after `seconds` if
    not; and VerificationError says so. A change that fails is undone, too. The commands must lead back from
    anywhere on the way: a program with `-` before its name may fail, because there may be nothing to undo.
    """
    await arm(host, name, undo_by, seconds=seconds)
    try:
        yield
        async with host.anew(patience=PATIENCE) as other:
            await confirm(other, name)
    except HostUnreachable as cut:
        raise await _after_a_cut(host, name, cut, seconds) from None
    except BaseException:
        with suppress(HostError):  # the timer will
            await undo(host, name)
        raise


async def _after_a_cut(host: Host, name: str, cut: HostUnreachable, seconds: float) -> HostError:
    """See to it that the change is undone, and say how that came."""
    try:
        undone, how = await undo(host, name), "it was undone at once"
    except HostUnreachable:
        try:
            async with host.anew(patience=seconds + MARGIN) as other:
                by_itself = f"{name}.undone" in await other.entries(FOLDER)
                undone = await undo(other, name) and by_itself
        except HostUnreachable as gone:
            return HostUnreachable(
                host.name,
                f"no connection since a change of {_object(name)}, although it was to be undone after "
                f"{seconds:g} s: {gone.message}",
                "nothing was made persistent: a reboot brings the host back as it was",
            )
        how = f"the host has undone it by itself after {seconds:g} s"
    if not undone:  # there was a way all the time: only the session broke
        return cut
    return VerificationError(
        host.name,
        f"with the change of {_object(name)} in place no new connection could be made ({cut.message}); "
        f"{how}, and nothing was made persistent",
        "correct the topology, or what on the host does not go with it, and run again",
    )


async def arm(host: Host, name: str, undo_by: Sequence[Sequence[str]], *, seconds: float) -> None:
    """Let the host run the commands in `seconds`, one after the other, unless `confirm` comes first.

    What an earlier run armed under this name and never confirmed is undone now, before anything else.
    Raises Unsupported on a host without systemd.
    """
    if not re.fullmatch("[a-zA-Z0-9][a-zA-Z0-9._-]*", name) or not all(undo_by):
        raise AgentError(host.name, f"cannot arm {name!r} with {undo_by!r}")
    words = [word for command in undo_by for word in (str(len(command)), *command)]
    if any("\0" in word for word in words):
        raise AgentError(host.name, f"a NUL character in {undo_by!r}")
    if "system" not in await host.entries("/run/systemd"):
        raise Unsupported(
            host.name,
            "no systemd is running, so there is no timer to undo a change that cuts us off",
            "run a risky change from the host's console, or use a host with systemd",
        )
    await undo(host, name)
    content = "".join(f"{word}\0" for word in words).encode(errors="surrogateescape")
    await host.write(_file(name), content, mode=0o600)
    start = [
        "systemd-run", "--quiet", "--collect", "--property=Type=oneshot",
        f"--unit={_unit(name)}",
        f"--description=Undo of an unconfirmed change ({name})",
        f"--on-active={seconds:g}s",
        "--timer-property=AccuracySec=100ms",  # the default is a minute
        "python3", "-IS", "-c", UNDO, _file(name),
    ]  # fmt: skip
    started = await host.run(start)
    if started.status != 0:  # the timer of a confirmed change may be left over: it has nothing to do
        await host.run(["systemctl", "stop", f"{_unit(name)}.timer"])
        started = await host.run(start)
    if started.status != 0:
        await host.remove(_file(name))
        raise VerificationError(
            host.name,
            f"the timer for {name} could not be started: {started.stderr.decode(errors='replace').strip()}",
            "nothing was changed; look at systemd on the host",
        )


async def confirm(host: Host, name: str) -> None:
    """Keep the change. Raises VerificationError if it has been undone already, or is being undone."""
    if await host.remove(_file(name)):
        with suppress(HostUnreachable):  # it is decided: the timer would find nothing to do
            await host.run(["systemctl", "stop", f"{_unit(name)}.timer"])
        return
    await _settle(host, name)
    raise VerificationError(
        host.name,
        f"{_object(name)}: the change was not confirmed in time, so the host has undone it",
        "the host could not be reached with the change in place; correct it and run again",
    )


async def settle(host: Host) -> None:
    """Undo now what earlier runs changed and could not confirm, before anybody looks at what is there.

    For those who hold the host's lock: so did whoever armed it, so nobody is at work on it any more. Where
    undoing fails there is something else than was left; the journal knows, and the caller looks anyhow.
    """
    for name in sorted({name.removesuffix(".undone") for name in await host.entries(FOLDER)}):
        with suppress(VerificationError):
            await _settle(host, name)


async def undo(host: Host, name: str) -> bool:
    """See to it that the change is undone; False if it was confirmed, or never armed."""
    armed = await host.entries(FOLDER)
    if name not in armed and f"{name}.undone" not in armed:
        return False
    await _settle(host, name)
    return True


async def _settle(host: Host, name: str) -> None:
    """See to it that nothing of an earlier change of this name is still to come."""
    # The unit is a oneshot: this starts it, or joins it if the timer just has, and returns when it is done.
    done = await host.run(["systemctl", "start", f"{_unit(name)}.service"], deadline=MARGIN)
    await host.run(["systemctl", "stop", f"{_unit(name)}.timer"])
    await host.remove(_file(name))  # there was no timer: what it belonged to was never begun
    await host.remove(f"{_file(name)}.undone")
    if done.status not in (0, NO_SUCH_UNIT):
        raise VerificationError(
            host.name,
            f"{_object(name)}: undoing an earlier change that was not confirmed failed",
            f"see `journalctl -u {_unit(name)}.service` on the host",
        )


def _object(name: str) -> str:
    """What `name_of` made a name of, for people."""
    return name.rpartition(".")[0].removesuffix(".link") or name


def _file(name: str) -> str:
    return f"{FOLDER}/{name}"


def _unit(name: str) -> str:
    return f"macvlan-fabric-rollback-{name}"
