"""Containers outlive the links and docker networks that they are on; with the next Docker, too."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from typing import Any

import pytest

from lab import Lab
from tests.project import ROOT, Project

pytestmark = pytest.mark.e2e


def topology(lab: Lab) -> dict[str, Any]:
    container = {"image": "busybox:latest", "command": "sleep infinity", "stop_grace": 0}
    return {
        "ssh_config": str(lab.ssh_config),
        "hosts": {"host1": {"trunk": "eth2"}, "host2": {"trunk": "eth2"}},
        "networks": {
            "lan": {"vlan": 10, "subnet": "172.16.10.0/24"},
            "dmz": {"vlan": 20, "subnet": "172.16.20.0/24"},
        },
        "containers": {
            "web": container | {"host": "host1", "network": "lan", "address": "172.16.10.10"},
            "db": container | {"host": "host1", "network": "dmz", "address": "172.16.20.10"},
            "both": container
            | {
                "host": "host1",
                "networks": {"lan": "172.16.10.11", "dmz": "172.16.20.11"},
            },
            "far": container
            | {
                "host": "host2",
                "networks": {"lan": "172.16.10.12", "dmz": "172.16.20.12"},
            },
        },
    }


@pytest.fixture(scope="module", params=["trixie", pytest.param("forky", marks=pytest.mark.thorough)])
def outlive_lab(request: pytest.FixtureRequest) -> Iterator[Lab]:
    if request.param == "trixie":
        yield request.getfixturevalue("lab")
        return
    lab = Lab(ROOT / ".lab" / "outlive", hosts=("router", "host1", "host2"), release={"host1": "forky"})
    lab.reset()
    yield lab
    lab.destroy()


@pytest.fixture
def stack(
    outlive_lab: Lab, engine_environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Project]:
    outlive_lab.reset()
    project = Project(tmp_path_factory.mktemp("outlive"), engine_environment)
    project.write(topology(outlive_lab))
    project.up().check()
    yield project
    project.destroy().check()


def on(lab: Lab, host: str, shell: str) -> str:
    return lab.ssh(host, "sh", "-c", shell, check=True).stdout


def lives(lab: Lab) -> dict[str, str]:
    """By container of host1: id and start."""
    shell = "docker ps -aq | xargs -r docker inspect -f '{{.Name}} {{.Id}} {{.State.StartedAt}}'"
    return dict(line.removeprefix("/").split(" ", 1) for line in on(lab, "host1", shell).splitlines())


def inside(lab: Lab) -> dict[str, tuple[list[str], list[str]]]:
    """By container of host1, what it sees of the networks: interfaces with addresses, and routes."""
    seen = {}
    for name in ("web", "db", "both"):
        shown = on(
            lab, "host1", f"docker exec {name} ip -o -4 addr show | awk '$2 != \"lo\" {{print $2, $4, $6}}'"
        )
        seen[name] = (
            sorted(shown.splitlines()),
            sorted(line.strip() for line in on(lab, "host1", f"docker exec {name} ip route").splitlines()),
        )
    return seen


def assert_reachable(lab: Lab) -> None:
    for name, address in (("web", "172.16.10.12"), ("db", "172.16.20.12"), ("both", "172.16.10.12")):
        on(lab, "host1", f"docker exec {name} ping -c 1 -W 2 {address}")
    on(lab, "host1", "docker exec both ping -c 1 -W 2 172.16.20.12")


def test_containers_outlive_their_links_and_networks(stack: Project, outlive_lab: Lab) -> None:
    lab, wanted = outlive_lab, topology(outlive_lab)
    born, seen = lives(lab), inside(lab)
    assert len(born) == 3
    assert_reachable(lab)

    # a link that somebody deletes: the kernel takes the containers' interfaces along
    on(lab, "host1", "ip link delete eth2.10")
    assert "web has lost its interface on lan" in stack.preview().check().output
    stack.up().check()
    assert (lives(lab), inside(lab)) == (born, seen)
    assert_reachable(lab)
    stack.assert_clean()

    # both at once
    on(lab, "host1", "ip link delete eth2.10; ip link delete eth2.20")
    stack.up().check()
    assert (lives(lab), inside(lab)) == (born, seen)
    stack.assert_clean()

    # docker's own record still fits: it takes the container off, stops and starts it
    on(lab, "host1", "docker restart -t 0 web")
    assert inside(lab) == seen
    assert_reachable(lab)
    born = lives(lab)

    # a docker network that has to be replaced: another MTU, another parent
    changed = copy.deepcopy(wanted)
    changed["networks"]["lan"]["mtu"] = 1400
    stack.write(changed)
    stack.up().check()
    assert lives(lab) == born
    assert inside(lab) == seen
    assert "mtu 1400" in on(lab, "host1", "docker exec web ip link show eth0")
    assert_reachable(lab)
    stack.assert_clean()
    changed["networks"]["lan"]["vlan"] = 30
    stack.write(changed)
    stack.up().check()
    assert (lives(lab), inside(lab)) == (born, seen)
    assert_reachable(lab)
    stack.assert_clean()

    # once more, now that Docker knows the interface by another name
    stack.write(wanted)
    stack.up().check()
    assert (lives(lab), inside(lab)) == (born, seen)
    assert_reachable(lab)
    stack.assert_clean()

    # because somebody says so
    resources = json.loads(stack.pulumi("stack", "export").check().output)["deployment"]["resources"]
    (urn,) = (each["urn"] for each in resources if each["urn"].endswith("Network::lan-host1"))
    stack.up("--target-replace", urn).check()
    assert (lives(lab), inside(lab)) == (born, seen)
    assert_reachable(lab)
    stack.up().check()
    stack.assert_clean()


def test_another_name_for_a_network_touches_only_who_is_on_it(stack: Project, outlive_lab: Lab) -> None:
    lab = outlive_lab
    born, seen = lives(lab), inside(lab)
    text = json.dumps(topology(lab)).replace('"lan"', '"office"')
    stack.write(json.loads(text))
    stack.up().check()
    now = lives(lab)
    assert now.keys() == born.keys()
    assert now["db"] == born["db"]
    assert inside(lab)["db"] == seen["db"]
    assert_reachable(lab)
    stack.assert_clean()

    # two networks exchange their VLANs: nobody but the networks is made anew
    born = now
    exchanged = json.loads(text)
    exchanged["networks"]["office"]["vlan"], exchanged["networks"]["dmz"]["vlan"] = 20, 10
    stack.write(exchanged)
    stack.up().check()
    assert lives(lab) == born
    assert_reachable(lab)
    stack.assert_clean()
