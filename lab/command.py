"""Starting programs of this machine: as root where that is needed, with a log where it takes long."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import Callable, List, Mapping, Optional, Sequence

from .errors import LabError
from .progress import Step

# Root's programs are in sbin, which a plain user's PATH leaves out.
PATH = os.environ.get("PATH", "") + ":/usr/local/sbin:/usr/sbin:/sbin"


def find(program: str) -> str:
    """The program's absolute path. Raises LabError that says how to get it."""
    found = shutil.which(program, path=PATH)
    if found is None:
        raise LabError(
            f"{program}: not on this machine", "python3 -m lab packages  installs what the lab needs"
        )
    return found


def as_root(argv: Sequence[str]) -> List[str]:
    """`argv` as root may run it: itself for root, through sudo (which must not ask) for anyone else."""
    argv = [find(argv[0]), *argv[1:]]
    return argv if os.geteuid() == 0 else [find("sudo"), "-n", "--", *argv]


def run(argv: Sequence[str], stdin: Optional[str] = None, check: bool = True) -> str:
    """Standard output of a short command; LabError with what it said if it fails."""
    result = subprocess.run(
        [find(argv[0]), *argv[1:]],
        input=stdin if stdin is not None else "",
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    if check and result.returncode:
        complaint = (result.stderr or result.stdout).strip() or f"exit status {result.returncode}"
        raise LabError(f"{' '.join(argv)}: {complaint}", _hint(argv, complaint))
    return result.stdout


def run_in_foreground(argv: Sequence[str]) -> int:
    """Give a command this terminal; its exit status. Ctrl-C is for the command."""
    process = subprocess.Popen([find(argv[0]), *argv[1:]])
    while True:
        try:
            status = process.wait()
        except KeyboardInterrupt:
            continue
        return status if status >= 0 else 128 - status


def _hint(argv: Sequence[str], complaint: str) -> Optional[str]:
    if "sudo" in Path(argv[0]).name and "password" in complaint:
        return "the lab needs root for its network namespace: run it as root, or after `sudo -v`"
    return None


def logged(
    argv: Sequence[str],
    log: Path,
    step: Step,
    detail: Callable[[str], Optional[str]] = lambda _line: None,
    cwd: Optional[Path] = None,
    env: Optional[Mapping[str, str]] = None,
) -> None:
    """Run a long command, its output appended to `log`; `detail` picks from a line what `step` shows.

    Raises LabError with the end of the log if it fails. The command ends when this process is interrupted.
    """
    with log.open("a", encoding="utf-8", errors="replace") as out:
        out.write(f"$ {' '.join(argv)}\n")
        process = subprocess.Popen(
            [find(argv[0]), *argv[1:]],
            cwd=cwd,
            env={**os.environ, "PATH": PATH, **(env or {})},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        )
        assert process.stdout is not None
        try:
            for line in process.stdout:
                out.write(line)
                step.detail = detail(line.rstrip()) or step.detail
            status = process.wait()
        finally:
            if process.poll() is None:
                process.terminate()
                process.wait()
    if status:
        raise LabError(f"{step.title} failed (exit status {status}):\n{tail(log)}", f"the whole log is {log}")
    step.detail = ""


def tail(log: Path, lines: int = 15) -> str:
    """The last lines of a log, indented; empty if there is none."""
    try:
        text = log.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    return "\n".join(f"    {line}" for line in text.splitlines()[-lines:])
