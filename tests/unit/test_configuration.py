"""The stack's file and what Pulumi makes of it: lines from the one, decrypted values from the other."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from configuration import KEY, read_topology
from model.errors import TopologyError
from model.fabric import plan
from model.secret import Secret
from model.topology import Topology

WORD = "correct horse"
STACK = f"""\
config:
  {KEY}:
    hosts: {{host1: {{trunk: eth2}}}}
    networks: {{a: {{vlan: 10, subnet: 10.0.0.0/24}}}}
    containers:
      db:
        host: host1
        network: a
        image: postgres
        environment:
          PASSWORD:
            secure: v1:q83v
          PORT: 5432
"""


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("Pulumi.test.yaml").write_text(STACK)


def decrypted(text: str = STACK) -> str:
    """What Pulumi hands to the program for a stack's file."""
    topology = yaml.safe_load(text)["config"][KEY]
    environment = topology["containers"]["db"]["environment"]
    return json.dumps(topology).replace(json.dumps(environment["PASSWORD"]), json.dumps(WORD))


def environment(topology: Topology) -> dict[str, str | Secret]:
    return dict(topology.container("db").environment)


def errors(configured: str | None, *, encrypted: bool = True) -> str:
    with pytest.raises(TopologyError) as raised:
        read_topology("test", configured, encrypted=encrypted)
    return str(raised.value)


def test_what_is_encrypted_in_the_file_is_secret_and_nothing_else_is() -> None:
    topology, unwritten = read_topology("test", decrypted(), encrypted=True)
    assert environment(topology) == {"PASSWORD": Secret(WORD), "PORT": "5432"}
    assert unwritten is None


def test_a_secret_shows_in_nothing_that_is_made_of_it() -> None:
    topology, _ = read_topology("test", decrypted(), encrypted=True)
    made = (topology, plan(topology, "macvlan-fabric/test"), environment(topology)["PASSWORD"])
    assert WORD not in "".join(f"{thing!r} {thing!s} {thing}" for thing in made)
    assert "[secret]" in str(topology)


def test_without_pulumi_the_rest_can_be_read() -> None:
    topology, _ = read_topology("test")
    assert environment(topology).keys() == {"PASSWORD", "PORT"}


def test_errors_beside_a_secret_have_lines_and_do_not_show_it() -> None:
    wrong = STACK.replace("vlan: 10", "vlan: 4095")
    Path("Pulumi.test.yaml").write_text(wrong)
    text = errors(decrypted(wrong))
    assert text.startswith("Pulumi.test.yaml:4: networks.a.vlan: must be a VLAN id")
    assert WORD not in text


def test_a_secret_that_no_process_could_be_given_is_not_shown() -> None:
    text = errors(decrypted().replace(WORD, f"{WORD}\\u0000"))
    assert text.startswith("Pulumi.test.yaml:11: containers.db.environment.PASSWORD: cannot hold a NUL")
    assert WORD not in text


@pytest.mark.parametrize(
    ("change", "place"),
    [
        (('"5432"', '"5433"'), "Pulumi.test.yaml:13: containers.db.environment.PORT: "),
        (('"vlan": 10', '"vlan": "WORD"'), "Pulumi.test.yaml:4: networks.a.vlan: "),
        (('"PORT"', '"WORD"'), "Pulumi.test.yaml:10: containers.db.environment: "),
        (('{"host1"', '["WORD"], "more": {"host1"'), "Pulumi.test.yaml:2: "),
    ],
)
def test_with_another_configuration_nobody_knows_what_is_secret(change: tuple[str, str], place: str) -> None:
    """As with `--config-file`: then no value may be shown at all."""
    old, new = change
    configured = decrypted().replace("5432", '"5432"').replace(old, new.replace("WORD", WORD))
    text = errors(configured)
    assert text.startswith(f"{place}some values are encrypted, and Pulumi reads something else")
    assert WORD not in text


def test_a_stack_without_a_file_cannot_have_secrets() -> None:
    Path("Pulumi.test.yaml").unlink()
    assert WORD not in errors(decrypted())


def test_a_topology_that_is_encrypted_as_a_whole_is_refused() -> None:
    Path("Pulumi.test.yaml").write_text(f"config:\n  {KEY}:\n    secure: v1:q83v\n")
    assert errors(decrypted()).startswith(f"Pulumi.test.yaml:2: {KEY} is encrypted")


def test_another_configuration_counts_and_is_handed_on() -> None:
    """So that whoever verifies sees the same as the program."""
    plain = json.loads(decrypted())
    plain["networks"]["a"]["vlan"] = 20
    topology, unwritten = read_topology("test", json.dumps(plain))
    assert topology.network("a").vlan == 20
    assert unwritten == json.dumps(plain)
    assert read_topology("test", unwritten)[0] == topology


def test_the_same_configuration_is_read_from_the_file() -> None:
    plain = STACK.replace("secure: v1:q83v", "")
    Path("Pulumi.test.yaml").write_text(plain.replace("vlan: 10", "vlan: 4095"))
    configured = json.dumps(yaml.safe_load(plain.replace("vlan: 10", "vlan: 4095"))["config"][KEY])
    assert "Pulumi.test.yaml:4: " in errors(configured, encrypted=False)


def test_a_file_is_named_by_the_configuration_that_counts(tmp_path: Path) -> None:
    topology = yaml.safe_load(STACK)["config"][KEY]
    topology["containers"]["db"]["environment"] = {}
    Path("mine.yaml").write_text(yaml.safe_dump(topology))
    topology["networks"]["a"]["vlan"] = 20
    Path("other.yaml").write_text(yaml.safe_dump(topology))
    Path("Pulumi.test.yaml").write_text(f"config:\n  {KEY}: mine.yaml\n")
    assert read_topology("test", "mine.yaml")[1] is None
    other, unwritten = read_topology("test", "other.yaml")
    assert (other.network("a").vlan, unwritten) == (20, "other.yaml")
