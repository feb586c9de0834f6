"""Which host, how to reach it, and in whose name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from hosts import ssh
from resources.session import target


@dataclass(frozen=True)
class HostRef:
    """What every resource of a host has in common; the inputs that all share."""

    host: str
    machine: str  # what its resources are named after (`resources.machines`)
    address: str  # an ssh destination
    ssh_config: str | None  # path, relative to the program's folder; None: the user's own
    owner: str  # in whose name
    seed: str = ""  # see `HostProvider.check`
    may_touch_session: bool = False  # change even what carries the ssh session
    # By the keys of `hosts.survey.Findings.differences`: what is not as wanted, and what stands in its way.
    found: Mapping[str, Sequence[str]] = field(default_factory=dict)
    problems: Mapping[str, Sequence[str]] = field(default_factory=dict)

    def inputs(self, what: str) -> dict[str, Any]:
        """As resource inputs of one of its objects; `what` is its key in `found`."""
        return {
            "host": self.host,
            "address": self.address,
            "ssh_config": self.ssh_config,
            "owner": self.owner,
            "may_touch_session": self.may_touch_session or None,
            "drift": [],
            "found": list(self.found.get(what, ())),
            "problems": list(self.problems.get(what, ())) or None,
            "seed": self.seed,
            "version": None,  # by `HostProvider.check`
        }

    def ssh_options(self) -> tuple[str, ...]:
        """What docker's ssh is given, so that it reaches the host just as ours does."""
        return ssh.options(target(self.host, self.address, self.ssh_config))

    @property
    def docker_url(self) -> str:
        """The daemon on this host, for docker's clients."""
        return self.address if self.address.startswith("ssh://") else f"ssh://{self.address}"
