"""The real engine on hosts in memory."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from hosts.fake import FakeHost
from resources.session import FAKE_HOSTS
from tests.project import Project


@pytest.fixture
def router(tmp_path: Path) -> FakeHost:
    """The gateway, bare."""
    return FakeHost("router", path=tmp_path / "router.json")


@pytest.fixture
def on_fake_hosts(tmp_path: Path, engine_environment: dict[str, str], router: FakeHost) -> dict[str, str]:
    """An environment in which the program's hosts are those of the test."""
    return engine_environment | {FAKE_HOSTS: str(tmp_path)}


@pytest.fixture
def project(
    request: pytest.FixtureRequest, tmp_path: Path, on_fake_hosts: dict[str, str]
) -> Iterator[Project]:
    """A stack with the topology of the test's module."""
    project = Project(tmp_path / "project", on_fake_hosts)
    project.write(request.module.TOPOLOGY)
    yield project
    project.pulumi("stack", "rm", "--yes", "--force", project.stack)
