"""What people do with a running stack costs no container, no address and no data; on real hosts."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from typing import Any

import pytest

from lab import Lab
from tests.project import Project

pytestmark = pytest.mark.e2e

KEEPER = "keeper:1"  # busybox with a place for data, as databases have it
IMAGE = "busybox:latest"


def topology(lab: Lab) -> dict[str, Any]:
    container = {"host": "host1", "image": IMAGE, "command": "sleep infinity", "stop_grace": 0}
    names = ("web", "db", "cache", "queue", "api", "worker")
    return {
        "ssh_config": str(lab.ssh_config),
        "hosts": {"host1": {"trunk": "eth2"}, "host2": {"trunk": "eth2"}},
        "networks": {"lan": {"vlan": 10, "subnet": "172.16.10.0/24"}},
        "containers": {
            **{name: container | {"network": "lan"} for name in names},
            "fixed": container | {"network": "lan", "address": "172.16.10.10"},
            "pg": container | {"network": "lan", "image": KEEPER},
        },
    }


def on(lab: Lab, host: str, shell: str) -> str:
    return lab.ssh(host, "sh", "-c", shell, check=True).stdout


def running(lab: Lab, host: str) -> dict[str, str]:
    """Id by name of what runs on a host."""
    lines = on(lab, host, "docker ps --no-trunc --format '{{.Names}} {{.ID}}'").splitlines()
    return {name: id_ for name, _, id_ in (line.partition(" ") for line in lines)}


def row(lab: Lab, host: str = "host1") -> str:
    return on(lab, host, "docker exec pg cat /data/row").strip()


@pytest.fixture
def stack(
    lab: Lab, engine_environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Project]:
    lab.reset()
    commit = f"docker commit -c 'VOLUME /data' made {KEEPER}"
    for host in ("host1", "host2"):
        on(lab, host, f"docker create --name made {IMAGE} && {commit} && docker rm made")
    project = Project(tmp_path_factory.mktemp("people"), engine_environment)
    project.write(topology(lab))
    project.up().check()
    yield project
    project.destroy().check()


def test_containers_addresses_and_data_outlive_what_people_do(stack: Project, lab: Lab) -> None:
    wanted = topology(lab)
    given = stack.outputs()["container_ips"]
    first = running(lab, "host1")
    on(lab, "host1", "docker exec pg sh -c 'echo kept >/data/row'")

    # one goes, one comes, another order: nobody else moves
    fewer = copy.deepcopy(wanted)
    del fewer["containers"]["web"]
    fewer["containers"] = {"new": wanted["containers"]["db"], **dict(reversed(fewer["containers"].items()))}
    stack.write(fewer)
    stack.up().check()
    now = stack.outputs()["container_ips"]
    assert {name: now[name] for name in given if name != "web"} == {
        name: address for name, address in given.items() if name != "web"
    }
    assert {n: i for n, i in running(lab, "host1").items() if n != "new"} == {
        n: i for n, i in first.items() if n != "web"
    }

    # the data of a container that is replaced, for its own reason and because somebody says so
    fewer["containers"]["pg"]["environment"] = {"A": "1"}
    stack.write(fewer)
    stack.up().check()
    assert running(lab, "host1")["pg"] != first["pg"]
    assert row(lab) == "kept"
    (urn,) = (
        each["urn"]
        for each in json.loads(stack.pulumi("stack", "export").check().output)["deployment"]["resources"]
        if each["urn"].endswith("Container::pg")
    )
    stack.up("--target-replace", urn).check()
    assert row(lab) == "kept"

    # stopped, and gone: said by a preview, mended by an up, without a refresh
    on(lab, "host1", "docker stop -t 0 db")
    on(lab, "host1", "docker rm -f cache")
    assert "db does not run" in stack.preview().check().output
    stack.up().check()
    assert running(lab, "host1").keys() == fewer["containers"].keys()
    assert running(lab, "host1")["db"] == first["db"]
    stack.assert_clean()

    # another host: the one with a fixed address and one with an automatic one, and back
    ids = running(lab, "host1")
    moved = copy.deepcopy(fewer)
    for name in ("fixed", "api"):
        moved["containers"][name]["host"] = "host2"
    stack.write(moved)
    assert "fixed" in stack.preview().check().output
    stack.up().check()
    assert running(lab, "host2").keys() == {"fixed", "api"}
    assert running(lab, "host1") == {n: i for n, i in ids.items() if n not in ("fixed", "api")}
    assert stack.outputs()["container_ips"] == now
    stack.assert_clean()
    stack.write(fewer)
    stack.up().check()
    assert running(lab, "host1").keys() == fewer["containers"].keys()
    assert stack.outputs()["container_ips"] == now
    stack.assert_clean()

    # a docker network that is gone, with all that was on it
    on(lab, "host1", "docker rm -f $(docker ps -aq) && docker network rm lan")
    stack.up().check()
    assert running(lab, "host1").keys() == fewer["containers"].keys()
    assert stack.outputs()["container_ips"] == now
    stack.assert_clean()


def test_a_state_that_is_lost_costs_no_data(stack: Project, lab: Lab) -> None:
    on(lab, "host1", "docker exec pg sh -c 'echo kept >/data/row'")
    stack.pulumi("stack", "rm", "--yes", "--force", "--preserve-config", stack.stack).check()
    stack.pulumi("stack", "init", stack.stack).check()
    stack.up().check()
    assert row(lab) == "kept"
    stack.assert_clean()


def living(lab: Lab) -> dict[str, str]:
    """What somebody would notice if it was made anew: links by index, containers by id and start."""
    shell = """
ip -o link show | grep -o '^[0-9]*: eth2[^:]*:'
docker network ls --no-trunc --format '{{.Name}} {{.ID}}' --filter driver=macvlan | sort
docker ps -aq | xargs -r docker inspect -f '{{.Name}} {{.Id}} {{.State.StartedAt}}' | sort"""
    return {host: on(lab, host, shell) for host in ("host1", "host2")}


def test_names_are_what_people_change(stack: Project, lab: Lab) -> None:
    given, whole = stack.outputs()["container_ips"], living(lab)
    assert whole["host1"].count("/") == 8

    # a host gets another key, the stack another name: nothing is made anew
    named = topology(lab)
    named["hosts"]["web1"] = named["hosts"].pop("host1") | {"address": "host1"}
    for container in named["containers"].values():
        container["host"] = "web1"
    stack.write(named)
    said = stack.up().check().output
    assert "replaced" not in said and "deleted" not in said
    assert living(lab) == whole
    stack.assert_clean()
    stack.pulumi("stack", "rename", "elsewhere").check()
    stack.stack = "elsewhere"
    stack.assert_clean()
    assert living(lab) == whole

    # two machines change places: the containers are where the topology has them now
    ids = running(lab, "host1")
    named["hosts"]["web1"]["address"] = "host2"
    named["hosts"]["host2"]["address"] = "host1"
    stack.write(named)
    assert "replace" in stack.preview().check().output
    stack.up().check()
    assert running(lab, "host1") == {}
    assert running(lab, "host2").keys() == ids.keys()
    assert stack.outputs()["container_ips"] == given
    stack.assert_clean()


def test_containers_move_from_a_host_that_is_lost(stack: Project, lab: Lab) -> None:
    given = stack.outputs()["container_ips"]
    lab.kill("host1")
    try:
        moved = topology(lab)
        moved["hosts"]["host1"]["lost"] = True
        for container in moved["containers"].values():
            container["host"] = "host2"
        stack.write(moved)
        said = stack.up().check().output
        assert "host1 is lost: nothing was removed there" in said
        assert running(lab, "host2").keys() == moved["containers"].keys()
        assert stack.outputs()["container_ips"] == given
        stack.assert_clean()
    finally:
        lab.start("host1")
