"""How to get onto the guests: keys, known hosts, and an ssh configuration that needs no route to them.

Everything is in the lab's folder and nothing of it in the user's own ssh configuration.
"""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Iterator, Mapping, Sequence

from .command import find, run

LONGEST_NAME = 13  # of a host; an interface name has 15 characters, two of which say which port it is


def make_key(path: Path, comment: str) -> None:
    """An Ed25519 key pair at `path` and `path`.pub, unless it is there."""
    if not (path.exists() and path.with_name(f"{path.name}.pub").exists()):
        path.unlink(missing_ok=True)
        path.parent.mkdir(parents=True, exist_ok=True)
        run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", comment, "-f", str(path)])


def known_hosts_text(public_keys: Mapping[str, str]) -> str:
    """The known_hosts file for hosts and their public keys, under the names that ssh_config gives them."""
    return "".join(f"{host} {' '.join(key.split()[:2])}\n" for host, key in public_keys.items())


def proxy_command(inside: Sequence[str]) -> str:
    """Connect from inside the namespace and hand the socket to ssh, so that no relay stays in between.

    `inside` is what runs a command in the namespace. nc is OpenBSD's, whose -F passes the socket (ssh_config(5),
    ProxyUseFdpass).
    """
    return " ".join([*(_word(word) for word in inside), _word(find("nc.openbsd")), "-F", "%h", "%p"])


def _word(word: str) -> str:
    """A word of a ProxyCommand: quoted for the shell, and % doubled for ssh."""
    return shlex.quote(word).replace("%", "%%")


def _path(path: Path) -> str:
    """A path in ssh_config, where quotes hold spaces together and % and $ are expanded."""
    return '"' + str(path).replace("%", "%%") + '"'


def shared_connections(directory: Path, host: str) -> Iterator[Path]:
    """The sockets of the connections to `host` that all ssh share: a login costs a guest a third of a second."""
    return directory.glob(f"ssh-*@{host}")


def _sharing(directory: Path) -> str:
    """ssh_config(5) lines for shared connections; none where the folder's path is too long for a socket's name."""
    room = 107 - len(".0123456789abcdef")  # sun_path (unix(7)), less what ssh adds while it makes the socket
    if len(bytes(directory / f"ssh-root@{'h' * LONGEST_NAME}")) > room:
        return ""
    return f"""\
    ControlMaster auto
    ControlPath {_path(directory)[:-1]}/ssh-%r@%n"
    ControlPersist 60
    ServerAliveInterval 5
    ServerAliveCountMax 3
"""


def ssh_config_text(directory: Path, addresses: Mapping[str, str], proxy: str) -> str:
    """An ssh_config(5) with each host as an alias; `addresses` by host name."""
    hosts = "".join(
        f"\nHost {host}\n    HostName {address}\n    HostKeyAlias {host}\n"
        for host, address in addresses.items()
    )
    return f"""\
# Written by `python3 -m lab up`. Use it with  ssh -F {directory / "ssh_config"} HOST
{hosts}
Host {" ".join(addresses)}
    User root
    IdentityFile {_path(directory / "id_ed25519")}
    IdentitiesOnly yes
    IdentityAgent none
    PreferredAuthentications publickey
    BatchMode yes
    UserKnownHostsFile {_path(directory / "known_hosts")}
    GlobalKnownHostsFile /dev/null
    StrictHostKeyChecking yes
    UpdateHostKeys no
    CheckHostIP no
    ConnectTimeout 20
    ProxyCommand {proxy}
    ProxyUseFdpass yes
{_sharing(directory)}"""
