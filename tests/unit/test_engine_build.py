"""Building with the real Go, on a program small enough for a unit test."""

from __future__ import annotations

import subprocess
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from engine import EngineError, build, recipe, toolchain
from engine.recipe import Piece, Program, Script
from engine.toolchain import Go, parse_version

GO = toolchain.find(recipe.cache_folder())
needs_go = pytest.mark.skipif(GO is None, reason="no Go on this machine")

SAY = """package main

import "fmt"

var version = "unset"

func main() { fmt.Println("hello", version) }
"""


@pytest.fixture
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A recipe of two tiny programs instead of the engine; returns the folder of their modules."""
    modules = tmp_path / "go"
    for name in ("one", "two"):
        (modules / name).mkdir(parents=True)
        (modules / name / "go.mod").write_text(f"module {name}\n\ngo 1.25.0\n")
        (modules / name / "main.go").write_text(SAY)
    wanted: tuple[Piece, ...] = (
        Program("bin/one", "one", ".", "main.version=1.0"),
        Program("home/plugins/resource-two-v2/two", "two", ".", "main.version=2.0"),
    )
    for module in (recipe, build, toolchain):
        monkeypatch.setattr(module, "MODULES", modules)
    monkeypatch.setattr(build, "pieces", lambda _versions: wanted)
    return modules


@needs_go
def test_every_piece_is_built_in_its_place_and_only_once(small: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    engine = build.build(cache)
    said = [subprocess.check_output([engine.folder / piece.target], text=True) for piece in engine.pieces]
    assert said == ["hello 1.0\n", "hello 2.0\n"]
    assert not (engine.folder / "work").exists()

    inodes = [(engine.folder / piece.target).stat().st_ino for piece in engine.pieces]
    assert build.build(cache) == engine
    assert [(engine.folder / piece.target).stat().st_ino for piece in engine.pieces] == inodes

    (small / "one" / "main.go").write_text(SAY.replace("hello", "good day"))
    other = build.build(cache)
    assert other.folder != engine.folder
    assert subprocess.check_output([other.programs / "one"], text=True) == "good day 1.0\n"


@needs_go
def test_an_interrupted_build_goes_on_with_the_missing_piece(
    small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = tmp_path / "cache"
    real = build.compiled

    def interrupted(program: Program, step: build.Step) -> Path:
        result = real(program, step)
        if step.name == "two":
            raise KeyboardInterrupt
        return result

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(build, "compiled", interrupted)
        build.build(cache)
    assert GO
    engine = build.locate(cache, GO)
    assert [piece.target for piece in engine.missing()] == ["home/plugins/resource-two-v2/two"]
    assert build.complete(cache) is None
    first = (engine.programs / "one").stat().st_ino

    assert build.build(cache) == engine
    assert engine.missing() == []
    assert (engine.programs / "one").stat().st_ino == first


@needs_go
def test_two_builds_at_once_do_the_work_once(
    small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = tmp_path / "cache"
    made = []
    real = build.make

    def counted(engine: build.Engine, piece: Piece, go: Go, lock: int) -> None:
        made.append(piece.target)
        real(engine, piece, go, lock)

    monkeypatch.setattr(build, "make", counted)
    with ThreadPoolExecutor(3) as pool:
        engines = list(pool.map(build.build, [cache] * 3))
    assert sorted(made) == ["bin/one", "home/plugins/resource-two-v2/two"]
    assert engines[0] == engines[1] == engines[2]


@needs_go
def test_a_compile_error_is_shown_with_its_log(small: Path, tmp_path: Path) -> None:
    (small / "one" / "main.go").write_text(SAY.replace("fmt.Println", "fmt.Nothing"))
    with pytest.raises(EngineError) as failure:
        build.build(tmp_path / "cache")
    assert "undefined: fmt.Nothing" in str(failure.value)
    assert str(failure.value).startswith("compiling one: failed with exit status 1\n")


@needs_go
def test_a_module_that_go_sum_does_not_pin_is_refused(small: Path, tmp_path: Path) -> None:
    (small / "one" / "go.mod").write_text("module one\n\ngo 1.25.0\n\nrequire rsc.io/quote v1.5.2\n")
    (small / "one" / "main.go").write_text(SAY.replace('import "fmt"', 'import ("fmt"; _ "rsc.io/quote")'))
    with pytest.raises(EngineError, match=r"missing go\.sum entry"):
        build.build(tmp_path / "cache")


@needs_go
def test_the_lock_is_held_while_a_child_of_a_killed_build_lives(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with build.only_one(path) as lock:
        child = subprocess.Popen(["sleep", "60"], pass_fds=(lock,))
    acquired = threading.Event()

    def wait_for_it() -> None:
        with build.only_one(path):
            acquired.set()

    waiter = threading.Thread(target=wait_for_it)
    waiter.start()
    assert not acquired.wait(0.1)
    child.kill()
    child.wait()
    waiter.join(30)
    assert acquired.is_set()


def test_a_script_comes_from_the_module_cache_made_executable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = tmp_path / "module"
    (source / "dist").mkdir(parents=True)
    (source / "dist" / "tool").write_text("#!/bin/sh\necho it runs\n")
    (source / "dist" / "tool").chmod(0o444)
    (tmp_path / "go" / "m").mkdir(parents=True)
    monkeypatch.setattr(build, "MODULES", tmp_path / "go")
    monkeypatch.setattr(build.Step, "module", lambda _step, _module: source)
    script = Script("bin/tool", "m", "example.org/m", "dist/tool")
    engine = build.Engine(tmp_path / "engine", (script,))
    build.make(engine, script, Go(Path("go"), ""), lock=0)
    assert subprocess.check_output([engine.programs / "tool"], text=True) == "it runs\n"


@needs_go
def test_what_the_user_builds_elsewhere_for_does_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    assert GO
    monkeypatch.setenv("GOARCH", "riscv64")
    monkeypatch.setenv("GOOS", "plan9")
    monkeypatch.setenv("GOFLAGS", "-mod=vendor")
    assert toolchain.find(recipe.cache_folder()) == GO


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ("go1.26.6 linux amd64", (1, 26, 6)),
        ("go1.27rc1 linux arm64", (1, 27, 0)),
        ("1.25.11", (1, 25, 11)),
        ("devel +abc", (0, 0, 0)),
    ],
)
def test_versions_of_go(text: str, version: tuple[int, ...]) -> None:
    assert parse_version(text) == version


def test_a_go_that_is_too_old_is_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old = tmp_path / "bin" / "go"
    old.parent.mkdir()
    old.write_text("#!/bin/sh\necho go1.19.8 linux amd64\n")
    old.chmod(0o755)
    monkeypatch.setenv("PATH", str(old.parent))
    monkeypatch.setattr(toolchain, "USUAL_PLACE", tmp_path / "nowhere")
    assert toolchain.identify(old) == "go1.19.8 linux amd64"
    assert toolchain.find(tmp_path) is None

    fetched = toolchain.fetched(tmp_path)
    fetched.parent.mkdir(parents=True)
    fetched.write_text("#!/bin/sh\necho go1.26.6 linux amd64\n")
    fetched.chmod(0o755)
    assert toolchain.find(tmp_path) == Go(fetched, "go1.26.6 linux amd64")


def test_neither_go_nor_pip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(toolchain, "find", lambda _cache: None)
    monkeypatch.setattr(toolchain, "find_pip", lambda: None)
    with pytest.raises(EngineError, match=r"no Go 1\.\d+\.\d+ or newer on PATH, and no pip.*\nhint: install"):
        build.build(tmp_path)
