"""What brings a host's fabric back: units, program, data files; and the program itself, on a real kernel."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Coroutine
from ipaddress import IPv4Interface
from typing import Any, TypeVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hosts.boot import (
    FORWARDING_UNIT,
    LINKS_UNIT,
    PROGRAM_FILE,
    PROGRAM_TEXT,
    UNIT_FOLDER,
    ensure_boot_unit,
    read_boot_unit,
    remove_boot_unit,
)
from hosts.errors import Unsupported, VerificationError
from hosts.fake import FakeHost, Machine
from hosts.firewall import ensure_firewall, read_firewall
from hosts.host import Host
from hosts.links import boot_content, ensure_sub_interface, read_sub_interface
from hosts.managers import AtBoot
from hosts.ownership import ROOT, alias, file_name, folder, owner_in_alias, owner_of_folder
from hosts.sysctls import ensure_sysctls, read_sysctls
from model.fabric import SubInterface
from model.firewall import Chain, Firewall, Jump, Rule, chain_name
from tests.local_host import NAMESPACE, on_host

T = TypeVar("T")

OWNER, OTHER = "tutorial/dev", "tutorial/prod"


def run(operation: Coroutine[Any, Any, T]) -> T:
    return asyncio.run(operation)


@pytest.fixture
def host() -> FakeHost:
    return FakeHost("router")


# Names

names = st.text(st.characters(blacklist_characters="/", blacklist_categories=("Cs", "Cc")), min_size=1)


@given(names, names, names, names)
def test_every_owner_has_a_folder_and_an_alias_of_its_own(a: str, b: str, c: str, d: str) -> None:
    one, other = f"{a}/{b}", f"{c}/{d}"
    assert (folder(one) == folder(other)) == (one == other)
    assert owner_of_folder(folder(one).rpartition("/")[2]) == one
    assert owner_in_alias(alias(one)) == one
    assert folder(one) not in (f"{ROOT}/replay", f"{ROOT}/previous")


@given(names)
def test_file_names_need_no_quoting_in_a_shell_and_are_never_hidden(name: str) -> None:
    assert not set(file_name(name)) & set(" \t\n*?[]$`'\"\\/&;|<>(){}!#")
    assert not file_name(name).startswith(".")


def test_folders_read_well() -> None:
    assert folder("macvlan-fabric/dev") == "/etc/macvlan-fabric/macvlan-fabric+dev"
    assert file_name("eth2.10.link") == "eth2.10.link"


# Units


def test_units_are_made_and_enabled_once_and_leave_no_trace(host: FakeHost) -> None:
    before = host.dump()
    assert str(run(ensure_boot_unit(host, OWNER))) == (
        "made the folder /etc/macvlan-fabric/tutorial+dev; wrote /etc/macvlan-fabric/replay; "
        "wrote /etc/systemd/system/macvlan-fabric.service; "
        "wrote /etc/systemd/system/macvlan-fabric-forwarding.service; "
        "enabled macvlan-fabric.service and macvlan-fabric-forwarding.service"
    )
    assert run(read_boot_unit(host, OWNER)).differences() == ()
    assert not run(ensure_boot_unit(host, OWNER))
    assert run(remove_boot_unit(host, OWNER))
    assert host.dump() == before
    assert not run(remove_boot_unit(host, OWNER))


def test_the_last_stack_removes_the_units(host: FakeHost) -> None:
    before = host.dump()
    run(ensure_boot_unit(host, OWNER))
    alone = host.dump()
    run(ensure_boot_unit(host, OTHER))
    run(remove_boot_unit(host, OTHER))
    assert host.dump() == alone
    run(remove_boot_unit(host, OWNER))
    assert host.dump() == before


@pytest.mark.parametrize(
    ("path", "seen"),
    [
        (LINKS_UNIT.file, f"{LINKS_UNIT.file} is missing or altered"),
        (PROGRAM_FILE, f"{PROGRAM_FILE} is missing or altered"),
        (f"{UNIT_FOLDER}/docker.service.wants/{LINKS_UNIT.name}", f"{LINKS_UNIT.name} is not enabled"),
        (
            f"{UNIT_FOLDER}/multi-user.target.wants/{FORWARDING_UNIT.name}",
            f"{FORWARDING_UNIT.name} is not enabled",
        ),
        (f"{folder(OWNER)}/owner", "this stack is not registered with it"),
    ],
)
def test_whatever_is_removed_is_seen_and_put_back(host: FakeHost, path: str, seen: str) -> None:
    run(ensure_boot_unit(host, OWNER))
    good = host.dump()
    with host.machine() as machine:
        assert machine.remove(path)
    assert run(read_boot_unit(host, OWNER)).differences() == (seen,)
    run(ensure_boot_unit(host, OWNER))
    assert host.dump() == good


def test_units_that_somebody_removed_by_hand_leave_no_links_behind(host: FakeHost) -> None:
    before = host.dump()
    run(ensure_boot_unit(host, OWNER))
    with host.machine() as machine:
        machine.remove(LINKS_UNIT.file)
        machine.remove(FORWARDING_UNIT.file)
    run(remove_boot_unit(host, OWNER))
    assert host.dump() == before


def test_a_host_without_systemd(host: FakeHost) -> None:
    with host.machine() as machine:
        machine.missing.add("systemctl")
    with pytest.raises(Unsupported):
        run(ensure_boot_unit(host, OWNER))


def test_what_systemd_says_is_told(host: FakeHost, monkeypatch: pytest.MonkeyPatch) -> None:
    async def forget(*_: object, **__: object) -> None:
        pass

    monkeypatch.setattr(host, "write", forget)
    with pytest.raises(VerificationError) as caught:
        run(ensure_boot_unit(host, OWNER))
    assert "Unit file macvlan-fabric.service does not exist" in str(caught.value)


def test_the_program_holds_nothing_of_a_topology() -> None:
    host = FakeHost("router")
    run(ensure_boot_unit(host, OWNER))
    run(ensure_sub_interface(host, SubInterface("eth2.10", "eth2", 10), OWNER))
    assert run(host.read(PROGRAM_FILE)) == PROGRAM_TEXT.encode()


# Boot, in memory


def test_a_trunk_that_never_comes_keeps_only_its_own_links_from_coming_back() -> None:
    machine = Machine.bare()
    host = FakeHost("router", machine)
    run(ensure_boot_unit(host, OWNER))
    run(ensure_sub_interface(host, SubInterface("eth2.10", "eth2", 10), OWNER))
    run(ensure_sub_interface(host, SubInterface("eth1.30", "eth1", 30), OWNER))
    said = machine.reboot(without=["eth2"])
    assert said == f"{folder(OWNER)}/eth2.10.link: its parent did not appear\n"
    assert machine.kernel.link("eth1.30").up


def test_nothing_is_forwarded_without_the_filter() -> None:
    machine = Machine.bare()
    host = FakeHost("router", machine)
    run(ensure_boot_unit(host, OWNER))
    run(ensure_firewall(host, FIREWALL))
    run(ensure_sysctls(host, {"net.ipv4.ip_forward": "1"}, OWNER))
    path = f"{folder(OWNER)}/firewall"
    machine.files[path] = (machine.files[path][0].replace(b"-j DROP", b"-j NOWHERE"), 0o644)
    assert "NOWHERE" in machine.reboot()
    assert machine.kernel.sysctls["net/ipv4/ip_forward"] == "0"


def test_links_come_back_in_whatever_order_their_files_are() -> None:
    machine = Machine.bare()
    host = FakeHost("router", machine)
    run(ensure_boot_unit(host, OWNER))
    run(ensure_sub_interface(host, SubInterface("z-parent", "eth2", 10), OWNER))
    run(ensure_sub_interface(host, SubInterface("a-child", "z-parent", None), OWNER))
    running = host.dump()
    assert machine.reboot() == ""
    assert host.dump() == running


# The program, on this machine's kernel

CHAIN = chain_name(OWNER, "FORWARD")
FIREWALL = Firewall(
    OWNER,
    (Chain("filter", CHAIN, (Rule("DROP", in_interface="eth2.10"),)),),
    (Jump("filter", "FORWARD", CHAIN),),
)
SHIM = SubInterface(
    "shim",
    "eth2",
    None,
    1400,
    (IPv4Interface("172.16.10.1/24"), IPv4Interface("172.16.10.2/24")),
    (("arp_ignore", "1"), ("rp_filter", "2")),
)
SYSCTLS = {"net.ipv4.ip_forward": "1"}


async def prepare(host: Host) -> None:
    for command in (
        "mount -t tmpfs none /run",
        "mkdir -p /run/etc/systemd/system",
        "cp -a /etc/alternatives /run/etc",
        "mount --bind /run/etc /etc",
        "mount -t sysfs none /sys",
    ):
        assert (await host.run(command.split())).status == 0, command
    await trunk(host, "eth2")
    await host.write(PROGRAM_FILE, PROGRAM_TEXT.encode())


async def trunk(host: Host, name: str) -> None:
    done = await host.run(["ip", "link", "add", name, "type", "veth", "peer", "name", "far"])
    assert done.status == 0, done.stderr


async def fabric(host: Host) -> tuple[object, ...]:
    """All that can be read of it, without what the kernel draws anew."""
    return (
        await read_sub_interface(host, "shim", OWNER),
        await read_firewall(host, OWNER),
        await read_sysctls(host, SYSCTLS),
    )


async def lose_everything(host: Host) -> None:
    """What a reboot does."""
    await host.run(["ip", "link", "delete", "eth2"])
    if shutil.which("iptables"):
        for arguments in ("-F", "-X"):
            await host.run(["iptables", "-t", "filter", arguments])
    await host.write("/proc/sys/net/ipv4/ip_forward", b"0\n")


async def replay(host: Host, *expected: tuple[str, int, str]) -> None:
    for argument, status, words in expected or (("links", 0, ""), ("forwarding", 0, "")):
        done = await host.run(["sh", PROGRAM_FILE, argument], deadline=90.0)
        said = (done.stdout + done.stderr).decode()
        assert (done.status, words in said, bool(said)) == (status, True, bool(words)), said


# The trunk comes when the program has begun to wait.
APPEARS_LATE = """
sh "$1" links & program=$!
until ps -o comm= --ppid $program | grep -q sleep; do :; done
ip link add eth2 type veth peer name far
wait $program
"""

# systemd-networkd makes the link, marks it in no way, and is not done with it when the program finds it.
MANAGER_IS_SLOW = """
links=/run/systemd/netif/links
waits() { until ps -o comm= --ppid $program | grep -q sleep; do :; done; }
sh "$1" links & program=$!
waits
mkdir -p $links
echo ADMIN_STATE=configuring >$links/77
ip link add link ${2} name shim index 77 type macvlan mode bridge
kill -0 $program && waits && [ -z "$(cat /sys/class/net/shim/ifalias)" ] || exit 2
echo ADMIN_STATE=configured >$links/77
wait $program
"""

needs_ip = pytest.mark.skipif(not shutil.which("ip"), reason="no ip on this machine")
needs_programs = pytest.mark.skipif(
    not (shutil.which("ip") and shutil.which("iptables")), reason="no ip or iptables on this machine"
)


@needs_programs
def test_the_program_brings_everything_back_and_changes_nothing_that_is_there() -> None:
    async def work(host: Host) -> None:
        await prepare(host)
        await ensure_firewall(host, FIREWALL)
        await ensure_sub_interface(host, SHIM, OWNER)
        await ensure_sysctls(host, SYSCTLS, OWNER)
        running = await fabric(host)
        await replay(host)
        assert await fabric(host) == running

        await lose_everything(host)
        assert await fabric(host) != running
        await trunk(host, "eth2")
        await replay(host)
        assert await fabric(host) == running
        assert not await ensure_sub_interface(host, SHIM, OWNER)
        assert not await ensure_firewall(host, FIREWALL)

    on_host(work, NAMESPACE)


@needs_programs
def test_the_program_waits_for_a_trunk_that_is_late() -> None:
    async def work(host: Host) -> None:
        await prepare(host)
        await ensure_sub_interface(host, SHIM, OWNER)
        running = await fabric(host)
        await lose_everything(host)
        done = await host.run(["sh", "-c", APPEARS_LATE, "sh", PROGRAM_FILE], deadline=90.0)
        assert done.status == 0, done.stderr
        assert await fabric(host) == running

    on_host(work, NAMESPACE)


@needs_programs
def test_the_program_leaves_foreign_links_alone_goes_on_and_fails_in_the_end() -> None:
    async def work(host: Host) -> None:
        await prepare(host)
        await ensure_sub_interface(host, SHIM, OWNER)
        other = SubInterface("other", "eth2", None, addresses=(IPv4Interface("172.16.20.1/24"),))
        await ensure_sub_interface(host, other, OWNER)
        await ensure_sysctls(host, SYSCTLS, OWNER)
        await ensure_firewall(host, FIREWALL)
        await lose_everything(host)
        await trunk(host, "eth2")
        eth2 = next(link.index for link in await host.links() if link.name == "eth2")
        theirs = await host.add_macvlan("shim", eth2)
        path = f"{folder(OWNER)}/firewall"
        text = await host.read(path)
        assert text is not None
        await host.write(path, text.replace(b"-j DROP", b"-j NOWHERE"))
        await replay(
            host,
            ("links", 1, "shim: there is an interface of that name which is not ours; left alone"),
            ("forwarding", 1, "nothing is forwarded without"),
        )
        assert [a for a in await host.addresses() if a.link == theirs] == []
        facts = await read_sub_interface(host, "other", OWNER)
        assert facts is not None
        assert facts.differences(other, OWNER) == ()
        assert await read_sysctls(host, SYSCTLS) == {"net.ipv4.ip_forward": "0"}

    on_host(work, NAMESPACE)


async def left_to_networkd(host: Host) -> None:
    """The shim as it is after a reboot, before systemd-networkd has begun."""
    await prepare(host)
    await ensure_sub_interface(host, SHIM, OWNER)
    await host.write(f"{folder(OWNER)}/shim.link", boot_content(SHIM, OWNER, AtBoot("systemd-networkd")))
    await lose_everything(host)
    await trunk(host, "eth2")


@needs_ip
def test_the_program_waits_for_a_manager_and_adds_what_it_has_not_done() -> None:
    async def work(host: Host) -> None:
        await left_to_networkd(host)
        argv = ["sh", "-c", MANAGER_IS_SLOW, "sh", PROGRAM_FILE, "eth2"]
        done = await host.run(argv, deadline=90.0)
        assert (done.status, done.stderr) == (0, b"")
        facts = await read_sub_interface(host, "shim", OWNER)
        assert facts is not None
        assert facts.differences(SHIM, OWNER) == ("shim would not come back like this after a reboot",)
        assert facts.boot_file == boot_content(SHIM, OWNER, AtBoot("systemd-networkd"))

    on_host(work, NAMESPACE)


@needs_ip
def test_the_program_leaves_alone_what_a_manager_made_on_another_parent() -> None:
    async def work(host: Host) -> None:
        await left_to_networkd(host)
        argv = ["sh", "-c", MANAGER_IS_SLOW, "sh", PROGRAM_FILE, "far"]
        done = await host.run(argv, deadline=90.0)
        assert done.status == 1
        assert b"there is an interface of that name which is not ours; left alone" in done.stderr
        shim = next(link for link in await host.links() if link.name == "shim")
        assert (shim.alias, shim.up) == ("", False)

    on_host(work, NAMESPACE)
