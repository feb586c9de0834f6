"""What the README shows is what the program takes and says."""

from __future__ import annotations

import re

import pytest
import yaml

from model.errors import TopologyError
from model.fabric import plan
from model.loading import Located, build, locate
from model.reachability import check_expectations, report
from model.topology import Topology
from tests.project import ROOT

README = (ROOT / "README.md").read_text()
STACK = re.findall(r"```yaml\n(config:.*?)```", README, re.DOTALL)[0]
FILE = "Pulumi.prod.yaml"


def load(text: str) -> Topology:
    found = locate(text, FILE, ("config", "macvlan-fabric:topology"))
    assert isinstance(found, Located)
    return build(found)


def test_the_stack_can_be_loaded_and_planned() -> None:
    topology = load(STACK)
    assert plan(topology, owner="macvlan-fabric/prod").hosts


def test_the_error_is_the_one_that_is_shown() -> None:
    """As if `db` had the VLAN id of `web`."""
    shown = re.search(r"```\n(Pulumi\.prod\.yaml:.*?)```", README, re.DOTALL)
    assert shown is not None
    with pytest.raises(TopologyError) as raised:
        load(re.sub("vlan: 120", "vlan: 110", STACK))
    assert str(raised.value).strip() == shown[1].strip()


def test_the_reachability_is_the_one_that_is_shown() -> None:
    (shown,) = re.findall(r"```yaml\n(reachability:.*?)```", README, re.DOTALL)
    topology = load(STACK)
    truth = report(topology, plan(topology, owner="macvlan-fabric/prod"))
    assert yaml.safe_load(shown) == {
        "reachability": {"matrix": truth.matrix, "exceptions": truth.exceptions},
        "paths": truth.paths,
    }


def test_the_broken_expectation_is_the_one_that_is_shown() -> None:
    (shown,) = re.findall(r"```\n(Pulumi\.prod\.yaml:\d+: expect.*?)```", README, re.DOTALL)
    wider = load(STACK.replace("{ from: web, to: db, traffic: tcp/5432 }", "[web, db]"))
    problem, *_ = check_expectations(wider, plan(wider, owner="macvlan-fabric/prod"))
    before, after = shown.strip().split("…")
    assert str(problem).startswith(before)
    assert str(problem).endswith(after)


def test_the_secret_that_is_shown_is_where_secrets_may_be() -> None:
    (path,) = re.findall(r"config set --secret --path '(.*)'", README)
    document = yaml.safe_load(STACK)
    *steps, name = path.split(".")
    for place in ("config", *steps):
        document = document[place]
    assert isinstance(document, dict)
    assert name not in document
    assert steps[-1] == "environment"


ENTRIES = [entry for entry in re.findall(r"^\| `(.+?)` \|", README, re.MULTILINE) if entry[0] in "[{"]


@pytest.mark.parametrize("entry", ENTRIES)
def test_every_entry_of_a_policy_is_taken(entry: str) -> None:
    document = yaml.safe_load(STACK)
    document["config"]["macvlan-fabric:topology"]["gateway"]["allow"] = [yaml.safe_load(entry)]
    assert load(yaml.safe_dump(document)).gateway


def test_there_are_entries() -> None:
    assert len(ENTRIES) >= 5
