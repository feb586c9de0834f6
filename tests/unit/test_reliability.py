"""docs/reliability.md speaks of the matrix as it is."""

from __future__ import annotations

from tests import operations
from tests.faults.attempt import LAWS
from tests.faults.matrix import FAULTS
from tests.faults.report import HEAD
from tests.project import ROOT

PAGE = (ROOT / "docs" / "reliability.md").read_text()
ROWS = [
    [cell.strip() for cell in line.strip("|").split("|")]
    for line in PAGE.partition(operations.HEADING)[0].splitlines()
    if line.startswith("| ")
]


def test_the_faults_of_the_page_are_those_of_the_matrix() -> None:
    assert ROWS[0] == list(HEAD)
    assert [row[:3] for row in ROWS[2:]] == [[f.name, f.where, ", ".join(f.during)] for f in FAULTS]
    assert [row[3].split(" of ")[1] for row in ROWS[2:]] == [str(fault.times) for fault in FAULTS]


def test_it_says_what_the_laws_are() -> None:
    assert all(f"- **{law}**: {text}." in PAGE for law, text in LAWS.items())


def test_what_people_type_is_what_is_tried() -> None:
    assert PAGE.endswith("\n".join(operations.page()))
    for row in operations.ROWS:
        for test in row.tests:
            file, _, name = test.partition("::")
            assert f"def {name}(" in (ROOT / "tests" / file).read_text(), test
