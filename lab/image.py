"""The guests' disk: a Debian release with Docker, bare as after an installation, read-only and shared by all guests.

What is in it: the packages below, the files of `image/rootfs/`, what `image/customize` does, and the Docker image
busybox:latest, which the image's first boot loads. Host names, addresses and keys are each guest's own (guest.py).
"""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Callable, Mapping, Tuple

from . import apt, cache
from .command import as_root, logged, run, tail
from .errors import LabError
from .progress import Progress

FOLDER = Path(__file__).with_name("image")
DEFAULT_RELEASE = "trixie"


@dataclass(frozen=True)
class Release:
    """What a disk is made of: a Debian suite, and packages beside the usual ones."""

    suite: str
    what: str  # what one would choose it for
    packages: Tuple[str, ...] = ()
    disabled: Tuple[str, ...] = ()  # their units that shall not start by themselves


RELEASES: Mapping[str, Release] = {
    "trixie": Release("trixie", "Docker 26.1"),
    "forky": Release("forky", "Docker 28.5"),
    "managers": Release(
        "trixie",
        "trixie with NetworkManager and netplan, both idle",
        ("network-manager", "netplan.io"),
        ("NetworkManager.service", "NetworkManager-wait-online.service"),
    ),
}
SIZE = "4G"  # what a guest sees; sparse on the machine

PACKAGES: Tuple[str, ...] = (
    # the system
    *("systemd-sysv", "dbus", "udev", "procps", "kmod", "sudo", "openssh-server", "ca-certificates"),
    # what the fabric's agent and containers run on
    *("python3-minimal", "docker.io", "docker-cli", "busybox-static"),
    # the network, and what looks at it
    *("iproute2", "iptables", "nftables", "conntrack", "ifupdown", "vlan"),
    *("iputils-ping", "iputils-arping", "traceroute", "tcpdump"),
)
MAKE_FILE_SYSTEM = (
    "mkfs.ext4",
    "-q",
    "-F",
    "-L",
    "root",
    "-m",
    "1",
    "-E",
    "lazy_itable_init=0,lazy_journal_init=0",
)
BOOT_DEADLINE = 300  # seconds for the image's first boot, which takes about ten


def key(release: str) -> str:
    """What an image is made from, as far as this checkout decides it."""
    made_of = RELEASES[release]
    settings = {
        "release": made_of.suite,
        "packages": " ".join((*PACKAGES, *made_of.packages)),
        **({"disabled": " ".join(made_of.disabled)} if made_of.disabled else {}),
        "disk": " ".join((*MAKE_FILE_SYSTEM, SIZE)),
    }
    return cache.key({**settings, **{f"image/{name}": data for name, data in cache.tree(FOLDER).items()}})


def entry(release: str) -> cache.Entry:
    return cache.Entry(f"{release}-{key(release)}")


def path(release: str) -> Path:
    """The disk of `release`; there once `build` has returned."""
    return entry(release).path / "root.img"


def build(release: str, kernel: Callable[[], Path], progress: Progress) -> Path:
    """Build the disk of `release` unless the cache has it.

    `kernel` returns the kernel for the image's first boot; it is called when the file system is ready, so that both
    can be built at the same time.
    """
    if release not in RELEASES:
        raise LabError(f"release {release!r} is not known to the lab", f"it has {', '.join(RELEASES)}")
    done = entry(release)
    if done:
        return path(release)
    with done.building(progress) as work:
        if not done:
            disk = work / "root.img"
            log = work / "build.log"
            if not disk.exists():
                _install(release, disk, log, progress)
            booted = work / "booted.img"
            run(["cp", "--sparse=always", str(disk), str(booted)])
            _boot_once(release, kernel(), booted, work, progress)
            out = work / "out"
            out.mkdir(exist_ok=True)
            booted.chmod(0o444)
            shutil.copy2(log, out / "build.log")
            booted.rename(out / "root.img")
    shutil.rmtree(done.discard_work(), ignore_errors=True)
    return path(release)


def _install(release: str, disk: Path, log: Path, progress: Progress) -> None:
    """Install the packages into a folder and make a file system of it."""
    made_of = RELEASES[release]
    root = disk.with_name("root")
    partial = disk.with_name("root.img.new")
    settings = disk.with_name("apt.conf")
    settings.write_text("".join(f"{line}\n" for line in apt.acquire_settings()))
    run(as_root(["rm", "-rf", str(root)]))
    try:
        with progress.step(f"image {release}: installing packages") as step:
            logged(
                as_root(
                    [
                        "mmdebstrap",
                        "--mode=root",
                        "--variant=minbase",
                        "--dpkgopt=force-unsafe-io",
                        f"--include={','.join((*PACKAGES, *made_of.packages))}",
                        f"--aptopt={settings}",
                        '--customize-hook=rm -f "$1/etc/apt/apt.conf.d/99mmdebstrap"',
                        f'--customize-hook={shlex.quote(str(FOLDER / "customize"))} "$1"',
                        *(
                            f'--customize-hook=chroot "$1" systemctl --quiet disable {unit}'
                            for unit in made_of.disabled
                        ),
                        made_of.suite,
                        str(root),
                        apt.this_machine().line(made_of.suite),
                    ]
                ),
                log,
                step,
                lambda line: line[3:] if line.startswith("I: ") else None,
            )
        with progress.step(f"image {release}: making the file system") as step:
            partial.unlink(missing_ok=True)
            logged(as_root([*MAKE_FILE_SYSTEM, "-d", str(root), str(partial), SIZE]), log, step)
            run(as_root(["chown", f"{os.getuid()}:{os.getgid()}", str(partial)]))
    finally:
        run(as_root(["rm", "-rf", str(root)]))
    partial.rename(disk)


def _boot_once(release: str, kernel: Path, disk: Path, work: Path, progress: Progress) -> None:
    """Boot the disk itself, without any network; lab-prepare.service loads busybox and powers off."""
    console = work / "first-boot.log"
    command = [
        *(
            str(kernel),
            f"ubd0={disk.name}",
            "root=/dev/ubda",
            "rw",
            "mem=1024M",
            "uml_dir=.",
            "umid=first-boot",
        ),
        *("noreboot", "con=null", "con0=fd:0,fd:1", "con1=null", "ssl=null", "quiet", "panic=1"),
        *(
            "net.ifnames=0",
            "seccomp=auto",
            "lab.prepare",
            "systemd.wants=lab-prepare.service",
            "systemd.mask=ssh.service",
        ),
    ]
    shutil.rmtree(work / "first-boot", ignore_errors=True)
    with progress.step(f"image {release}: first boot"), console.open("w") as out:
        guest = subprocess.Popen(
            command, cwd=work, stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True
        )
        try:
            guest.wait(BOOT_DEADLINE)
        except subprocess.TimeoutExpired:
            pass
        finally:
            if guest.poll() is None:
                os.killpg(guest.pid, signal.SIGKILL)
                guest.wait()
    if "lab-prepare: done" not in console.read_text(errors="replace"):
        raise LabError(
            f"image {release}: its first boot did not finish:\n{tail(console)}",
            f"the whole console is {console}",
        )
