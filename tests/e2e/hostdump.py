"""A host's whole relevant state as text, to be compared byte by byte."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from lab import Lab

_PROGRAM = Path(__file__).with_suffix(".sh").read_text()


def dump(lab: Lab, host: str) -> str:
    """The state of one host."""
    done = lab.ssh(host, "sh", "-c", _PROGRAM)
    assert done.returncode == 0, done.stderr
    return done.stdout


def dump_all(lab: Lab) -> dict[str, str]:
    """The state of every host of the lab."""
    with ThreadPoolExecutor() as pool:
        return dict(zip(lab.hosts, pool.map(lambda host: dump(lab, host), lab.hosts), strict=True))


def assert_same(now: Mapping[str, str], before: Mapping[str, str]) -> None:
    """Fail with the lines that differ, if any."""
    differing = [
        f"{host}: {line}"
        for host in before
        for line in difflib.unified_diff(before[host].splitlines(), now[host].splitlines(), lineterm="", n=0)
    ]
    assert not differing, "\n".join(differing)
