"""A deletion that fails on the way to a replacement ends the run, instead of hanging it."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.project import ROOT

pytestmark = pytest.mark.lifecycle

PROGRAM = """
import os
import pulumi
from resources.stuck import StuckRun
from things import Thing

stuck = StuckRun(quiet=1.0)
hooks = pulumi.ResourceHookBinding(on_error=[stuck.hook])
version = os.environ["VERSION"]
bad = Thing("bad", version, pulumi.ResourceOptions(hooks=hooks))
above = Thing("above", version, pulumi.ResourceOptions(hooks=hooks, depends_on=[bad]))
elsewhere = Thing("elsewhere", version, pulumi.ResourceOptions(hooks=hooks))
for thing in (bad, above, elsewhere):
    stuck.watch(thing)
"""
THINGS = """
from pulumi.dynamic import CreateResult, DiffResult, Resource, ResourceProvider


class Provider(ResourceProvider):
    serialize_as_secret_always = False

    def diff(self, _id, olds, news):
        changed = olds["version"] != news["version"]
        return DiffResult(changed, ["version"] if changed else [], delete_before_replace=True)

    def create(self, props):
        return CreateResult(props["name"], props)

    def delete(self, _id, props):
        if props["name"] == "bad":
            raise RuntimeError("host1: cannot be reached")


class Thing(Resource):
    def __init__(self, name, version, opts):
        super().__init__(Provider(), name, {"name": name, "version": version}, opts)
"""


def pulumi(folder: Path, environment: dict[str, str], version: str, *argv: str) -> tuple[int, str]:
    done = subprocess.run(
        ["pulumi", *argv, "--non-interactive", "--color", "never"],
        cwd=folder,
        env=environment | {"VERSION": version, "PULUMI_CONTINUE_ON_ERROR": "true"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=120,
        check=False,
    )
    return done.returncode, done.stdout


def test_a_deletion_that_fails_before_a_replacement(
    tmp_path: Path, engine_environment: dict[str, str]
) -> None:
    (tmp_path / "Pulumi.yaml").write_text(
        "name: stuck\nruntime: {name: python, options: {virtualenv: .venv}}\n"
    )
    (tmp_path / "__main__.py").write_text(PROGRAM)
    (tmp_path / "things.py").write_text(THINGS)
    for name in (".venv", "hosts", "model", "resources"):
        (tmp_path / name).symlink_to(ROOT / name)
    assert pulumi(tmp_path, engine_environment, "1", "stack", "select", "--create", "stuck")[0] == 0
    status, output = pulumi(tmp_path, engine_environment, "1", "up", "--yes", "--skip-preview")
    assert status == 0, output
    status, output = pulumi(tmp_path, engine_environment, "2", "up", "--yes", "--skip-preview")
    assert status != 0
    assert "host1: cannot be reached" in output
    assert "what could not be deleted could not be replaced either" in output
    assert "elsewhere created replacement" in output
    assert "Traceback" not in output
