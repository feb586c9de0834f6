"""The agent keeps its promises on every Python that this machine has, and leaves nothing behind."""

# ruff: noqa: ASYNC240
# Each test has its loop for itself: reading a small file in between holds nobody up.

from __future__ import annotations

import ast
import asyncio
import contextlib
import os
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from ipaddress import IPv4Interface
from pathlib import Path

import pytest

from hosts import agent, session
from hosts.connection import RemoteHost
from hosts.errors import (
    AgentError,
    ConflictError,
    DeadlineExceeded,
    HostUnreachable,
    PermissionDenied,
    Unsupported,
)
from tests.local_host import NAMESPACE, command, host, on_host, pythons

# Debian's list of what its python3-minimal contains, as far as the agent needs it:
# https://sources.debian.org/src/python3.11/3.11.2-6/debian/PVER-minimal.README.Debian.in/
MINIMAL = {
    "errno", "fcntl", "os", "select", "signal", "socket", "stat", "struct", "subprocess", "sys", "threading",
    "time", "traceback",
}  # fmt: skip


def gone(pid: int) -> bool:
    """Has the process ended? A zombie has."""
    try:
        return "State:\tZ" in Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return True


def wait_for(condition: object, what: str) -> None:
    end = time.monotonic() + 20
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < end, f"never happened: {what}"
        time.sleep(0.01)


async def started(remote: RemoteHost, argv: list[str], pid_file: Path) -> tuple[asyncio.Task[object], int]:
    """A program that is under way and has written its number to a file."""
    task: asyncio.Task[object] = asyncio.create_task(remote.run(argv, deadline=60))
    await asyncio.to_thread(wait_for, lambda: pid_file.exists() and pid_file.read_text().strip(), str(argv))
    return task, int(pid_file.read_text())


def sleeper(pid_file: Path) -> list[str]:
    """A program whose child, not itself, writes its number and stays."""
    return ["sh", "-c", 'sleep 300 & echo $! >"$1"; wait', "sh", str(pid_file)]


@contextlib.asynccontextmanager
async def listening(
    path: Path, answer: Callable[[bytes], bytes | None], size: int = 3
) -> AsyncIterator[None]:
    """Somebody on a Unix socket who hears `size` bytes, answers and hangs up; None: goes on listening."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            said = answer(await reader.readexactly(size))
            if said is None:
                await reader.read()
            else:
                writer.write(said)
                await writer.drain()
        finally:
            writer.close()

    async with await asyncio.start_unix_server(serve, path, limit=1 << 25):
        yield


@pytest.mark.parametrize("python", pythons())
def test_every_verb_works_on_every_python(python: str, tmp_path: Path) -> None:
    async def work(remote: RemoteHost) -> None:
        assert remote.greeting.python.startswith("3.")
        assert remote.greeting.uid == 0
        assert remote.greeting.byteorder == sys.byteorder
        assert remote.greeting.kernel == os.uname().release
        done = await remote.run(["sh", "-c", "cat; echo err >&2; exit 3"], stdin=b"in\0\xff")
        assert (done.status, done.stdout, done.stderr) == (3, b"in\0\xff", b"err\n")
        path = str(tmp_path / "a" / "b" / "file")
        assert await remote.read(path) is None
        await remote.write(path, b"content", mode=0o640)
        assert await remote.read(path) == b"content"
        assert stat.S_IMODE(Path(path).stat().st_mode) == 0o640
        assert await remote.entries(str(tmp_path / "a" / "b")) == ("file",)
        assert await remote.remove(path)
        assert not await remote.remove(path)
        async with remote.lock("one"):
            with pytest.raises(DeadlineExceeded):
                async with remote.lock("one", deadline=0.05):
                    pass
        assert [link.name for link in await remote.links()] == ["lo"]
        await remote.set_link(1, up=True)
        await remote.add_address(1, IPv4Interface("10.1.2.3/24"))
        assert IPv4Interface("10.1.2.3/24") in [address.interface for address in await remote.addresses()]
        with pytest.raises(DeadlineExceeded):
            await remote.run(["sleep", "60"], deadline=0.1)
        async with listening(tmp_path / "socket", lambda said: said[::-1]):
            assert await remote.exchange(str(tmp_path / "socket"), b"abc") == b"cba"

    on_host(work, NAMESPACE, python=python, runtime=str(tmp_path / "run"))


def test_only_modules_of_python3_minimal_are_imported() -> None:
    tree = ast.parse(Path(agent.__file__).read_text())
    for_types_only = [
        node for node in tree.body if isinstance(node, ast.If) and "TYPE" in ast.dump(node.test)
    ]
    imported = {
        name.name if isinstance(node, ast.Import) else node.module
        for node in ast.walk(tree)
        if isinstance(node, ast.Import | ast.ImportFrom)
        and not any(node in ast.walk(part) for part in for_types_only)
        for name in node.names
    }
    assert imported <= MINIMAL


def test_its_source_is_valid_for_the_oldest_python() -> None:
    ast.parse(Path(agent.__file__).read_text(), feature_version=(3, 6))


def test_a_python_that_is_too_old_says_so_before_anything_else() -> None:
    old = "import sys; sys.version_info = (3, 5, 2); sys.version = '3.5.2 (default)'\n" + agent.BOOTSTRAP
    done = subprocess.run(
        [sys.executable, "-ISc", old, *agent.BOOTSTRAP_ARGUMENTS], capture_output=True, check=False
    )
    assert done.returncode != 0
    assert done.stderr.decode().strip() == agent.TOO_OLD + "3.5.2"


def test_the_bootstrap_passes_any_shell_unchanged() -> None:
    assert not set(agent.BOOTSTRAP) & set("'\"\\`$!\n")


# Programs


def test_arguments_arrive_as_they_are(tmp_path: Path) -> None:
    nasty = [
        "$(id)",
        "`id`",
        "a b",
        "",
        "'",
        '"',
        "*",
        "~",
        "; rm -rf /",
        "new\nline",
        "-n",
        "\udcff\udc80",
        "ü",
    ]
    argv = [sys.executable, "-c", "import os, sys; print([os.fsencode(a) for a in sys.argv[1:]])", *nasty]

    async def work(remote: RemoteHost) -> None:
        done = await remote.run(argv)
        assert ast.literal_eval(done.stdout.decode()) == [os.fsencode(word) for word in nasty]
        with pytest.raises(AgentError, match="NUL"):
            await remote.run(["echo", "a\0b"])
        with pytest.raises(AgentError, match="no program"):
            await remote.run([])

    on_host(work)


def test_there_is_no_such_program(tmp_path: Path) -> None:
    text = tmp_path / "text"
    text.write_text("not a program")

    async def work(remote: RemoteHost) -> None:
        with pytest.raises(Unsupported, match="there is no program no-such-program"):
            await remote.run(["no-such-program", "x"])
        with pytest.raises(PermissionDenied):
            await remote.run([str(text)])

    on_host(work)


def test_programs_get_a_plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET", "x")

    async def work(remote: RemoteHost) -> None:
        done = await remote.run(["env"])
        names = {line.split("=")[0] for line in done.stdout.decode().splitlines()}
        assert {"PATH", "LC_ALL", "HOME"} <= names <= {"PATH", "LC_ALL", "HOME", "PWD", "_", "SHLVL"}

    on_host(work)


def test_at_the_deadline_the_whole_process_group_is_gone(tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"
    shell, option, script, *rest = sleeper(pid_file)
    argv = [shell, option, f"echo last words >&2; {script}", *rest]

    async def work(remote: RemoteHost) -> None:
        with pytest.raises(DeadlineExceeded, match=r"not done after 2 s, stopped; it said: last words"):
            await remote.run(argv, deadline=2)
        pid = int(pid_file.read_text())
        await asyncio.to_thread(wait_for, lambda: gone(pid), "the end of the child")

    on_host(work)


def test_a_cancelled_operation_stops_its_program(tmp_path: Path) -> None:
    async def work(remote: RemoteHost) -> None:
        task, pid = await started(remote, sleeper(tmp_path / "pid"), tmp_path / "pid")
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await asyncio.to_thread(wait_for, lambda: gone(pid), "the end of the child")

    on_host(work)


def test_what_a_program_leaves_in_the_background_is_not_waited_for(tmp_path: Path) -> None:
    async def work(remote: RemoteHost) -> None:
        done = await remote.run(
            ["sh", "-c", 'sleep 300 & echo $! >"$1"; echo done', "sh", str(tmp_path / "pid")], deadline=30
        )
        assert (done.status, done.stdout) == (0, b"done\n")
        os.kill(int((tmp_path / "pid").read_text()), signal.SIGKILL)

    begin = time.monotonic()
    on_host(work)
    assert time.monotonic() - begin < 30  # it was not the deadline that ended it


def test_what_a_program_prints_last_is_not_lost_on_a_busy_host() -> None:
    """The agent finds nothing to read, is held up, and the program prints and ends meanwhile."""

    class HeldUp(agent.Program):
        def running(self) -> bool:
            self.process.wait()
            return super().running()

    program = HeldUp(
        agent.Agent(), agent.Job(1), time.monotonic() + 60, (b"sh", b"-c", b"sleep 0.2; echo last")
    )
    assert program.run(b"") == [b"0", b"last\n", b""]


def test_a_program_may_close_its_output_and_go_on(tmp_path: Path) -> None:
    async def work(remote: RemoteHost) -> None:
        done = await remote.run(
            ["sh", "-c", 'exec >&- 2>&-; sleep 0.1; echo end >"$1"', "sh", str(tmp_path / "f")]
        )
        assert done.status == 0
        assert (tmp_path / "f").read_text() == "end\n"

    on_host(work)


def test_a_program_need_not_read_its_input() -> None:
    async def work(remote: RemoteHost) -> None:
        assert (await remote.run(["true"], stdin=b"x" * 10_000_000)).status == 0

    on_host(work)


def test_much_in_and_much_out() -> None:
    content = os.urandom(1 << 20) * 16

    async def work(remote: RemoteHost) -> None:
        assert (await remote.run(["cat"], stdin=content)).stdout == content

    on_host(work)


def test_a_program_that_never_stops_printing_is_stopped() -> None:
    async def work(remote: RemoteHost) -> None:
        with pytest.raises(Unsupported, match="it printed more than"):
            await remote.run(["yes"])

    on_host(work)


def test_a_signal_is_a_negative_status() -> None:
    async def work(remote: RemoteHost) -> None:
        assert (await remote.run(["sh", "-c", "kill -9 $$"])).status == -9

    on_host(work)


# Sockets


def test_nobody_listens_on_a_socket(tmp_path: Path) -> None:
    dead = tmp_path / "dead"
    with socket.socket(socket.AF_UNIX) as ended:
        ended.bind(str(dead))
    (tmp_path / "file").touch()

    async def work(remote: RemoteHost) -> None:
        for path in (dead, tmp_path / "none", tmp_path / "file" / "below"):
            assert await remote.exchange(str(path), b"abc") is None
        with pytest.raises(AgentError, match="NUL"):
            await remote.exchange("/a\0b", b"")

    on_host(work)


def test_much_is_said_and_much_is_heard(tmp_path: Path) -> None:
    content = os.urandom(1 << 20) * 16

    async def work(remote: RemoteHost) -> None:
        async with listening(tmp_path / "socket", lambda said: said[::-1], len(content)):
            assert await remote.exchange(str(tmp_path / "socket"), content) == content[::-1]

    on_host(work)


def test_who_listens_and_does_not_answer_is_left_at_the_deadline(tmp_path: Path) -> None:
    async def work(remote: RemoteHost) -> None:
        async with listening(tmp_path / "socket", lambda _: None):
            with pytest.raises(DeadlineExceeded, match=r"ask .*socket: no answer within 0\.2 s"):
                await remote.exchange(str(tmp_path / "socket"), b"abc", deadline=0.2)

    on_host(work)


def test_who_is_too_busy_to_listen_is_waited_for(tmp_path: Path) -> None:
    path = tmp_path / "socket"

    async def work(remote: RemoteHost) -> None:
        with socket.socket(socket.AF_UNIX) as there, socket.socket(socket.AF_UNIX) as first:
            there.bind(str(path))
            there.listen(0)  # one may wait
            first.connect(str(path))
            with pytest.raises(DeadlineExceeded):
                await remote.exchange(str(path), b"abc", deadline=0.2)
            asking = asyncio.create_task(remote.exchange(str(path), b"abc", deadline=20))
            await asyncio.sleep(0.2)
            there.accept()[0].close()
            second = await asyncio.to_thread(there.accept)
            second[0].sendall(second[0].recv(3))
            second[0].close()
            assert await asking == b"abc"

    on_host(work)


# Files


@pytest.mark.parametrize(
    "name", ["a b", "$(id)", "-rf", "new\nline", "\udcff", "ü", "x" * 255, ".hidden", "'\""]
)
def test_file_names_are_only_names(tmp_path: Path, name: str) -> None:
    path = f"{tmp_path}/{name}"

    async def work(remote: RemoteHost) -> None:
        await remote.write(path, b"1")
        assert await remote.entries(str(tmp_path)) == (name,)
        assert await remote.read(path) == b"1"
        assert await remote.remove(path)
        assert await remote.entries(str(tmp_path)) == ()

    on_host(work)


def test_paths_that_cannot_be() -> None:
    async def work(remote: RemoteHost) -> None:
        for path in ("relative", "", "/nul\0"):
            with pytest.raises(AgentError):
                await remote.read(path)

    on_host(work)


def test_what_is_in_the_way_of_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    (tmp_path / "folder" / "more").mkdir(parents=True)
    os.mkfifo(tmp_path / "fifo")

    async def work(remote: RemoteHost) -> None:
        for path in ("folder", "file/below", "file/further/below"):
            with pytest.raises(ConflictError):
                await remote.write(f"{tmp_path}/{path}", b"x")
        for path in ("folder", "fifo"):
            with pytest.raises(ConflictError):
                await remote.read(f"{tmp_path}/{path}")
        assert await remote.read(f"{tmp_path}/file/below") is None
        assert not await remote.remove(f"{tmp_path}/folder")  # not empty
        assert await remote.remove(f"{tmp_path}/folder/more")
        assert await remote.remove(f"{tmp_path}/folder")

    on_host(work)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["fifo", "file"]


def test_a_big_file(tmp_path: Path) -> None:
    content = os.urandom(1 << 20) * 16

    async def work(remote: RemoteHost) -> None:
        await remote.write(f"{tmp_path}/f", content)
        assert await remote.read(f"{tmp_path}/f") == content

    on_host(work)


def test_a_reader_sees_the_old_or_the_new_content(tmp_path: Path) -> None:
    old, new = b"o" * 300_000, b"n" * 200_000
    path = tmp_path / "f"
    path.write_bytes(old)

    async def work(remote: RemoteHost) -> set[bytes]:
        seen = set()
        for number in range(40):
            write = asyncio.create_task(remote.write(str(path), new if number % 2 else old))
            while not write.done():
                seen.add(path.read_bytes())
                await asyncio.sleep(0)
            await write
        return seen

    assert on_host(work) <= {old, new}


def test_two_sessions_that_write_one_file_leave_one_of_the_two_contents(tmp_path: Path) -> None:
    path = tmp_path / "f"

    async def work() -> None:
        async with host() as one, host() as two:
            for _ in range(20):
                await asyncio.gather(one.write(str(path), b"1" * 50_000), two.write(str(path), b"2" * 60_000))
                assert path.read_bytes() in (b"1" * 50_000, b"2" * 60_000)

    asyncio.run(work())
    assert list(tmp_path.iterdir()) == [path]


def test_what_a_power_cut_left_goes_with_the_next_write_and_with_the_file(tmp_path: Path) -> None:
    left = tmp_path / ".f.macvlan-fabric"

    async def work(remote: RemoteHost) -> None:
        left.write_bytes(b"half of a longer conte")
        await remote.write(f"{tmp_path}/f", b"new")
        assert not left.exists()
        left.write_bytes(b"half")
        assert await remote.remove(f"{tmp_path}/f")
        assert not left.exists()

    on_host(work)


def mounted(options: str, folder: Path) -> tuple[str, ...]:
    """Start the agent where a small file system is mounted, which nobody else sees."""
    script = 'mount -t tmpfs -o "$1" none "$2" && shift 2 && exec "$@"'
    return (*NAMESPACE, "sh", "-c", script, "sh", options, str(folder))


def test_a_full_disk_keeps_the_old_and_nothing_of_the_new(tmp_path: Path) -> None:
    async def work(remote: RemoteHost) -> None:
        await remote.write(f"{tmp_path}/f", b"old")
        for path in ("f", "g", "folder/f"):
            with pytest.raises(Unsupported, match="No space left on device\n  hint: make room"):
                await remote.write(f"{tmp_path}/{path}", b"x" * 1_000_000)
        assert await remote.entries(str(tmp_path)) == ("f",)
        assert await remote.read(f"{tmp_path}/f") == b"old"

    on_host(work, mounted("size=256k", tmp_path))


def test_a_read_only_file_system(tmp_path: Path) -> None:
    async def work(remote: RemoteHost) -> None:
        with pytest.raises(Unsupported, match="mounted read-only"):
            await remote.write(f"{tmp_path}/f", b"x")

    on_host(work, mounted("ro", tmp_path))


def test_settings_of_the_kernel_are_written_in_place() -> None:
    setting = "/proc/sys/net/ipv4/conf/lo/forwarding"

    async def work(remote: RemoteHost) -> None:
        assert await remote.read(setting) == b"0\n"
        await remote.write(setting, b"1\n")
        assert await remote.read(setting) == b"1\n"
        with pytest.raises(Unsupported, match="no such setting"):
            await remote.write("/proc/sys/net/ipv4/conf/eth77/forwarding", b"1")
        with pytest.raises(Unsupported, match="Invalid argument"):
            await remote.write(setting, b"rubbish")

    on_host(work, NAMESPACE)


# Locks


def test_a_lock_excludes_other_sessions_and_names_its_holder(tmp_path: Path) -> None:
    runtime = str(tmp_path / "run")

    async def work() -> None:
        async with host(runtime=runtime) as one, host(runtime=runtime, name="two") as two:
            async with one.lock("x"), two.lock("another"):
                with pytest.raises(
                    DeadlineExceeded, match=rf"^two: lock x: .* held by .*, process {os.getpid()}, since 20"
                ):
                    async with two.lock("x", deadline=0.1):
                        pass
                waiting = asyncio.create_task(two.lock("x").__aenter__())
                assert not (await asyncio.wait({waiting}, timeout=0.1))[0]
            await asyncio.wait_for(waiting, 10)

    asyncio.run(work())
    assert stat.S_IMODE(Path(runtime).stat().st_mode) == 0o700


def test_a_lock_is_free_when_its_session_ends_or_its_waiter_gives_up(tmp_path: Path) -> None:
    runtime = str(tmp_path / "run")

    async def work() -> None:
        async with host(runtime=runtime) as two:
            async with host(runtime=runtime) as one:
                await one.lock("x").__aenter__()
                waiting = asyncio.create_task(two.lock("x").__aenter__())
                await asyncio.sleep(0.05)
                waiting.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await waiting
            async with two.lock("x", deadline=10):
                pass

    asyncio.run(work())


def test_names_of_locks() -> None:
    async def work(remote: RemoteHost) -> None:
        for name in ("", "a/b", "..\0", "a b"):
            with pytest.raises(AgentError, match="no name for a lock"):
                async with remote.lock(name):
                    pass

    on_host(work)


# The session


def test_many_operations_at_once(tmp_path: Path) -> None:
    async def work(remote: RemoteHost) -> None:
        async def one(number: int) -> None:
            path = f"{tmp_path}/{number}"
            await remote.write(path, b"%d" % number)
            done = await remote.run(["cat", path], stdin=b"x" * 1000)
            assert done.stdout == await remote.read(path) == b"%d" % number
            assert [link.name for link in await remote.links()] == ["lo"]

        await asyncio.gather(*(one(number) for number in range(64)))

    on_host(work, NAMESPACE)


# As ssh does: a process of its own between us and the agent, which can die alone.
BETWEEN = ("sh", "-c", '"$@"; true', "sh")


@pytest.mark.parametrize("how", ["closed", "ssh killed", "told to end", "hung up"])
def test_when_the_session_ends_nothing_is_left(how: str, tmp_path: Path) -> None:
    async def work() -> None:
        async with host(BETWEEN) as remote:
            done = await remote.run(["sh", "-c", "echo $PPID"])
            far = int(done.stdout)
            task, pid = await started(remote, sleeper(tmp_path / "pid"), tmp_path / "pid")
            match how:
                case "closed":
                    await remote.close()
                case "ssh killed":
                    os.kill(int(Path(f"/proc/{far}/stat").read_text().split()[3]), signal.SIGKILL)
                case "told to end":
                    os.kill(far, signal.SIGTERM)
                case "hung up":
                    os.kill(far, signal.SIGHUP)
            with pytest.raises(HostUnreachable, match=r"^here: run sh .*: the session "):
                await task
            await asyncio.to_thread(wait_for, lambda: gone(pid) and gone(far), "the end of both")
            assert not remote.usable
            with pytest.raises(HostUnreachable, match="read /etc/hostname: the session "):
                await remote.read("/etc/hostname")

    asyncio.run(work())


def test_a_killed_agent_is_noticed_at_once() -> None:
    async def work(remote: RemoteHost) -> None:
        pid = int((await remote.run(["sh", "-c", "echo $PPID"])).stdout)
        tasks: list[asyncio.Task[object]]
        tasks = [asyncio.create_task(remote.run(["sleep", "60"], deadline=60)) for _ in range(5)]
        tasks.append(asyncio.create_task(_hold(remote)))
        await remote.links()
        os.kill(pid, signal.SIGKILL)
        for task in tasks:
            with pytest.raises(HostUnreachable):
                await task
        with pytest.raises(HostUnreachable, match="list the links"):
            await remote.links()

    on_host(work)


async def _hold(remote: RemoteHost) -> None:
    async with remote.lock("test-killed"):
        await remote.run(["sleep", "60"], deadline=60)


def test_a_host_that_falls_silent_is_noticed_before_any_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session, "PING", 0.5)

    async def work(remote: RemoteHost) -> None:
        pid = int((await remote.run(["sh", "-c", "echo $PPID"])).stdout)
        os.kill(pid, signal.SIGSTOP)
        with pytest.raises(HostUnreachable, match="no sign of life"):
            await remote.run(["true"], deadline=60)

    on_host(work)


def test_an_agent_whose_controller_fell_silent_ends_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    impatient = session.source().replace(b"SILENCE = 40.0", b"SILENCE = 2.0")
    monkeypatch.setattr(session, "source", lambda: impatient)
    monkeypatch.setattr(session, "PING", 1000.0)

    async def work(remote: RemoteHost) -> None:
        with pytest.raises(HostUnreachable, match="the connection was closed"):
            await remote.run(["sleep", "60"], deadline=60)

    on_host(work)


def test_a_banner_before_the_agent_is_no_trouble() -> None:
    banner = ("sh", "-c", 'echo Welcome; printf "\\0\\0mac\\n"; exec "$@"', "sh")
    assert on_host(lambda remote: remote.read("/nowhere"), banner) is None


@pytest.mark.parametrize(
    ("printed", "complaint"),
    [
        (b"x" * 300_000, "printed a lot that is not the agent"),
        (agent.GREETING + b"\xff" * 8, "makes no sense"),
        (agent.GREETING + agent.encode(0, b"hello"), "makes no sense"),
        (
            agent.GREETING + agent.encode(0, b"hello", b"99", b"0", b"3", b"little", b"6", b"h", b""),
            "version 99",
        ),
    ],
)
def test_something_else_than_an_agent_answers(printed: bytes, complaint: str, tmp_path: Path) -> None:
    (tmp_path / "printed").write_bytes(printed)
    argv = ["sh", "-c", 'cat "$1"; exec sleep 60', "sh", str(tmp_path / "printed")]
    with pytest.raises(session.Ended, match=complaint):
        asyncio.run(session.open_session("here", argv, deadline=20))


def test_nothing_answers() -> None:
    with pytest.raises(TimeoutError):
        asyncio.run(session.open_session("here", ["sleep", "60"], deadline=0.1))
    with pytest.raises(session.Ended, match="no entry") as caught:
        asyncio.run(session.open_session("here", ["sh", "-c", "echo no entry >&2; exit 7"], deadline=20))
    assert caught.value.status == 7


def test_a_defect_of_the_agent_is_told_as_one(monkeypatch: pytest.MonkeyPatch) -> None:
    broken = session.source().replace(b"def list_folder(path: bytes)", b"def list_folder(path, more)")
    monkeypatch.setattr(session, "source", lambda: broken)

    async def work(remote: RemoteHost) -> None:
        with pytest.raises(AgentError, match="TypeError"):
            await remote.entries("/")

    on_host(work)


def test_secrets_do_not_show_in_the_process_list(tmp_path: Path) -> None:
    async def work(remote: RemoteHost) -> None:
        await remote.write(f"{tmp_path}/f", b"hunter2", mode=0o600)
        await remote.run(["cat"], stdin=b"hunter2")
        lines = [
            path.read_bytes()
            for path in Path("/proc").glob("[0-9]*/cmdline")
            if not gone(int(path.parent.name))
        ]
        assert not [line for line in lines if b"hunter2" in line]

    on_host(work)


def test_the_bootstrap_is_what_ssh_starts() -> None:
    assert agent.BOOTSTRAP in command()
