"""Making the engine: every piece once, resumable, safe to start twice."""

from __future__ import annotations

import contextlib
import fcntl
import json
import shutil
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Iterator, List, Optional, Tuple

from engine import toolchain
from engine.progress import run, watch
from engine.recipe import LINKER_FLAGS, MODULES, Piece, Program, Script, build_key, pieces, pinned_versions
from engine.toolchain import Go


@dataclass(frozen=True)
class Engine:
    """A folder of the cache that holds one build of everything, or part of it."""

    folder: Path
    pieces: Tuple[Piece, ...]

    @property
    def programs(self) -> Path:
        """The folder for PATH."""
        return self.folder / "bin"

    @property
    def home(self) -> Path:
        """The folder for PULUMI_HOME: the plugins, and what the CLI keeps for itself."""
        return self.folder / "home"

    def missing(self) -> List[Piece]:
        """What is still to be made; a piece appears whole or not at all."""
        return [piece for piece in self.pieces if not (self.folder / piece.target).is_file()]


def locate(cache: Path, go: Go) -> Engine:
    """The engine that this checkout and this Go make."""
    wanted = pieces(pinned_versions())
    return Engine(cache / "engine" / build_key(wanted, go.identity), wanted)


def build(cache: Path) -> Engine:
    """Make what is missing and return the complete engine. Raises EngineError."""
    engine = complete(cache)
    if engine:
        return engine
    with only_one(cache / "engine.lock") as lock:
        go = toolchain.find(cache) or toolchain.install(cache)
        engine = locate(cache, go)
        missing = engine.missing()
        if missing:
            print(INTRODUCTION, file=sys.stderr)
        for piece in missing:
            make(engine, piece, go, lock)
        shutil.rmtree(engine.folder / "work", ignore_errors=True)
    return engine


def complete(cache: Path) -> Optional[Engine]:
    """The engine, if all of it has been made."""
    go = toolchain.find(cache)
    engine = locate(cache, go) if go else None
    return engine if engine and not engine.missing() else None


INTRODUCTION = """\
No official `pulumi` is on PATH, so the engine is compiled from source. This is done once and then kept in the
cache. Most of it is the Pulumi CLI with its 1,700 packages: count on 6 minutes on two idle cores."""


@contextlib.contextmanager
def only_one(path: Path) -> Iterator[int]:
    """Hold the lock file at `path`, waiting visibly for whoever has it; yields its file descriptor."""

    def acquired(seconds: float) -> bool:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(seconds)
            return False
        return True

    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        if not acquired(0):
            watch("waiting for another build of the engine", acquired)
        yield file.fileno()


def make(engine: Engine, piece: Piece, go: Go, lock: int) -> None:
    """Make one piece in a scratch folder and move it into its place in one step."""
    work = engine.folder / "work"
    shutil.rmtree(work, ignore_errors=True)
    shutil.copytree(MODULES / piece.module, work)
    step = Step(Path(piece.target).name, go, work, engine.folder / "logs", lock)
    result = compiled(piece, step) if isinstance(piece, Program) else copied(piece, step)
    result.chmod(0o755)
    target = engine.folder / piece.target
    target.parent.mkdir(parents=True, exist_ok=True)
    result.replace(target)


@dataclass(frozen=True)
class Step:
    """What the commands that make one piece have in common."""

    name: str
    go: Go
    work: Path
    logs: Path
    lock: int  # inherited, so that it is held while any child lives, even after this process was killed

    def run(self, what: str, *arguments: str) -> Path:
        """Run `go` with `arguments` in the work folder; returns the log of it."""
        log = self.logs / f"{self.name}.{arguments[0]}.log"
        run(
            what,
            [str(self.go.program), *arguments],
            log,
            self.work,
            toolchain.environment(),
            keep_open=(self.lock,),
            detail=lambda: activity(log),
        )
        return log

    def module(self, module: str) -> Path:
        """The folder of the module cache that holds `module`, downloaded and checked against go.sum."""
        answer = self.run(f"fetching {module}", "mod", "download", "-json", module).read_text()
        return Path(json.loads(answer[answer.index("{") :])["Dir"])


def compiled(program: Program, step: Step) -> Path:
    """Compile it; what it depends on is downloaded and checked against go.sum on the way."""
    if program.source:
        copy_files(step.module(program.source) / "internal", step.work / "internal")
    output = step.work / "result"
    link = f"{LINKER_FLAGS} -X {program.version}"
    tags = ["-tags", program.tags] if program.tags else []
    options = ["-v", *tags, "-ldflags", link, "-o", str(output)]
    step.run(f"compiling {step.name}", "build", *options, program.package)
    return output


def copied(script: Script, step: Step) -> Path:
    """Copy it out of the module cache."""
    return Path(shutil.copyfile(step.module(script.dependency) / script.path, step.work / "result"))


def copy_files(source: Path, target: Path) -> None:
    """Copy a tree without its modes: those of the module cache are read-only."""
    for file in source.rglob("*"):
        if file.is_file():
            copy = target / file.relative_to(source)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, copy)


def activity(log: Path) -> str:
    """What `go build -v` is doing: it prints a line per download and per package."""
    lines = log.read_text(errors="replace").splitlines()
    if lines and lines[-1].startswith("go: downloading"):
        return "downloading modules"
    count = sum(not line.startswith("go: ") for line in lines)
    return f"{count} packages" if count else ""
