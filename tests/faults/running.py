"""A `pulumi` command while it runs."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from tests.project import Project, Run

# ` +  docker:index:Container bbox1 creating (0s)`: the engine has begun with an object
_BEGUN = re.compile(r"(?:creat|updat|delet|replac)ing \(0s\)")
DEADLINE = 150.0  # seconds that any command may take


class Running:
    """`pulumi` with these arguments, started in the background, in a session of its own (setsid(2))."""

    def __init__(self, project: Project, *argv: str) -> None:
        self.argv = ("pulumi", *argv)
        self.process = subprocess.Popen(
            [*self.argv, "--non-interactive", "--color", "never"],
            cwd=project.folder,
            env=project.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self.lines: list[tuple[float, str]] = []  # what was printed, and when (time.monotonic)
        self._news = threading.Condition()
        self._ended = False
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        with self.process.stdout as printed:
            for line in printed:
                with self._news:
                    self.lines.append((time.monotonic(), line))
                    self._news.notify_all()
        with self._news:
            self._ended = True
            self._news.notify_all()

    @property
    def begun(self) -> int:
        """With how many objects the engine has begun."""
        return sum(bool(_BEGUN.search(line)) for _, line in self.lines)

    def await_begun(self, count: int) -> bool:
        """Wait until the engine has begun with so many objects; False if it has ended before."""
        with self._news:
            self._news.wait_for(lambda: self.begun >= count or self._ended, DEADLINE)
            return self.begun >= count and not self._ended

    def await_line(self, part: str) -> bool:
        """Wait until a line with `part` in it is printed; False if it has ended without one."""
        with self._news:
            return self._news.wait_for(
                lambda: self._printed(part) or self._ended, DEADLINE
            ) and self._printed(part)

    def _printed(self, part: str) -> bool:
        return any(part in line for _, line in self.lines)

    def await_end(self, seconds: float) -> bool:
        """Let it run for so long; True if it has ended by then."""
        with self._news:
            return self._news.wait_for(lambda: self._ended, seconds)

    def finish(self) -> Run:
        """Wait for its end; AssertionError if that does not come."""
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(DEADLINE)
            self._reader.join(5)  # what it has started may hold its output open
        printed = "".join(line for _, line in self.lines)
        assert self.process.poll() is not None, f"has not ended after {DEADLINE:.0f} s:\n{printed}"
        return Run(self.argv, self.process.returncode, printed)

    def pids(self, part: str = "") -> Iterator[int]:
        """Its processes, and what they have started, with `part` in the command line."""
        for pid, command in processes():
            with suppress(ProcessLookupError):
                if os.getsid(pid) == self.process.pid and part in command:
                    yield pid

    def end(self) -> None:
        """Leave no process behind: plugins outlive an engine that was killed for some time."""
        for pid in self.pids():
            kill(pid)
        self.process.wait()
        self._reader.join(5)


def processes() -> Iterator[tuple[int, str]]:
    """All processes of this machine: pid and command line."""
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            yield (
                int(folder.name),
                (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace"),
            )


def kill(pid: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
