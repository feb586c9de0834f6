"""An ssh user who may not use Docker is told before anything is touched, and how he comes to be allowed."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace

import pytest

from hosts.docker_rights import foresee_docker_rights
from hosts.fake import FakeHost, Machine
from hosts.fake.docker import Docker
from hosts.ssh import Target
from hosts.survey import survey
from model.fabric import plan
from tests.tutorial import OWNER, TUTORIAL

DOCKER, BOB = 998, 1000
TARGET = Target("host1", "bob@host1.example")


def status(
    parent: int, uid: int, gid: int, groups: Sequence[int], *, as_root: bool = False
) -> tuple[bytes, int]:
    """As /proc shows a process; `as_root`: as sudo runs, with only the real user id that of who called it."""
    ids = "\t".join(map(str, [uid, 0, 0, 0] if as_root else [uid] * 4)), "\t".join([str(gid)] * 4)
    text = (
        f"Name:\tx\nPPid:\t{parent}\nUid:\t{ids[0]}\nGid:\t{ids[1]}\nGroups:\t{' '.join(map(str, groups))} \n"
    )
    return text.encode(), 0o444


def machine(*, live: Sequence[int] = (), by_now: Sequence[int] = (), user: str = "bob") -> Machine:
    """A host with Docker that `user` has logged in to, and called sudo; his groups then, and by now."""
    machine = Machine.bare()
    machine.docker = Docker()
    machine.users[user] = [BOB, *by_now]
    machine.files["/proc/self/environ"] = f"PATH=/bin\0SUDO_USER={user}\0SUDO_UID=1000\0X\0".encode(), 0o400
    machine.files["/proc/self/status"] = status(30, 0, 0, [0])
    machine.files["/proc/30/status"] = status(29, 0, 0, [0])  # sudo's monitor
    machine.files["/proc/29/status"] = status(28, BOB, 0, [0], as_root=True)
    machine.files["/proc/28/status"] = status(27, BOB, BOB, live)  # the session
    machine.files["/proc/27/status"] = status(1, 0, 0, [0])
    return machine


def said(machine: Machine, target: Target = TARGET) -> str:
    return str(asyncio.run(foresee_docker_rights(FakeHost("host1", machine), target)) or "")


NOT_ALLOWED = "host1: bob may not use Docker: its provider runs docker as bob over ssh\n  hint: "


def test_a_user_without_the_group_is_told_to_get_it() -> None:
    assert said(machine()) == (
        f"{NOT_ALLOWED}add bob to the group docker on the host: sudo usermod -aG docker bob"
    )


def test_the_group_is_the_sockets_whatever_it_is_called() -> None:
    there = machine(live=[DOCKER], by_now=[DOCKER])
    assert there.docker is not None
    there.docker.socket = "srw-rw---- 0 991 wheels"
    assert said(there) == f"{NOT_ALLOWED}add bob to the group wheels on the host: sudo usermod -aG wheels bob"
    there.docker.socket = "srw-rw---- 0 991 UNKNOWN"
    assert said(there).endswith("sudo usermod -aG 991 bob")


@pytest.mark.parametrize("socket", ["srw-rw---- 0 0 root", "srw------- 0 991 wheels"])
def test_nobody_is_told_to_join_root(socket: str) -> None:
    there = machine()
    assert there.docker is not None
    there.docker.socket = socket
    assert said(there) == (
        f"{NOT_ALLOWED}log in as root, or let a group that bob is in use /var/run/docker.sock: "
        "`group` in /etc/docker/daemon.json"
    )


def test_a_connection_that_is_older_than_the_membership_is_to_be_closed() -> None:
    told = (
        "host1: bob may not use Docker yet: the ssh connection that is shared (ControlMaster) was made "
        "before bob was added to the group docker\n  hint: close it: ssh "
    )
    assert said(machine(by_now=[DOCKER])) == f"{told}-O exit bob@host1.example"
    with_config = replace(TARGET, ssh_config="/home/me/ssh config")
    assert said(machine(by_now=[DOCKER]), with_config) == (
        f"{told}-F '/home/me/ssh config' -O exit bob@host1.example"
    )


@pytest.mark.parametrize(
    "socket",
    [
        f"srw-rw---- 0 {DOCKER} docker",
        "srw-rw---- 0 30 thirty",
        "srw-rw-rw- 0 991 other",
        f"srw-rw---- {BOB} 991 other",
    ],
)
def test_who_may_use_it_is_told_nothing(socket: str) -> None:
    there = machine(live=[30, DOCKER])
    assert there.docker is not None
    there.docker.socket = socket
    assert said(there) == ""


def test_the_first_group_counts_too() -> None:
    there = machine()
    assert there.docker is not None
    there.docker.socket = f"srw-rw---- 0 {BOB} bob"
    assert said(there) == ""


def test_root_is_asked_nothing() -> None:
    there = machine()
    there.files["/proc/self/environ"] = b"PATH=/bin\0", 0o400
    assert said(there) == ""
    there.files["/proc/self/environ"] = b"SUDO_USER=root\0SUDO_UID=0\0", 0o400
    assert said(there) == ""


def test_a_session_that_is_not_found_leaves_the_user_database() -> None:
    there = machine(by_now=[DOCKER])
    del there.files["/proc/29/status"]
    assert said(there) == ""
    there.users["bob"] = [BOB]
    assert "usermod -aG docker bob" in said(there)


def test_a_user_that_nobody_knows_leaves_the_session() -> None:
    there = machine()
    there.users.clear()
    assert "usermod -aG docker bob" in said(there)
    del there.files["/proc/28/status"]
    assert said(there) == ""


def test_what_cannot_be_decided_is_not_said() -> None:
    there = machine()
    assert there.docker is not None
    there.docker.socket = f"srw-rw----+ 0 {DOCKER} docker"  # an access control list
    assert said(there) == ""
    there.docker.socket = f"srw-rw---- 0 {DOCKER} docker"
    there.docker.running = False
    assert said(there) == ""
    there.docker.running = True
    there.files[f"/run/user/{BOB}/docker.sock"] = b"", 0o600  # rootless
    assert said(there) == ""


def test_a_name_from_the_host_is_quoted_in_what_is_to_be_typed() -> None:
    assert said(machine(user="a b;c")).endswith("sudo usermod -aG docker 'a b;c'")


def test_it_is_a_problem_where_docker_is_needed_and_only_there() -> None:
    router, host1, _ = plan(TUTORIAL, OWNER).hosts
    found = asyncio.run(survey(FakeHost("host1", machine()), host1, OWNER, ssh_config="/c"))
    assert [problem.message for problem in found.problems] == [
        "bob may not use Docker: its provider runs docker as bob over ssh"
    ]
    assert asyncio.run(survey(FakeHost("router", machine()), router, OWNER)).problems == ()
