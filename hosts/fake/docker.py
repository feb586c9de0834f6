"""The part of Docker's daemon that we and Pulumi's provider deal with: networks, containers, who is on what.

It says and refuses what dockerd does; what is not modelled is an AssertionError, never a silent success.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, unquote, urlsplit

from hosts.fake.docker_objects import container as made_container
from hosts.fake.docker_objects import (
    container_summary,
    image,
    image_summary,
    mount,
    named_volumes,
    network,
    new_id,
    place_on_network,
    predefined,
    runs,
    set_state,
    tagged,
    take_back,
    wished_place,
)

if TYPE_CHECKING:
    from hosts.fake.kernel import Kernel

__all__ = ["API", "Docker", "place_on_network"]

API = "1.51"  # the newest version that it speaks
Answer = tuple[int, Any]  # HTTP status and what is said, as data


@dataclass
class Docker:
    """What a daemon knows, each object as it is shown by `docker inspect`."""

    networks: list[dict[str, Any]] = field(default_factory=list)
    containers: list[dict[str, Any]] = field(default_factory=list)
    running: bool = True  # the daemon
    socket: str = "srw-rw---- 0 998 docker"  # mode, user, group, the group's name
    images: list[dict[str, Any]] = field(default_factory=list)
    volumes: list[str] = field(default_factory=list)
    # The link that a macvlan interface of a container sits on, by endpoint. It goes with the link, though the
    # container does not notice; one of the same name is another one.
    sits_on: dict[str, int] = field(default_factory=dict)
    interfaces: dict[str, str] = field(default_factory=dict)  # how it is called in the container, by endpoint
    numbers: dict[str, int] = field(default_factory=dict)  # by container: how many it has had
    made_links: dict[str, str] = field(default_factory=dict)  # by network: a parent that was not there

    @classmethod
    def installed(cls) -> Docker:
        """A daemon that was never used."""
        return cls(list(predefined()))

    def exchange(self, request: bytes, kernel: Kernel | None = None) -> bytes | None:
        """The answer to a request of the Engine API; None while it does not run.

        Without a kernel whatever a network needs of it is there.
        """
        if not self.running:
            return None
        head, _, body = request.partition(b"\r\n\r\n")
        method, path, _ = head.splitlines()[0].decode().split(" ")
        status, answer = self.answer(method, path, json.loads(body) if body else None, kernel)
        said = b"" if answer is None else json.dumps(answer).encode()
        return f"HTTP/1.0 {status} Fake\r\nContent-Length: {len(said)}\r\n\r\n".encode() + said

    def answer(self, method: str, path: str, wish: Any = None, kernel: Kernel | None = None) -> Answer:
        """HTTP status and what is said; AssertionError if the request is not known."""
        url = urlsplit(path)
        query = {key: values[0] for key, values in parse_qs(url.query).items()}
        # as the daemon does it: with or without a version, whatever that is
        words = unquote(re.sub(r"^/v\d[\d.]*/", "/", url.path)).strip("/").split("/")
        match method, *words:
            case "GET" | "HEAD", "_ping":
                return 200, "OK"
            case "GET", "info":
                return 200, {"OSType": "linux", "Architecture": "x86_64", "Name": "fake"}
            case "GET", "version":
                return 200, {"ApiVersion": API, "MinAPIVersion": "1.24", "Version": "28.5.2", "Os": "linux"}
            case _, "images", *rest:
                return self._images(method, rest, query)
            case _, "networks", *rest:
                return self._networks(method, rest, wish, kernel)
            case _, "containers", *rest:
                return self._containers(method, rest, query, wish, kernel)
        raise _unknown(method, path)

    # images

    def _images(self, method: str, words: list[str], query: dict[str, str]) -> Answer:
        match method, *words:
            case "GET", "json":
                return 200, [image_summary(each) for each in self.images]
            case "POST", "create":
                name, tag = query["fromImage"], query.get("tag", "")
                name = tagged(f"{name.removeprefix('docker.io/library/')}{f':{tag}' if tag else ''}")
                if self._image(name) is None:
                    self.images.append(image(name))
                return 200, {"status": f"Status: Downloaded newer image for {name}"}
            case "GET", *name, "json" if name:
                found = self._image("/".join(name))
                return (200, found) if found else _refused(404, f"No such image: {'/'.join(name)}")
        raise _unknown(method, f"images/{words}")

    def _image(self, name: str) -> dict[str, Any] | None:
        return next(
            (each for each in self.images if name == each["Id"] or tagged(name) in each["RepoTags"]), None
        )

    # networks

    def _networks(self, method: str, words: list[str], wish: Any, kernel: Kernel | None) -> Answer:
        match method, *words:
            case ("GET",):
                return 200, self.networks
            case "POST", "create":
                return self._create_network(wish, kernel)
            case _, name, *verb:
                found = self._network(name)
                if found is None:
                    return _refused(404, f"network {name} not found")
                match method, *verb:
                    case ("GET",):
                        return 200, found
                    case ("DELETE",):
                        return self._remove_network(found, kernel)
                    case "POST", "disconnect":
                        return self._disconnect(found["Name"], wish["Container"])
                    case "POST", "connect":
                        return self._connect(found, wish, kernel)
        raise _unknown(method, f"networks/{words}")

    def _network(self, name: str) -> dict[str, Any] | None:
        return next((n for n in self.networks if name in (n["Id"], n["Name"])), None)

    def _create_network(self, wish: dict[str, Any], kernel: Kernel | None) -> Answer:
        name, parent = wish["Name"], (wish.get("Options") or {}).get("parent")
        if self._network(name):
            return _refused(409, f"network with name {name} already exists")
        fresh = network(wish)
        for there in self.networks:
            if parent and (there.get("Options") or {}).get("parent") == parent:
                return _refused(
                    500, f"network dm-{there['Id'][:12]} is already using parent interface {parent}"
                )
            if any(ours.overlaps(theirs) for ours in _subnets(fresh) for theirs in _subnets(there)):
                return _refused(
                    403, "invalid pool request: Pool overlaps with other one on this address space"
                )
        if parent and kernel and not any(link.name == parent for link in kernel.links.values()):
            trunk, _, vlan = parent.rpartition(".")
            below = next((link for link in kernel.links.values() if link.name == trunk), None)
            if below is None or not vlan.isdigit():
                return _refused(500, f"-o parent interface was not found on the host: {parent}")
            kernel.set(kernel.add(parent, "vlan", below.index, int(vlan)), up=True)
            self.made_links[fresh["Id"]] = parent
        self.networks.append(fresh)
        return 201, {"Id": fresh["Id"], "Warning": ""}

    def _remove_network(self, found: dict[str, Any], kernel: Kernel | None) -> Answer:
        name = found["Name"]
        if found.get("Driver") in ("host", "null") or name == "bridge":
            return _refused(403, f"{name} is a pre-defined network and cannot be removed")
        using = [c for c in self.containers if runs(c) and name in c["NetworkSettings"]["Networks"]]
        if using:
            who = ", ".join(f'name:"{c["Name"].removeprefix("/")}" id:"{c["Id"][:12]}"' for c in using)
            return _refused(
                403,
                f"error while removing network: network {name} has active endpoints ({who})",
            )
        self.networks.remove(found)
        made = self.made_links.pop(found["Id"], None)
        if kernel and any(link.name == made for link in kernel.links.values()):
            kernel.delete(kernel.link(str(made)).index)
        return 204, None

    def _disconnect(self, name: str, who: str) -> Answer:
        container = self._container(who)
        if container is None:
            return _no_container(who)
        place = container["NetworkSettings"]["Networks"].pop(name, None)
        if place is None:
            return _refused(403, f"container {container['Id']} is not connected to the network {name}")
        self._forget(place)
        return 200, None

    def _connect(self, found: dict[str, Any], wish: dict[str, Any], kernel: Kernel | None) -> Answer:
        container = self._container(wish["Container"])
        if container is None:
            return _no_container(wish["Container"])
        places = container["NetworkSettings"]["Networks"]
        if runs(container) and found["Name"] in places:
            return _refused(
                403, f"endpoint with name {container['Name'][1:]} already exists in network {found['Name']}"
            )
        place = wished_place(wish.get("EndpointConfig"))
        if complaint := _unfit(found, place):
            return complaint
        if runs(container) and (complaint := self._attach(container, found, place, kernel)):
            return complaint
        places[found["Name"]] = place
        return 200, None

    def _attach(
        self, container: dict[str, Any], found: dict[str, Any], place: dict[str, Any], kernel: Kernel | None
    ) -> Answer | None:
        """Give a place what it was asked for, or the first address that is free; what is wrong with that."""
        taken = self._taken(found)
        subnets = _subnets(found)
        wished = (place["IPAMConfig"] or {}).get("IPv4Address")
        if wished in taken:
            return _refused(403, "Address already in use")
        given = wished or next((one for one in _automatic(found) if one not in taken), None)
        if given is None and subnets:
            return _refused(403, "no available IPv4 addresses on this network's address pools")
        parent = (found.get("Options") or {}).get("parent")
        index = (
            next((link.index for link in kernel.links.values() if link.name == parent), 0) if kernel else 0
        )
        if parent and kernel and not index:
            return _refused(500, f"the requested parent interface {parent} was not found on the Docker host")
        place["EndpointID"], place["NetworkID"] = new_id(), found["Id"]
        if index:
            self.sits_on[place["EndpointID"]] = index
            number = self.numbers.get(container["Id"], 0)  # none twice, as before Docker 28
            self.interfaces[place["EndpointID"]] = f"eth{number}"
            self.numbers[container["Id"]] = number + 1
        if given:
            place["IPAddress"] = given
            place["IPPrefixLen"] = subnets[0].prefixlen if subnets else 0
            place["MacAddress"] = "02:42:" + ":".join(f"{byte:02x}" for byte in IPv4Address(given).packed)
            place["Gateway"] = next(iter(_configured(found, "Gateway")), "")
        return None

    def _taken(self, found: dict[str, Any]) -> set[str]:
        """The addresses of a network that nobody gets any more."""
        reserved = set(_configured(found, "Gateway"))
        for config in (found.get("IPAM") or {}).get("Config") or ():
            reserved |= set((config.get("AuxiliaryAddresses") or {}).values())
        return reserved | {
            c["NetworkSettings"]["Networks"][found["Name"]]["IPAddress"]
            for c in self.containers
            if runs(c) and found["Name"] in c["NetworkSettings"]["Networks"]
        }

    # containers

    def _containers(
        self, method: str, words: list[str], query: dict[str, str], wish: Any, kernel: Kernel | None
    ) -> Answer:
        match method, *words:
            case "GET", "json":
                everyone = query.get("all") in ("1", "true")
                filters = json.loads(query.get("filters", "{}"))
                listed = [c for c in self.containers if (everyone or runs(c)) and _passes(c, filters)]
                return 200, [container_summary(each) for each in listed]
            case "POST", "create":
                return self._create_container(query.get("name") or new_id()[:12], wish)
            case _, name, *verb:
                found = self._container(name)
                if found is None:
                    return _no_container(name)
                match method, *verb:
                    case "GET", "json":
                        return 200, found
                    case "POST", "start":
                        return self._start(found, kernel)
                    case "POST", "stop" | "kill":
                        return self._stop(found)
                    case "POST", "wait" if not runs(found):
                        return 200, {"StatusCode": 0}
                    case "POST", "update":
                        found["HostConfig"] |= {k: v for k, v in wish.items() if k == "RestartPolicy"}
                        return 200, {"Warnings": None}
                    case ("DELETE",):
                        given = {key: query.get(key) in ("1", "true") for key in ("v", "force")}
                        return self._remove_container(found, **given)
        raise _unknown(method, f"containers/{words}")

    def _container(self, name: str) -> dict[str, Any] | None:
        return next((c for c in self.containers if name in (c["Id"], c["Name"].removeprefix("/"))), None)

    def _create_container(self, name: str, wish: dict[str, Any]) -> Answer:
        if there := self._container(name):
            return _refused(
                409,
                f'Conflict. The container name "/{name}" is already in use by container "{there["Id"]}". '
                "You have to remove (or rename) that container to be able to reuse that name.",
            )
        of = self._image(wish["Image"])
        if of is None:
            return _refused(404, f"No such image: {wish['Image']}")
        made = made_container(name, wish, of)
        wanted = ((wish.get("NetworkingConfig") or {}).get("EndpointsConfig")) or {}
        mode = made["HostConfig"]["NetworkMode"]
        for network_name in wanted or ["bridge" if mode == "default" else mode]:
            on = self._network(network_name)
            if on is None:
                return _refused(404, f"network {network_name} not found")
            place = wished_place(wanted.get(network_name))
            if complaint := _unfit(on, place):
                return complaint
            made["NetworkSettings"]["Networks"][on["Name"]] = place
        named = named_volumes(made)
        for path in sorted({*(made["Config"]["Volumes"] or ()), *named}):
            volume = named.get(path) or new_id()
            made["Mounts"].append(mount(path, volume))
            if volume not in self.volumes:
                self.volumes.append(volume)
        self.containers.append(made)
        return 201, {"Id": made["Id"], "Warnings": []}

    def _start(self, found: dict[str, Any], kernel: Kernel | None) -> Answer:
        if runs(found):
            return 304, None
        for name, place in found["NetworkSettings"]["Networks"].items():
            on = self._network(name)
            complaint = _refused(404, f"network {name} not found") if on is None else None
            if on is not None:
                complaint = self._attach(found, on, place, kernel)
            if complaint:
                self._give_back(found)
                return complaint[0], {
                    "message": f"failed to set up container networking: {complaint[1]['message']}"
                }
        set_state(found, "running")
        return 204, None

    def _stop(self, found: dict[str, Any]) -> Answer:
        if not runs(found):
            return 304, None
        self._give_back(found)
        set_state(found, "exited")
        return 204, None

    def _give_back(self, container: dict[str, Any]) -> None:
        for place in container["NetworkSettings"]["Networks"].values():
            self._forget(place)
            take_back(place)
        self.numbers.pop(container["Id"], None)

    def _forget(self, place: dict[str, Any]) -> None:
        self.sits_on.pop(place.get("EndpointID", ""), None)
        self.interfaces.pop(place.get("EndpointID", ""), None)

    def _remove_container(self, found: dict[str, Any], *, v: bool, force: bool) -> Answer:
        if runs(found) and not force:
            return _refused(
                409,
                f'cannot remove container "{found["Name"]}": container is running: '
                "stop the container before removing or force remove",
            )
        self._give_back(found)
        self.containers.remove(found)
        if v:
            theirs = set(named_volumes(found).values())
            used = {m["Name"] for c in self.containers for m in c.get("Mounts") or ()}
            gone = {m["Name"] for m in found.get("Mounts") or ()} - theirs - used
            self.volumes = [volume for volume in self.volumes if volume not in gone]
        return 204, None

    # for tests

    def cut_off(self, kernel: Kernel) -> list[str]:
        """The containers that run, but whose interface went with the link that it was on."""
        return sorted(
            container["Name"].removeprefix("/")
            for container in self.containers
            for place in container["NetworkSettings"]["Networks"].values()
            if self.sits_on.get(place.get("EndpointID", ""), 0) not in {0, *kernel.links}
        )

    def dump(self) -> Iterator[str]:
        """What is in use, one line each, in an order that does not depend on how it came about."""
        for each in sorted(self.networks, key=lambda n: n["Name"]):
            shown = {key: each.get(key) for key in ("Driver", "Options", "Labels", "IPAM")}
            yield f"docker network {each['Name']} {json.dumps(shown, sort_keys=True)}"
        for each in sorted(self.containers, key=lambda c: c["Name"]):
            places = each["NetworkSettings"]["Networks"]
            addresses = {name: place["IPAddress"] for name, place in sorted(places.items())}
            state = "runs" if runs(each) else "is down"
            yield f"docker container {each['Name']} {state} {each['Config'].get('Image')} {addresses}"


def _passes(container: dict[str, Any], filters: dict[str, Any]) -> bool:
    """Whether a container is in a list; the values of one filter are alternatives."""
    for key, values in filters.items():
        match key:
            case "label":
                labels = container["Config"]["Labels"]
                has = [f"{name}={value}" for name, value in labels.items()] + list(labels)
            case "network":
                has = list(container["NetworkSettings"]["Networks"])
            case "name":
                has = [container["Name"].removeprefix("/")]
            case _:
                raise AssertionError(f"this fake docker does not know the filter {key}")
        if set(has).isdisjoint(values):
            return False
    return True


def _configured(found: dict[str, Any], key: str) -> list[str]:
    """The IPv4 values of an IPAM key of a network."""
    configs = (found.get("IPAM") or {}).get("Config") or ()
    return [config[key] for config in configs if config.get(key) and ":" not in config[key]]


def _subnets(found: dict[str, Any]) -> list[IPv4Network]:
    return [IPv4Network(subnet, strict=False) for subnet in _configured(found, "Subnet")]


def _automatic(found: dict[str, Any]) -> Iterator[str]:
    """The addresses that a network gives by itself, the ones included that are in use."""
    for pool in _configured(found, "IPRange") or _configured(found, "Subnet"):
        yield from map(str, IPv4Network(pool, strict=False).hosts())


def _unfit(found: dict[str, Any], place: dict[str, Any]) -> Answer | None:
    """What is wrong with an address that was asked for, whoever has it."""
    wished, subnets = (place["IPAMConfig"] or {}).get("IPv4Address"), _subnets(found)
    if not wished or not subnets or any(IPv4Address(wished) in subnet for subnet in subnets):
        return None
    return _refused(
        400,
        f"invalid config for network {found['Name']}: invalid endpoint settings:\n"
        f"no configured subnet or ip-range contain the IP address {wished}",
    )


def _no_container(name: str) -> Answer:
    return _refused(404, f"No such container: {name}")


def _refused(status: int, message: str) -> Answer:
    return status, {"message": message}


def _unknown(method: str, path: str) -> AssertionError:
    return AssertionError(f"this fake docker does not know {method} {path}")
