"""What earlier releases kept in the order of docker networks; it remains for the states that name it."""

from __future__ import annotations

from pulumi.dynamic import ResourceProvider


class HoldingsProvider(ResourceProvider):
    """Touches no host, so it goes from the state without a trace.

    A hook makes way for a docker network now (`resources.docker_hooks`), and nothing else is replaced.
    """

    serialize_as_secret_always = False
