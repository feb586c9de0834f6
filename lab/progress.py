"""Long steps that show they are alive: one line rewritten on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import shutil
import sys
import threading
import time
from contextlib import contextmanager
from typing import Dict, Iterator, Optional, TextIO

TERMINAL_INTERVAL = 0.25  # seconds between two drawings on a terminal
LOG_INTERVAL = 15.0  # seconds between two lines in a log


def elapsed(seconds: float) -> str:
    """`8.4 s` below a minute, `3:07` from there on."""
    return f"{seconds:.1f} s" if seconds < 60 else f"{int(seconds) // 60}:{int(seconds) % 60:02}"


class Step:
    """One thing under way; `detail` may be set at any time to say how far it is."""

    def __init__(self, title: str) -> None:
        self.title = title
        self.detail = ""
        self.started = time.monotonic()

    def __str__(self) -> str:
        detail = f" ({self.detail})" if self.detail else ""
        return f"{self.title} … {elapsed(time.monotonic() - self.started)}{detail}"


class Progress:
    """Shows the steps under way on `stream` (None: show nothing). Safe to use from several threads."""

    def __init__(self, stream: Optional[TextIO] = None) -> None:
        self._stream = stream
        self._terminal = stream is not None and stream.isatty()
        self._lock = threading.Lock()
        self._steps: Dict[int, Step] = {}
        self._ticker: Optional[threading.Thread] = None
        self._idle = threading.Event()

    @contextmanager
    def step(self, title: str) -> Iterator[Step]:
        """Show `title` with its elapsed time while the body runs, then that it is done or failed."""
        step = Step(title)
        with self._lock:
            self._steps[id(step)] = step
            if self._stream is not None and self._ticker is None:
                self._idle = threading.Event()
                self._ticker = threading.Thread(target=self._tick, args=(self._idle,), daemon=True)
                self._ticker.start()
        outcome = "failed"
        try:
            yield step
            outcome = "done"
        finally:
            with self._lock:
                del self._steps[id(step)]
                detail = f" ({step.detail})" if step.detail and outcome == "failed" else ""
                self._line(f"{step.title}: {outcome} in {elapsed(time.monotonic() - step.started)}{detail}")
                if not self._steps:
                    self._idle.set()
                    self._ticker = None

    def say(self, line: str) -> None:
        """A line that stays."""
        with self._lock:
            self._line(line)

    def _line(self, line: str) -> None:
        if self._stream is not None:
            start = "\r\033[K" if self._terminal else ""
            self._stream.write(f"{start}{line}\n")
            self._stream.flush()

    def _tick(self, idle: threading.Event) -> None:
        interval = TERMINAL_INTERVAL if self._terminal else LOG_INTERVAL
        while not idle.wait(interval):
            with self._lock:
                if idle.is_set() or self._stream is None:
                    return
                now = " · ".join(str(step) for step in self._steps.values())
                if self._terminal:
                    self._stream.write(f"\r\033[K{_fit(now)}")
                    self._stream.flush()
                else:
                    self._line(now)


def _fit(line: str) -> str:
    """A line that wraps cannot be rewritten; cut it to the terminal."""
    width = shutil.get_terminal_size().columns
    return line if len(line) < width else line[: max(width - 2, 1)] + "…"


def to_stderr() -> Progress:
    return Progress(sys.stderr)
