"""The environment that `python3 -m engine env` prints is what a POSIX shell then has."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine import EngineError, recipe, shell
from engine.shell import Environment, environment, official_pulumi

# Anything a folder can be called, but for the separators of paths and of PATH.
NAMES = st.text(st.characters(exclude_characters="/\0:", exclude_categories=["Cs"]), min_size=1, max_size=20)
VALUES = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=10)
PREFERENCES = ["PULUMI_CONTINUE_ON_ERROR", "PULUMI_HOME"]


def evaluated(wanted: Environment, base: dict[str, str]) -> dict[str, str]:
    """What a strict shell that started with `base` has after reading the export lines."""
    script = "set -eu\n" + "\n".join(wanted.exports()) + "\nexec /usr/bin/env -0\n"
    answer = subprocess.run(
        ["/bin/sh", "-s"], input=script.encode(), env=base, capture_output=True, check=True
    )
    found = dict(line.split("=", 1) for line in answer.stdout.decode().split("\0") if line)
    return {name: value for name, value in found.items() if name not in ("PWD", "SHLVL", "_", "OLDPWD")}


@given(
    folders=st.lists(NAMES, max_size=2),
    state=NAMES,
    user=st.dictionaries(st.sampled_from(PREFERENCES), VALUES),
)
def test_a_shell_and_a_program_get_the_same(folders: list[str], state: str, user: dict[str, str]) -> None:
    wanted = Environment(
        tuple(Path("/opt") / folder for folder in folders),
        {"PULUMI_HOME": f"/{state}"},
        {"PULUMI_CONTINUE_ON_ERROR": "true"},
    )
    base = {"PATH": "/usr/bin:/bin", **user}
    assert evaluated(wanted, base) == wanted.applied_to(base)


def test_what_the_user_has_set_holds() -> None:
    wanted = Environment((), {}, {"PULUMI_PARALLEL_DIFF": "true"})
    base = {"PATH": "/bin"}
    assert wanted.applied_to(base)["PULUMI_PARALLEL_DIFF"] == "true"
    assert wanted.applied_to({**base, "PULUMI_PARALLEL_DIFF": "no"})["PULUMI_PARALLEL_DIFF"] == "no"


@pytest.fixture
def official(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A `pulumi` on PATH that is not from our cache."""
    program = tmp_path / "official" / "pulumi"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(program.parent))
    return program


@given(name=NAMES)
def test_the_backend_url_names_the_state_folder_whatever_it_is_called(name: str) -> None:
    state = Path("/srv") / name
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shell, "official_pulumi", lambda _cache: Path("/usr/bin/pulumi"))
        url = environment(Path("/cache"), state).settings["PULUMI_BACKEND_URL"]
    assert url.isascii()
    parts = urlsplit(url)
    assert (parts.scheme, parts.netloc, unquote(parts.path)) == ("file", "", str(state.absolute()))
    assert (parts.query, parts.fragment) == ("metadata=skip", "")


def test_an_official_pulumi_keeps_its_home_and_its_downloads(official: Path, tmp_path: Path) -> None:
    wanted = environment(tmp_path / "cache", tmp_path / "state", tmp_path / "venv")
    assert wanted.path == (tmp_path / "venv" / "bin",)
    assert wanted.settings == {
        "PULUMI_BACKEND_URL": f"file://{tmp_path / 'state'}?metadata=skip",
        "PULUMI_CONFIG_PASSPHRASE": shell.LAB_PASSPHRASE,
        "PULUMI_SKIP_UPDATE_CHECK": "true",
    }


def test_our_own_pulumi_on_path_is_not_official(
    official: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert official_pulumi(tmp_path / "cache") == official
    ours = tmp_path / "cache" / "engine" / "key" / "bin" / "pulumi"
    ours.parent.mkdir(parents=True)
    official.rename(ours)
    monkeypatch.setenv("PATH", str(ours.parent))
    assert official_pulumi(tmp_path / "cache") is None
    with pytest.raises(EngineError, match="not built yet\nhint: run `python3 -m engine build` first"):
        environment(tmp_path / "cache", tmp_path / "state")


def command(*arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "engine", *arguments],
        cwd=recipe.ROOT,
        env={"PATH": "/nowhere", **environ},
        capture_output=True,
        text=True,
        check=False,
    )


def test_build_does_nothing_where_there_is_an_official_one(official: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    answer = command("build", PATH=str(official.parent), MACVLAN_FABRIC_CACHE=str(cache))
    assert (answer.returncode, answer.stderr) == (0, "")
    assert answer.stdout == f"engine: using {official}, nothing to build\n"
    assert not cache.exists()


def test_env_makes_the_state_folder(official: Path, tmp_path: Path) -> None:
    state = tmp_path / "a" / "state"
    answer = command("env", "--state", str(state), PATH=str(official.parent))
    assert (answer.returncode, answer.stderr) == (0, "")
    assert f"export PULUMI_BACKEND_URL='file://{state}?metadata=skip'\n" in answer.stdout
    assert state.is_dir()


def test_errors_are_sentences(tmp_path: Path) -> None:
    answer = command("env", "--state", str(tmp_path), MACVLAN_FABRIC_CACHE=str(tmp_path))
    assert answer.returncode == 1
    assert answer.stdout == ""
    assert answer.stderr.startswith("engine: the Pulumi engine is not built yet\nhint: ")

    (tmp_path / "file").touch()
    answer = command("build", MACVLAN_FABRIC_CACHE=str(tmp_path / "file"))
    assert answer.returncode == 1
    assert answer.stderr == f"engine: {tmp_path / 'file'}: File exists\n"
