"""The wires between the guests: a network namespace of the lab's own, with two bridges in it and no way out.

`brm` is the management network, with this machine as 192.168.56.1 on it (only inside the namespace). `brt` is the
trunk, a switch that passes tagged frames as they are. Each guest has a tap on both; a tap is a switch port. Two labs
never meet, because each has its own namespace.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any, Dict, List, Sequence, Tuple

from .command import as_root, run
from .errors import LabError

NETNS_FOLDER = Path("/run/netns")
MANAGEMENT_BRIDGE = "brm"
TRUNK_BRIDGE = "brt"
GATEWAY = "192.168.56.1/24"
PREFIX = "lab-"  # of every lab's namespace

# VLANs that a port does not carry, as (port, VLAN id), and ports whose cable is pulled; frames are dropped on their way
# in and out of the port. Bridge VLAN filtering (bridge(8)) would do for the first, but not every kernel has it. A tap
# that is down would do for the second, but a guest that sends into it may lose its interface for good.
PORTS_TABLE = """
add table bridge lab
add set bridge lab absent { typeof iifname . vlan id ; }
add chain bridge lab ports { type filter hook forward priority 0 ; }
flush chain bridge lab ports
add rule bridge lab ports iifname . vlan id @absent drop
add rule bridge lab ports oifname . vlan id @absent drop
add set bridge lab pulled { type ifname ; }
add chain bridge lab in { type filter hook prerouting priority 0 ; }
flush chain bridge lab in
add rule bridge lab in iifname @pulled drop
add chain bridge lab out { type filter hook postrouting priority 0 ; }
flush chain bridge lab out
add rule bridge lab out oifname @pulled drop
"""


def management_port(host: str) -> str:
    return f"m-{host}"


def trunk_port(host: str) -> str:
    return f"t-{host}"


class Switch:
    """The namespace `name` and what is in it; `owner` is the lab's folder, recorded in the kernel."""

    def __init__(self, name: str, owner: Path) -> None:
        self.name = name
        self.owner = owner
        self.path = NETNS_FOLDER / name

    def inside(self, argv: Sequence[str]) -> List[str]:
        """`argv` as it runs inside the namespace."""
        return as_root(["nsenter", f"--net={self.path}", "--", *argv])

    def exists(self) -> bool:
        return self.path.exists()

    def plug_in(self, hosts: Sequence[str]) -> None:
        """Make namespace, bridges and the ports of `hosts`; what is there already stays as it is."""
        if not self.exists():
            run(as_root(["ip", "netns", "add", self.name]))
        there = {link["ifname"] for link in self._links()}
        batch = ["link set lo up"]
        for bridge in (MANAGEMENT_BRIDGE, TRUNK_BRIDGE):
            if bridge not in there:
                # A switch that says nothing of its own: no spanning tree, no IGMP/MLD queries, no IPv6.
                batch += [
                    f"link add {bridge} type bridge stp_state 0 mcast_snooping 0",
                    f'link set {bridge} addrgenmode none alias "{self.owner}"',
                    f"link set {bridge} up",
                ]
        if MANAGEMENT_BRIDGE not in there:
            batch.append(f"addr add {GATEWAY} dev {MANAGEMENT_BRIDGE}")
        for host in hosts:
            for port, bridge in (
                (management_port(host), MANAGEMENT_BRIDGE),
                (trunk_port(host), TRUNK_BRIDGE),
            ):
                if port not in there:
                    batch += [
                        f"tuntap add dev {port} mode tap user {os.getuid()}",
                        f"link set {port} addrgenmode none",
                        f"link set {port} master {bridge} up",
                    ]
        run(as_root(["ip", "-n", self.name, "-batch", "-"]), stdin="\n".join([*batch, ""]))
        run(self.inside(["nft", "-f", "-"]), stdin=PORTS_TABLE)

    def remove(self) -> None:
        """Remove the namespace and all that is in it. The processes in it must be gone."""
        if self.exists():
            run(as_root(["ip", "netns", "delete", self.name]))

    def processes(self) -> List[int]:
        """All processes inside the namespace; as it is the lab's own, they are the lab's."""
        if not self.exists():
            return []
        return [int(pid) for pid in run(as_root(["ip", "netns", "pids", self.name])).split()]

    def cable(self, port: str, plugged: bool) -> None:
        """Plug the cable of `port` in, or pull it: then no frame passes. The guest does not lose its carrier."""
        self._need()
        self._set_element("pulled", f'"{port}"', there=not plugged)

    def filter(self, port: str, vlan: int, passes: bool) -> None:
        """Whether the port carries `vlan`; ports carry all VLANs until told otherwise."""
        if not 1 <= vlan <= 4094:
            raise LabError(f"VLAN {vlan}: a VLAN id is 1..4094")
        self._need()
        self._set_element("absent", f'"{port}" . {vlan}', there=not passes)

    def restore(self, host: str) -> None:
        """All cables of `host` plugged in, its trunk port carrying every VLAN."""
        for port in (management_port(host), trunk_port(host)):
            self.cable(port, plugged=True)
        for port, vlan in self.missing():
            if port == trunk_port(host):
                self.filter(port, vlan, passes=True)

    def missing(self) -> List[Tuple[str, int]]:
        """The VLANs that ports do not carry, as (port, VLAN id)."""
        if not self.exists():
            return []
        return sorted(
            (port, int(vlan)) for port, vlan in (each["concat"] for each in self._elements("absent"))
        )

    def plugged(self) -> Dict[str, bool]:
        """For each port whether its cable is in."""
        pulled = self._elements("pulled") if self.exists() else []
        return {
            link["ifname"]: link["ifname"] not in pulled
            for link in self._links()
            if link["ifname"].startswith((management_port(""), trunk_port("")))
        }

    def _set_element(self, name: str, value: str, there: bool) -> None:
        element = f"element bridge lab {name} {{ {value} }}"
        # add before delete: deleting what is not there is an error, adding what is there is none
        self._nft(f"add {element}", *([] if there else [f"delete {element}"]))

    def _elements(self, name: str) -> List[Any]:
        listed = json.loads(run(self.inside(["nft", "-j", "list", "set", "bridge", "lab", name])))
        return list(next(item["set"].get("elem", []) for item in listed["nftables"] if "set" in item))

    def _nft(self, *commands: str) -> None:
        run(self.inside(["nft", "-f", "-"]), stdin="\n".join([*commands, ""]))

    def _links(self) -> List[Dict[str, Any]]:
        if not self.exists():
            return []
        links: List[Dict[str, Any]] = json.loads(
            run(as_root(["ip", "-n", self.name, "-j", "link", "show"])) or "[]"
        )
        return [link for link in links if link]

    def _need(self) -> None:
        if not self.exists():
            raise LabError(f"the lab in {self.owner} is down", "python3 -m lab up")


def all_switches() -> List[Switch]:
    """The switch of every lab on this machine, also of those whose folder is gone."""
    found = []
    for path in sorted(NETNS_FOLDER.glob(f"{PREFIX}*")):
        switch = Switch(path.name, Path())
        owner = next(
            (link.get("ifalias") for link in switch._links() if link["ifname"] == TRUNK_BRIDGE), None
        )
        if owner:
            found.append(Switch(path.name, Path(owner)))
    return found
