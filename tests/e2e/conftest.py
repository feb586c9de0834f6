"""A lab for each process of the run, apart from the user's own: folder, namespace and hosts are its own."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from lab import Lab
from tests.project import ROOT

LAB = ROOT / ".lab" / f"test-{os.environ.get('PYTEST_XDIST_WORKER', 'alone')}"


@pytest.fixture(scope="session")
def lab() -> Iterator[Lab]:
    """Three bare hosts."""
    lab = Lab(LAB)
    lab.reset()
    yield lab
    lab.down(cut=True)
