"""Debian's archive, as this machine is set up to reach it, for suites this machine does not use itself.

The mirror and its keyring are taken from the machine's own apt sources, sources.list(5) in both its formats; the
machine's apt state is not touched.
"""

from __future__ import annotations

import os
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Dict, Iterator, List, Optional, Sequence, Tuple

from .errors import LabError

DEBIAN_SUITES = frozenset(
    [
        "bullseye",
        "bookworm",
        "trixie",
        "forky",
        "duke",
        "sid",
        "oldoldstable",
        "oldstable",
        "stable",
        "testing",
        "unstable",
    ]
)
DEFAULT_KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")


@dataclass(frozen=True)
class Source:
    """One binary package source: an archive's URI, one suite of it, its components."""

    uri: str
    suite: str
    components: Tuple[str, ...]
    signed_by: Optional[str] = (
        None  # path of a keyring, or key fingerprints; an embedded key is not carried over
    )

    def line(self, suite: str) -> str:
        """The one-line form for the main component of another suite of the same archive."""
        keyring = self.signed_by or (str(DEFAULT_KEYRING) if DEFAULT_KEYRING.exists() else None)
        options = f"[signed-by={keyring}] " if keyring else ""
        return f"deb {options}{self.uri} {suite} main"


def parse_one_line(text: str) -> Iterator[Source]:
    """Sources of a `sources.list`; lines that apt would not understand are left to apt to complain about."""
    for line in text.splitlines():
        match = re.match(r"\s*deb\s+(?:\[(?P<options>[^\]]*)\]\s*)?(?P<rest>[^#]*)", line)
        words = match["rest"].split() if match else []
        if match is None or len(words) < 3:
            continue
        options = dict(word.split("=", 1) for word in (match["options"] or "").split() if "=" in word)
        yield Source(words[0], words[1], tuple(words[2:]), options.get("signed-by"))


def parse_deb822(text: str) -> Iterator[Source]:
    """Sources of a `*.sources` file: stanzas of fields, one source for each URI and suite."""
    for stanza in re.split(r"\n[ \t]*\n", "\n".join(x for x in text.splitlines() if not x.startswith("#"))):
        fields: Dict[str, str] = {}
        name = ""
        for line in stanza.splitlines():
            if line[:1].isspace():
                fields[name] = f"{fields.get(name, '')}\n{line.strip()}"
            elif ":" in line:
                name, _, value = line.partition(":")
                name = name.strip().lower()
                fields[name] = value.strip()
        if "deb" not in fields.get("types", "").split() or fields.get("enabled", "yes").lower() == "no":
            continue
        signed_by = fields.get("signed-by", "").strip()
        for uri in fields.get("uris", "").split():
            for suite in fields.get("suites", "").split():
                yield Source(
                    uri,
                    suite,
                    tuple(fields.get("components", "").split()),
                    signed_by if signed_by and "\n" not in signed_by else None,
                )


def machine_sources(etc: Path = Path("/etc/apt")) -> List[Source]:
    """All binary package sources of this machine, in apt's order of reading."""
    found: List[Source] = []
    for path in [etc / "sources.list", *sorted((etc / "sources.list.d").glob("*"))]:
        if path.suffix in (".list", ".sources") and path.is_file():
            parse = parse_deb822 if path.suffix == ".sources" else parse_one_line
            found += parse(path.read_text(errors="replace"))
    return found


def debian_archive(sources: Sequence[Source], override: Optional[str] = None) -> Source:
    """The source whose archive is Debian's main one, so that it has the other suites too.

    `override` (environment LAB_MIRROR) is its URI where the machine's own sources have none.
    """
    if override:
        return Source(override, "stable", ("main",))
    for source in sources:
        if source.suite.rstrip("/") in DEBIAN_SUITES and "main" in source.components:
            return source
    raise LabError(
        "no Debian archive among this machine's apt sources (/etc/apt/sources.list, /etc/apt/sources.list.d)",
        "name one: LAB_MIRROR=http://… python3 -m lab build; it needs the package debian-archive-keyring",
    )


def this_machine() -> Source:
    return debian_archive(machine_sources(), os.environ.get("LAB_MIRROR"))


def acquire_settings() -> List[str]:
    """This machine's settings for downloads (proxies, certificates, checks), as lines of apt.conf(5)."""
    dump = subprocess.run(["apt-config", "dump"], stdout=subprocess.PIPE, check=True, text=True).stdout
    return [
        line
        for line in dump.splitlines()
        if line.startswith("Acquire::")
        and not line.startswith(("Acquire::IndexTargets", "Acquire::Changelogs"))
    ]


class PrivateApt:
    """apt with its own sources, lists and caches below `directory`, for downloads only."""

    def __init__(self, directory: Path, lines: Sequence[str]) -> None:
        self._directory = directory
        for folder in ("lists/partial", "archives/partial"):
            (directory / folder).mkdir(parents=True, exist_ok=True)
        (directory / "sources.list").write_text("".join(f"{line}\n" for line in lines))
        (directory / "status").write_text("")
        (directory / "empty").mkdir(exist_ok=True)
        settings = {
            "Dir::Etc::main": "/dev/null",
            "Dir::Etc::parts": f"{directory}/empty",
            "Dir::Etc::sourcelist": f"{directory}/sources.list",
            "Dir::Etc::sourceparts": f"{directory}/empty",
            "Dir::Etc::preferencesparts": f"{directory}/empty",
            "Dir::State": f"{directory}",
            "Dir::State::lists": f"{directory}/lists",
            "Dir::State::status": f"{directory}/status",
            "Dir::Cache": f"{directory}",
            "APT::Sandbox::User": "root",  # the user _apt cannot reach a cache in somebody's home folder
            "APT::Get::List-Cleanup": "false",
        }
        own = [f'{name} "{value}";' for name, value in settings.items()]
        (directory / "apt.conf").write_text("\n".join([*own, *acquire_settings(), ""]))

    def run(self, *argv: str) -> "subprocess.CompletedProcess[str]":
        """Run apt-get, apt-cache or the like; output is captured, and part of the error if it fails."""
        result = subprocess.run(
            argv,
            env={**os.environ, "APT_CONFIG": str(self._directory / "apt.conf"), "LC_ALL": "C.UTF-8"},
            cwd=self._directory,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        if result.returncode:
            complaint = "\n".join((result.stderr or result.stdout).strip().splitlines()[-5:])
            raise LabError(
                f"{' '.join(argv)}: {complaint}",
                "is the Debian archive of this machine's apt sources reachable? LAB_MIRROR=… names another",
            )
        return result
