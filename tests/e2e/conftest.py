"""One lab for the whole run, apart from the user's own: its directory, namespace and hosts are its own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from lab import Lab
from tests.project import ROOT

LAB = ROOT / ".lab" / "test"


@pytest.fixture(scope="session")
def lab() -> Iterator[Lab]:
    """Three bare hosts."""
    lab = Lab(LAB)
    lab.up()
    lab.reset()
    yield lab
    lab.down()
