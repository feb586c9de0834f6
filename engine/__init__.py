"""The Pulumi engine for machines that reach only package registries.

With an official `pulumi` on PATH there is nothing to do. Elsewhere the same software is compiled from the
Go module proxy, once, into the user's cache: the CLI, its Python language host and the docker and command
plugins, in the versions that requirements.txt pins for their Python halves.

    python3 -m engine build                         build what is missing; milliseconds when nothing is
    eval "$(python3 -m engine env --state DIR)"     put it on PATH, with the state kept in DIR

Runs on any Python from 3.9 with nothing but the standard library, so that it works before a virtual
environment exists.
"""

from __future__ import annotations


class EngineError(Exception):
    """Something the user can act on; its text says what failed and what to do."""
