"""A stack of this program in a folder of its own, driven through the real `pulumi` command.

The program's files are linked, not copied, so providers keep their module paths; configuration,
state and logs stay in the folder.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parent.parent
LINKED = (
    "Pulumi.yaml",
    "__main__.py",
    "configuration.py",
    "model",
    "hosts",
    "resources",
    "components",
    "verify",
    ".venv",
)
STACK = "test"


def without_marks(dump: str) -> str:
    """A host in memory but for the marks that say which resource is in charge (`hosts.charge`)."""
    return re.sub(r"^file .*\.mark\b.*\n(?: .*\n)*", "", dump, flags=re.MULTILINE)


@dataclass(frozen=True)
class Run:
    """A finished `pulumi` command."""

    argv: tuple[str, ...]
    status: int
    output: str  # what the user sees: stdout and stderr in their order

    def check(self) -> Run:
        """Itself, if it succeeded."""
        assert self.status == 0, f"{' '.join(self.argv)} -> {self.status}\n{self.output}"
        return self


class Project:
    """One stack; every method runs one `pulumi` command in its folder."""

    def __init__(
        self, folder: Path, environment: dict[str, str], stack: str = STACK, *, root: Path = ROOT
    ) -> None:
        """`root` is where the program is; the same folder may have had another one before."""
        self.folder = folder
        self.stack = stack
        folder.mkdir(parents=True, exist_ok=True)
        for name in LINKED:
            (folder / name).unlink(missing_ok=True)
            (folder / name).symlink_to(root / name)
        self.environment = {**os.environ, **environment}
        self.pulumi("stack", "select", "--create", stack).check()

    def write(self, topology: dict[str, Any]) -> None:
        """Make `topology` the stack's configuration."""
        document = {"config": {"macvlan-fabric:topology": topology}}
        path = self.folder / f"Pulumi.{self.stack}.yaml"
        salt = yaml.safe_load(path.read_text()) if path.exists() else None
        if salt and "encryptionsalt" in salt:
            document["encryptionsalt"] = salt["encryptionsalt"]
        path.write_text(yaml.safe_dump(document, sort_keys=False))

    def up(self, *more: str) -> Run:
        return self.pulumi("up", "--yes", "--skip-preview", *more)

    def preview(self, *more: str) -> Run:
        return self.pulumi("preview", "--diff", *more)

    def refresh(self, *more: str) -> Run:
        return self.pulumi("refresh", "--yes", "--skip-preview", "--diff", *more)

    def destroy(self, *more: str) -> Run:
        return self.pulumi("destroy", "--yes", "--skip-preview", *more)

    def outputs(self) -> dict[str, Any]:
        run = self.pulumi("stack", "output", "--json").check()
        outputs: dict[str, Any] = json.loads(run.output)
        return outputs

    def assert_clean(self) -> None:
        """Neither the configuration nor the hosts differ from the state."""
        self.refresh("--expect-no-changes").check()
        self.preview("--expect-no-changes").check()

    def pulumi(self, *argv: str) -> Run:
        done = subprocess.run(
            ["pulumi", *argv, "--non-interactive", "--color", "never"],
            cwd=self.folder,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=300,
            check=False,
        )
        return Run(("pulumi", *argv), done.returncode, done.stdout)
