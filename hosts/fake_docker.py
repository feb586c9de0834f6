"""The part of Docker that we deal with by its command line: networks, containers, who is on what."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Docker:
    """What a daemon knows, each object as `docker inspect` prints it."""

    networks: list[dict[str, Any]] = field(default_factory=list)
    containers: list[dict[str, Any]] = field(default_factory=list)

    def run(self, arguments: Sequence[str]) -> tuple[int, str, str]:
        """Exit status and output; AssertionError if the command is not known."""
        match tuple(arguments):
            case ("--version",):
                return 0, "Docker version 26.1.5\n", ""
            case ("network", "ls", "--no-trunc", "--format", "{{.ID}}"):
                return 0, "".join(f"{network['Id']}\n" for network in self.networks), ""
            case ("ps", "--all", "--quiet", "--no-trunc", *only):
                return 0, "".join(f"{c['Id']}\n" for c in self.containers if self._has_label(c, only)), ""
            case ("inspect", "--type", "network", *names):
                return self._inspected(self.networks, names)
            case ("inspect", "--type", "container", *names):
                return self._inspected(self.containers, names)
            case ("stop", *names):
                return self._missing(self.containers, names) or (0, "", "")
            case ("rm", "--force", "--volumes", *names):
                missing = self._missing(self.containers, names)
                self.containers = [c for c in self.containers if not self._is(c, names)]
                return missing or (0, "", "")
            case ("network", "rm", *names):
                busy = [n for n in self.networks if self._is(n, names) and self._on(n["Name"])]
                if busy:
                    return 1, "", f"error: network {busy[0]['Name']} has active endpoints\n"
                missing = self._missing(self.networks, names)
                self.networks = [n for n in self.networks if not self._is(n, names)]
                return missing or (0, "", "")
            case ("network", "disconnect", "--force", network, name):
                return self._disconnect(network, name)
            case ("network", "connect", "--ip", address, network, name):
                return self._connect(network, name, address)
        raise AssertionError(f"this fake docker does not know {arguments}")

    @staticmethod
    def _is(thing: dict[str, Any], names: Sequence[str]) -> bool:
        return thing["Id"] in names or thing["Name"].removeprefix("/") in names

    @staticmethod
    def _has_label(container: dict[str, Any], only: Sequence[str]) -> bool:
        if not only:
            return True
        _, key, value = only[1].split("=", 2)  # --filter label=KEY=VALUE
        return bool(container["Config"]["Labels"].get(key) == value)

    def _inspected(self, things: list[dict[str, Any]], names: Sequence[str]) -> tuple[int, str, str]:
        found = [thing for thing in things if self._is(thing, names)]
        missing = self._missing(things, names)
        return (1 if missing else 0), json.dumps(found), (missing[2] if missing else "")

    def _missing(self, things: list[dict[str, Any]], names: Sequence[str]) -> tuple[int, str, str] | None:
        missing = [name for name in names if not any(self._is(thing, [name]) for thing in things)]
        return (1, "", f"Error response from daemon: No such object: {missing[0]}\n") if missing else None

    def _on(self, network: str) -> list[dict[str, Any]]:
        """The places on a network that are taken."""
        return [
            c["NetworkSettings"]["Networks"][network]
            for c in self.containers
            if network in c["NetworkSettings"]["Networks"]
        ]

    def _container(self, name: str) -> dict[str, Any] | None:
        return next((c for c in self.containers if self._is(c, [name])), None)

    def _disconnect(self, network: str, name: str) -> tuple[int, str, str]:
        container = self._container(name)
        if container is None or network not in container["NetworkSettings"]["Networks"]:
            return 1, "", f"Error response from daemon: container {name} is not connected to {network}\n"
        del container["NetworkSettings"]["Networks"][network]
        return 0, "", ""

    def _connect(self, network: str, name: str, address: str) -> tuple[int, str, str]:
        container = self._container(name)
        if container is None or not any(self._is(n, [network]) for n in self.networks):
            return 1, "", "Error response from daemon: no such object\n"
        if any(place["IPAddress"] == address for place in self._on(network)):
            return 1, "", "Error response from daemon: Address already in use\n"
        container["NetworkSettings"]["Networks"][network] = place_on_network(address)
        return 0, "", ""


def place_on_network(address: str) -> dict[str, Any]:
    """An entry of a container's `NetworkSettings.Networks`, for an address that was asked for."""
    return {"IPAMConfig": {"IPv4Address": address}, "IPAddress": address}
