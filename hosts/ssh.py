"""The system's ssh: how it is called, and what its complaints mean.

The user's configuration, keys, agent, known hosts and jump hosts hold as they are: nothing here is weaker
than what `ssh HOST` on the command line would do, and nothing asks a question: nobody is there to answer.

Whether several ssh share one connection is the configuration's decision as well. With
    ControlMaster auto
    ControlPath /run/user/%i/ssh-%C
    ControlPersist 60
in it, all but the first ssh to a host start in a tenth of the time, docker's too. Where the shared connection
is dead or full, the agent gets a connection of its own.
"""

from __future__ import annotations

import asyncio
import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass

from hosts import agent
from hosts.errors import HostError, HostUnreachable, PermissionDenied, Unsupported

CONNECT = 10.0  # seconds until a host that does not answer is given up


@dataclass(frozen=True)
class Target:
    """A host as the configuration names it."""

    name: str  # what the user calls it
    address: str  # what ssh calls it: `host`, `user@host`, `ssh://user@host:port`, or an alias in its config
    ssh_config: str | None = None  # a file to use in place of the user's own


# What the remote shell is given, whichever shell that is: nothing in it comes from a user.
_START = shlex.join(
    [
        "sh",
        "-c",
        'command -v python3 >/dev/null || { echo "macvlan-fabric:no-python" >&2; exit 1; }; '
        'set -- "$@" "$SSH_CONNECTION"; '  # sudo does not pass it on
        'if [ "$(id -u)" = 0 ]; then exec python3 -ISc "$@"; fi; '
        'command -v sudo >/dev/null || { echo "macvlan-fabric:no-sudo" >&2; exit 1; }; '
        'exec sudo -n python3 -ISc "$@"',
        "sh",
        agent.BOOTSTRAP,
        *agent.BOOTSTRAP_ARGUMENTS,
    ]
)


def options(target: Target) -> tuple[str, ...]:
    """The options for every ssh to the target, ours and docker's. The same on every machine."""
    settings = (
        "BatchMode=yes",
        f"ConnectTimeout={CONNECT:.0f}",
        "ServerAliveInterval=5",
        "ServerAliveCountMax=3",
    )
    return (*_config(target), *(word for setting in settings for word in ("-o", setting)))


def command(target: Target, *, fresh: bool = False) -> tuple[str, ...]:
    """Starts the agent on the target, as root; it then expects its source (`hosts.agent`).

    `fresh`: over a connection of its own, even if the configuration says to share one.
    """
    alone = ("-S", "none") if fresh else ()
    return ("ssh", "-T", *alone, *options(target), "--", target.address, _START)


def by_hand(target: Target) -> str:
    """The command with which a person would try the same connection."""
    return shlex.join(["ssh", *_config(target), target.address])


def hang_up_by_hand(target: Target) -> str:
    """The command with which a person ends the connection that ssh shares, if there is one."""
    return shlex.join(["ssh", *_config(target), "-O", "exit", target.address])


async def shares(target: Target) -> bool:
    """Is there a connection that further ssh to the target would share? It may be dead all the same."""
    process = await asyncio.create_subprocess_exec(
        "ssh", *_config(target), "-O", "check", "--", target.address,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    return await process.wait() == 0


def retry_alone(complaint: str) -> bool:
    """Did ssh fail because of the connection that it wanted to share?"""
    words = r"mux_client|control ?(socket|path)|shared connection|\bmaster\b|too long for Unix domain socket"
    return bool(re.search(words, complaint, re.IGNORECASE))


def retry_later(complaint: str) -> bool:
    """Was sshd only too busy? Of more than ten logins at once it turns away every third (MaxStartups)."""
    closed = r"((kex|ssh)_exchange_identification: [^\n]*|Connection (closed|reset) by [^\n]*)"
    return bool(re.fullmatch(rf"({closed}\s*)+", complaint))


def _config(target: Target) -> tuple[str, ...]:
    return ("-F", target.ssh_config) if target.ssh_config else ()


@dataclass(frozen=True)
class Destination:
    """Where ssh really goes: what its configuration makes of an address."""

    host: str = ""
    port: str = "22"
    known_hosts: str = "~/.ssh/known_hosts"


async def destination(target: Target) -> Destination:
    """Ask `ssh -G`; it opens no connection."""
    process = await asyncio.create_subprocess_exec(
        "ssh", *_config(target), "-G", "--", target.address,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    printed, _ = await process.communicate()
    found = dict(line.split(" ", 1) for line in printed.decode(errors="replace").splitlines() if " " in line)
    return Destination(
        host=found.get("hostkeyalias", found.get("hostname", target.address)),
        port=found.get("port", "22"),
        known_hosts=found.get("userknownhostsfile", "~/.ssh/known_hosts").split()[0],
    )


async def explain(target: Target, complaint: str, status: int | None) -> HostError:
    """What an ssh that ended before the agent answered has to say, and what to do about it."""
    said = _last_words(complaint)
    if "REMOTE HOST IDENTIFICATION HAS CHANGED" in complaint:
        place = await destination(target)
        stored = re.search(r"Offending .* key in (\S+:\d+)", complaint)
        return HostUnreachable(
            target.name,
            f"the host key of {target.address} differs from {stored[1] if stored else place.known_hosts}: "
            "the host was installed anew, or somebody is in between",
            f"only if you know why it changed: `{_forget(place)}`, then {_verify(place)}",
        )
    if "Host key verification failed" in complaint or "host key is known for" in complaint:
        place = await destination(target)
        return HostUnreachable(
            target.name,
            f"the host key of {target.address} is not known yet ({place.known_hosts})",
            _verify(place),
        )
    for pattern, kind, message, hint in _KNOWN:
        if found := re.search(pattern, complaint, re.IGNORECASE):
            words = {"address": target.address, "found": found[0], "said": said, "hand": by_hand(target)}
            words["group"] = found[1] if found.re.groups else ""
            return kind(target.name, message.format(**words), hint.format(**words))
    ended = "" if status is None else f", status {status}"
    return HostUnreachable(
        target.name,
        f"ssh to {target.address} ended before the host answered{ended}: {said or 'it said nothing'}",
        f"try it by hand: `{by_hand(target)}`",
    )


def _last_words(complaint: str) -> str:
    """ssh's last lines on one line, without the banners that people put before a login."""
    lines = [line.strip() for line in complaint.splitlines() if line.strip()]
    return "; ".join(lines[-3:])


def _verify(place: Destination) -> str:
    port = "" if place.port == "22" else f"-p {place.port} "
    scan = f"ssh-keyscan {port}{shlex.quote(place.host)}"
    return (
        f"compare the fingerprint that `{scan} | ssh-keygen -lf -` shows with the one that the host itself "
        "shows on its console (`ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub`); if they agree, store the "
        f"key: `{scan} >>{place.known_hosts}`"
    )


def _forget(place: Destination) -> str:
    host = place.host if place.port == "22" else f"[{place.host}]:{place.port}"
    return shlex.join(["ssh-keygen", "-f", place.known_hosts, "-R", host])


_SUDO_HINT = (
    "log in as root, or let the user run the agent as root without a password, in /etc/sudoers.d: "
    "`USER ALL=(root) NOPASSWD: /usr/bin/python3`"
)
# pattern in ssh's or sudo's output, who must act, what is wrong, what to do; the first that matches counts
_KNOWN: Sequence[tuple[str, type[HostError], str, str]] = (
    (
        "macvlan-fabric:no-python",
        Unsupported,
        "there is no python3",
        "`apt install python3-minimal` is enough",
    ),
    (
        agent.TOO_OLD + r"(\S+)",
        Unsupported,
        "its python3 is {group}; 3.6 is the oldest that serves",
        "install a newer python3",
    ),
    (
        "macvlan-fabric:no-sudo",
        PermissionDenied,
        "{address} is not root, and there is no sudo",
        "log in as root, or install sudo",
    ),
    (
        r"sudo: a (?:terminal|password) is required|sudo: no password|sudo: sorry, you must have a tty",
        PermissionDenied,
        "sudo wants a password: {found}",
        _SUDO_HINT,
    ),
    (
        r"is not in the sudoers file|may not run sudo|is not allowed to (?:execute|run)",
        PermissionDenied,
        "sudo refuses: {said}",
        _SUDO_HINT,
    ),
    (
        r"Permission denied \(([^)]*)\)",
        HostUnreachable,
        "{address} refuses our keys: {found}",
        "is the right user and key configured, and the key loaded (`ssh-add -l`)? try `{hand}`",
    ),
    (
        r"Too many authentication failures",
        HostUnreachable,
        "{address} refuses: {found}",
        "offer fewer keys: `IdentitiesOnly yes` and one `IdentityFile` in ssh's config",
    ),
    (
        r"Could not resolve hostname [^\n]*",
        HostUnreachable,
        "nobody knows the name: {found}",
        "check the address in the configuration, and ssh's config",
    ),
    (
        r"[^\n]*: Connection refused",
        HostUnreachable,
        "nothing listens there: {found}",
        "is sshd running, and is this its port? try `{hand}`",
    ),
    (
        r"[^\n]*: (?:No route to host|Network is unreachable)",
        HostUnreachable,
        "no way there: {found}",
        "is the host up, and is this its address? try `{hand}`",
    ),
    (
        r"Not allowed at this time|[^\n]*_exchange_identification: [^\n]*|banner exchange: [^\n]*",
        HostUnreachable,
        "sshd turns us away: {found}",
        "it is busy, or has seen too many failed logins from here; wait a minute, then try `{hand}`",
    ),
    (
        r"[^\n]*(?:Connection timed out|Operation timed out|not responding)[^\n]*",
        HostUnreachable,
        "no answer: {found}",
        "is the host up, and does a firewall drop ssh? try `{hand}`",
    ),
    (
        r"Can't open user config file [^\n]*",
        HostUnreachable,
        "ssh cannot use its configuration: {found}",
        "check `ssh_config` in the topology",
    ),
    (
        r"Bad configuration option[^\n]*|Bad owner or permissions on [^\n]*|terminating, \d+ bad conf[^\n]*",
        HostUnreachable,
        "ssh cannot use its configuration: {found}",
        "try `{hand}`",
    ),
)
