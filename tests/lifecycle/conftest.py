"""The real engine on hosts in memory."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from hosts.fake import FakeHost
from resources.session import FAKE_HOSTS
from tests import fake_ssh
from tests.docked import with_docker
from tests.project import Project


@pytest.fixture
def router(tmp_path: Path) -> FakeHost:
    """The gateway, bare."""
    return FakeHost("router", path=tmp_path / "router.json")


@pytest.fixture
def on_fake_hosts(tmp_path: Path, engine_environment: dict[str, str], router: FakeHost) -> dict[str, str]:
    """An environment in which the program's hosts are those of the test, and docker's clients find theirs."""
    programs = tmp_path / "bin"
    fake_ssh.install(programs)
    return engine_environment | {
        FAKE_HOSTS: str(tmp_path),
        "PATH": f"{programs}{os.pathsep}{engine_environment['PATH']}",
    }


@pytest.fixture
def docked(tmp_path: Path, router: FakeHost) -> dict[str, FakeHost]:
    """The hosts of `tests.docked`, by name: docker on two of them, and somebody else's things there."""
    ready = {name: with_docker(FakeHost(name, path=tmp_path / f"{name}.json")) for name in ("host1", "host2")}
    return {"router": router, **ready}


@pytest.fixture
def project(
    request: pytest.FixtureRequest, tmp_path: Path, on_fake_hosts: dict[str, str]
) -> Iterator[Project]:
    """A stack with the topology of the test's module."""
    project = Project(tmp_path / "project", on_fake_hosts)
    project.write(request.module.TOPOLOGY)
    yield project
    project.pulumi("stack", "rm", "--yes", "--force", project.stack)
