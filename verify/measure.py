"""Asking the containers of a fabric who answers them, all at once."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from itertools import groupby, islice
from typing import TypeVar

from hosts.errors import HostError, VerificationError
from hosts.host import Host
from model.fabric import Endpoint
from model.reachability import Prediction

T = TypeVar("T")

PROBE = files("verify").joinpath("probe.py").read_text()
AT_ONCE = 200  # questions of one container; each is a socket
DEADLINE = 30.0  # seconds, for one such batch


@dataclass(frozen=True)
class Observation:
    """What the wire did, beside what was predicted; `seen` is None if nobody could ask."""

    prediction: Prediction
    seen: bool | None
    obstacle: str = ""  # why nobody could ask

    @property
    def agrees(self) -> bool:
        return self.seen == self.prediction.reaches


async def measure(
    hosts: Mapping[str, Host | HostError], predictions: Iterable[Prediction]
) -> tuple[Observation, ...]:
    """One observation for each prediction, in their order.

    `hosts` has every host with containers by its name; one that is out of reach is the error that says so.
    """
    predictions = tuple(predictions)
    by_source = sorted(
        enumerate(predictions), key=lambda numbered: (numbered[1].source.host, numbered[1].source.container)
    )
    batches = [
        batch
        for _, group in groupby(by_source, key=lambda numbered: numbered[1].source.container)
        for batch in _batched(group, AT_ONCE)
    ]
    results = await asyncio.gather(
        *(_ask(hosts[batch[0][1].source.host], [prediction for _, prediction in batch]) for batch in batches)
    )
    observed = {
        number: observation
        for batch, observations in zip(batches, results, strict=True)
        for (number, _), observation in zip(batch, observations, strict=True)
    }
    return tuple(observed[number] for number in range(len(predictions)))


async def _ask(host: Host | HostError, predictions: Sequence[Prediction]) -> list[Observation]:
    """Let one container ask."""
    try:
        if isinstance(host, HostError):
            raise host
        answers = await _answers(host, predictions[0].source, predictions)
    except HostError as error:
        return [Observation(prediction, None, str(error)) for prediction in predictions]
    return [Observation(p, answer) for p, answer in zip(predictions, answers, strict=True)]


async def _answers(host: Host, source: Endpoint, predictions: Sequence[Prediction]) -> list[bool]:
    pid = await _process(host, source.container)
    questions = "".join(
        f"{p.traffic.protocol} {p.target.address} {p.traffic.ports[0].first if p.traffic.ports else 0}\n"
        for p in predictions
    )
    argv = ["nsenter", f"--net=/proc/{pid}/ns/net", "python3", "-ISc", PROBE]
    done = await host.run(argv, stdin=questions.encode(), deadline=DEADLINE)
    answers = [line == "yes" for line in done.stdout.decode().split()]
    if done.status or len(answers) != len(predictions):
        raise VerificationError(
            host.name,
            f"the probe in {source.container} failed: {done.stderr.decode(errors='replace').strip()}",
        )
    return answers


async def _process(host: Host, container: str) -> int:
    """The pid of a running container's first process."""
    done = await host.run(
        ["docker", "inspect", "--type", "container", "--format", "{{.State.Pid}}", container]
    )
    if done.status:
        raise VerificationError(host.name, f"there is no container {container}", "run `pulumi up`")
    pid = int(done.stdout)
    if not pid:
        raise VerificationError(
            host.name,
            f"container {container} is not running",
            f"see `docker logs {container}` on {host.name}",
        )
    return pid


def _batched(items: Iterable[T], size: int) -> Iterable[list[T]]:
    iterator = iter(items)
    while batch := list(islice(iterator, size)):
        yield batch
