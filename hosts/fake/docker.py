"""The part of Docker's daemon that we deal with: networks, containers, who is on what."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

Answer = tuple[int, Any]  # HTTP status and what is said, as data


@dataclass
class Docker:
    """What a daemon knows, each object as it is shown by `docker inspect`."""

    networks: list[dict[str, Any]] = field(default_factory=list)
    containers: list[dict[str, Any]] = field(default_factory=list)
    running: bool = True  # the daemon
    socket: str = "srw-rw---- 0 998 docker"  # mode, user, group, the group's name

    def exchange(self, request: bytes) -> bytes | None:
        """The answer to a request of the Engine API; None while it does not run."""
        if not self.running:
            return None
        head, _, body = request.partition(b"\r\n\r\n")
        method, path, _ = head.splitlines()[0].decode().split(" ")
        status, answer = self._answer(method, path, json.loads(body) if body else None)
        said = b"" if answer is None else json.dumps(answer).encode()
        return f"HTTP/1.0 {status} Fake\r\nContent-Length: {len(said)}\r\n\r\n".encode() + said

    def _answer(self, method: str, path: str, wish: Any) -> Answer:
        """AssertionError if the request is not known."""
        url = urlsplit(path)
        match method, *unquote(url.path).strip("/").split("/"):
            case "GET", "networks":
                return 200, self.networks
            case "GET", "containers", "json":
                return 200, self._listed(json.loads(parse_qs(url.query)["filters"][0]))
            case "GET", "containers", name, "json":
                container = self._container(name)
                return (200, container) if container else _missing(name)
            case "POST", "containers", name, "start":
                container = self._container(name)
                if container is None:
                    return _missing(name)
                container["State"] = {"Status": "running"}
                return 204, None
            case "POST", "containers", name, "stop":
                return (304, None) if self._container(name) else _missing(name)
            case "DELETE", "containers", name:
                container = self._container(name)
                if container is None:
                    return _missing(name)
                self.containers.remove(container)
                return 204, None
            case "DELETE", "networks", name:
                return self._remove_network(name)
            case "POST", "networks", network, "disconnect":
                return self._disconnect(network, wish["Container"])
            case "POST", "networks", network, "connect":
                address = wish["EndpointConfig"]["IPAMConfig"]["IPv4Address"]
                return self._connect(network, wish["Container"], address)
        raise AssertionError(f"this fake docker does not know {method} {path}")

    def _listed(self, filters: dict[str, list[str]]) -> list[dict[str, Any]]:
        match filters:
            case {"label": [label]}:
                key, _, value = label.partition("=")
                return [c for c in self.containers if c["Config"]["Labels"].get(key) == value]
            case {"network": names}:
                return [
                    c
                    for c in self.containers
                    if not c["NetworkSettings"]["Networks"].keys().isdisjoint(names)
                ]
        raise AssertionError(f"this fake docker does not know the filters {filters}")

    def _container(self, name: str) -> dict[str, Any] | None:
        return next((c for c in self.containers if name in (c["Id"], c["Name"].removeprefix("/"))), None)

    def _network(self, name: str) -> dict[str, Any] | None:
        return next((n for n in self.networks if name in (n["Id"], n["Name"])), None)

    def _on(self, network: str) -> list[dict[str, Any]]:
        """The places on a network that are taken."""
        return [
            c["NetworkSettings"]["Networks"][network]
            for c in self.containers
            if network in c["NetworkSettings"]["Networks"]
        ]

    def _remove_network(self, name: str) -> Answer:
        network = self._network(name)
        if network is None:
            return _missing(name)
        if self._on(network["Name"]):
            return _refused(
                403, f"error while removing network: network {network['Name']} has active endpoints"
            )
        self.networks.remove(network)
        return 204, None

    def _disconnect(self, network: str, name: str) -> Answer:
        container = self._container(name)
        if container is None or network not in container["NetworkSettings"]["Networks"]:
            return _refused(404, f"container {name} is not connected to network {network}")
        del container["NetworkSettings"]["Networks"][network]
        return 200, None

    def _connect(self, network: str, name: str, address: str) -> Answer:
        container = self._container(name)
        if container is None or self._network(network) is None:
            return _missing(network if container else name)
        if any(place["IPAddress"] == address for place in self._on(network)):
            return _refused(403, "Address already in use")
        container["NetworkSettings"]["Networks"][network] = place_on_network(address)
        return 200, None


def place_on_network(address: str) -> dict[str, Any]:
    """An entry of a container's `NetworkSettings.Networks`, for an address that was asked for."""
    return {"IPAMConfig": {"IPv4Address": address}, "IPAddress": address}


def _missing(name: str) -> Answer:
    return _refused(404, f"No such object: {name}")


def _refused(status: int, message: str) -> Answer:
    return status, {"message": message}
