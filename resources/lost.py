"""Which hosts the configuration calls lost: nothing of ours is asked of them any more."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml


def lost_hosts(configured: object) -> frozenset[str]:
    """The hosts with `lost: true` in the topology, from the value that Pulumi has for it: JSON or a path.

    Nothing else is looked at. The program has refused what makes no sense; `pulumi destroy` does not run
    it, and finds no lost host in what cannot be read.
    """
    hosts = _topology(configured).get("hosts")
    if not isinstance(hosts, dict):
        return frozenset()
    return frozenset(
        name for name, host in hosts.items() if isinstance(host, dict) and host.get("lost") in (True, "true")
    )


def _topology(configured: object) -> dict[str, Any]:
    if not isinstance(configured, str):
        return {}
    try:
        found = json.loads(configured)
    except ValueError:
        found = _file(configured)
    return found if isinstance(found, dict) else {}


def _file(path: str) -> object:
    try:
        return yaml.safe_load(Path(path).read_text())
    except (OSError, UnicodeDecodeError, yaml.YAMLError):
        return None
