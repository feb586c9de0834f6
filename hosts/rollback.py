"""A change that would cut us off heals itself: the host undoes it unless we confirm in time.

    await rollback.arm(host, "gateway", [["iptables-restore", "/run/macvlan-fabric/before"]], seconds=60)
    ...  # make the change, and look at the host over a new connection: connect(target, fresh=True)
    await rollback.confirm(host, "gateway")
    ...  # only now make the change persistent

A timer of systemd's is the clock, so that it runs on without us. Whoever removes the file with the commands
first - the timer to run them, or we to confirm - has decided; so it can never be both. The file is below
/run: a host that reboots meanwhile comes back as it was before the change.
"""

from __future__ import annotations

from collections.abc import Sequence

from hosts.errors import AgentError, Unsupported, VerificationError
from hosts.host import Host

FOLDER = "/run/macvlan-fabric/rollback"
NO_SUCH_UNIT = 5  # systemctl's status (LSB: program is not installed)
MARGIN = 30.0  # seconds that the undoing may take

# What the timer starts, with the file's path as its argument. The file holds the commands, each as the number
# of its words and then the words, all ended by NUL.
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
    failed += subprocess.call(words[1:end]) != 0
    del words[:end]
sys.exit(failed != 0)
"""


async def arm(host: Host, name: str, undo: Sequence[Sequence[str]], *, seconds: float) -> None:
    """Let the host run the commands in `seconds`, one after the other, unless `confirm` comes first.

    What an earlier run armed under this name and never confirmed is undone now, before anything else.
    Raises Unsupported on a host without systemd.
    """
    if not name.replace("-", "").isalnum() or not all(undo):
        raise AgentError(host.name, f"cannot arm {name!r} with {undo!r}")
    if "system" not in await host.entries("/run/systemd"):
        raise Unsupported(
            host.name,
            "no systemd is running, so there is no timer to undo a change that cuts us off",
            "run a risky change from the host's console, or use a host with systemd",
        )
    await _settle(host, name)
    words = [word for command in undo for word in (str(len(command)), *command)]
    if any("\0" in word for word in words):
        raise AgentError(host.name, f"a NUL character in {undo!r}")
    content = "".join(f"{word}\0" for word in words).encode(errors="surrogateescape")
    await host.write(_file(name), content, mode=0o600)
    started = await host.run(
        [
            "systemd-run", "--quiet", "--collect", "--property=Type=oneshot",
            f"--unit={_unit(name)}",
            f"--description=Undo of an unconfirmed change ({name})",
            f"--on-active={seconds:g}s",
            "--timer-property=AccuracySec=100ms",  # the default is a minute
            "python3", "-IS", "-c", UNDO, _file(name),
        ]
    )  # fmt: skip
    if started.status != 0:
        await host.remove(_file(name))
        raise VerificationError(
            host.name,
            f"the timer for {name} could not be started: {started.stderr.decode(errors='replace').strip()}",
            "nothing was changed; look at systemd on the host",
        )


async def confirm(host: Host, name: str) -> None:
    """Keep the change. Raises VerificationError if it has been undone already, or is being undone."""
    kept = await host.remove(_file(name))
    await host.run(["systemctl", "stop", f"{_unit(name)}.timer"])  # it would find nothing to do
    if not kept:
        await host.remove(f"{_file(name)}.undone")
        raise VerificationError(
            host.name,
            f"{name}: the change was not confirmed in time, so the host has undone it",
            "the host could not be reached with the change in place; correct it and run again",
        )


async def undo(host: Host, name: str) -> bool:
    """Undo the change now, and wait for it; False if there is none that waits for confirmation."""
    if await host.read(_file(name)) is None:
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
            f"{name}: undoing an earlier change that was not confirmed failed",
            f"see `journalctl -u {_unit(name)}.service` on the host",
        )


def _file(name: str) -> str:
    return f"{FOLDER}/{name}"


def _unit(name: str) -> str:
    return f"macvlan-fabric-rollback-{name}"
