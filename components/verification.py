"""Asking the wire, once everything is there."""

from __future__ import annotations

import hashlib
import os.path
import shlex
import sys
from collections.abc import Sequence

import pulumi
from pulumi_command import local

from resources.memory import Memory
from resources.state import COMMAND, VERIFICATION


class Verification(pulumi.ComponentResource):
    """`python -m verify` at the end of every update that changed something.

    `versions` are other ones than before wherever something was made anew or mended; where all are the same,
    nothing is run. If the wire disagrees the update fails with the table that shows it, and the next one asks
    again. `configured` is the topology if it does not stand in the stack's file.
    """

    def __init__(
        self,
        memory: Memory,
        versions: Sequence[pulumi.Output[str]],
        after: Sequence[pulumi.Resource],
        configured: str | None = None,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        super().__init__(VERIFICATION, memory.name_of(VERIFICATION, "verification"), None, opts)
        stack = pulumi.get_stack()
        argv = [interpreter(), "-m", "verify", "--stack", stack, "--brief"]
        self.run = local.Command(
            memory.name_of(COMMAND, "verify"),
            create=shlex.join([*argv, *(["--stdin"] if configured else [])]),
            stdin=configured,
            triggers=[pulumi.Output.all(*versions).apply(_digest, run_with_unknowns=True)],
            opts=pulumi.ResourceOptions(parent=self, depends_on=list(after)),
        )
        self.register_outputs({})


def interpreter() -> str:
    """The Python that runs this program; in the state, so if possible the same in every checkout."""
    relative = os.path.relpath(sys.executable)
    return sys.executable if relative.startswith(os.pardir) else relative


def _digest(versions: Sequence[object]) -> str:
    """All in one, because a large fabric has thousands.

    It is known even where something could not be made; else the engine would report that the command lacks a
    value, instead of skipping it.
    """
    known = "\n".join(version if isinstance(version, str) else "" for version in versions)
    return hashlib.sha256(known.encode()).hexdigest()[:16]
