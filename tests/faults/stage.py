"""Where faults are played: the lab with somebody else's things on it, and one stack."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

from lab import Lab
from tests.e2e.hostdump import assert_same, dump_all
from tests.e2e.test_tutorial import tutorial_topology
from tests.faults import foreign
from tests.faults.running import Running, kill, processes
from tests.project import Project, Run

# `up` starts from bare hosts, the others from a fabric that is up; during `rest` no command runs.
Action = Literal["up", "update", "destroy", "rest"]
Ground = Literal["nft", "legacy"]  # the backend of iptables on the router
_COMMANDS = {
    "up": ("up", "--skip-preview"),
    "update": ("up", "--skip-preview"),
    "destroy": ("destroy", "--skip-preview"),
}


class Stage:
    """Every method leaves the lab and the stack in a state that it names, or raises AssertionError."""

    def __init__(self, lab: Lab, folder: Path, environment: dict[str, str]) -> None:
        self.lab = lab
        self.folder = folder
        self.ssh_config = folder / "ssh_config"
        self.known_hosts = folder / "known_hosts"
        self.project = Project(folder / "project", environment)
        self.is_up = False
        self.ground: Ground = "nft"
        self.before: dict[str, str] = {}  # every host with somebody else's things and nothing of ours
        self._variant = 0
        self._running: list[Running] = []
        self._begun: dict[Action, int] = {}  # how many objects an undisturbed command begins with

    # the state from which a fault starts

    def renew(self, ground: Ground = "nft") -> None:
        """Bare hosts with somebody else's things on them, and a stack that knows of nothing."""
        self.end()
        self.lab.reset()
        self.write_ssh_files()
        self.forget_state()
        foreign.install(self.lab)
        if ground == "legacy":
            self._use_legacy_tables("router")
        self.before = dump_all(self.lab)
        self.is_up, self.ground = False, ground
        if not self._begun:
            self._rehearse()

    def write_ssh_files(self) -> None:
        """The lab's way to the hosts, with known hosts and shared connections of its own."""
        self.known_hosts.write_text(self.lab.known_hosts.read_text())
        text = self.lab.ssh_config.read_text()
        text = re.sub("(UserKnownHostsFile) .*", rf'\1 "{self.known_hosts}"', text)
        self.ssh_config.write_text(re.sub("(ControlPath) .*", rf'\1 "{self.folder}/ssh-%r@%n"', text))

    def forget_state(self) -> None:
        """Lose the stack's state, and begin a new one of the same name."""
        backend = Path(urlsplit(self.project.environment["PULUMI_BACKEND_URL"]).path, ".pulumi")
        for file in list(backend.rglob(f"{self.project.stack}*")):  # its checkpoint and lock, however broken
            if file.is_dir():
                shutil.rmtree(file)
            else:
                file.unlink(missing_ok=True)  # it went with its folder
        self.project.pulumi("stack", "select", "--create", self.project.stack).check()
        self.write_topology()

    def _use_legacy_tables(self, host: str) -> None:
        """Only there is /run/xtables.lock of any effect: nf_tables has transactions instead."""
        for program in ("iptables", "ip6tables"):
            self.on(host, f"update-alternatives --quiet --set {program} /usr/sbin/{program}-legacy")
        self.on(host, "nft flush ruleset && systemctl restart docker")
        foreign.restarted(self.lab, host)

    def _rehearse(self) -> None:
        """Every command once without a fault: what the moments of faults are drawn from."""
        for action in ("up", "update", "destroy"):
            running = self.begin(action)
            running.finish().check()
            self._begun[action] = running.begun
            self.is_up = action != "destroy"
        assert_same(dump_all(self.lab), self.before)

    def begun(self, action: Action) -> int:
        """With how many objects the engine begins in an undisturbed command."""
        return self._begun[action]

    # the stack

    def topology(self) -> dict[str, Any]:
        """The tutorial, or a variant: another VLAN id, one network and one container more, routed."""
        topology = tutorial_topology(self.lab) | {"ssh_config": str(self.ssh_config)}
        if self._variant:
            topology["networks"]["mac_net20"]["vlan"] = 30
            topology["networks"]["mac_net30"] = {"vlan": 20, "subnet": "172.16.30.0/24"}
            topology["containers"]["bbox5"] = topology["containers"]["bbox1"] | {
                "network": "mac_net30",
                "address": "172.16.30.10",
            }
            topology["gateway"] |= {"nat": "routed", "allow": [{"from": "mac_net10", "to": "mac_net20"}]}
        return topology

    def write_topology(self) -> None:
        self.project.write(self.topology())

    def set_up(self, action: Action) -> None:
        """The state from which the action starts."""
        if action == "up":
            assert not self.is_up, "the hosts are not bare"
        elif not self.is_up:
            self.project.up().check()
            self.is_up = True

    def begin(self, action: Action) -> Running:
        """Start the action's command."""
        self.set_up(action)
        if action == "update":
            self._variant = 1 - self._variant
            self.write_topology()
        return self.begin_again(action)

    def begin_again(self, action: Action) -> Running:
        """Start the same command once more, whatever state it finds."""
        running = Running(self.project, *_COMMANDS[action], "--yes")
        self._running.append(running)
        return running

    def converge(self) -> None:
        """`pulumi up`, after what a person has to type first."""
        run = self.project.up()
        if "is currently locked by" in run.output:  # by an engine that was killed
            self.project.pulumi("cancel", "--yes").check()
            run = self.project.up()
        run.check()
        self.is_up = True
        if "pending operations from previous deployment" in run.output:
            self.project.refresh("--clear-pending-creates").check()

    def clear(self) -> None:
        """`pulumi destroy`."""
        self.project.destroy().check()
        self.is_up = False

    def verify(self) -> None:
        """Every container reaches whom it should, and nobody else."""
        done = subprocess.run(
            [sys.executable, "-m", "verify", "--stack", self.project.stack],
            cwd=self.project.folder,
            env=self.project.environment,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr

    # the hosts

    def from_here(self, argv: list[str]) -> subprocess.CompletedProcess[str]:
        """Run a program on this machine."""
        return subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)

    def on(self, host: str, command: str, timeout: float = 60) -> str:
        """Type something as root on a host; what it prints."""
        done = self.lab.ssh(host, "sh", "-c", command, timeout=timeout)
        assert done.returncode == 0, f"{host}: {command}: {done.stderr}"
        return done.stdout

    def hang_up(self) -> None:
        """Let no further ssh share a connection that is there already."""
        for socket in self.folder.glob("ssh-*@*"):
            argv = [
                "ssh",
                "-F",
                str(self.ssh_config),
                "-S",
                str(socket),
                "-O",
                "exit",
                socket.name.rpartition("@")[2],
            ]
            subprocess.run(
                argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=10, check=False
            )

    def drop_connections(self) -> int:
        """Kill every ssh of the stack's, the agents' and docker's; how many there were."""
        pids = [
            pid for pid, command in processes() if command.startswith("ssh") and str(self.folder) in command
        ]
        for pid in pids:
            kill(pid)
        return len(pids)

    def end(self) -> None:
        """End what commands of earlier faults have left running."""
        for running in self._running:
            running.end()
        self._running.clear()
        self.hang_up()
        with suppress(FileNotFoundError):
            self.drop_connections()


def told(run: Run, *hosts: str) -> None:
    """A command that failed names one of the hosts in its errors, and shows nobody a traceback."""
    assert "Traceback" not in run.output, run.output
    if run.status:
        _, _, errors = run.output.partition("Diagnostics:")
        assert any(host in (errors or run.output) for host in hosts), (
            f"none of {', '.join(hosts)} in:\n{run.output}"
        )
