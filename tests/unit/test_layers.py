"""The rooms of the house: imports go one way only, and each room leaves out what is not for it."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.project import ROOT

# Which of our own packages each may import, beside itself.
ALLOWED = {
    "model": set(),
    "hosts": {"model"},
    "resources": {"model", "hosts"},
    "components": {"model", "hosts", "resources"},
    "verify": {"model", "hosts", "resources", "configuration"},
    "lab": set(),
    "engine": set(),
}
OURS = {*ALLOWED, "configuration", "bench", "tests"}

# What a room leaves out of everything else: who needs it is in the wrong room.
WORLD = {"asyncio", "os", "pathlib", "random", "secrets", "socket", "subprocess", "threading", "time"}
ENGINE = {"pulumi", "pulumi_docker", "pulumi_command"}
LEFT_OUT = {"model": WORLD | ENGINE | {"pyroute2"}, "hosts": ENGINE, "verify": ENGINE}
# These run on whatever python3 a machine has, before there is a virtual environment.
BARE = {"lab", "engine"}


def modules(package: str) -> Iterator[Path]:
    return (ROOT / package).rglob("*.py")


def imports(module: Path) -> Iterator[tuple[int, str]]:
    """(line, top-level package) of every absolute import, wherever in the module it stands."""
    for node in ast.walk(ast.parse(module.read_text())):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name.partition(".")[0]) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            yield node.lineno, node.module.partition(".")[0]


@pytest.mark.parametrize("package", ALLOWED)
def test_imports_go_one_way(package: str) -> None:
    refused = (OURS - ALLOWED[package] - {package}) | LEFT_OUT.get(package, set())
    found = [
        f"{module.relative_to(ROOT)}:{line}: {name}"
        for module in modules(package)
        for line, name in imports(module)
        if name in refused or (package in BARE and name not in {*sys.stdlib_module_names, package})
    ]
    assert not found


def test_every_package_is_a_room() -> None:
    packages = {path.parent.name for path in ROOT.glob("*/__init__.py")}
    assert packages <= OURS


def test_the_program_has_no_logic() -> None:
    """At most 40 lines, and no functions of its own."""
    text = (ROOT / "__main__.py").read_text()
    assert len(text.splitlines()) <= 40
    assert not [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.FunctionDef)]
