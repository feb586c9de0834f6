"""Looking before anything is touched: one case per obstacle, with what the user is told."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from ipaddress import IPv4Interface
from typing import Any

import pytest

from hosts.adoption import Adoption, wish_of
from hosts.boot import ensure_boot_unit
from hosts.fake import FakeHost, Machine
from hosts.fake.docker import Docker, place_on_network
from hosts.firewall import ensure_firewall
from hosts.links import ensure_sub_interface
from hosts.ownership import DOCKER_LABEL
from hosts.survey import survey
from model.fabric import HostPlan, plan
from tests.tutorial import OWNER, TUTORIAL

ROUTER, HOST1, _ = plan(TUTORIAL, OWNER).hosts
ADOPTING = replace(HOST1, host=replace(HOST1.host, adopt=True))


def docker_network(
    name: str,
    subnet: str | None,
    owner: str | None = None,
    *,
    driver: str = "macvlan",
    gateway: str | None = None,
    **options: str,
) -> dict[str, Any]:
    """As `docker network inspect` prints one; for `host` and `none`, Config is null."""
    config = {"Subnet": subnet} | ({"Gateway": gateway} if gateway else {})
    return {
        "Id": f"id-of-{name}",
        "Name": name,
        "Driver": driver,
        "Options": options,
        "Labels": {DOCKER_LABEL: owner} if owner else None,
        "IPAM": {"Driver": "default", "Config": [config] if subnet else None},
    }


def docker_container(name: str, owner: str | None = None, **addresses: str) -> dict[str, Any]:
    """As `docker inspect` prints one that was given its addresses."""
    return {
        "Id": f"id-of-{name}",
        "Name": f"/{name}",
        "Config": {"Image": "busybox", "Labels": {DOCKER_LABEL: owner} if owner else {}},
        "HostConfig": {"RestartPolicy": {"Name": "unless-stopped"}},
        "NetworkSettings": {"Networks": {net: place_on_network(addr) for net, addr in addresses.items()}},
    }


USUAL = [
    docker_network("bridge", "172.17.0.0/16"),
    docker_network("host", None),
    docker_network("six", "fd00::/64"),
    docker_network("none", None),
]


def machine() -> Machine:
    machine = Machine.bare()
    machine.docker = Docker(list(USUAL))
    return machine


def problems(machine: Machine, wanted: HostPlan = ROUTER) -> list[str]:
    host = FakeHost(wanted.host.name, machine)
    before = machine.dump()
    found = asyncio.run(survey(host, wanted, OWNER))
    assert machine.dump() == before
    assert not [step for step in host.log if step.startswith(("write", "add_", "set", "delete", "lock"))]
    return [str(problem) for problem in found.problems]


@pytest.mark.parametrize("wanted", [ROUTER, HOST1])
def test_nothing_stands_in_the_way_on_a_bare_host(wanted: HostPlan) -> None:
    assert problems(machine(), wanted) == []


def test_nothing_stands_in_the_way_of_what_is_there_already() -> None:
    ready = machine()
    host = FakeHost("router", ready)

    async def up() -> None:
        await ensure_boot_unit(host, OWNER)
        assert ROUTER.firewall is not None
        await ensure_firewall(host, ROUTER.firewall)
        for link in ROUTER.links:
            await ensure_sub_interface(host, link, OWNER)

    asyncio.run(up())
    for network in HOST1.networks:
        networks(ready, docker_network(network.name, str(network.subnet), OWNER))
    containers(ready, docker_container("bbox1", OWNER, mac_net10="172.16.10.10"))
    assert problems(ready) == []
    assert problems(ready, replace(HOST1, links=ROUTER.links)) == []


def without_trunk(m: Machine) -> None:
    m.kernel.links.pop(m.kernel.link("eth2").index)


def hand_made(m: Machine, name: str = "eth2.10", vlan: int = 10) -> int:
    return m.kernel.add(name, "vlan", m.kernel.link("eth2").index, vlan)


def of_another_stack(m: Machine) -> None:
    m.kernel.set(hand_made(m), alias="macvlan-fabric:tutorial/prod")


def address(m: Machine, interface: str) -> None:
    m.kernel.add_address(m.kernel.link("eth1").index, IPv4Interface(interface))


def networks(m: Machine, *more: dict[str, Any]) -> None:
    assert m.docker is not None
    m.docker.networks += more


def containers(m: Machine, *more: dict[str, Any]) -> None:
    assert m.docker is not None
    m.docker.containers += more


# As a person following the tutorial would have made them.
NET10 = docker_network("mac_net10", "172.16.10.0/24", gateway="172.16.10.1", parent="eth2.10")
BBOX1 = docker_container("bbox1", mac_net10="172.16.10.10")
WHOLE_SUBNET = "its range for addresses that Docker chooses is the whole subnet instead of 172.16.10.172/30"


OBSTACLES: dict[str, tuple[HostPlan, Callable[[Machine], object], str, str]] = {
    "no trunk": (
        ROUTER,
        without_trunk,
        "there is no interface eth2, which eth2.10 needs as its parent; there are eth1",
        "correct the trunk of router in the topology, or make eth2 appear on the host",
    ),
    "foreign link": (
        ROUTER,
        hand_made,
        "there is already a link eth2.10, VLAN 10 on eth2, of somebody else (it has no alias)",
        "set `adopt: true` for router to take it over as it runs, or remove it: ip link delete eth2.10",
    ),
    "another stack's link": (
        ROUTER,
        of_another_stack,
        "there is already a link eth2.10, VLAN 10 on eth2, of the stack tutorial/prod",
        "give one of the two stacks another VLAN on this host, or remove it from that stack first",
    ),
    "VLAN taken": (
        ROUTER,
        lambda m: hand_made(m, "lan"),
        "VLAN 10 on eth2 is already taken by lan of somebody else (it has no alias), "
        "so eth2.10 cannot be made",
        "use another VLAN id, or remove it: ip link delete lan",
    ),
    "address taken": (
        ROUTER,
        lambda m: address(m, "172.16.20.1/24"),
        "address 172.16.20.1 of eth2.20 is already on eth1 of somebody else (it has no alias)",
        "use another gateway address, or remove it: ip address delete 172.16.20.1/24 dev eth1",
    ),
    "prefix reached another way": (
        ROUTER,
        lambda m: address(m, "172.16.0.9/16"),
        "the prefix 172.16.10.0/24 of eth2.10 overlaps 172.16.0.9/16 on eth1",
        "use another subnet for the network, or another address there",
    ),
    "no 802.1Q": (
        HOST1,
        lambda m: setattr(m.kernel, "kinds", frozenset({"macvlan"})),
        "the kernel has neither support for 802.1Q VLANs nor a module 8021q",
        "some images lack it: install linux-modules-extra, or another kernel",
    ),
    "no iptables": (
        ROUTER,
        lambda m: m.missing.update(("iptables", "iptables-save")),
        "there is no iptables-save, which the gateway's firewall needs",
        "install it on the host: apt install iptables (or dnf install iptables-nft)",
    ),
    "no docker": (
        HOST1,
        lambda m: m.missing.add("docker"),
        "there is no program docker, which its networks and containers need",
        "install Docker on the host, with its command line",
    ),
    "docker network of that name": (
        HOST1,
        lambda m: networks(m, docker_network("mac_net10", "172.16.10.0/24")),
        "there is already a docker network mac_net10 of somebody else",
        "name the network otherwise, or remove it: docker network rm mac_net10",
    ),
    "docker network that could be adopted": (
        HOST1,
        lambda m: networks(m, NET10),
        "there is already a docker network mac_net10 of somebody else",
        "set `adopt: true` for host1 to take it over as it runs, or name the network otherwise, "
        "or remove it: docker network rm mac_net10",
    ),
    "docker network that cannot be adopted": (
        ADOPTING,
        lambda m: networks(m, NET10 | {"Options": {"parent": "eth9.10"}}),
        "there is already a docker network mac_net10 of somebody else, which cannot be adopted: "
        "its parent is eth9.10 instead of eth2.10",
        "name the network otherwise, or remove it: docker network rm mac_net10",
    ),
    "container of that name": (
        HOST1,
        lambda m: containers(m, docker_container("bbox1", bridge="172.17.0.2")),
        "there is already a container bbox1 of somebody else",
        "name the container otherwise, or remove it: docker rm -f bbox1",
    ),
    "another stack's container": (
        ADOPTING,
        lambda m: containers(m, docker_container("bbox1", "tutorial/prod", mac_net10="172.16.10.10")),
        "there is already a container bbox1 of the stack tutorial/prod",
        "name the container otherwise, or remove it: docker rm -f bbox1",
    ),
    "container that cannot be adopted": (
        ADOPTING,
        lambda m: containers(m, docker_container("bbox1", mac_net10="172.16.10.77")),
        "there is already a container bbox1 of somebody else, which cannot be adopted: "
        "its address on mac_net10 is 172.16.10.77 instead of 172.16.10.10",
        "name the container otherwise, or remove it: docker rm -f bbox1",
    ),
    "container that only lacks the restart policy": (
        ADOPTING,
        lambda m: containers(m, BBOX1 | {"HostConfig": {"RestartPolicy": {"Name": "no"}}}),
        "there is already a container bbox1 of somebody else, which cannot be adopted: "
        "its restart policy is no instead of unless-stopped",
        "give it the restart policy unless-stopped (docker update --restart unless-stopped bbox1), "
        "or name the container otherwise, or remove it: docker rm -f bbox1",
    ),
    "the same on a host that does not adopt yet": (
        HOST1,
        lambda m: containers(m, BBOX1 | {"HostConfig": {"RestartPolicy": {"Name": ""}}}),
        "there is already a container bbox1 of somebody else",
        "give it the restart policy unless-stopped (docker update --restart unless-stopped bbox1) "
        "and set `adopt: true` for host1 to take it over as it runs, "
        "or name the container otherwise, or remove it: docker rm -f bbox1",
    ),
    "another stack's docker network": (
        HOST1,
        lambda m: networks(m, docker_network("mac_net10", "10.0.0.0/24", "tutorial/prod")),
        "there is already a docker network mac_net10 of the stack tutorial/prod",
        "name the network otherwise, or remove it: docker network rm mac_net10",
    ),
    "docker network with an overlapping subnet": (
        HOST1,
        lambda m: networks(m, docker_network("wide", "172.16.20.0/22")),
        "the subnet 172.16.20.0/24 of mac_net20 overlaps 172.16.20.0/22 of the docker network wide "
        "of somebody else, which Docker refuses",
        "use another subnet, or remove that network: docker network rm wide",
    ),
}


@pytest.mark.parametrize("name", OBSTACLES)
def test_an_obstacle_is_told_with_its_way_out(name: str) -> None:
    wanted, obstruct, message, hint = OBSTACLES[name]
    host = machine()
    obstruct(host)
    said = problems(host, wanted)
    assert said[0] == f"{wanted.host.name}: {message}\n  hint: {hint}"
    # a wide prefix stands in the way of both networks; all the rest of one thing only
    assert len(said) == (2 if name == "prefix reached another way" else 1)


def test_all_obstacles_are_told_at_once() -> None:
    host = machine()
    for name in ("another stack's link", "address taken", "no iptables"):
        OBSTACLES[name][1](host)
    assert len(problems(host)) == 3


def test_adopting_leaves_nothing_in_the_way() -> None:
    host = machine()
    hand_made(host)
    assert problems(host, replace(ROUTER, host=replace(ROUTER.host, adopt=True))) == []


def test_what_is_as_wanted_is_adopted() -> None:
    host = machine()
    networks(host, NET10)
    containers(host, BBOX1)
    found = asyncio.run(survey(FakeHost("host1", host), ADOPTING, OWNER))
    assert found.problems == ()
    assert found.adoptions == (
        Adoption("network", "mac_net10", "id-of-mac_net10", (WHOLE_SUBNET,)),
        Adoption("container", "bbox1", "id-of-bbox1", wish=wish_of(HOST1.containers[0])),
    )


def test_a_link_that_is_taken_over_is_news_once() -> None:
    ready = machine()
    hand_made(ready)
    host = FakeHost("host1", ready)
    assert asyncio.run(survey(host, HOST1, OWNER)).news == ()
    found = asyncio.run(survey(host, ADOPTING, OWNER))
    assert (found.problems, found.news) == (
        (),
        ("the link eth2.10 of somebody else is taken over as it runs",),
    )
    asyncio.run(ensure_sub_interface(host, HOST1.links[0], OWNER, adopt=True))
    assert asyncio.run(survey(host, ADOPTING, OWNER)).news == ()


WIDE = docker_network("wide", "172.16.20.0/22")
TEXT = "no network at all"


@pytest.mark.parametrize(
    "network",
    [
        WIDE | {"ConfigOnly": True, "Driver": "null"},
        WIDE | {"Driver": "macvlan", "IPAM": {"Driver": "dhcp", "Config": [{"Subnet": "172.16.20.0/24"}]}},
        WIDE | {"Driver": "bridge", "IPAM": {"Driver": "null", "Config": [{"Subnet": "0.0.0.0/0"}]}},
        WIDE
        | {"Driver": "weave", "IPAM": {"Driver": "default", "Config": [{"Subnet": TEXT, "Gateway": TEXT}]}},
        WIDE | {"Driver": "weave", "IPAM": {"Driver": "default", "Config": [{"Subnet": "10.0.0.0/8/9"}]}},
    ],
)
def test_a_network_that_holds_no_addresses_in_dockers_own_space_blocks_nothing(
    network: dict[str, Any],
) -> None:
    host = machine()
    networks(host, network)
    found = asyncio.run(survey(FakeHost("host1", host), HOST1, OWNER))
    assert (found.problems, found.warnings) == ((), ())


@pytest.mark.parametrize("driver", ["overlay", "macvlan"])
def test_a_network_of_a_swarm_may_be_in_the_way(driver: str) -> None:
    host = machine()
    networks(host, docker_network("ingress", "172.16.20.0/22", driver=driver) | {"Scope": "swarm"})
    found = asyncio.run(survey(FakeHost("host1", host), HOST1, OWNER))
    assert found.problems == ()
    assert [str(warning) for warning in found.warnings] == [
        "host1: the subnet 172.16.20.0/24 of mac_net20 overlaps 172.16.20.0/22 of the swarm's docker network "
        "ingress, which Docker may refuse\n  hint: if it does, use another subnet"
    ]


def test_a_template_of_a_wanted_name_is_in_the_way_all_the_same() -> None:
    host = machine()
    networks(host, docker_network("mac_net10", "172.16.10.0/24", driver="null") | {"ConfigOnly": True})
    assert problems(host, ADOPTING) == [
        "host1: there is already a docker network mac_net10 of somebody else, which cannot be adopted: "
        "its driver is null instead of macvlan, its parent is not set instead of eth2.10, "
        "its gateway is not set instead of 172.16.10.1\n"
        "  hint: name the network otherwise, or remove it: docker network rm mac_net10"
    ]


def test_a_gateway_that_a_plugin_says_with_its_prefix_is_an_address() -> None:
    host = machine()
    networks(host, docker_network("mac_net10", "172.16.10.0/24", gateway="172.16.10.1/24", parent="eth2.10"))
    assert problems(host, ADOPTING) == []


def test_a_module_that_is_not_loaded_yet_is_as_good() -> None:
    host = machine()
    host.kernel.kinds = frozenset({"macvlan"})
    host.modules = {"8021q"}
    assert problems(host) == []


def test_a_daemon_that_is_down_may_be_up_by_the_time_it_is_needed() -> None:
    host = machine()
    host.docker = Docker(running=False)
    found = asyncio.run(survey(FakeHost("host1", host), HOST1, OWNER))
    assert (found.problems, found.bare) == ((), False)
    assert [warning.message for warning in found.warnings] == [
        "Docker's daemon does not run: nobody listens on /var/run/docker.sock"
    ]
