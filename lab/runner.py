"""Keeps one guest running: `python3 -I runner.py DIRECTORY PROGRAM ARGUMENT...`, inside the lab's namespace.

A guest is a process; when it reboots, it exits (kernel parameter noreboot) and is started again here. When it powers
off, panics or is killed, this ends too. SIGTERM is the power cut: the guest's whole process group gets SIGKILL.

In DIRECTORY: `runner` and `pid` (this process and the guest's, each with the time it was started, see proc(5), stat,
field 22; gone when the guest is off), `console.log` (of this boot; the one before is `console.log.1`), `ready` (written by the guest, removed here
before each boot), `exit` (why the last boot ended: "reboot", "power off", "killed", or what was seen).
Written for any Python 3.9 and without anything from this package: nothing of the checkout is needed while it runs.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from pathlib import Path
from typing import List, Optional

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36
WAKING = {signal.SIGTERM, signal.SIGCHLD}


def prctl(option: int, value: int) -> None:
    if ctypes.CDLL(None, use_errno=True).prctl(option, value, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "prctl")


def start_time(pid: int) -> str:
    """Clock ticks from the machine's boot to the start of `pid`: with the pid, a name that is never used again."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]


def start(console: int, argv: List[str]) -> int:
    """Start the guest in a session of its own, to be killed by the kernel should this process die."""
    parent = os.getpid()
    pid = os.fork()
    if pid:
        return pid
    try:
        os.setsid()
        prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(1)
        null = os.open(os.devnull, os.O_RDONLY)
        os.dup2(null, 0)
        os.dup2(console, 1)
        os.dup2(console, 2)
        signal.pthread_sigmask(signal.SIG_SETMASK, [])
        os.execv(argv[0], argv)
    except BaseException as error:
        os.write(2, f"{argv[0]}: {error}\n".encode())
    os._exit(127)


def kill_group(leader: int) -> None:
    """SIGKILL the guest and all its helpers, and wait until they are gone."""
    try:
        os.killpg(leader, signal.SIGKILL)
    except ProcessLookupError:
        pass
    try:
        while True:
            os.waitpid(-leader, 0)  # also the helpers: this process is their reaper
    except ChildProcessError:
        pass


def wait(guest: int) -> Optional[int]:
    """The wait status of the guest when it ends by itself; None if it is to be cut off."""
    while True:
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return 0
            if pid == guest:
                return status
            if pid == 0:
                break
        if signal.sigwait(WAKING) == signal.SIGTERM:
            return None


def verdict(status: Optional[int], console: Path) -> str:
    if status is None:
        return "killed"
    with console.open("rb") as log:
        log.seek(max(0, log.seek(0, os.SEEK_END) - 4096))
        end = log.read()
    if b"reboot: Restarting system" in end:
        return "reboot"
    if b"reboot: Power down" in end or b"reboot: System halted" in end:
        return "power off"
    if b"Kernel panic" in end:
        return "kernel panic"
    if os.WIFSIGNALED(status):
        return f"killed by {signal.Signals(os.WTERMSIG(status)).name}"
    return f"exit status {os.WEXITSTATUS(status)}"


def write(path: Path, text: str) -> None:
    partial = path.with_name(f"{path.name}.new")
    partial.write_text(text)
    partial.rename(path)


def main(directory: Path, argv: List[str]) -> None:
    signal.pthread_sigmask(signal.SIG_BLOCK, WAKING)
    prctl(PR_SET_CHILD_SUBREAPER, 1)
    console = directory / "console.log"
    write(directory / "runner", f"{os.getpid()} {start_time(os.getpid())}\n")
    told = False
    while True:
        (directory / "seed" / "ready").unlink(missing_ok=True)
        if console.exists():
            console.rename(directory / "console.log.1")
        log = os.open(console, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o644)
        guest = start(log, argv)
        os.close(log)
        try:
            write(directory / "pid", f"{guest} {start_time(guest)}\n")
            if not told:
                os.write(1, b"started\n")
                told = True
            status = wait(guest)
        except OSError:  # the lab's folder is gone: so is the lab
            status = None
        kill_group(guest)
        try:
            why = verdict(status, console)
            write(directory / "exit", f"{why}\n")
            if why != "reboot":
                (directory / "pid").unlink(missing_ok=True)
                (directory / "runner").unlink(missing_ok=True)
                return
        except OSError:
            return


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
