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
    assert lost_hosts(json.dumps({"hosts": HOSTS})) == {"b"}


def test_from_the_file_that_it_names(tmp_path: Path) -> None:
    file = tmp_path / "topology.yaml"
    file.write_text("hosts:\n  a: { trunk: eth2 }\n  b: { trunk: eth2, lost: true }\n")
    assert lost_hosts(str(file)) == {"b"}


@pytest.mark.parametrize(
    "configured", [None, "", "{}", "[]", "nowhere.yaml", '{"hosts": []}', '{"hosts": {"a": 1}}']
)
def test_what_cannot_be_read_has_no_lost_host(configured: object) -> None:
    assert lost_hosts(configured) == frozenset()


def test_a_lost_host_is_let_go_of_without_being_asked(capfd: pytest.CaptureFixture[str]) -> None:
    provider = BootUnitProvider()
    settings = {"macvlan-fabric:topology": json.dumps({"hosts": HOSTS})}
    provider.configure(ConfigureRequest(Config(settings, "macvlan-fabric")))
    provider.delete("b", {"host": "b", "address": "nobody.invalid", "ssh_config": None, "owner": "p/s"})
    assert capfd.readouterr().out == "b is lost: nothing was removed there\n"
