"""Whether the ssh user of a host may use Docker there, as his provider does: over ssh, without sudo.

Our agent is root and sees all of Docker whoever has logged in. What counts for the provider is the session in
which sudo was called: its groups are those that the user had when the connection was made, and ssh may go on
sharing that one long after somebody has added him to a group.
"""

from __future__ import annotations

import shlex
from collections.abc import Collection
from dataclasses import dataclass

from hosts.daemon import SOCKET
from hosts.errors import PermissionDenied
from hosts.host import Host
from hosts.ssh import Target, hang_up_by_hand

# The socket's mode and numbers, with a + if there is more than they say; its group; the user's groups by now.
LOOK = 'ls -lndL "$1"; stat -L -c %G "$1"; id -G -- "$2"'

GENERATIONS = 16  # from the agent up to the session: sudo, perhaps its monitor, perhaps shells


@dataclass(frozen=True)
class Login:
    """Who has logged in and called sudo."""

    user: str
    uid: int
    groups: frozenset[int] | None  # of his session; None: it was not found


@dataclass(frozen=True)
class Socket:
    """Who may speak to the daemon, by what `ls` shows."""

    mode: str  # srw-rw----
    uid: int
    gid: int
    group: str

    @property
    def is_for_its_group(self) -> bool:
        """Whether it helps to be in its group, and that group is one to be in."""
        return self.mode[5] == "w" and self.gid != 0

    def lets_in(self, uid: int, groups: Collection[int]) -> bool:
        """Whether a process of that user and those groups can connect."""
        if uid == self.uid:
            return self.mode[2] == "w"
        return self.mode[5 if self.gid in groups else 8] == "w"


async def foresee_docker_rights(host: Host, target: Target) -> PermissionDenied | None:
    """Why the ssh user cannot use Docker; None if he can, or nobody knows.

    Nobody knows with an access control list on the socket, or if he has a daemon of his own (rootless).
    """
    login = await _login(host)
    if login is None or "docker.sock" in await host.entries(f"/run/user/{login.uid}"):
        return None
    looked = await host.run(["sh", "-c", LOOK, "sh", SOCKET, login.user])
    socket, by_now = _understood(looked.stdout.decode(errors="replace"))
    if socket is None or socket.mode.endswith("+"):
        return None
    if login.groups is not None and socket.lets_in(login.uid, login.groups):
        return None
    if by_now is not None and socket.lets_in(login.uid, by_now):
        return None if login.groups is None else _too_old(host, target, login, socket)
    return None if login.groups is None and by_now is None else _not_allowed(host, login, socket)


def _not_allowed(host: Host, login: Login, socket: Socket) -> PermissionDenied:
    add = shlex.join(["sudo", "usermod", "-aG", socket.group, login.user])
    hint = f"add {login.user} to the group {socket.group} on the host: {add}"
    if not socket.is_for_its_group:
        hint = (
            f"log in as root, or let a group that {login.user} is in use {SOCKET}: "
            "`group` in /etc/docker/daemon.json"
        )
    problem = f"{login.user} may not use Docker: its provider runs docker as {login.user} over ssh"
    return PermissionDenied(host.name, problem, hint)


def _too_old(host: Host, target: Target, login: Login, socket: Socket) -> PermissionDenied:
    return PermissionDenied(
        host.name,
        f"{login.user} may not use Docker yet: the ssh connection that is shared (ControlMaster) was made "
        f"before {login.user} was added to the group {socket.group}",
        f"close it: {hang_up_by_hand(target)}",
    )


async def _login(host: Host) -> Login | None:
    """Who has called sudo; None if it is root who has logged in."""
    variables = ((await host.read("/proc/self/environ")) or b"").decode(errors="replace").split("\0")
    environment = dict(variable.split("=", 1) for variable in variables if "=" in variable)
    user, uid = environment.get("SUDO_USER", ""), environment.get("SUDO_UID", "")
    if not user or not uid.isdecimal() or int(uid) == 0:
        return None
    return Login(user, int(uid), await _groups_of_session(host, int(uid)))


async def _groups_of_session(host: Host, uid: int) -> frozenset[int] | None:
    """The groups of the nearest process above the agent that runs as that user."""
    process = "self"
    for _ in range(GENERATIONS):
        lines = ((await host.read(f"/proc/{process}/status")) or b"").decode(errors="replace").splitlines()
        status = {key: value.split() for key, _, value in (line.partition(":") for line in lines)}
        # sudo itself runs in the user's real name, but as root, with root's groups
        if status.get("Uid", ())[:2] == [str(uid), str(uid)]:
            return frozenset(map(int, (*status.get("Gid", ())[1:2], *status.get("Groups", ()))))
        process = "".join(status.get("PPid", ()))
        if process in ("", "0"):
            return None
    return None


def _understood(printed: str) -> tuple[Socket | None, frozenset[int] | None]:
    """The socket, and the user's groups by now, from what `LOOK` prints; None for what cannot be read."""
    listed, group, groups, *_ = (*printed.splitlines(), "", "", "")
    words = listed.split()
    if len(words) < 4 or len(words[0]) < 10 or not words[2].isdecimal() or not words[3].isdecimal():
        return None, None
    gid = int(words[3])
    name = group if group not in ("", "UNKNOWN") else str(gid)
    by_now = frozenset(map(int, groups.split())) if groups.replace(" ", "").isdecimal() else None
    return Socket(words[0], int(words[2]), gid, name), by_now
