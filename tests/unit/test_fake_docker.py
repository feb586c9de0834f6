"""The daemon in memory refuses what dockerd refuses, and keeps what it keeps."""

from __future__ import annotations

from typing import Any

import pytest

from hosts.fake import Machine


class Daemon:
    """A daemon on a host with eth2.10 and eth2.20."""

    def __init__(self) -> None:
        machine = Machine.bare()
        machine.start_docker()
        assert machine.docker is not None
        self.docker, self.kernel = machine.docker, machine.kernel
        for vlan in (10, 20):
            self.kernel.add(f"eth2.{vlan}", "vlan", self.kernel.link("eth2").index, vlan)

    def ask(self, method: str, path: str, wish: object = None) -> tuple[int, Any]:
        return self.docker.answer(method, path, wish, self.kernel)

    def do(self, method: str, path: str, wish: object = None) -> Any:
        status, said = self.ask(method, path, wish)
        assert status < 400, said
        return said

    def refuses(self, method: str, path: str, wish: object = None) -> tuple[int, str]:
        status, said = self.ask(method, path, wish)
        assert status >= 400, said
        return status, said["message"]

    def run(self, name: str, address: str | None = None, image: str = "busybox", **host: Any) -> Any:
        ipam = {"IPv4Address": address} if address else None
        self.do("POST", f"/images/create?fromImage={image}")
        wish = {
            "Image": image,
            "HostConfig": {"NetworkMode": "red", **host},
            "NetworkingConfig": {"EndpointsConfig": {"red": {"IPAMConfig": ipam}}},
        }
        self.do("POST", f"/containers/create?name={name}", wish)
        self.do("POST", f"/containers/{name}/start")
        return self.do("GET", f"/containers/{name}/json")


def red(
    name: str = "red", parent: str = "eth2.10", subnet: str = "10.0.0.0/24", **more: Any
) -> dict[str, Any]:
    config = {"Subnet": subnet, "Gateway": subnet.replace("0/24", "1"), **more}
    return {"Name": name, "Driver": "macvlan", "Options": {"parent": parent}, "IPAM": {"Config": [config]}}


@pytest.fixture
def daemon() -> Daemon:
    daemon = Daemon()
    daemon.do("POST", "/networks/create", red(IPRange="10.0.0.8/29", AuxiliaryAddresses={"x": "10.0.0.9"}))
    return daemon


def test_a_network_is_read_back_as_it_was_given(daemon: Daemon) -> None:
    shown = daemon.do("GET", "/v1.51/networks/red")
    assert len(shown["Id"]) == 64
    assert shown["Options"] == {"parent": "eth2.10"}
    assert shown["IPAM"]["Config"] == [
        {
            "Subnet": "10.0.0.0/24",
            "Gateway": "10.0.0.1",
            "IPRange": "10.0.0.8/29",
            "AuxiliaryAddresses": {"x": "10.0.0.9"},
        }
    ]


@pytest.mark.parametrize(
    ("wish", "status", "words"),
    [
        (red(parent="eth2.20", subnet="10.9.0.0/24"), 409, "network with name red already exists"),
        (red("green", subnet="10.9.0.0/24"), 500, "is already using parent interface eth2.10"),
        (red("green", "eth2.20"), 403, "Pool overlaps"),
        (red("green", "eth7.20", "10.9.0.0/24"), 500, "was not found"),
    ],
)
def test_a_network_that_cannot_be(daemon: Daemon, wish: object, status: int, words: str) -> None:
    refused = daemon.refuses("POST", "/networks/create", wish)
    assert (refused[0], words in refused[1]) == (status, True), refused


def test_a_parent_that_is_not_there_is_made_and_goes_with_its_network(daemon: Daemon) -> None:
    daemon.do("POST", "/networks/create", red("green", "eth2.30", "10.9.0.0/24"))
    assert daemon.kernel.link("eth2.30").up
    daemon.do("DELETE", "/networks/green")
    daemon.do("DELETE", "/networks/red")
    names = {link.name for link in daemon.kernel.links.values()}
    assert ("eth2.30" in names, "eth2.10" in names) == (False, True)


def test_an_address_is_given_once_and_comes_back(daemon: Daemon) -> None:
    place = daemon.run("web")["NetworkSettings"]["Networks"]["red"]
    assert (place["IPAddress"], place["IPAMConfig"]) == ("10.0.0.10", None)  # not the reserved .9
    assert daemon.run("db", "10.0.0.77")["NetworkSettings"]["Networks"]["red"]["IPAddress"] == "10.0.0.77"
    with pytest.raises(AssertionError, match="Address already in use"):
        daemon.run("other", "10.0.0.77")
    daemon.do("POST", "/containers/db/stop")
    daemon.do("POST", "/containers/other/start")
    assert "Address already in use" in daemon.refuses("POST", "/containers/db/start")[1]
    far = {"Container": "db", "EndpointConfig": {"IPAMConfig": {"IPv4Address": "10.1.0.1"}}}
    assert daemon.refuses("POST", "/networks/red/connect", far)[0] == 400


def test_a_network_goes_when_nobody_runs_on_it(daemon: Daemon) -> None:
    daemon.run("web")
    status, words = daemon.refuses("DELETE", "/networks/red")
    assert (status, "network red has active endpoints" in words) == (403, True)
    daemon.do("POST", "/containers/web/stop")
    daemon.do("DELETE", "/networks/red")
    assert daemon.refuses("POST", "/containers/web/start")[0] == 404


def test_names_are_unique_and_what_runs_is_not_removed_by_the_way(daemon: Daemon) -> None:
    web = daemon.run("web")
    status, words = daemon.refuses("POST", "/containers/create?name=web", {"Image": "busybox"})
    assert (status, web["Id"] in words) == (409, True)
    assert daemon.refuses("DELETE", "/containers/web")[0] == 409
    daemon.do("DELETE", "/containers/web?force=1")
    assert daemon.refuses("POST", "/containers/web/wait")[0] == 404


def test_an_anonymous_volume_stays_unless_it_is_removed_with_its_container(daemon: Daemon) -> None:
    (mount,) = daemon.run("web", image="keeper:1")["Mounts"]
    daemon.do("DELETE", "/containers/web?force=1")
    assert daemon.docker.volumes == [mount["Name"]]
    again = daemon.run("web", image="keeper:1", Binds=[f"{mount['Name']}:/data:rw"])
    assert [each["Name"] for each in again["Mounts"]] == [mount["Name"]]
    daemon.do("DELETE", "/containers/web?force=1&v=1")
    assert daemon.docker.volumes == [mount["Name"]]  # it has a name now
    (other,) = daemon.run("web", image="keeper:1")["Mounts"]
    daemon.do("DELETE", "/containers/web?force=1&v=1")
    assert other["Name"] not in daemon.docker.volumes


def test_an_interface_goes_with_the_link_that_it_was_on(daemon: Daemon) -> None:
    daemon.run("web")
    assert daemon.docker.cut_off(daemon.kernel) == []
    daemon.kernel.delete(daemon.kernel.link("eth2.10").index)
    daemon.kernel.add("eth2.10", "vlan", daemon.kernel.link("eth2").index, 10)
    assert daemon.docker.cut_off(daemon.kernel) == ["web"]
