"""Long steps that show they are alive."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
from typing import Callable, Dict, Optional, Sequence, TextIO, Tuple

from engine import EngineError

TAIL = 15  # lines of a log that an error shows


def watch(
    what: str,
    finished: Callable[[float], bool],
    detail: Callable[[], str] = str,
    out: Optional[TextIO] = None,
    interval: float = 15,
) -> None:
    """Show `what` with elapsed time and `detail()` until `finished(seconds)` is true.

    `finished` is called again and again, and waits for what it is about as long as it is told. On a terminal
    one line is rewritten; elsewhere a line is printed every `interval` seconds.
    """
    out = out or sys.stderr
    terminal = out.isatty()
    start = time.monotonic()
    shown = -interval

    def show(ending: str, extra: str = "") -> None:
        line = f"{what}{ending} {elapsed(time.monotonic() - start)}{extra}"
        out.write(f"\r\x1b[K{line[:110]}" if terminal else f"{line}\n")
        out.flush()

    try:
        while not finished(0.25):
            now = time.monotonic() - start
            if terminal or now - shown >= interval:
                note = detail()
                show(" ...", f" ({note})" if note else "")
                shown = now
        show(": done,")
    finally:
        if terminal:
            out.write("\n")


def elapsed(seconds: float) -> str:
    """12s, 3m05s"""
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes}m{rest:02}s" if minutes else f"{rest}s"


def run(
    what: str,
    argv: Sequence[str],
    log: Path,
    cwd: Path,
    env: Optional[Dict[str, str]] = None,
    keep_open: Tuple[int, ...] = (),
    detail: Callable[[], str] = str,
) -> None:
    """Run a long command with its output in `log`. Raises EngineError with the end of the log if it fails.

    The file descriptors `keep_open` stay open in the command and its children.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("wb") as sink:
        try:
            process = subprocess.Popen(
                argv,
                cwd=cwd,
                env=env,
                stdin=subprocess.DEVNULL,
                stdout=sink,
                stderr=subprocess.STDOUT,
                pass_fds=keep_open,
            )
        except OSError as error:
            raise EngineError(f"{what}: cannot start {argv[0]}: {error.strerror}") from None

        def finished(seconds: float) -> bool:
            try:
                process.wait(seconds)
            except subprocess.TimeoutExpired:
                return False
            return True

        try:
            watch(what, lambda seconds: finished(seconds) and succeed(what, process.returncode, log), detail)
        finally:
            if process.poll() is None:  # interrupted
                process.terminate()
                process.wait()


def succeed(what: str, status: int, log: Path) -> bool:
    """True for exit status 0; otherwise EngineError."""
    if status == 0:
        return True
    lines = log.read_text(errors="replace").splitlines()
    tail = "\n".join(f"  | {line[:300]}" for line in lines[-TAIL:]) or "  | (no output)"
    reason = f"signal {-status}" if status < 0 else f"exit status {status}"
    raise EngineError(f"{what}: failed with {reason}\n{tail}\nlog:  {log}\nhint: {advice(lines)}")


def advice(lines: Sequence[str]) -> str:
    """What to do about a failed build or download, judged by what it printed."""
    text = "\n".join(lines[-200:]).lower()
    for symptoms, remedy in REMEDIES:
        if any(symptom in text for symptom in symptoms):
            return remedy
    return "run the same command again: it goes on with what is missing"


DOWNLOAD_TROUBLE = (
    *("403 ", "404 ", "410 gone", "dial tcp", "no such host", "timeout", "timed out", "connection re"),
    *("tls: ", "proxyconnect", "unexpected eof", "no matching distribution"),
)
REMEDIES = (
    (
        ("no space left on device", "disk quota exceeded"),
        "the builds need about 5 GB in `go env GOMODCACHE GOCACHE`; make room, then run it again",
    ),
    (
        ("signal: killed", "cannot allocate memory", "out of memory"),
        "linking needs about 3 GB of memory; stop something else, then run it again",
    ),
    (
        ("checksum mismatch", "security error"),
        "a download differs from the committed go.sum: `go clean -modcache` drops a damaged copy; if that "
        "does not help, the module proxy serves something else than what was pinned",
    ),
    (
        DOWNLOAD_TROUBLE,
        "a download failed: check that `go env GOPROXY` (for Python packages: `pip config list`) names a "
        "registry that can be reached, then run it again: it goes on with what is missing",
    ),
)
