"""What ssh is told, and what we make of what it says.

Where the machine has an sshd it is the real one, started by ssh itself as its ProxyCommand; it listens
nowhere.
"""

from __future__ import annotations

import asyncio
import getpass
import os
import shlex
import shutil
import signal
import stat
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from hosts import agent, ssh
from hosts.connection import RemoteHost, connect
from hosts.errors import HostError, HostUnreachable, PermissionDenied, Unsupported
from hosts.ssh import Target

SSHD = shutil.which("sshd", path=f"{os.environ['PATH']}:/usr/sbin")
needs_sshd = pytest.mark.skipif(SSHD is None, reason="no sshd on this machine")
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="logs in as the present user, who must be root then")


def explained(complaint: str, address: str = "there") -> HostError:
    return asyncio.run(ssh.explain(Target("router", address), complaint, 255))


def test_ssh_never_asks_and_never_waits_for_ever() -> None:
    options = ssh.options(Target("router", "there", "some/ssh_config"))
    assert options[:2] == ("-F", "some/ssh_config")
    assert "BatchMode=yes" in options
    assert "ConnectTimeout=10" in options
    assert "ServerAliveInterval=5" in options
    assert not [word for word in options if "HostKey" in word or "KnownHosts" in word]  # the user's say


def test_the_address_stands_alone_and_the_rest_is_constant() -> None:
    one, other = (ssh.command(Target("a", address)) for address in ("user@one", "$(other)"))
    assert one[-3:-1] == ("--", "user@one")
    assert other[-3:-1] == ("--", "$(other)")
    assert one[-1] == other[-1]


@pytest.mark.parametrize("shell", ["sh", "bash", "dash", "zsh", "fish", "csh", "tcsh", "busybox sh"])
def test_any_login_shell_understands_it(shell: str) -> None:
    words = shell.split()
    if shutil.which(words[0]) is None:
        pytest.skip(f"no {words[0]} on this machine")
    remote = ssh.command(Target("a", "b"))[-1]
    source = b"import os; os.write(1, b'at work')"
    done = subprocess.run([*words, "-c", remote.replace("sudo -n ", "").replace('"$(id -u)" = 0', "1 = 1")],
                          input=b"%08x" % len(source) + source, capture_output=True, check=False)  # fmt: skip
    assert (done.stdout, done.stderr) == (b"at work", b"")


def test_the_agent_learns_of_the_connection_before_sudo_forgets_it(tmp_path: Path) -> None:
    for name, script in {"id": "echo 1000", "sudo": 'shift; exec env -i PATH="$PATH" "$@"'}.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{script}\n")
        (tmp_path / name).chmod(0o755)
    source = b"import os, sys; print(sys.argv[3:], os.environ.get('SSH_CONNECTION'))"
    connection = "192.0.2.1 50022 192.0.2.2 22"
    done = subprocess.run(
        ["sh", "-c", ssh.command(Target("a", "b"))[-1]],
        input=b"%08x" % len(source) + source,
        env={"PATH": f"{tmp_path}:{os.environ['PATH']}", "SSH_CONNECTION": connection},
        capture_output=True,
        check=False,
    )
    assert done.stdout.decode().strip() == f"['{connection}'] None", done.stderr


# The errors, as OpenSSH 8.4 to 10.0 and sudo 1.9 print them


@pytest.mark.parametrize(
    ("complaint", "kind", "message", "hint"),
    [
        (
            "ssh: connect to host 10.0.0.1 port 22: Connection refused",
            HostUnreachable,
            "nothing listens there: ssh: connect to host 10.0.0.1 port 22: Connection refused",
            "is sshd running",
        ),
        (
            "ssh: connect to host 10.0.0.1 port 22: Connection timed out",
            HostUnreachable,
            "no answer: ssh: connect to host 10.0.0.1 port 22: Connection timed out",
            "is the host up",
        ),
        (
            "Timeout, server 10.0.0.1 not responding.",
            HostUnreachable,
            "no answer: Timeout, server 10.0.0.1 not responding.",
            "is the host up",
        ),
        (
            "ssh: connect to host 10.0.0.1 port 22: No route to host",
            HostUnreachable,
            "no way there: ssh: connect to host 10.0.0.1 port 22: No route to host",
            "is the host up",
        ),
        (
            "ssh: Could not resolve hostname nowhere: Name or service not known",
            HostUnreachable,
            "nobody knows the name: Could not resolve hostname nowhere: Name or service not known",
            "check the address",
        ),
        (
            "Welcome to ACME\njoe@there: Permission denied (publickey,password).",
            HostUnreachable,
            "there refuses our keys: Permission denied (publickey,password)",
            "try `ssh there`",
        ),
        (
            "Received disconnect from 10.0.0.1 port 22:2: Too many authentication failures",
            HostUnreachable,
            "there refuses: Too many authentication failures",
            "IdentitiesOnly yes",
        ),
        (
            "kex_exchange_identification: read: Connection reset by peer",
            HostUnreachable,
            "sshd turns us away: kex_exchange_identification: read: Connection reset by peer",
            "busy",
        ),
        (
            "sudo: a password is required",
            PermissionDenied,
            "sudo wants a password",
            "NOPASSWD: /usr/bin/python3",
        ),
        (
            "sudo: a terminal is required to read the password; either use the -S option to read from "
            "standard input or configure an askpass helper\nsudo: a password is required",
            PermissionDenied,
            "sudo wants a password",
            "NOPASSWD",
        ),
        ("sudo: sorry, you must have a tty to run sudo", PermissionDenied, "must have a tty", "NOPASSWD"),
        (
            "joe is not in the sudoers file.  This incident will be reported.",
            PermissionDenied,
            "sudo refuses: joe is not in the sudoers file.",
            "NOPASSWD",
        ),
        (
            "Sorry, user joe is not allowed to execute '/usr/bin/python3 -ISc' as root on host1.",
            PermissionDenied,
            "sudo refuses: Sorry, user joe is not allowed to execute",
            "NOPASSWD",
        ),
        (
            "macvlan-fabric:no-sudo",
            PermissionDenied,
            "there is not root, and there is no sudo",
            "log in as root",
        ),
        ("macvlan-fabric:no-python", Unsupported, "there is no python3", "python3-minimal"),
        (f"{agent.TOO_OLD}3.5.3", Unsupported, "its python3 is 3.5.3; 3.6 is the oldest", "newer python3"),
        (
            "Something quite new.",
            HostUnreachable,
            "before the host answered, status 255: Something",
            "by hand",
        ),
        ("", HostUnreachable, "it said nothing", "by hand"),
    ],
)
def test_complaints(complaint: str, kind: type[HostError], message: str, hint: str) -> None:
    error = explained(complaint)
    assert type(error) is kind
    assert str(error).startswith("router: ")
    assert message in error.message
    assert hint in error.hint


def test_braces_in_a_complaint_are_only_text() -> None:
    assert "{0} {x}" in explained("ssh: Could not resolve hostname {0} {x}: no", "{address}").message


# The bootstrap's shell text, with exactly the programs that it finds


def run_start(tmp_path: Path, programs: dict[str, str]) -> HostError:
    """Run what the remote shell is given where only these programs exist; what we make of it."""
    for name, text in programs.items():
        path = tmp_path / name
        path.write_text(f"#!/bin/sh\n{text}\n")
        path.chmod(0o755)
    (tmp_path / "sh").symlink_to("/bin/sh")
    start = ssh.command(Target("a", "b"))[-1]
    done = subprocess.run(
        ["/bin/sh", "-c", start], env={"PATH": str(tmp_path)}, capture_output=True, text=True, check=False
    )
    return asyncio.run(ssh.explain(Target("router", "joe@there"), done.stderr, done.returncode))


def test_no_python(tmp_path: Path) -> None:
    assert "there is no python3" in run_start(tmp_path, {"id": "echo 0"}).message


def test_no_sudo(tmp_path: Path) -> None:
    assert "there is no sudo" in run_start(tmp_path, {"id": "echo 1000", "python3": "exit 9"}).message


def test_root_needs_no_sudo(tmp_path: Path) -> None:
    error = run_start(tmp_path, {"id": "echo 0", "python3": "echo as $1 >&2", "sudo": "echo wrong >&2"})
    assert error.message.endswith("as -ISc")


def test_others_need_it(tmp_path: Path) -> None:
    programs = {"id": "echo 1000", "python3": "echo wrong >&2", "sudo": "echo sudo $1 $2 $3 >&2"}
    assert run_start(tmp_path, programs).message.endswith("sudo -n python3 -ISc")


# The real thing


@dataclass
class Server:
    """A configuration under which every host name leads to an sshd on this machine."""

    folder: Path

    @property
    def target(self) -> Target:
        return Target("router", "box", str(self.folder / "ssh_config"))

    def configure(self, **settings: str) -> None:
        config = {
            "HostName": "box.example",
            "User": getpass.getuser(),
            "IdentityFile": str(self.folder / "id"),
            "IdentitiesOnly": "yes",
            "UserKnownHostsFile": str(self.folder / "known_hosts"),
            "GlobalKnownHostsFile": "/dev/null",
            "ProxyCommand": f"{SSHD} -i -f {shlex.quote(str(self.folder / 'sshd_config'))}",
            **settings,
        }
        lines = [f"{key} {value}" for key, value in config.items()]
        (self.folder / "ssh_config").write_text("\n".join(lines) + "\n")

    def know(self, key: str) -> None:
        kind, data, *_ = (self.folder / f"{key}.pub").read_text().split()
        (self.folder / "known_hosts").write_text(f"box.example {kind} {data}\n")


@pytest.fixture
def server() -> Iterator[Server]:
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:  # short: a socket's path has at most 108 bytes
        yield from serve(Path(folder))


def serve(tmp_path: Path) -> Iterator[Server]:
    for key in ("host", "other", "id"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", tmp_path / key], check=True)
    (tmp_path / "authorized_keys").write_text((tmp_path / "id.pub").read_text())
    (tmp_path / "sshd_config").write_text(
        f"HostKey {tmp_path}/host\nAuthorizedKeysFile {tmp_path}/authorized_keys\n"
        "StrictModes no\nUsePAM no\nPermitRootLogin yes\nPermitUserRC no\nPrintMotd no\n"
    )
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)  # sshd refuses to start without it
    server = Server(tmp_path)
    server.know("host")
    server.configure()
    yield server
    subprocess.run(["ssh", "-F", server.target.ssh_config or "", "-O", "exit", "box"],
                   capture_output=True, check=False)  # fmt: skip


async def pid(host: RemoteHost) -> bytes:
    return (await host.run(["sh", "-c", "echo $PPID"])).stdout


@needs_sshd
@as_root
def test_a_session_over_ssh(server: Server) -> None:
    async def work() -> None:
        host = await connect(server.target)
        assert host.greeting.uid == 0
        assert await host.read("/proc/sys/kernel/ostype") == b"Linux\n"
        assert "lo" in {link.name for link in await host.links()}
        await host.close()

    asyncio.run(work())


@needs_sshd
@as_root
def test_no_child_of_the_agent_outlives_ssh(server: Server, tmp_path: Path) -> None:
    async def work() -> int:
        host = await connect(server.target)
        task = asyncio.create_task(
            host.run(
                ["sh", "-c", 'sleep 300 & echo $! >"$1"; wait', "sh", str(tmp_path / "pid")], deadline=60
            )
        )
        while not ((tmp_path / "pid").exists() and (tmp_path / "pid").read_text()):  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        await host.close()
        with pytest.raises(HostUnreachable):
            await task
        return int((tmp_path / "pid").read_text())

    child = asyncio.run(work())
    end = time.monotonic() + 20
    while Path(f"/proc/{child}").exists():
        assert time.monotonic() < end
        time.sleep(0.01)


@needs_sshd
@pytest.mark.parametrize("strict", ["yes", "ask"])
def test_an_unknown_host_key_is_refused(server: Server, strict: str) -> None:
    server.configure(StrictHostKeyChecking=strict)
    (server.folder / "known_hosts").write_text("")
    with pytest.raises(HostUnreachable, match="the host key of box is not known yet") as caught:
        asyncio.run(connect(server.target))
    assert f"`ssh-keyscan box.example >>{server.folder}/known_hosts`" in caught.value.hint
    assert (server.folder / "known_hosts").read_text() == ""


@needs_sshd
def test_a_changed_host_key_is_refused(server: Server) -> None:
    server.know("other")
    before = (server.folder / "known_hosts").read_text()
    with pytest.raises(HostUnreachable, match=r"the host key of box differs from .*known_hosts:1") as caught:
        asyncio.run(connect(server.target))
    assert f"`ssh-keygen -f {server.folder}/known_hosts -R box.example`" in caught.value.hint
    assert (server.folder / "known_hosts").read_text() == before


@needs_sshd
def test_the_users_choice_about_host_keys_stands(server: Server) -> None:
    server.configure(StrictHostKeyChecking="accept-new")
    (server.folder / "known_hosts").write_text("")
    with pytest.raises(HostUnreachable, match="refuses our keys"):
        (server.folder / "authorized_keys").write_text("")
        asyncio.run(connect(server.target))
    assert "box.example" in (server.folder / "known_hosts").read_text()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"ProxyCommand": "none", "HostName": "127.0.0.1", "Port": "1"}, "nothing listens there"),
        ({"ProxyCommand": "none", "HostName": "nowhere.invalid"}, "nobody knows the name"),
        ({"ProxyCommand": "false"}, "sshd turns us away"),
        ({"Nonsense": "yes"}, "ssh cannot use its configuration"),
    ],
)
def test_other_ways_to_fail(server: Server, settings: dict[str, str], message: str) -> None:
    server.configure(**settings)
    with pytest.raises(HostUnreachable, match=f"^router: .*{message}"):
        asyncio.run(connect(server.target, deadline=3))


def test_a_configuration_that_is_not_there() -> None:
    with pytest.raises(HostUnreachable, match="cannot use its configuration: Can't open user config file"):
        asyncio.run(connect(Target("router", "box", "/nowhere/ssh_config")))


def test_a_host_that_does_not_answer(server: Server) -> None:
    server.configure(ProxyCommand="sleep 60")
    with pytest.raises(HostUnreachable, match=r"no answer from box within 0\.5 s"):
        asyncio.run(connect(server.target, deadline=0.5))


@needs_sshd
@as_root
def test_sshd_that_is_too_busy_at_first_is_asked_again(server: Server) -> None:
    script = server.folder / "busy"
    script.write_text(f"#!/bin/sh\nmkdir {server.folder}/once 2>/dev/null && exit\nexec {SSHD} -i -f $1\n")
    script.chmod(stat.S_IRWXU)
    server.configure(ProxyCommand=f"{script} {server.folder}/sshd_config")

    async def work() -> None:
        await (await connect(server.target)).close()

    asyncio.run(work())


@needs_sshd
@as_root
def test_a_shared_connection_is_used_and_can_be_avoided(server: Server) -> None:
    server.configure(ControlMaster="auto", ControlPath=f"{server.folder}/%C", ControlPersist="60")

    async def work() -> None:
        first = await connect(server.target)
        assert await ssh.shares(server.target)
        second = await connect(server.target)
        alone = await connect(server.target, fresh=True)
        parents = [await grandparent(host) for host in (first, second, alone)]
        assert parents[0] == parents[1] != parents[2]
        await first.close()  # the connection stays, for the others
        assert await second.read("/nowhere") is None
        await second.close()
        await alone.close()

    asyncio.run(work())


@needs_sshd
@as_root
def test_a_path_too_long_for_a_socket_only_means_that_nothing_is_shared(server: Server) -> None:
    server.configure(ControlMaster="auto", ControlPath=f"{server.folder}/{'x' * 40}%C", ControlPersist="60")

    async def work() -> None:
        await (await connect(server.target)).close()

    asyncio.run(work())


async def grandparent(host: RemoteHost) -> int:
    """The sshd that serves the connection."""
    number = int(await pid(host))
    name = ""
    while not name.startswith("sshd"):
        fields = Path(f"/proc/{number}/stat").read_text()  # noqa: ASYNC240
        name = fields[fields.index("(") + 1 : fields.rindex(")")]
        parent = int(fields[fields.rindex(")") :].split()[2])
        number, served = parent, number
    return served


@needs_sshd
@as_root
@pytest.mark.parametrize("how", [signal.SIGSTOP, signal.SIGKILL])
def test_a_shared_connection_that_leads_nowhere_does_not_stop_us(server: Server, how: signal.Signals) -> None:
    server.configure(ControlMaster="auto", ControlPath=f"{server.folder}/%C", ControlPersist="60")

    async def work() -> None:
        first = await connect(server.target)
        sshd = await grandparent(first)
        await first.close()
        os.kill(sshd, how)
        try:
            second = await connect(server.target)
            assert await second.read("/nowhere") is None
            await second.close()
        finally:
            if how == signal.SIGSTOP:
                os.kill(sshd, signal.SIGKILL)

    asyncio.run(work())
