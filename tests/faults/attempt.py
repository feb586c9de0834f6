"""One fault, how often it is tried, and what is asked afterwards."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import zip_longest
from random import Random
from typing import Literal

from tests.e2e.hostdump import assert_same, dump_all
from tests.faults.foreign import of_others
from tests.faults.running import Running
from tests.faults.stage import Action, Ground, Stage

Law = Literal["I0", "I1", "I2", "I3", "I4", "I5"]
LAWS: Mapping[Law, str] = {
    "I0": "what the user sees at once is in order: a run that fails ends in its time, names the host, and "
    "shows no traceback; what the fault should not harm goes on",
    "I1": "the next `pulumi up` converges: every container reaches whom it should, and nobody else",
    "I2": "then `pulumi refresh --expect-no-changes` and `pulumi preview --expect-no-changes` are clean",
    "I3": "links, addresses, routes, rules, sysctls, files, units and docker objects of others are as they "
    "were, byte by byte",
    "I4": "ssh to every management address works, over a new connection",
    "I5": "`pulumi destroy` returns every host to its dump from before, byte by byte",
}
DRAWS = 5  # of a moment, before a fault counts as one that cannot be injected


class Missed(Exception):
    """The command had ended, or was past the place, when the fault came; nothing was tried."""


@dataclass(frozen=True)
class Fault:
    """Something that goes wrong while, or after, a command does its work."""

    name: str
    where: str  # it is injected
    times: int  # in the whole matrix
    during: tuple[Action, ...]  # in turn
    play: Callable[[Stage, Attempt], None]  # does it and clears it away; AssertionError: I0 does not hold
    ground: Ground = "nft"


@dataclass(frozen=True)
class Attempt:
    """One try of a fault. The seed decides on everything that is random in it."""

    fault: Fault
    number: int  # 0..
    seed: int
    settles: bool  # by a `pulumi destroy` and a look at the whole hosts

    @property
    def action(self) -> Action:
        return self.fault.during[self.number % len(self.fault.during)]

    @cached_property
    def random(self) -> Random:
        return Random(f"{self.seed} {self.fault.name} {self.number}")  # noqa: S311 - nothing here is secret

    def some_host(self, stage: Stage) -> str:
        return self.random.choice(stage.lab.hosts)

    def await_moment(self, stage: Stage, running: Running, start: float = 0.0, end: float = 1.0) -> None:
        """Let the command run until a random moment between two parts (0..1) of its work."""
        count = stage.begun(self.action)
        moment = self.random.uniform(start, end) * (count - 1)
        pause = self.random.uniform(0.0, 0.5)
        if not running.await_begun(1 + int(moment)) or running.await_end(pause):
            raise Missed


@dataclass(frozen=True)
class Outcome:
    """What came of one try: for every law that was asked for, why it does not hold; "" if it does."""

    fault: str
    number: int
    complaints: Mapping[Law, str]

    @property
    def holds(self) -> bool:
        return not any(self.complaints.values())

    def __str__(self) -> str:
        said = f"{self.fault}, {self.number + 1}: {' '.join(law for law in self.complaints)}"
        if self.holds:
            return f"{said} hold"
        return "\n".join([said, *(f"{law}: {_gist(why)}" for law, why in self.complaints.items() if why)])


def _gist(complaint: str) -> str:
    """What a `pulumi` command says of errors, without the outputs; at most the last 40 lines."""
    head, _, errors = complaint.partition("\nDiagnostics:\n")
    gist = f"{head.splitlines()[0]}\n{errors.partition('Outputs:')[0]}" if errors else complaint
    return "\n".join(gist.splitlines()[-40:])


def schedule(
    faults: Sequence[Fault],
    seed: int,
    times: Callable[[Fault], int],
    made: Callable[[str, int], bool] = lambda _fault, _number: False,
) -> Iterator[Attempt]:
    """The tries in their order, without those that were `made` already.

    Hosts are looked at as a whole where the next try needs bare ones anyway.
    """
    drawn = [
        Attempt(fault, number, seed, False)
        for fault in faults
        for number in range(times(fault))
        if not made(fault.name, number)
    ]
    for attempt, following in zip_longest(drawn, drawn[1:]):
        settles = following is None or following.fault is not attempt.fault or following.action == "up"
        yield Attempt(attempt.fault, attempt.number, seed, settles)


def try_out(stage: Stage, attempt: Attempt) -> Outcome:
    """Play the fault, then ask for every law; a stage that is not in order any more is renewed."""
    if stage.ground != attempt.fault.ground:
        stage.renew(attempt.fault.ground)
    complaints: dict[Law, str] = {}
    laws: list[tuple[Law, Callable[[Stage], None]]] = [
        ("I0", lambda stage: _play(stage, attempt)),
        ("I1", _converges),
        ("I2", _is_clean),
        ("I3", _others_are_untouched),
        ("I4", _can_be_reached),
    ]
    if attempt.settles:
        laws.append(("I5", _leaves_nothing))
    for law, ask in laws:
        complaints[law] = ""
        try:
            ask(stage)
        except (AssertionError, subprocess.SubprocessError) as failure:
            complaints[law] = str(failure)
    outcome = Outcome(attempt.fault.name, attempt.number, complaints)
    stage.end()
    if not outcome.holds:
        stage.renew(attempt.fault.ground)
    return outcome


def _play(stage: Stage, attempt: Attempt) -> None:
    for _ in range(DRAWS):
        stage.set_up(attempt.action)
        try:
            attempt.fault.play(stage, attempt)
        except Missed:
            stage.converge()
            if attempt.action == "up":
                stage.clear()
            continue
        return
    raise AssertionError(f"missed its moment {DRAWS} times")


def _converges(stage: Stage) -> None:
    stage.converge()
    stage.verify()


def _is_clean(stage: Stage) -> None:
    stage.project.assert_clean()


def _others_are_untouched(stage: Stage) -> None:
    assert_same(of_others(dump_all(stage.lab)), of_others(stage.before))


def _can_be_reached(stage: Stage) -> None:
    for host in stage.lab.hosts:
        argv = [*stage.lab.ssh_argv(host)[:3], "-S", "none", host, "true"]
        done = stage.from_here(argv)
        assert done.returncode == 0, f"{host}: {done.stderr}"


def _leaves_nothing(stage: Stage) -> None:
    stage.clear()
    assert_same(dump_all(stage.lab), stage.before)
