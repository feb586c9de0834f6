"""Who decides first decides alone: the host's timer, or the confirmation. (With real timers: tests/e2e.)"""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from hosts import rollback
from hosts.connection import RemoteHost
from hosts.errors import AgentError, Unsupported
from hosts.host import Completed
from tests.local_host import NAMESPACE, on_host


def stored(*commands: tuple[str, ...]) -> str:
    return "".join(f"{word}\0" for command in commands for word in (str(len(command)), *command))


async def undo(remote: RemoteHost, path: Path) -> Completed:
    """What the timer does."""
    return await remote.run(["python3", "-IS", "-c", rollback.UNDO, str(path)])


def test_commands_run_in_order_and_with_their_words_as_they_are(tmp_path: Path) -> None:
    log = tmp_path / "log"
    add = ("sh", "-c", 'printf "%s|" "$@" >>"$0"', str(log))
    (tmp_path / "armed").write_text(
        stored((*add, "a b", "", "$HOME", "new\nline"), ("false",), ("no-such-program",), (*add, "last"))
    )

    async def work(remote: RemoteHost) -> None:
        assert (await undo(remote, tmp_path / "armed")).status == 1  # one failed; the others ran all the same
        assert (await undo(remote, tmp_path / "armed")).status == 0  # never twice

    on_host(work)
    assert log.read_text() == "a b||$HOME|new\nline|last|"


def test_what_may_fail_counts_only_if_it_does_not_say_so(tmp_path: Path) -> None:
    (tmp_path / "armed").write_text(
        stored(("-false",), ("-no-such-program", "x"), ("-touch", str(tmp_path / "x")))
    )

    async def work(remote: RemoteHost) -> None:
        assert (await undo(remote, tmp_path / "armed")).status == 0

    on_host(work)
    assert (tmp_path / "x").exists()


def test_either_undone_or_confirmed(tmp_path: Path) -> None:
    outcomes = set()

    async def work(remote: RemoteHost) -> None:
        for number in range(40):
            armed, log = tmp_path / f"armed{number}", tmp_path / f"log{number}"
            armed.write_text(stored(("touch", str(log))))
            undone = asyncio.create_task(undo(remote, armed))
            await asyncio.sleep(number % 20 / 1000)
            confirmed = await remote.remove(str(armed))
            await undone
            assert confirmed != log.exists()
            outcomes.add(confirmed)

    on_host(work)
    assert True in outcomes


def test_without_systemd_there_is_no_timer() -> None:
    async def work(remote: RemoteHost) -> None:
        with pytest.raises(Unsupported, match="no systemd is running"):
            await rollback.arm(remote, "x", [["true"]], seconds=60)
        assert await remote.entries("/run") == ()

    on_host(work, (*NAMESPACE, "sh", "-c", 'mount -t tmpfs none /run && exec "$@"', "sh"))


def test_every_object_of_every_owner_has_a_name_of_its_own_that_can_be_armed() -> None:
    objects = [
        ("a/b", "eth2.10.link"),
        ("a/c", "eth2.10.link"),
        ("a/b", "eth2-10.link"),
        ("a/b", "eth2@10.link"),
    ]
    names = {rollback.name_of(owner, what) for owner, what in objects}
    assert len(names) == len(objects)
    assert all(name.isascii() and not set(name) & set("/@ ") for name in names)


@pytest.mark.parametrize(
    ("name", "commands"),
    [("a/b", [["true"]]), ("", [["true"]]), ("..", [["true"]]), ("x", [[]]), ("x\n", [["y"]])],
)
def test_what_cannot_be_armed(name: str, commands: list[list[str]]) -> None:
    async def work(remote: RemoteHost) -> None:
        with pytest.raises(AgentError):
            await rollback.arm(remote, name, commands, seconds=60)

    on_host(work)
