"""Docker's objects as its API shows them: what the daemon makes of a wish."""

from __future__ import annotations

import hashlib
import os
import time
import zlib
from collections.abc import Iterator, Mapping
from typing import Any

NEVER = "0001-01-01T00:00:00Z"
DOWN = {"created", "exited", "dead"}
# What a registry has: images that keep data, and where. Any other image is there, too, and keeps none.
VOLUMES: Mapping[str, tuple[str, ...]] = {"keeper": ("/data",)}


def new_id() -> str:
    """As of a network, a container or an anonymous volume."""
    return os.urandom(32).hex()


def now() -> str:
    """A moment as the daemon writes it."""
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime()) + ".000000000Z"


def tagged(image: str) -> str:
    """An image's name with its tag."""
    return image if ":" in image.rpartition("/")[2] else f"{image}:latest"


def image(name: str) -> dict[str, Any]:
    """As `docker image inspect` shows what was pulled; the same name is the same image on every host."""
    digest = f"sha256:{hashlib.sha256(name.encode()).hexdigest()}"
    repository = name.rpartition(":")[0]
    return {
        "Id": digest,
        "RepoTags": [name],
        "RepoDigests": [f"{repository}@{digest}"],
        "Created": "2026-01-01T00:00:00Z",
        "Config": {
            "Cmd": ["sh"],
            "Env": ["PATH=/bin"],
            "Volumes": {path: {} for path in VOLUMES.get(repository, ())},
        },
        "Architecture": "amd64",
        "Os": "linux",
        "Size": 1,
    }


def image_summary(found: Mapping[str, Any]) -> dict[str, Any]:
    """As in a list of images."""
    kept = {key: found[key] for key in ("Id", "RepoTags", "RepoDigests", "Size")}
    return {**kept, "ParentId": "", "Created": 1767225600, "SharedSize": -1, "Labels": None, "Containers": -1}


def network(wish: Mapping[str, Any]) -> dict[str, Any]:
    """As `docker network inspect` shows it."""
    ipam = wish.get("IPAM") or {}
    return {
        "Name": wish["Name"],
        "Id": new_id(),
        "Created": now(),
        "Scope": "local",
        "Driver": wish.get("Driver") or "bridge",
        "EnableIPv4": True,
        "EnableIPv6": False,
        "IPAM": {
            "Driver": ipam.get("Driver") or "default",
            "Options": ipam.get("Options") or {},
            "Config": [
                {key: value for key, value in config.items() if value} for config in ipam.get("Config") or ()
            ],
        },
        "Internal": bool(wish.get("Internal")),
        "Attachable": bool(wish.get("Attachable")),
        "Ingress": False,
        "ConfigFrom": {"Network": ""},
        "ConfigOnly": False,
        "Containers": {},
        "Options": wish.get("Options") or {},
        "Labels": wish.get("Labels") or {},
    }


def predefined() -> Iterator[dict[str, Any]]:
    """The networks of every daemon."""
    subnet = [{"Subnet": "172.17.0.0/16", "Gateway": "172.17.0.1"}]
    yield network({"Name": "bridge", "Driver": "bridge", "IPAM": {"Config": subnet}})
    yield network({"Name": "host", "Driver": "host"})
    yield network({"Name": "none", "Driver": "null"})


def container(name: str, wish: Mapping[str, Any], of: Mapping[str, Any]) -> dict[str, Any]:
    """As `docker inspect` shows one that was created of an image, with no volume yet and nowhere attached."""
    its_id = new_id()
    settings = dict(wish)
    host, _ = settings.pop("HostConfig", None) or {}, settings.pop("NetworkingConfig", None)
    default = of["Config"]
    volumes = {**default["Volumes"], **(settings.get("Volumes") or {})}
    command = settings.get("Cmd") or default["Cmd"]
    return {
        "Id": its_id,
        "Name": f"/{name}",
        "Created": now(),
        "Path": command[0],
        "Args": command[1:],
        "State": _state("created"),
        "Image": of["Id"],
        "RestartCount": 0,
        "Driver": "overlay2",
        "Platform": "linux",
        "Mounts": [],
        "HostConfig": {
            **host,
            "NetworkMode": host.get("NetworkMode") or "bridge",
            "RestartPolicy": {
                "Name": (host.get("RestartPolicy") or {}).get("Name") or "no",
                "MaximumRetryCount": (host.get("RestartPolicy") or {}).get("MaximumRetryCount") or 0,
            },
            "LogConfig": {
                "Type": (host.get("LogConfig") or {}).get("Type") or "json-file",
                "Config": (host.get("LogConfig") or {}).get("Config") or {},
            },
            "IpcMode": host.get("IpcMode") or "private",
            "Runtime": host.get("Runtime") or "runc",
            "ShmSize": host.get("ShmSize") or 64 << 20,
        },
        "Config": {
            **settings,
            "Hostname": settings.get("Hostname") or its_id[:12],
            "Cmd": command,
            "Env": [*(settings.get("Env") or ()), *default["Env"]],
            "Volumes": volumes or None,
            "Labels": settings.get("Labels") or {},
        },
        "NetworkSettings": {"Networks": {}},
    }


def mount(path: str, volume: str) -> dict[str, Any]:
    """A volume in a container."""
    return {
        "Type": "volume",
        "Name": volume,
        "Source": f"/var/lib/docker/volumes/{volume}/_data",
        "Destination": path,
        "Driver": "local",
        "Mode": "",
        "RW": True,
        "Propagation": "",
    }


def named_volumes(of: Mapping[str, Any]) -> dict[str, str]:
    """The volumes that a container was given by their names, by the path inside."""
    host = of.get("HostConfig") or {}
    binds = [bind.split(":") for bind in host.get("Binds") or ()]
    return {bind[1]: bind[0] for bind in binds if not bind[0].startswith("/")} | {
        wish["Target"]: wish["Source"]
        for wish in host.get("Mounts") or ()
        if wish.get("Type") == "volume" and wish.get("Source")
    }


def place_on_network(address: str) -> dict[str, Any]:
    """An entry of a container's `NetworkSettings.Networks`, for an address that was asked for."""
    return {"IPAMConfig": {"IPv4Address": address}, "IPAddress": address}


def wished_place(wish: Mapping[str, Any] | None) -> dict[str, Any]:
    """The same of a container that does not run: what was asked for, and nothing given yet."""
    ipam = {key: value for key, value in ((wish or {}).get("IPAMConfig") or {}).items() if value}
    return {
        "IPAMConfig": ipam or None,
        "Links": None,
        "Aliases": (wish or {}).get("Aliases") or None,
        "DriverOpts": None,
        "GwPriority": 0,
        **_NOTHING_GIVEN,
    }


_NOTHING_GIVEN = {
    "NetworkID": "",
    "EndpointID": "",
    "MacAddress": "",
    "Gateway": "",
    "IPAddress": "",
    "IPPrefixLen": 0,
}


def take_back(place: dict[str, Any]) -> None:
    """What a container had on a network only while it ran."""
    place.update(_NOTHING_GIVEN)


def runs(container: Mapping[str, Any]) -> bool:
    """Whether its places on networks are in use."""
    return (container.get("State") or {}).get("Status", "running") not in DOWN


def set_state(container: dict[str, Any], status: str) -> None:
    """It has started, or ended."""
    before = container.get("State") or {}
    pid = 1000 + zlib.crc32(container["Id"].encode()) % 30000 if status == "running" else 0
    container["State"] = _state(status, started=before.get("StartedAt", NEVER), pid=pid)


def _state(status: str, started: str = NEVER, pid: int = 0) -> dict[str, Any]:
    running = status == "running"
    return {
        "Status": status,
        "Running": running,
        "Paused": False,
        "Restarting": False,
        "OOMKilled": False,
        "Dead": False,
        "Pid": pid,
        "ExitCode": 137 if status == "exited" else 0,
        "Error": "",
        "StartedAt": now() if running else started,
        "FinishedAt": now() if status == "exited" else NEVER,
    }


def container_summary(of: Mapping[str, Any]) -> dict[str, Any]:
    """As in a list of containers."""
    status = (of.get("State") or {}).get("Status", "running")
    return {
        "Id": of["Id"],
        "Names": [of["Name"]],
        "Image": of["Config"].get("Image", ""),
        "ImageID": of.get("Image", ""),
        "Labels": of["Config"].get("Labels") or {},
        "State": status,
        "Status": status.capitalize(),
        "Mounts": of.get("Mounts") or [],
        "NetworkSettings": {"Networks": of["NetworkSettings"]["Networks"]},
    }
