"""Which hosts are not asked any more, from what Pulumi has for the topology."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from pulumi.dynamic import ConfigureRequest
from pulumi.dynamic.config import Config

from resources.boot_unit import BootUnitProvider
from resources.lost import lost_hosts

HOSTS = {"a": {"trunk": "eth2"}, "b": {"trunk": "eth2", "lost": True}, "c": {"lost": False}}


def test_from_the_stacks_own_configuration() -> None:
    assert lost_hosts(json.dumps({"hosts": HOSTS})).names == {"b"}


def test_from_the_file_that_it_names(tmp_path: Path) -> None:
    file = tmp_path / "topology.yaml"
    file.write_text("hosts:\n  a: { trunk: eth2 }\n  b: { trunk: eth2, lost: true }\n")
    assert lost_hosts(str(file)).names == {"b"}


@pytest.mark.parametrize("word", ["true", "True", "TRUE", "yes", "Yes", "YES", "on", "On", "ON"])
def test_every_word_that_the_program_takes_for_true(tmp_path: Path, word: str) -> None:
    file = tmp_path / "topology.yaml"
    file.write_text(f"hosts:\n  a: {{ trunk: eth2, lost: {word} }}\n  b: {{ trunk: eth2 }}\n")
    assert lost_hosts(str(file)).names == {"a"}
    assert lost_hosts(json.dumps({"hosts": {"a": {"lost": word}}})).names == {"a"}


@pytest.mark.parametrize("word", ["false", "no", "Off", "~", "yEs", "y", "1", "[true]"])
def test_no_other_word(tmp_path: Path, word: str) -> None:
    file = tmp_path / "topology.yaml"
    file.write_text(f"hosts: {{ a: {{ lost: {word} }} }}\n")
    assert lost_hosts(str(file)).names == frozenset()
    assert lost_hosts(json.dumps({"hosts": {"a": {"lost": word}}})).names == frozenset()


def test_names_are_what_is_written(tmp_path: Path) -> None:
    """Other readers of YAML make numbers and truth values of some of them."""
    names = ("1", "010", "1.10", "on")
    file = tmp_path / "topology.yaml"
    file.write_text(
        "x-gone: &gone { lost: yes }\nhosts:\n" + "".join(f"  {n}: {{ <<: *gone }}\n" for n in names)
    )
    assert lost_hosts(str(file)).names == set(names)


def test_from_a_file_in_the_home_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "topology.yaml").write_text("hosts: { a: { lost: true } }\n")
    assert lost_hosts("~/topology.yaml").names == {"a"}


@pytest.mark.parametrize(
    "configured",
    [
        None,
        "",
        "{}",
        "[]",
        "nowhere.yaml",
        "~nobody-here/t.yaml",
        "a\0b",
        '{"hosts": []}',
        '{"hosts": {"a": 1}}',
    ],
)
def test_what_cannot_be_read_has_no_lost_host(configured: object) -> None:
    assert lost_hosts(configured).names == frozenset()


def test_a_lost_host_is_let_go_of_without_being_asked(capfd: pytest.CaptureFixture[str]) -> None:
    provider = BootUnitProvider()
    settings = {"macvlan-fabric:topology": json.dumps({"hosts": HOSTS})}
    provider.configure(ConfigureRequest(Config(settings, "macvlan-fabric")))
    provider.delete("b", {"host": "b", "address": "nobody.invalid", "ssh_config": None, "owner": "p/s"})
    assert capfd.readouterr().out == "b is lost: nothing was removed there\n"


@pytest.mark.parametrize(
    ("host", "address", "covered"),
    [
        ("b", "b", True),
        ("b", "b.old", True),  # its address was changed, too
        ("before", "b", True),  # it had another key
        ("a", "a", False),
        ("b", "a", False),  # a has that address now, and lives
        ("before", "elsewhere", False),
    ],
)
def test_a_host_is_lost_by_its_key_or_by_its_address(host: str, address: str, covered: bool) -> None:
    assert lost_hosts(json.dumps({"hosts": HOSTS})).covers(host, address) is covered
