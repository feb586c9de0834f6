"""What somebody else has on the hosts, and how to see that it is as it was.

Their things come back after a reboot by boot scripts of their own, so that the same comparison holds for
every fault.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor

from lab import Lab

_LINK = """\
ip link add link eth2 name eth2.99 type vlan id 99
ip link set eth2.99 alias theirs
ip address add 198.51.100.1/24 dev eth2.99
ip link set eth2.99 up
"""
_RULES = """\
iptables -A FORWARD -s 203.0.113.0/24 -j DROP -m comment --comment theirs
iptables -t nat -A POSTROUTING -s 203.0.113.0/24 -j MASQUERADE
iptables -N THEIRS
"""
_CONTAINER = """\
docker network create -d macvlan -o parent=eth2.99 --subnet 198.51.100.0/24 theirs
docker run -d --name theirs --network theirs --restart always --stop-timeout 0 busybox:latest sleep infinity
"""
_TRUNK = "sys-subsystem-net-devices-eth2.device"
# The rules after Docker's, which it puts in front whenever it starts; all before the lab finds a host ready.
_ORDER = {
    "theirs-link": (_LINK, f"Wants={_TRUNK}\nAfter={_TRUNK}\nBefore=docker.service"),
    "theirs-rules": (_RULES, "After=docker.service\nBefore=lab-ready.service"),
}
_UNIT = """\
[Unit]
Description=somebody else's
{order}

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/bin/sh -e /usr/local/lib/{name}

[Install]
WantedBy=multi-user.target
"""

# In a line of a dump: a link or a parameter of one of the stack's VLANs, one of its names, the folder
# that systemd needs for our boot unit, the unit that Docker makes for every container while it runs.
_OURS = re.compile(
    r"macvlan-fabric|MVF-|mvf:|eth2[./](?:10|20|30)\b|\b(?:mac_net|bbox)\d"
    r"|/docker\.service\.wants $|^docker-[0-9a-f]{64}\.scope"
)
_DOCKERS = re.compile(r"docker", re.IGNORECASE)


def install(lab: Lab) -> None:
    """Put somebody else's things on all hosts."""
    with ThreadPoolExecutor() as pool:
        list(pool.map(lambda host: _install(lab, host), lab.hosts))


def _install(lab: Lab, host: str) -> None:
    for name, (script, order) in _ORDER.items():
        unit = _UNIT.format(name=name, order=order)
        for path, text in (
            (f"/usr/local/lib/{name}", script),
            (f"/etc/systemd/system/{name}.service", unit),
        ):
            lab.ssh(host, "sh", "-c", f"cat >{path}", input=text, check=True)
    units = " ".join(_ORDER)
    lab.ssh(host, "sh", "-ec", f"systemctl enable --quiet --now {units}\n{_CONTAINER}", check=True)


def restarted(lab: Lab, host: str) -> None:
    """Their rules once more, after somebody has emptied the tables."""
    lab.ssh(host, "systemctl", "restart", "theirs-rules", check=True)


def of_others(dumps: Mapping[str, str]) -> dict[str, str]:
    """What the dumps of hosts say of things that are not ours.

    Docker moves its own rules to the front whenever it starts; so these are compared as a set, and the others
    in their order.
    """
    return {host: _of_others(dump) for host, dump in dumps.items()}


def _of_others(dump: str) -> str:
    sections = []
    for section in dump.split("\n== "):
        lines = [line.rstrip() for line in section.splitlines() if not _OURS.search(line)]
        if section.startswith(("iptables", "ip6tables")):
            lines.sort(key=lambda line: (bool(_DOCKERS.search(line)), line if _DOCKERS.search(line) else ""))
        sections.append("\n".join(lines))
    return "\n== ".join(sections)
