"""Every mistake in tests/cases/errors gets exactly the text beside it.

UPDATE_CASES=1 writes the texts anew; read them before they are committed: each is a sentence that helps.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from model.errors import TopologyError
from tests.cases_of import case_files, read_case


@pytest.mark.parametrize("path", case_files("errors"), ids=lambda path: path.stem)
def test_the_error_says_what_is_wrong_and_what_to_do(path: Path) -> None:
    with pytest.raises(TopologyError) as raised:
        read_case(path)
    expected, text = path.with_suffix(".txt"), f"{raised.value}\n"
    if os.environ.get("UPDATE_CASES"):
        expected.write_text(text)
    assert text == expected.read_text()


def test_the_corpus_is_complete() -> None:
    inputs = {path.stem for path in case_files("errors")}
    assert len(inputs) >= 100
    assert inputs == {path.stem for path in (case_files("errors")[0].parent).glob("*.txt")}
