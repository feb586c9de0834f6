"""What tests that run the real engine have in common."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.project import ROOT


@pytest.fixture(scope="session")
def engine_environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What `python3 -m engine env` sets, with a state of the tests' own."""
    state: Path = tmp_path_factory.mktemp("state")
    argv = ["python3", "-m", "engine", "env", "--state", str(state), "--venv", str(ROOT / ".venv")]
    script = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    shown = subprocess.run(
        ["sh", "-c", f"{script}\nenv -0"], capture_output=True, text=True, check=True, env=dict(os.environ)
    ).stdout
    return dict(line.split("=", 1) for line in shown.split("\0") if "=" in line)
