"""Whatever hosts are called and wherever they are reached, a machine goes on being the same one."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hosts.errors import HostUnreachable
from model.topology import Host, Trunk
from resources.machines import Machine, Marked, names, unknown

KEYS = ["a", "b", "c", "d"]


def host(key: str, address: str | None = None, *, lost: bool = False) -> Host:
    return Host(key, address or key, (Trunk("trunk", "eth2"),), lost=lost)


def machine(name: str, host: str | None = None, address: str | None = None) -> Machine:
    return Machine(name, host or name, address or host or name, f"mark of {name}")


A, B = machine("a"), machine("b")
MARKS = {"a": Marked("mark of a"), "b": Marked("mark of b")}
BARE = Marked(None, registered=False)


def test_nobody_is_asked_as_long_as_all_is_as_it_was() -> None:
    assert unknown([host("a"), host("b"), host("new")], [A, B]) == []
    assert names([host("a"), host("new")], [A], {}) == {"a": "a", "new": "new"}


@given(keys=st.permutations(KEYS), addresses=st.permutations(KEYS), count=st.integers(1, 4), data=st.data())
def test_machines_keep_their_names(
    keys: list[str], addresses: list[str], count: int, data: st.DataObject
) -> None:
    """Any keys and any addresses, as long as all machines answer: each goes by the name that it had."""
    machines = [machine(name) for name in KEYS[:count]]
    leads_to = dict(zip(addresses, KEYS, strict=True))  # an address, and the machine that is there now
    hosts = [host(key, address) for key, address in zip(keys, KEYS, strict=True)]
    hosts = data.draw(st.lists(st.sampled_from(hosts), unique=True))
    known = {(each.host, each.address) for each in machines}
    marked = {
        address: Marked(f"mark of {name}") if name in KEYS[:count] else BARE
        for address, name in leads_to.items()
    }
    named = names(hosts, machines, marked)
    assert len(set(named.values())) == len(named) == len(hosts)
    if unknown(hosts, machines):
        for each in hosts:
            if (each.name, each.address) not in known and leads_to[each.address] in KEYS[:count]:
                holder = leads_to[each.address]
                trusted = [h for h in hosts if (h.name, h.address) in known and h.address == holder]
                assert trusted or named[each.name] == holder


@pytest.mark.parametrize(
    ("hosts", "marked", "expected"),
    [
        pytest.param([host("a", "b"), host("b", "a")], MARKS, {"a": "b", "b": "a"}, id="swapped"),
        pytest.param([host("c", "a"), host("b")], MARKS, {"c": "a", "b": "b"}, id="another key"),
        pytest.param([host("c", "a"), host("b")], {}, {"c": "a", "b": "b"}, id="another key, and silent"),
        pytest.param(
            [host("a", "10.0.0.1"), host("b")],
            {"10.0.0.1": Marked("mark of a")},
            {"a": "a", "b": "b"},
            id="another address of the same machine",
        ),
        pytest.param(
            [host("a", "spare"), host("b")],
            {"spare": BARE},
            {"a": "a", "b": "b"},
            id="another machine in place of one that is silent",
        ),
        pytest.param(
            [host("a", "spare"), host("b")],
            {"spare": BARE, **MARKS},
            {"a": "a-2", "b": "b"},
            id="another machine beside one that answers",
        ),
        pytest.param(
            [host("a", "spare"), host("b")],
            {"spare": BARE, "a": BARE},
            {"a": "a", "b": "b"},
            id="another machine in place of one that was installed anew",
        ),
        pytest.param(
            [host("old-a", "a"), host("a", "new"), host("b")],
            {"a": Marked("mark of a"), "new": BARE},
            {"old-a": "a", "a": "a-2", "b": "b"},
            id="a new machine gets the key of one that stays",
        ),
        pytest.param(
            [host("c", "a", lost=True), host("b")], {}, {"c": "a", "b": "b"}, id="lost, with another key"
        ),
    ],
)
def test_who_is_who(hosts: list[Host], marked: dict[str, Marked], expected: dict[str, str]) -> None:
    assert unknown(hosts, [A, B])
    assert names(hosts, [A, B], marked) == expected


def test_of_an_earlier_release_there_is_no_mark() -> None:
    """What it made is known by the stack's folder, and else by the address."""
    before = Machine("a", "a", "a", None)
    ours = Marked(None, registered=True)
    assert names([host("a", "10.0.0.1")], [before], {"10.0.0.1": ours, "a": ours}) == {"a": "a"}
    assert names([host("c", "a")], [before], {"a": ours}) == {"c": "a"}


def test_a_host_that_may_be_any_machine_has_to_answer() -> None:
    with pytest.raises(HostUnreachable) as caught:
        names([host("c", "elsewhere"), host("b")], [A, B], {"a": Marked("mark of a")})
    assert str(caught.value) == (
        "c: it does not answer, so nobody knows whether it is a machine that this stack knows as a\n"
        "  hint: run it again when c answers; a host that is gone for good stays in the topology, "
        "with `lost: true`"
    )
