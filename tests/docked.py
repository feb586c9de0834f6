"""A fabric with containers on hosts in memory, and what is to be seen of it there."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from hosts.fake import FakeHost, Machine
from hosts.fake.docker import Docker
from tests.project import without_marks

TOPOLOGY: dict[str, Any] = {
    "hosts": {name: {"trunk": "eth2"} for name in ("router", "host1", "host2")},
    "networks": {
        "web": {"vlan": 10, "subnet": "172.16.10.0/24"},
        "db": {"vlan": 20, "subnet": "172.16.20.0/24"},
    },
    "gateway": {"host": "router", "allow": [["web", "db"]]},
    "containers": {
        "site": {"host": "host1", "network": "web", "address": "172.16.10.10", "image": "busybox"},
        "pg": {"host": "host1", "network": "db", "image": "keeper:1"},
        "cache": {"host": "host2", "network": "web", "image": "busybox"},
        "copy": {"host": "host2", "network": "db", "address": "172.16.20.11", "image": "keeper:1"},
    },
}
FOREIGN = {"eth2.99", "guest"}  # what somebody else has on a host: a link, a container on a network of his


def with_docker(host: FakeHost) -> FakeHost:
    """The host with a daemon that somebody else uses, too."""
    with host.machine() as machine:
        machine.start_docker()
        kernel = machine.kernel
        kernel.set(kernel.add("eth2.99", "vlan", kernel.link("eth2").index, 99), up=True)
        subnet = {"Config": [{"Subnet": "10.99.0.0/24", "Gateway": "10.99.0.1"}]}
        place = {"guests": {"IPAMConfig": {"IPv4Address": "10.99.0.9"}}}
        run = {
            "Image": "keeper:1",
            "HostConfig": {"NetworkMode": "guests"},
            "NetworkingConfig": {"EndpointsConfig": place},
        }
        _ask(machine, "/networks/create", {"Name": "guests", "IPAM": subnet})
        _ask(machine, "/images/create?fromImage=keeper&tag=1")
        _ask(machine, "/containers/create?name=guest", run)
        _ask(machine, "/containers/guest/start")
    return host


def _ask(machine: Machine, path: str, wish: object = None) -> None:
    assert machine.docker is not None
    status, said = machine.docker.answer("POST", path, wish, machine.kernel)
    assert status < 400, said


@dataclass(frozen=True)
class Container:
    """One that is there, whose ever it is."""

    id: str
    started: str  # when; another time is another life
    addresses: Mapping[str, str]  # by network
    volumes: Mapping[str, str]  # by the path inside


@dataclass(frozen=True)
class Seen:
    """What a host does, and with what."""

    links: Mapping[str, int]  # by name: the index, which tells a link from another one of its name
    networks: Mapping[str, str]  # by name: the id
    containers: Mapping[str, Container]
    cut_off: tuple[str, ...]  # containers that run, but whose interface has gone
    interfaces: tuple[str, ...]  # `container network name`, as they are called inside
    text: str  # everything, but for marks of who is in charge

    @classmethod
    def on(cls, host: FakeHost) -> Seen:
        with host.machine() as machine:
            docker = machine.docker
            return cls(
                {link.name: link.index for link in machine.kernel.links.values()},
                {each["Name"]: each["Id"] for each in docker.networks} if docker else {},
                dict(_containers(docker.containers)) if docker else {},
                tuple(docker.cut_off(machine.kernel)) if docker else (),
                tuple(_interfaces(docker)) if docker else (),
                without_marks(machine.dump()),
            )


def _interfaces(docker: Docker) -> Iterator[str]:
    for each in sorted(docker.containers, key=lambda container: container["Name"]):
        for network, place in sorted(each["NetworkSettings"]["Networks"].items()):
            if name := docker.interfaces.get(place["EndpointID"]):
                yield f"{each['Name'][1:]} {network} {name}"


def _containers(shown: list[dict[str, Any]]) -> Iterator[tuple[str, Container]]:
    for each in shown:
        places = each["NetworkSettings"]["Networks"]
        yield (
            each["Name"].removeprefix("/"),
            Container(
                each["Id"],
                each["State"]["StartedAt"],
                {network: place["IPAddress"] for network, place in places.items()},
                {mount["Destination"]: mount["Name"] for mount in each["Mounts"]},
            ),
        )
