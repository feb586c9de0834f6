"""What `python -m verify` says and how it ends, as far as that needs no host."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path

import pytest

from components.verification import interpreter
from model.fabric import plan
from model.reachability import predictions
from tests.tutorial import OWNER, TUTORIAL
from verify.__main__ import main
from verify.measure import Observation
from verify.table import table

AS_PREDICTED = [Observation(p, p.reaches) for p in predictions(plan(TUTORIAL, OWNER))]
WRONG = Observation(AS_PREDICTED[0].prediction, not AS_PREDICTED[0].seen)
SILENT = Observation(AS_PREDICTED[1].prediction, None, "host1: no route")
TOPOLOGY = {"hosts": {"router": {"trunk": "eth2"}}, "networks": {"a": {"vlan": 10, "subnet": "10.0.0.0/24"}}}


def test_everybody_is_listed_as_long_as_they_can_be_read() -> None:
    lines = table([WRONG, *AS_PREDICTED[1:]]).splitlines()
    assert len(lines) == 1 + len(AS_PREDICTED) + 1
    assert lines[-1] == f"1 of {len(AS_PREDICTED)} are NOT as expected"


def test_in_brief_only_what_is_wrong_is_listed() -> None:
    header, wrong, silent, obstacle, total = table(
        [WRONG, SILENT, *AS_PREDICTED[2:]], brief=True
    ).splitlines()
    assert header.split() == ["who", "to", "whom", "by", "expected", "seen"]
    assert " reaches   blocked    <-- predicted: " in wrong
    assert " reaches   not known  <-- predicted: " in silent
    assert obstacle == "  host1: no route"
    assert total == f"2 of {len(AS_PREDICTED)} are NOT as expected"
    assert table(AS_PREDICTED, brief=True) == f"all {len(AS_PREDICTED)} as expected"


@pytest.mark.parametrize(
    ("vlan", "status", "words"),
    [
        (10, 0, "there is nothing to ask"),
        (4095, 2, "the configuration of stack test: networks.a.vlan: must be"),
    ],
)
def test_the_topology_may_come_by_standard_input(
    vlan: int,
    status: int,
    words: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """And what is wrong with it is said, and no traceback."""
    monkeypatch.chdir(tmp_path)
    Path("Pulumi.yaml").write_text("name: macvlan-fabric\n")
    given = TOPOLOGY | {"networks": {"a": {"vlan": vlan, "subnet": "10.0.0.0/24"}}}
    monkeypatch.setattr(sys, "stdin", io.StringIO(json.dumps(given)))
    assert main(["--stack", "test", "--stdin"]) == status
    said = capsys.readouterr()
    assert (said.out + said.err).startswith(words)


def test_the_interpreter_is_named_the_same_in_every_checkout(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "executable", str(tmp_path / ".venv" / "bin" / "python"))
    assert interpreter() == ".venv/bin/python"
    monkeypatch.setattr(sys, "executable", "/usr/bin/python3")
    assert interpreter() == "/usr/bin/python3"
