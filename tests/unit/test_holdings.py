"""When networks of a host must go before others come."""

from __future__ import annotations

from ipaddress import IPv4Network

import pytest

from resources.holdings import Holding, HoldingsProvider, taken_over

RED = Holding("eth2.10", IPv4Network("172.16.10.0/24"))
GREEN = Holding("eth2.20", IPv4Network("172.16.20.0/24"))
WIDE = Holding("eth2.30", IPv4Network("172.16.0.0/16"))


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ({}, {"red": RED, "green": GREEN}),
        ({"red": RED, "green": GREEN}, {}),
        ({"red": RED}, {"red": WIDE}),  # one network that changes is replaced by itself
        ({"red": RED}, {"red": RED, "green": GREEN}),
    ],
)
def test_nothing_is_taken_over(before: dict[str, Holding], after: dict[str, Holding]) -> None:
    assert not taken_over(before, after)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ({"red": RED}, {"green": Holding(RED.parent, GREEN.subnet)}),
        ({"red": RED}, {"green": Holding(GREEN.parent, RED.subnet)}),
        ({"red": RED}, {"green": RED}),
        ({"red": RED}, {"wide": WIDE}),
        ({"red": RED, "green": GREEN}, {"red": GREEN, "green": RED}),
    ],
    ids=["parent", "subnet", "renamed", "overlap", "exchanged"],
)
def test_something_is_taken_over(before: dict[str, Holding], after: dict[str, Holding]) -> None:
    assert taken_over(before, after)


def test_the_engine_is_told_to_remove_first() -> None:
    def networks(name: str) -> dict[str, object]:
        return {"host": "h", "networks": {name: {"parent": "eth2.10", "subnet": "172.16.10.0/24"}}}

    provider = HoldingsProvider()
    renamed = provider.diff("h", networks("red"), networks("green"))
    assert (renamed.changes, renamed.replaces, renamed.delete_before_replace) == (True, ["networks"], True)
    same = provider.diff("h", networks("red"), networks("red"))
    assert (same.changes, same.replaces) == (False, [])
