"""The tutorial by `pulumi up` beside a hand-written parallel shell, on the same bare lab hosts in one run.

python -m bench.bench_tutorial [--rounds 3] [--dir .lab/bench]
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import yaml

from engine.recipe import cache_folder
from engine.shell import environment
from lab import Lab
from tests.project import ROOT, Project

# What somebody would type who needs it once: no checks, no ownership, gone after a reboot.
NETWORK = (
    "ip link add link eth2 name eth2.{v} type vlan id {v} && ip link set eth2.{v} up && "
    "docker network create -d macvlan --subnet 172.16.{v}.0/24 --gateway 172.16.{v}.1 "
    "-o parent=eth2.{v} mac_net{v}"
)
CONTAINER = (
    "docker run -d --name {name} --network mac_net{v} --ip 172.16.{v}.{last} busybox:latest sleep infinity"
)
GATEWAY = (
    "sysctl -qw net.ipv4.ip_forward=1; for v in 10 20; do "
    "ip link add link eth2 name eth2.$v type vlan id $v; "
    "ip address add 172.16.$v.1/24 dev eth2.$v; ip link set eth2.$v up; "
    "iptables -t nat -A POSTROUTING -o eth2.$v -j MASQUERADE; done; "
    "for p in '10 20' '20 10'; do set -- $p; iptables -A FORWARD -i eth2.$1 -o eth2.$2 -j ACCEPT; done"
)


def by_hand(lab: Lab) -> None:
    """All hosts at the same time, one ssh each."""
    jobs = {"router": GATEWAY}
    for host, last, names in (("host1", 10, ("bbox1", "bbox2")), ("host2", 11, ("bbox3", "bbox4"))):
        jobs[host] = " && ".join(
            step
            for v, name in zip((10, 20), names, strict=True)
            for step in (NETWORK.format(v=v), CONTAINER.format(v=v, name=name, last=last))
        )
    running = [
        subprocess.Popen(["ssh", "-F", str(lab.ssh_config), host, job], stdout=subprocess.DEVNULL)
        for host, job in jobs.items()
    ]
    statuses = [process.wait() for process in running]
    if any(statuses):
        raise SystemExit("the shell failed")


class Clock:
    """How long each thing took, round after round."""

    def __init__(self) -> None:
        self.seconds: dict[str, list[float]] = {}

    def time(self, what: str, work: Callable[[], object]) -> None:
        started = time.monotonic()
        work()
        self.seconds.setdefault(what, []).append(time.monotonic() - started)

    def median(self, what: str) -> float:
        return statistics.median(self.seconds[what])

    def __str__(self) -> str:
        return "\n".join(
            f"{what:<28} {self.median(what):6.2f} s   ({', '.join(f'{each:.2f}' for each in seconds)})"
            for what, seconds in self.seconds.items()
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dir", type=Path, default=ROOT / ".lab" / "bench", help="the lab's folder")
    parser.add_argument("--rounds", type=int, default=3, help="each begins with bare hosts (3)")
    arguments = parser.parse_args()
    lab = Lab(arguments.dir)
    clock = Clock()
    clock.time("lab up, from images", lab.up)
    stack = yaml.safe_load((ROOT / "Pulumi.dev.yaml").read_text())
    topology = stack["config"]["macvlan-fabric:topology"] | {"ssh_config": str(lab.ssh_config)}
    with tempfile.TemporaryDirectory() as folder:
        state = Path(folder) / "state"
        state.mkdir()
        settings = environment(cache_folder(), state, ROOT / ".venv").applied_to(os.environ)
        project = Project(Path(folder) / "project", settings)
        project.write(topology)
        for _ in range(arguments.rounds):
            clock.time("lab reset", lab.reset)
            clock.time("parallel shell", lambda: by_hand(lab))
            clock.time("lab reset", lab.reset)
            clock.time("pulumi up, bare hosts", lambda: project.up().check())
            clock.time("pulumi up, nothing to do", lambda: project.up("--expect-no-changes").check())
            clock.time("pulumi preview", lambda: project.preview("--expect-no-changes").check())
            clock.time("pulumi destroy", lambda: project.destroy().check())
    lab.destroy()
    print(f"{clock}\n\nThe medians; in brackets, round by round.")
    ratio = clock.median("pulumi up, bare hosts") / clock.median("parallel shell")
    print(f"pulumi up takes {ratio:.1f} times as long as the parallel shell.")


if __name__ == "__main__":
    main()
