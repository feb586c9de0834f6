"""The fake host keeps the kernel's rules, fails loudly, and is one machine for all who open its file."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import Callable
from ipaddress import IPv4Interface
from pathlib import Path

import pytest

from hosts.errors import DeadlineExceeded, HostUnreachable, Unsupported
from hosts.fake import FakeHost, Fault, Machine
from hosts.fake.docker import Docker
from hosts.fake.kernel import Kernel
from hosts.fake.tables import Refused, Tables
from hosts.host import NetlinkFailure
from tests.project import ROOT

ONE, TWO = IPv4Interface("10.0.0.1/24"), IPv4Interface("10.0.0.2/24")


@pytest.fixture
def kernel() -> Kernel:
    return Machine.bare().kernel


def vlan(kernel: Kernel, name: str = "eth2.10", id_: int = 10) -> int:
    return kernel.add(name, "vlan", kernel.link("eth2").index, id_)


# Each with the errno of Linux, as seen on 7.2
@pytest.mark.parametrize(
    ("code", "attempt"),
    [
        (17, lambda k: (vlan(k), vlan(k, id_=11))),  # the name
        (17, lambda k: (vlan(k), vlan(k, "other"))),  # the VLAN id
        (34, lambda k: vlan(k, "sixteen-letters!")),
        (19, lambda k: k.add("x", "vlan", 77, 1)),
        (95, lambda k: k.add("x", "ipvlan", 3)),
        (19, lambda k: k.set(77, up=True)),
        (19, lambda k: k.delete(77)),
        (95, lambda k: k.delete(k.link("eth2").index)),
        (34, lambda k: k.set(vlan(k), mtu=9000)),
        (22, lambda k: k.set(k.add("m", "macvlan", 3), mtu=9000)),
        (34, lambda k: k.set(3, alias="x" * 255)),
        (100, lambda k: (k.set(3, up=False), k.set(vlan(k), up=True))),
        (17, lambda k: (k.add_address(3, ONE), k.add_address(3, ONE))),
        (99, lambda k: k.delete_address(3, ONE)),
    ],
)
def test_the_kernel_refuses_as_linux_does(
    kernel: Kernel, code: int, attempt: Callable[[Kernel], object]
) -> None:
    with pytest.raises(NetlinkFailure) as caught:
        attempt(kernel)
    assert caught.value.code == code


def test_deleting_a_link_deletes_all_that_sits_on_it(kernel: Kernel) -> None:
    index = vlan(kernel)
    kernel.add_address(kernel.add("m", "macvlan", index), ONE)
    before = kernel.last_index
    kernel.delete(index)
    assert not [link for link in kernel.links.values() if link.kind]
    assert ONE not in [address.interface for address in kernel.addresses]
    assert not [key for key in kernel.sysctls if "/m/" in key or "/eth2.10/" in key]
    assert vlan(kernel) == before + 1  # an index is never used again


def test_the_first_address_of_a_prefix_takes_the_others_along_unless_promoted(
    kernel: Kernel,
) -> None:
    for promote, left in (("0", []), ("1", [TWO])):
        kernel.write_sysctl("net/ipv4/conf/eth2/promote_secondaries", promote)
        kernel.add_address(3, ONE)
        kernel.add_address(3, TWO)
        kernel.delete_address(3, ONE)
        assert [address.interface for address in kernel.addresses if address.link == 3] == left


def test_vlans_follow_their_trunk_up_and_down_and_in_mtu(kernel: Kernel) -> None:
    index = vlan(kernel)
    kernel.set(index, up=True)
    kernel.set(3, up=False)
    assert not kernel.links[index].up
    kernel.set(3, up=True)
    assert kernel.links[index].up
    kernel.set(3, mtu=1400)
    assert kernel.links[index].mtu == 1400
    kernel.set(3, mtu=1500)
    assert kernel.links[index].mtu == 1400


def test_writing_ip_forward_resets_every_interface_but_not_with_the_same_value(kernel: Kernel) -> None:
    kernel.write_sysctl("net/ipv4/conf/eth1/forwarding", "1")
    kernel.write_sysctl("net/ipv4/ip_forward", "0")
    assert kernel.sysctls["net/ipv4/conf/eth1/forwarding"] == "1"
    kernel.write_sysctl("net/ipv4/ip_forward", "1")
    kernel.write_sysctl("net/ipv4/ip_forward", "0")
    assert kernel.sysctls["net/ipv4/conf/eth1/forwarding"] == "0"


@pytest.mark.parametrize(
    "text",
    [
        "*filter\n-A NOWHERE -j ACCEPT\nCOMMIT\n",
        "*filter\n:MINE - [0:0]\n-A MINE -j NOWHERE\nCOMMIT\n",
        "*filter\n:MINE - [0:0]\n-A FORWARD -j MINE\n-X MINE\nCOMMIT\n",
        "*filter\n:MINE - [0:0]\n-A MINE -j DROP\n-X MINE\nCOMMIT\n",
        "*filter\n-D FORWARD -j ACCEPT\nCOMMIT\n",
        "*filter\n:A-NAME-OF-TWENTY-NINE-LETTERS - [0:0]\nCOMMIT\n",
        "*filter\n-X FORWARD\nCOMMIT\n",
        "*filter\n:MINE - [0:0]\n",
        "*unknown\nCOMMIT\n",
        "-A FORWARD -j ACCEPT\n",
    ],
)
def test_a_table_is_changed_as_a_whole_or_not_at_all(text: str) -> None:
    tables = Tables()
    tables.restore("*filter\n:THEIRS - [0:0]\n-A FORWARD -j THEIRS\nCOMMIT\n")
    before = tables.save()
    with pytest.raises(Refused):
        tables.restore(text.replace("*filter\n", "*filter\n-I FORWARD -j DROP\n"))
    assert tables.save() == before


def test_what_is_saved_restores_to_the_same() -> None:
    tables = Tables()
    tables.restore('*nat\n:MINE - [0:0]\n-A MINE -o x -j MASQUERADE -m comment --comment "a b"\nCOMMIT\n')
    assert '-A MINE -o x -m comment --comment "a b" -j MASQUERADE' in tables.save()
    again = Tables()
    again.restore(tables.save())
    assert again.save() == tables.save()


def test_a_program_that_it_does_not_know_is_an_error() -> None:
    with pytest.raises(AssertionError, match="does not know 'reboot now'"):
        asyncio.run(FakeHost().run(["reboot", "now"]))
    with pytest.raises(AssertionError, match="does not know POST /swarm/init"):
        Docker().exchange(b"POST /swarm/init HTTP/1.0\r\n\r\n")
    absent = Machine.bare()
    absent.missing = {"ip"}
    with pytest.raises(Unsupported):
        asyncio.run(FakeHost(machine=absent).run(["ip", "link"]))


def test_files_and_folders() -> None:
    machine = Machine.bare()
    machine.write("/etc/a/b/c", b"x")
    assert machine.entries("/etc/a") == ("b",)
    assert not machine.remove("/etc/a")
    assert [machine.remove(path) for path in ("/etc/a/b/c", "/etc/a/b", "/etc/a", "/etc/a")] == [True] * 3 + [
        False
    ]
    with pytest.raises(IsADirectoryError):
        machine.write("/etc/systemd", b"")


def test_a_reboot_keeps_what_is_on_disk_and_what_the_hosts_own_network_manager_sets_up() -> None:
    machine = Machine.bare()
    before = machine.dump()
    vlan(machine.kernel)
    machine.kernel.write_sysctl("net/ipv4/ip_forward", "1")
    machine.tables["nf_tables"].restore("*filter\n-P INPUT DROP\nCOMMIT\n".replace("-P INPUT", ":INPUT"))
    machine.write("/run/x", b"")
    machine.reboot()
    assert machine.dump() == before
    assert machine.read("/run/x") is None


# A session


def test_a_fault_comes_at_its_step_before_or_after_the_effect() -> None:
    for effect in (False, True):
        host = FakeHost(fault=Fault(2, effect=effect))

        async def work(host: FakeHost = host) -> None:
            await host.links()
            await host.add_vlan("eth2.10", 3, 10)

        with pytest.raises(HostUnreachable, match="the session was lost during: add_vlan"):
            asyncio.run(work())
        with host.machine() as machine:
            assert any(link.name == "eth2.10" for link in machine.kernel.links.values()) is effect
        with pytest.raises(HostUnreachable):
            asyncio.run(host.links())
        host.reconnect()
        asyncio.run(host.links())


def test_a_fault_may_leave_the_session_alive() -> None:
    host = FakeHost(fault=Fault(1, effect=True, lost=False))
    with pytest.raises(DeadlineExceeded):
        asyncio.run(host.links())
    asyncio.run(host.links())


def test_a_machine_is_the_same_after_a_trip_through_its_file() -> None:
    machine = Machine.bare()
    machine.kernel.add_address(vlan(machine.kernel), ONE, 0x99)
    machine.start_docker()
    machine.write("/etc/x", bytes(range(256)), 0o600)
    machine.docker = Docker()
    machine.missing = {"modprobe"}
    machine.xtables_lock = (1, "x")
    again = Machine.from_json(json.loads(json.dumps(machine.to_json())))
    assert again.to_json() == machine.to_json()
    assert again.dump() == machine.dump()
    assert again.reboot() == ""


CHILD = """
import asyncio, sys
from pathlib import Path
from hosts.fake import FakeHost

async def work():
    host = FakeHost("router", path=Path(sys.argv[1]))
    async with host.lock("fabric"):
        number = int(await host.read("/etc/number") or b"0")
        await host.write("/etc/number", str(number + 1).encode())

for _ in range(10):
    asyncio.run(work())
"""


def test_processes_share_a_machine_and_its_locks(tmp_path: Path) -> None:
    path = tmp_path / "router.json"
    children = [subprocess.Popen([sys.executable, "-c", CHILD, str(path)], cwd=ROOT) for _ in range(3)]
    assert [child.wait() for child in children] == [0, 0, 0]
    assert asyncio.run(FakeHost("router", path=path).read("/etc/number")) == b"30"


@pytest.mark.parametrize("in_file", [False, True])
def test_a_lock_that_is_not_to_be_had_names_its_holder(in_file: bool, tmp_path: Path) -> None:
    path = tmp_path / "router.json" if in_file else None
    machine = Machine.bare()
    holder = FakeHost("router", machine, path=path)
    other = FakeHost("router", machine, path=path)

    async def work() -> None:
        async with holder.lock("fabric"):
            async with other.lock("another"):
                pass
            async with other.lock("fabric", deadline=0.0):
                pass

    with pytest.raises(DeadlineExceeded, match=r"the lock fabric was held for 0 s by (process|a session)"):
        asyncio.run(work())

    async def freed() -> None:
        async with other.lock("fabric", deadline=0.0):
            pass

    asyncio.run(freed())
