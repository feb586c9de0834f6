"""The file in which a machine lives: one process at a time looks at it or changes it."""

from __future__ import annotations

import fcntl
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


@contextmanager
def exclusive(path: Path) -> Iterator[None]:
    """Nobody else has that machine meanwhile."""
    with path.with_suffix(".guard").open("w") as guard:
        fcntl.flock(guard, fcntl.LOCK_EX)
        yield


@contextmanager
def opened(path: Path) -> Iterator[dict[str, Any]]:
    """The machine as data (`Machine.to_json`), exclusively; what has changed at the end is kept."""
    with exclusive(path):
        before = path.read_text()
        data: dict[str, Any] = json.loads(before)
        yield data
        save(path, data, before)


def save(path: Path, data: dict[str, Any], before: str = "") -> None:
    """Write the machine, unless it says what was there before; nobody ever reads half of it."""
    after = json.dumps(data)
    if after != before:
        fresh = path.with_suffix(".new")
        fresh.write_text(after)
        fresh.replace(path)
