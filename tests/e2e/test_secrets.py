"""A secret of a container's environment: the container has it, and it stands nowhere else."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from configuration import KEY
from lab import Lab
from tests.project import Project, Run

pytestmark = pytest.mark.e2e

WORD = "correct-horse-battery-staple"
NEXT = "another-horse-battery-staple"
PATH = f"{KEY}.containers.db.environment.PASSWORD"


@dataclass
class Stack:
    """A stack with a secret, everything that it said, and every command line of the ssh that it started."""

    lab: Lab
    project: Project
    state: Path
    commands: Path
    said: list[Run]

    def run(self, *argv: str) -> Run:
        run = self.project.pulumi(*argv)
        self.said.append(run)
        return run

    def environment(self) -> str:
        done = self.lab.ssh("host1", "docker", "exec", "db", "env")
        assert done.returncode == 0, done.stderr
        return done.stdout

    def assert_hidden(self, word: str) -> None:
        for run in self.said:
            assert word not in run.output, run.argv
        assert word not in self.commands.read_text()
        holding = [
            path
            for folder in (self.state, self.project.folder)
            for path in folder.rglob("*")
            if path.is_file() and not path.is_symlink() and word.encode() in path.read_bytes()
        ]
        assert not holding


@pytest.fixture
def stack(
    lab: Lab, engine_environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Stack]:
    lab.reset()
    folder = tmp_path_factory.mktemp("secrets")
    commands = folder / "commands"
    commands.touch()
    environment = engine_environment | {"PATH": _noting_ssh(folder, commands, engine_environment["PATH"])}
    project = Project(folder / "project", environment)
    state = Path(urlsplit(environment["PULUMI_BACKEND_URL"]).path)
    stack = Stack(lab, project, state, commands, [])
    project.write(
        {
            "ssh_config": str(lab.ssh_config),
            "hosts": {"host1": {"trunk": "eth2"}, "host2": {"trunk": "eth2"}},
            "networks": {"mac_net10": {"vlan": 10, "subnet": "172.16.10.0/24"}},
            "containers": {
                name: {
                    "host": host,
                    "network": "mac_net10",
                    "image": "busybox:latest",
                    "command": "sleep infinity",
                    "stop_grace": 0,
                    "environment": {"USER": name},
                }
                for name, host in (("db", "host1"), ("other", "host2"))
            },
            "verify": True,
        }
    )
    yield stack
    project.destroy().check()


def _noting_ssh(folder: Path, commands: Path, path: str) -> str:
    """A PATH on which `ssh` writes its command line down first."""
    wrapper = folder / "bin" / "ssh"
    wrapper.parent.mkdir()
    wrapper.write_text(f'#!/bin/sh\necho "$@" >>{commands}\nexec {shutil.which("ssh")} "$@"\n')
    wrapper.chmod(0o755)
    return f"{wrapper.parent}:{path}"


def test_a_secret_is_in_its_container_and_nowhere_else(stack: Stack) -> None:
    stack.project.pulumi("config", "set", "--secret", "--path", PATH, WORD).check()
    assert "secure:" in (stack.project.folder / "Pulumi.test.yaml").read_text()
    stack.run("preview", "--diff").check()
    assert "all 4 as expected" in stack.run("up", "--yes", "--diff").check().output
    assert f"PASSWORD={WORD}\n" in stack.environment()
    stack.run("up", "--yes", "--expect-no-changes").check()
    stack.run("refresh", "--yes", "--diff", "--expect-no-changes").check()
    assert "PASSWORD" not in stack.run("stack", "export").check().output
    stack.assert_hidden(WORD)

    stack.project.pulumi("config", "set", "--secret", "--path", PATH, NEXT).check()
    stack.run("preview", "--diff").check()
    taken = stack.lab.ssh("host1", "docker", "rename", "db", "theirs")
    assert taken.returncode == 0, taken.stderr
    assert stack.lab.ssh("host1", "docker", "create", "--name", "db", "busybox:latest").returncode == 0
    assert stack.run("up", "--yes", "--diff").status != 0
    assert stack.lab.ssh("host1", "docker", "rm", "-f", "db").returncode == 0
    stack.run("refresh", "--yes", "--diff").check()
    stack.run("up", "--yes", "--diff").check()
    assert f"PASSWORD={NEXT}\n" in stack.environment()
    stack.run("stack", "output", "--json").check()
    for word in (WORD, NEXT):
        stack.assert_hidden(word)


def test_a_misplaced_secret_is_an_error_that_does_not_show_it(stack: Stack) -> None:
    stack.project.pulumi("config", "set", "--secret", "--path", f"{KEY}.containers.db.image", WORD).check()
    failed = stack.run("preview")
    assert failed.status != 0
    assert "containers.db.image: is encrypted, which only values of an environment may be" in failed.output
    stack.assert_hidden(WORD)
