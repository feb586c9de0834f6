"""The guests' kernel: User Mode Linux, an ordinary program, built from Debian's kernel source.

Debian's ready-made package `user-mode-linux` does not serve: 6.1 and 6.12 panic on processors with AMX ("ptrace set
fp regs failed, errno = 14"), later ones have no nf_tables for IPv4. Everything is built in; guests load no modules.
`kernel.config` is merged over allnoconfig.
"""

from __future__ import annotations

import os
import platform
import re
import shutil
from pathlib import Path
from typing import List, Optional, Tuple

from . import apt, cache
from .command import logged, run
from .errors import LabError
from .progress import Progress, Step

CONFIG = Path(__file__).with_name("kernel.config")
SERIES = "7.2"  # the series that the lab is tested with; taken if any suite still has it, else the newest
SUITES = ("trixie-backports", "forky", "sid")

# Most of the source is drivers and documents that no guest needs; unpacking them takes longer than building ours.
UNUSED = (
    "*.rst",
    "*.dts",
    "*.dtsi",
    "*/drivers/gpu/drm/*.[ch]",
    "*/drivers/net/ethernet/*.[ch]",
    "*/drivers/net/wireless/*.[ch]",
    "*/drivers/media/*.[ch]",
    "*/sound/[a-z]*/*.[ch]",
    "*/tools/perf/*",
    "*/tools/testing/*",
)


def key() -> str:
    """What the kernel is built from, as far as this checkout decides it."""
    return cache.key({"config": CONFIG.read_bytes(), "series": SERIES, "machine": platform.machine()})


def entry() -> cache.Entry:
    return cache.Entry(f"kernel-{key()}")


def path() -> Path:
    """The kernel, a program for this machine; there once `build` has returned."""
    return entry().path / "linux"


def build(progress: Progress) -> Path:
    """Build the kernel unless the cache has it. Interrupted builds go on where they stopped."""
    done = entry()
    if done:
        return path()
    with done.building(progress) as work:
        if not done:
            _build(work, progress)
    shutil.rmtree(done.discard_work(), ignore_errors=True)
    return path()


def _build(work: Path, progress: Progress) -> None:
    if platform.machine() != "x86_64":
        raise LabError(f"this machine is {platform.machine()}", "the lab's kernel is for x86_64 only")
    log = work / "build.log"
    source = work / "source"
    if not source.is_dir():
        with progress.step("kernel: downloading the source") as step:
            package, version = _download(work)
            step.detail = version
        with progress.step("kernel: unpacking the source") as step:
            _unpack(package, work, source, log)
    make = ["make", "-C", str(source), "ARCH=um", f"-j{len(os.sched_getaffinity(0))}"]
    with progress.step("kernel: compiling (about 5 minutes, once)") as step:
        logged([*make, "allnoconfig"], log, step, env={"KCONFIG_ALLCONFIG": str(CONFIG)})
        logged(
            [*make, "linux"],
            log,
            step,
            _compiled,
            env={"KBUILD_BUILD_USER": "lab", "KBUILD_BUILD_HOST": "lab"},
        )
    out = work / "out"
    out.mkdir(exist_ok=True)
    shutil.copy2(source / ".config", out / "config")
    run(["strip", "-o", str(out / "linux.new"), str(source / "linux")])
    (out / "linux.new").rename(out / "linux")
    shutil.copy2(log, out / "build.log")


def _compiled(line: str) -> Optional[str]:
    match = re.match(r"\s+(?:CC|AR|LD)\s+(\S+)", line)
    return match[1] if match else None


def _download(work: Path) -> Tuple[Path, str]:
    """The source package and its version."""
    archive = apt.this_machine()
    newest: Optional[Tuple[apt.PrivateApt, str]] = None
    for suite in SUITES:
        private = apt.PrivateApt(work / "apt" / suite, [archive.line(suite)])
        private.run("apt-get", "-q", "update")
        names = private.run("apt-cache", "--names-only", "search", r"^linux-source-[0-9.]+$").stdout.split(
            "\n"
        )
        series = sorted((_numbers(name.split()[0]) for name in names if name), reverse=True)
        if _numbers(SERIES) in series:
            return _fetch(private, f"linux-source-{SERIES}", work)
        if series and newest is None and series[0] > _numbers(SERIES):
            newest = private, "linux-source-" + ".".join(map(str, series[0]))
    if newest is None:
        raise LabError(
            f"{archive.uri}: no package linux-source-{SERIES} or newer in {', '.join(SUITES)}",
            "LAB_MIRROR=… names another Debian archive",
        )
    return _fetch(*newest, work)


def _numbers(name: str) -> List[int]:
    return [int(number) for number in re.findall(r"\d+", name)]


def _fetch(private: apt.PrivateApt, package: str, work: Path) -> Tuple[Path, str]:
    folder = work / "package"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    private.run("sh", "-c", 'cd "$1" && apt-get -q download "$2"', "sh", str(folder), package)
    deb = next(folder.glob("*.deb"))
    return deb, deb.name.split("_")[1]


def _unpack(package: Path, work: Path, source: Path, log: Path) -> None:
    """Take the kernel's tar file out of the package and unpack what is needed of it to `source`."""
    partial = work / "source.new"
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir()
    exclude = " ".join(f"--exclude='{pattern}'" for pattern in UNUSED)
    script = (
        "set -e; dpkg-deb --fsys-tarfile \"$1\" | tar -xO --wildcards './usr/src/linux-source-*.tar.xz'"
        f' | xz -dc | tar -x -C "$2" --strip-components=1 --wildcards {exclude}'
    )
    logged(
        ["bash", "-o", "pipefail", "-c", script, "bash", str(package), str(partial)], log, Step("unpacking")
    )
    partial.rename(source)
    shutil.rmtree(package.parent, ignore_errors=True)
