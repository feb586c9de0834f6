"""Which containers have to leave a network so that others get their addresses."""

from __future__ import annotations

import pytest

from resources.addresses import AddressesProvider, Holders, leaving

BEFORE = {"red": {"10.0.0.1": "a", "10.0.0.2": "b"}, "green": {"10.1.0.1": "a"}}


@pytest.mark.parametrize(
    ("after", "expected"),
    [
        (BEFORE, []),
        ({}, []),
        ({"red": {"10.0.0.1": "a"}}, []),
        (BEFORE | {"red": {"10.0.0.1": "a", "10.0.0.2": "b", "10.0.0.3": "c"}}, []),
        ({"red": {"10.0.0.2": "c"}}, [("b", "red")]),
        ({"red": {"10.0.0.1": "b", "10.0.0.2": "a"}}, [("a", "red"), ("b", "red")]),
    ],
    ids=["same", "all gone", "one gone", "one more", "renamed", "exchanged"],
)
def test_who_leaves(after: Holders, expected: list[tuple[str, str]]) -> None:
    assert list(leaving(BEFORE, after)) == expected


def test_a_change_replaces_nothing() -> None:
    changed = AddressesProvider().diff("h", {"holders": BEFORE}, {"holders": {}})
    assert (changed.changes, changed.replaces) == (True, [])
    assert not AddressesProvider().diff("h", {"holders": BEFORE}, {"holders": BEFORE}).changes
