"""What the engine consists of, and the key that names one build of it."""

from __future__ import annotations

import hashlib
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Dict, Tuple, Union

from engine import EngineError

ROOT = Path(__file__).resolve().parent.parent
MODULES = ROOT / "engine" / "go"
REQUIREMENTS = ROOT / "requirements.txt"

# What engine/go/cli pins; the Python SDK need not be of the same version.
CLI = "3.259.0"
# The newest language host that the module proxy offers by itself; it serves newer engines and SDKs too.
LANGUAGE_HOST = "v3.163.0"
DOCKER_SOURCE = "github.com/kreuzwerker/terraform-provider-docker@v0.0.0-20260916201441-96d331c98ff4"
VERSION_OF_PULUMI = "github.com/pulumi/pulumi/sdk/v3/go/common/version.Version"
VERSION_OF_COMMAND = "github.com/pulumi/pulumi-command/provider/pkg/version.Version"


@dataclass(frozen=True)
class Program:
    """A Go program, compiled in a folder of its own whose go.mod and go.sum pin everything it is made of."""

    target: str  # where it goes, relative to the engine's folder
    module: str  # the folder under engine/go
    package: str
    version: str  # linked in, as `variable=value`
    tags: str = ""
    source: str = ""  # module@version whose `internal` packages are laid beside go.mod first


@dataclass(frozen=True)
class Script:
    """An executable text file, taken as it is from a module that `module` depends on."""

    target: str
    module: str
    dependency: str
    path: str


Piece = Union[Program, Script]


def pinned_versions(requirements: Path = REQUIREMENTS) -> Dict[str, str]:
    """Package name to version, for every line `name==version` of a requirements file."""
    pins = re.findall(r"^([A-Za-z0-9._-]+)==([^\s;#]+)", requirements.read_text(), re.MULTILINE)
    return dict(pins)


def pieces(versions: Dict[str, str]) -> Tuple[Piece, ...]:
    """Everything to be made, in the order of making: the longest first."""
    try:
        docker, command = (versions[name] for name in ("pulumi-docker", "pulumi-command"))
    except KeyError as missing:
        raise EngineError(f"requirements.txt pins no version of {missing}\nhint: add NAME==VERSION") from None
    sdk = "github.com/pulumi/pulumi/sdk/v3"
    return (
        Program(
            "bin/pulumi",
            "cli",
            "github.com/pulumi/pulumi/pkg/v3/cmd/pulumi",
            f"{VERSION_OF_PULUMI}=v{CLI}",
        ),
        Program(
            f"home/plugins/resource-docker-v{docker}/pulumi-resource-docker",
            "docker",
            ".",
            f"main.version={docker}",
            tags="no_compose",  # leaves out docker-compose and its dependencies, which the SDK does not offer
            source=DOCKER_SOURCE,
        ),
        Program(
            "bin/pulumi-language-python",
            "language-python",
            "github.com/pulumi/pulumi/sdk/python/cmd/pulumi-language-python/v3",
            f"{VERSION_OF_PULUMI}={LANGUAGE_HOST}",
        ),
        Program(
            f"home/plugins/resource-command-v{command}/pulumi-resource-command",
            "command",
            "github.com/pulumi/pulumi-command/provider/cmd/pulumi-resource-command",
            f"{VERSION_OF_COMMAND}={command}",
        ),
        Script(
            "bin/pulumi-language-python-exec",
            "cli",
            sdk,
            "python/cmd/pulumi-language-python-exec",
        ),
        Script(
            "bin/pulumi-resource-pulumi-python",
            "cli",
            sdk,
            "python/dist/pulumi-resource-pulumi-python",
        ),
    )


def build_key(wanted: Tuple[Piece, ...], compiler: str) -> str:
    """A short name for what these pieces, the committed Go files and the compiler determine."""
    digest = hashlib.sha256(repr((compiler, BUILD_ENVIRONMENT, LINKER_FLAGS, wanted)).encode())
    for file in sorted(path for path in MODULES.rglob("*") if path.is_file()):
        digest.update(f"\0{file.relative_to(MODULES)}\0".encode() + file.read_bytes())
    return digest.hexdigest()[:16]


def cache_folder() -> Path:
    """Where this project keeps what can be made again: $MACVLAN_FABRIC_CACHE, else below the user's cache."""
    own = os.environ.get("MACVLAN_FABRIC_CACHE")
    if own:
        return Path(own).expanduser().absolute()
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(base).expanduser().absolute() / "macvlan-fabric"


# Set for every `go` command. GOFLAGS replaces the user's own, so that the same key means the same build.
BUILD_ENVIRONMENT = {
    "CGO_ENABLED": "0",  # no C compiler needed, and the result runs on any libc
    "GOFLAGS": "-mod=readonly -trimpath -buildvcs=false",
    "GOTOOLCHAIN": "local",
    "GOWORK": "off",
}
LINKER_FLAGS = "-s -w"  # no symbol tables: nobody debugs these, and linking is quicker
