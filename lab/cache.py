"""What is built once and used by every lab of this user: a folder per thing, named by what it was built from."""

from __future__ import annotations

import fcntl
import hashlib
import os
from contextlib import contextmanager
from pathlib import Path
from typing import Iterator, Mapping, Union

from .errors import LabError
from .progress import Progress


def root(environment: Mapping[str, str] = os.environ) -> Path:
    """$MACVLAN_FABRIC_CACHE, else $XDG_CACHE_HOME/macvlan-fabric, else ~/.cache/macvlan-fabric."""
    if environment.get("MACVLAN_FABRIC_CACHE"):
        return Path(environment["MACVLAN_FABRIC_CACHE"]).absolute()
    base = environment.get("XDG_CACHE_HOME") or str(
        Path(environment.get("HOME", "~")).expanduser() / ".cache"
    )
    return (Path(base) / "macvlan-fabric").absolute()


def key(parts: Mapping[str, Union[str, bytes]]) -> str:
    """A short name for `parts`: the same for equal parts in any order, another for any difference in name or value."""
    digest = hashlib.sha256()
    for name in sorted(parts):
        value = parts[name]
        for field in (name.encode(), value if isinstance(value, bytes) else value.encode()):
            digest.update(len(field).to_bytes(8, "big"))  # so that ("ab", "c") is not ("a", "bc")
            digest.update(field)
    return digest.hexdigest()[:16]


def tree(directory: Path) -> Mapping[str, bytes]:
    """The files below `directory`, by relative path; a file's permission to be executed is part of its name."""
    return {
        f"{path.relative_to(directory).as_posix()}{'*' if os.access(path, os.X_OK) else ''}": path.read_bytes()
        for path in sorted(directory.rglob("*"))
        if path.is_file() and "__pycache__" not in path.parts
    }


class Entry:
    """One folder of the cache. It is complete as soon as it is there: it gets its name when all is built."""

    def __init__(self, name: str) -> None:
        self.path = root() / "lab" / name
        self._work = root() / "lab" / f"{name}.work"
        self._lock = root() / "lab" / f"{name}.lock"

    def __bool__(self) -> bool:
        return self.path.is_dir()

    @contextmanager
    def building(self, progress: Progress) -> Iterator[Path]:
        """Yield a work folder (kept if the build is interrupted, so that the next one goes on from there).

        One process builds at a time, others wait for it. What the body leaves in `<work>/out` becomes the entry;
        the body does not run what it does not need: it checks `bool(entry)` again, as another may have been faster.
        """
        try:
            self._lock.parent.mkdir(parents=True, exist_ok=True)
            lock = os.open(self._lock, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise LabError(
                f"{self._lock.parent}: cannot be written: {error.strerror}",
                "point MACVLAN_FABRIC_CACHE at a folder of yours",
            ) from error
        try:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                with progress.step(f"{self.path.name}: waiting for another build of it"):
                    fcntl.flock(lock, fcntl.LOCK_EX)
            self._work.mkdir(exist_ok=True)
            yield self._work
            if not self:
                (self._work / "out").rename(self.path)
        finally:
            os.close(lock)

    def discard_work(self) -> Path:
        """Where the work folder is, for whoever removes it (parts of it may belong to root)."""
        return self._work
