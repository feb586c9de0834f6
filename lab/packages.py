"""What the lab needs of the machine it runs on: programs, and Debian's names for where they come from."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Callable, List, Mapping

from .command import PATH, as_root, find, logged
from .errors import LabError
from .progress import Progress

# Package -> a file or program that shows it is there.
PACKAGES: Mapping[str, str] = {
    "gcc": "gcc",
    "libc6-dev": "/usr/include/stdlib.h",
    "make": "make",
    "flex": "flex",
    "bison": "bison",
    "bc": "bc",
    "binutils": "strip",
    "xz-utils": "xz",
    "mmdebstrap": "mmdebstrap",
    "e2fsprogs": "mkfs.ext4",
    "iproute2": "ip",
    "nftables": "nft",
    "netcat-openbsd": "nc.openbsd",
    "openssh-client": "ssh",
    "util-linux": "nsenter",
}


def there(proof: str) -> bool:
    """Whether a program, or a file by its absolute path, is on this machine."""
    return Path(proof).exists() if proof.startswith("/") else shutil.which(proof, path=PATH) is not None


def missing(is_there: Callable[[str], bool] = there) -> List[str]:
    """The packages this machine lacks."""
    return [package for package, proof in PACKAGES.items() if not is_there(proof)]


def install(progress: Progress) -> None:
    """Install what is missing; a no-op if nothing is."""
    packages = missing()
    if not packages:
        return
    if not there("apt-get"):
        raise LabError(
            f"this machine lacks {', '.join(PACKAGES[package] for package in packages)}",
            f"install them; Debian's packages are {' '.join(packages)}",
        )
    log = Path(os.environ.get("TMPDIR", "/tmp")) / f"lab-packages-{os.getuid()}.log"
    log.write_text("")
    apt = [*as_root(["env"]), "DEBIAN_FRONTEND=noninteractive", find("apt-get"), "-q", "-y"]
    with progress.step(f"installing {' '.join(packages)}") as step:
        logged([*apt, "update"], log, step)
        logged([*apt, "--no-install-recommends", "install", *packages], log, step)
