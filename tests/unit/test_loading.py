"""What loads, and what it means."""

from __future__ import annotations

import os
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from pprint import pformat

import pytest
import yaml

from model.errors import Place, TopologyError
from model.loading import FileReference, load, load_value, locate
from model.topology import Allow, Attachment, Container, Gateway, Host, Network, Topology, Trunk
from tests.cases_of import CASES, STACK_KEY, case_files, read_case

TUTORIAL = CASES / "valid" / "tutorial.yaml"
SMALLEST = "hosts: { host1: { trunk: eth2 } }\nnetworks: { net10: { vlan: 10, subnet: 10.0.10.0/24 } }\n"


@pytest.mark.parametrize("path", case_files("valid"), ids=lambda path: path.stem)
def test_what_is_declared_is_what_loads(path: Path) -> None:
    """UPDATE_CASES=1 writes the expected topologies anew; read them before they are committed."""
    expected, text = path.with_suffix(".txt"), pformat(read_case(path), width=110) + "\n"
    if os.environ.get("UPDATE_CASES"):
        expected.write_text(text)
    assert text == expected.read_text()


def test_the_tutorial() -> None:
    def bbox(number: int, host: str, network: str, address: str) -> Container:
        attachment = Attachment(network, IPv4Address(address))
        return Container(f"bbox{number}", host, (attachment,), "busybox:latest")

    assert load(TUTORIAL.read_text(), "tutorial.yaml") == Topology(
        hosts=tuple(Host(name, name, (Trunk("trunk", "eth2"),)) for name in ("router", "host1", "host2")),
        networks=tuple(
            Network(
                f"mac_net{vlan}",
                vlan,
                IPv4Network(f"172.16.{vlan}.0/24"),
                IPv4Address(f"172.16.{vlan}.1"),
            )
            for vlan in (10, 20)
        ),
        gateway=Gateway(
            "router", ("mac_net10", "mac_net20"), "masquerade", (Allow("mac_net10", "mac_net20", both=True),)
        ),
        containers=(
            bbox(1, "host1", "mac_net10", "172.16.10.10"),
            bbox(2, "host1", "mac_net20", "172.16.20.10"),
            bbox(3, "host2", "mac_net10", "172.16.10.11"),
            bbox(4, "host2", "mac_net20", "172.16.20.11"),
        ),
        ssh_config=".lab/ssh_config",
    )


def test_plain_data_loads_to_the_same() -> None:
    text = TUTORIAL.read_text()
    assert load_value(yaml.safe_load(text), "tutorial") == load(text, "tutorial.yaml")


def test_whole_floats_are_integers_in_plain_data() -> None:
    value = yaml.safe_load(SMALLEST)
    value["networks"]["net10"]["vlan"] = 10.0
    assert load_value(value, "data") == load(SMALLEST, "text")


def test_errors_in_plain_data_have_paths_and_no_lines() -> None:
    value = yaml.safe_load(SMALLEST)
    value["networks"]["net10"]["vlan"] = 10.5
    with pytest.raises(TopologyError) as raised:
        load_value(value, "topology")
    assert [str(problem).splitlines()[0] for problem in raised.value.problems] == [
        "topology: networks.net10.vlan: must be a VLAN id from 1 to 4094, got 10.5"
    ]


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ({"hosts": object()}, "a value of type object is not allowed"),
        ({"hosts": b"bytes"}, "a value of type bytes is not allowed"),
        ({("a", "b"): 1}, "a value of type tuple is not allowed"),
        ({"hosts": {"host1": {"trunk": "eth2"}}, "networks": {"n": {"vlan": 10**5000}}}, "got 0x31e20"),
        (None, "has no value"),
    ],
    ids=["object", "bytes", "key", "integer", "nothing"],
)
def test_data_that_no_file_could_hold_is_an_error(value: object, words: str) -> None:
    with pytest.raises(TopologyError, match=words):
        load_value(value, "data")


def test_data_that_contains_itself_is_an_error() -> None:
    value: dict[str, object] = {}
    value["hosts"] = value
    with pytest.raises(TopologyError, match="nested deeper"):
        load_value(value, "data")


def test_data_that_shares_without_end_is_an_error() -> None:
    value: list[object] = []
    for _ in range(40):
        value = [value] * 10
    with pytest.raises(TopologyError, match="more than 500,000 values"):
        load_value(value, "data")


def test_a_file_is_named_relative_to_the_file_that_names_it() -> None:
    found = locate("config:\n  macvlan-fabric:topology: lab/big.yaml\n", "stacks/Pulumi.dev.yaml", STACK_KEY)
    assert found == FileReference("stacks/lab/big.yaml", Place("stacks/Pulumi.dev.yaml", 2))


def test_an_absolute_name_stays() -> None:
    found = locate("config:\n  macvlan-fabric:topology: /etc/big.yaml\n", "stacks/Pulumi.dev.yaml", STACK_KEY)
    assert isinstance(found, FileReference)
    assert found.file == "/etc/big.yaml"


def test_a_file_that_may_not_be_read_is_an_error_where_it_is_named() -> None:
    reference = FileReference("big.yaml", Place("Pulumi.dev.yaml", 2))
    error = reference.unreadable(PermissionError(13, "Permission denied", "big.yaml"))
    assert str(error).startswith(
        "Pulumi.dev.yaml:2: cannot read the topology from big.yaml: permission denied"
    )


def test_loading_text_alone_cannot_follow_a_file() -> None:
    with pytest.raises(TopologyError, match=r"Pulumi.dev.yaml:2: the topology is in another file, big.yaml"):
        load("config:\n  macvlan-fabric:topology: big.yaml\n", "Pulumi.dev.yaml", STACK_KEY)


def test_adding_replicas_leaves_the_others_where_they_are() -> None:
    text = SMALLEST.replace(
        "{ host1: { trunk: eth2 } }", "{ host1: { trunk: eth2 }, host2: { trunk: eth2 } }"
    )

    def containers(replicas: int) -> tuple[Container, ...]:
        web = f"{{ hosts: [host1, host2], replicas: {replicas}, network: net10, image: nginx }}"
        return load(f"{text}containers: {{ web: {web} }}\n", "t.yaml").containers

    for count in range(1, 6):
        assert containers(count) == containers(6)[:count]


def test_expectations_know_where_they_stand() -> None:
    """What a preview says of a broken one has a line, too."""
    topology = load((CASES / "valid" / "policy.yaml").read_text(), "policy.yaml")
    assert [(e.place, e.path) for e in topology.expect] == [
        *[(Place("policy.yaml", 22), "expect[0]")] * 2,
        *[(Place("policy.yaml", 23), "expect[1]")] * 4,
        (Place("policy.yaml", 24), "expect[2]"),
        (Place("policy.yaml", 25), "expect[3]"),
    ]


def test_a_byte_order_mark_is_no_part_of_the_text() -> None:
    assert load("\ufeff" + SMALLEST, "t.yaml") == load(SMALLEST, "t.yaml")


def test_carriage_returns_count_lines_as_editors_do() -> None:
    with pytest.raises(TopologyError) as raised:
        load(SMALLEST.replace("vlan: 10", "vlan: 0").replace("\n", "\r\n"), "t.yaml")
    assert [problem.place.line for problem in raised.value.problems] == [2]
