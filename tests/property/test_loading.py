"""Laws of loading."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
import yaml
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from model.declaration import TOPOLOGY
from model.document import from_value
from model.errors import Problem, TopologyError
from model.interfaces import link_names
from model.kinds import below
from model.loading import FileReference, load, load_value, locate
from model.problems import Problems
from model.schema import topology_schema
from model.topology import Topology
from model.validation.links import links
from model.validation.scope import Scope
from tests.cases_of import CASES, STACK_KEY
from tests.rendering import document, spellings, text
from tests.strategies import topologies

FILE = "topology.yaml"
TUTORIAL = (CASES / "valid" / "tutorial.yaml").read_text()
VALIDATOR = Draft202012Validator(topology_schema())
every_topology = topologies(expectations=True)


def problems_of(source: str) -> tuple[Problem, ...]:
    """The problems of a text; none if it loads. Nothing but TopologyError may be raised."""
    try:
        load(source, FILE)
    except TopologyError as error:
        return error.problems
    return ()


@given(st.data(), every_topology)
def test_every_way_to_write_a_topology_loads_to_it(data: st.DataObject, topology: Topology) -> None:
    assert load(data.draw(spellings(topology)), FILE) == topology


@given(every_topology)
def test_a_stack_file_holds_it_as_well(topology: Topology) -> None:
    stack = {"config": {"aws:region": "eu", STACK_KEY[1]: document(topology)}}
    assert load(yaml.safe_dump(stack, sort_keys=False), "Pulumi.dev.yaml", STACK_KEY) == topology


@given(every_topology)
def test_plain_data_and_its_text_are_the_same(topology: Topology) -> None:
    assert load_value(document(topology), FILE) == topology


@given(every_topology)
def test_what_loads_follows_the_schema(topology: Topology) -> None:
    VALIDATOR.validate(document(topology))


@dataclass(frozen=True)
class Leaf:
    """A single value in plain data."""

    holder: dict[str, object] | list[object]
    step: str | int
    path: str

    @property
    def value(self) -> object:
        return self.holder[self.step]  # type: ignore[index]

    def put(self, value: object) -> None:
        self.holder[self.step] = value  # type: ignore[index]


def leaves(value: object, path: str = "") -> Iterator[Leaf]:
    """Every single value, with the path that errors give it."""
    steps: list[tuple[str | int, str]] = []
    if isinstance(value, dict):
        steps = [(key, below(path, key)) for key in value]
    elif isinstance(value, list):
        steps = [(index, f"{path}[{index}]") for index in range(len(value))]
    for step, inner in steps:
        item = value[step]  # type: ignore[index]
        if isinstance(item, dict | list):
            yield from leaves(item, inner)
        else:
            assert isinstance(value, dict | list)
            yield Leaf(value, step, inner)


@given(st.data(), every_topology)
def test_a_mistake_made_once_is_reported_once_where_it_is(data: st.DataObject, topology: Topology) -> None:
    """No consequence of a mistake is reported beside it."""
    plain = document(topology)
    free = (".environment.", ".labels.", ".command[", "ssh_config")  # any text will do there
    strict = [leaf for leaf in leaves(plain) if not any(part in leaf.path for part in free)]
    leaf = data.draw(st.sampled_from(strict))
    leaf.put("?!")
    source = yaml.safe_dump(plain, sort_keys=False)
    assert [problem.path for problem in problems_of(source)] == [leaf.path]
    line = problems_of(source)[0].place.line
    assert "?!" in source.splitlines()[line - 1]


@given(st.data(), every_topology)
def test_a_wrong_item_of_a_list_is_reported_once_where_it_is(data: st.DataObject, topology: Topology) -> None:
    """Nothing is concluded from what is left of the list, be it nothing."""
    plain = document(topology)
    items = [leaf for leaf in leaves(plain) if isinstance(leaf.holder, list)]
    assume(items)
    chosen = data.draw(st.sampled_from(items))
    beside = [leaf for leaf in items if leaf.holder is chosen.holder]
    wrong = data.draw(st.lists(st.sampled_from(beside), min_size=1, unique_by=lambda leaf: leaf.path))
    for leaf in wrong:
        leaf.put(data.draw(st.sampled_from((None, {"h1": None}))))
    found = problems_of(yaml.safe_dump(plain, sort_keys=False))
    assert {problem.path for problem in found} == {leaf.path for leaf in wrong}


@given(st.data(), every_topology)
def test_an_unknown_key_is_reported_once_where_it_is(data: st.DataObject, topology: Topology) -> None:
    plain = document(topology)
    hosts, networks, containers = (plain[key] for key in ("hosts", "networks", "containers"))
    assert isinstance(hosts, dict)
    assert isinstance(networks, dict)
    assert isinstance(containers, dict)
    entries = [plain, *hosts.values(), *networks.values(), *containers.values()]
    data.draw(st.sampled_from(entries))["zzz"] = 1
    source = yaml.safe_dump(plain, sort_keys=False)
    (problem,) = problems_of(source)
    assert problem.message == "unknown key zzz"
    assert source.splitlines()[problem.place.line - 1].strip() == "zzz: 1"


@given(every_topology)
def test_the_names_that_are_checked_are_the_names_that_are_made(topology: Topology) -> None:
    entry = TOPOLOGY.read(from_value(document(topology), FILE), "", Problems(FILE))
    assert entry is not None
    checked = {(host, network, name) for host, network, _, name in links(Scope(entry))}
    made = {(*where, name) for where, names in link_names(topology).items() for name in names}
    assert checked == made


REQUIRED = ("vlan", "subnet", "image", "interface", "host")


@given(st.data(), every_topology)
def test_a_missing_key_is_reported_once_where_it_is(data: st.DataObject, topology: Topology) -> None:
    plain = document(topology)
    required = [leaf for leaf in leaves(plain) if leaf.step in REQUIRED and ".labels." not in leaf.path]
    leaf = data.draw(st.sampled_from(required))
    assert isinstance(leaf.holder, dict)
    del leaf.holder[str(leaf.step)]
    (problem,) = problems_of(yaml.safe_dump(plain, sort_keys=False))
    assert below(problem.path, str(leaf.step)) == leaf.path
    assert problem.message.endswith("is missing")


def check_form(source: str) -> None:
    """Every problem is one sentence with a place in the file."""
    lines = len(source.splitlines()) + 1
    for problem in problems_of(source):
        assert problem.place.file == FILE
        assert 0 <= problem.place.line <= lines
        assert problem.message
        for part in (problem.path, problem.message, problem.hint):
            assert part.isprintable()


scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=20)
    | st.dates()
    | st.sampled_from(["auto", "no", "10", "net1", "host1", "10.1.0.1", "10.0.0.0/8", "tcp/80", "eth2", "<<"])
)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


@given(st.data(), every_topology)
@settings(suppress_health_check=[HealthCheck.too_slow])
def test_a_document_changed_at_will_loads_or_is_explained(data: st.DataObject, topology: Topology) -> None:
    """Values replaced, keys removed, added, renamed, moved: whatever comes out, problems are sentences."""
    plain = copy.deepcopy(document(topology))
    for _ in range(data.draw(st.integers(1, 4))):
        holders = [plain, *(holder for holder in _holders(plain))]
        holder = data.draw(st.sampled_from(holders))
        if isinstance(holder, list):
            holder.insert(data.draw(st.integers(0, len(holder))), data.draw(values))
            continue
        key = data.draw(st.sampled_from([*holder, "zzz"]))
        match data.draw(st.sampled_from(("replace", "remove", "rename", "move"))):
            case "replace":
                holder[key] = data.draw(values)
            case "remove":
                holder.pop(key, None)
            case "rename":
                new = data.draw(st.text(max_size=8) | st.sampled_from(["host1", "net1", "c1"]))
                holder[new] = holder.pop(key, None)
            case "move":
                target = data.draw(st.sampled_from(holders))
                if isinstance(target, dict):
                    target[key] = copy.deepcopy(holder.get(key))
    check_form(yaml.safe_dump(plain, sort_keys=False, allow_unicode=data.draw(st.booleans())))


def _holders(value: object) -> Iterator[dict[str, object] | list[object]]:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    for item in inner:
        if isinstance(item, dict | list):
            yield item
            yield from _holders(item)


@given(st.text())
def test_any_text_loads_or_is_explained(source: str) -> None:
    check_form(source)


@given(st.text(alphabet="ab10:-,[]{}&*!|>'\"%@`#?~<. \n\t", max_size=60))
def test_any_text_that_looks_like_yaml_loads_or_is_explained(source: str) -> None:
    check_form(source)


@given(st.data())
def test_a_text_with_slips_of_the_keyboard_loads_or_is_explained(data: st.DataObject) -> None:
    source = TUTORIAL
    for _ in range(data.draw(st.integers(1, 5))):
        at = data.draw(st.integers(0, len(source)))
        gone = data.draw(st.integers(0, 3))
        new = data.draw(st.text(alphabet="\t\n {}[]:,-&*\"'x0.", max_size=3))
        source = source[:at] + new + source[at + gone :]
    check_form(source)


@given(values)
def test_any_plain_data_loads_or_is_explained(value: object) -> None:
    try:
        load_value(value, FILE)
    except TopologyError as error:
        assert all(problem.place.line == 0 for problem in error.problems)


@given(st.text(), st.lists(st.text(max_size=5), max_size=2))
def test_any_place_in_any_text_is_found_or_explained(source: str, at: list[str]) -> None:
    try:
        found = locate(source, FILE, tuple(at))
    except TopologyError:
        return
    assert not isinstance(found, FileReference) or found.file


@given(every_topology, st.integers(1, 9))
def test_lines_are_counted_from_the_first_of_the_file(topology: Topology, before: int) -> None:
    broken = document(topology) | {"zzz": 1}
    source = yaml.safe_dump(broken, sort_keys=False)
    assume(len(problems_of(source)) == 1)
    shifted = "# a comment\n" * before + source
    assert problems_of(shifted)[0].place.line == problems_of(source)[0].place.line + before


def test_both_parsers_of_pyyaml_are_understood(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where PyYAML was built without libyaml, everything still loads to the same."""
    expected = load(TUTORIAL, FILE)
    monkeypatch.setattr("model.document._Loader", yaml.SafeLoader)
    assert load(TUTORIAL, FILE) == expected


@given(every_topology)
def test_the_long_form_is_what_it_says(topology: Topology) -> None:
    assert yaml.safe_load(text(topology)) == document(topology)
