"""A provider process ends with its engine, and not before."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.project import ROOT

# It sleeps as one that waits for a host; how long decides whether its end comes before the work's.
PROVIDER = """
import time
from resources.orphan import end_with_engine
end_with_engine()
end_with_engine()
print("port", flush=True)
time.sleep({seconds})
print("done", flush=True)
"""


def provider(seconds: float, stdout: int) -> subprocess.Popen[str]:
    program = PROVIDER.format(seconds=seconds)
    return subprocess.Popen([sys.executable, "-c", program], cwd=ROOT, stdout=stdout, text=True)


def test_it_ends_at_once_when_nobody_reads_any_more() -> None:
    with provider(60, subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "port\n"
        process.stdout.close()  # as the kernel does when the engine is killed
        assert process.wait(30) == 1


def test_it_goes_on_while_somebody_reads() -> None:
    with provider(0.5, subprocess.PIPE) as process:
        assert process.communicate(timeout=30)[0] == "port\ndone\n"
        assert process.returncode == 0


@pytest.mark.parametrize("where", ["/dev/null", "file"])
def test_it_goes_on_where_nobody_can_say_who_reads(where: str, tmp_path: Path) -> None:
    with (tmp_path / where).open("w") as output, provider(0.5, output.fileno()) as process:
        assert process.wait(30) == 0
