"""Who makes a link at boot: the unit, a network manager by files of ours, or one by files of others."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from dataclasses import replace
from ipaddress import IPv4Interface
from typing import Any, TypeVar

import pytest

from hosts import ifupdown, networkd
from hosts.boot import ensure_boot_unit
from hosts.change import Change
from hosts.errors import ConflictError, HostError, Unsupported
from hosts.fake import FakeHost, Machine
from hosts.leave import leave
from hosts.links import (
    ensure_sub_interface,
    foresee_sub_interfaces,
    read_sub_interface,
    remove_sub_interface,
)
from hosts.ownership import folder
from model.fabric import SubInterface
from model.topology import Persistence
from tests.wishes import with_manager

T = TypeVar("T")

OWNER = "tutorial/dev"
PARENT = SubInterface("eth2.20", "eth2", 20)
SHIM = SubInterface("eth2.20g", "eth2.20", None, None, (IPv4Interface("172.16.20.1/24"),))
GATEWAY = SubInterface("eth2.10", "eth2", 10, 1400, (IPv4Interface("172.16.10.1/24"),), (("rp_filter", "2"),))
RECORD = f"{folder(OWNER)}/eth2.10.link"
STANZA = f"{ifupdown.FOLDER}/macvlan-fabric-eth2_2e_10"


def run(operation: Coroutine[Any, Any, T]) -> T:
    return asyncio.run(operation)


def managed(manager: str | None) -> FakeHost:
    machine = Machine.bare()
    if manager:
        with_manager(machine, manager)
    return FakeHost("host1", machine)


def ensure(
    host: FakeHost, want: SubInterface = GATEWAY, persistence: Persistence = "auto", *, adopt: bool = False
) -> Change:
    return run(ensure_sub_interface(host, want, OWNER, adopt=adopt, persistence=persistence))


def differences(
    host: FakeHost, persistence: Persistence = "auto", want: SubInterface = GATEWAY
) -> tuple[str, ...]:
    facts = run(read_sub_interface(host, want.name, OWNER))
    assert facts is not None
    return facts.differences(want, OWNER, persistence)


def refusal(host: FakeHost, persistence: Persistence = "auto", want: SubInterface = GATEWAY) -> HostError:
    """What is refused, having been foreseen, with nothing changed."""
    before = host.dump()
    with pytest.raises(HostError) as caught:
        ensure(host, want, persistence)
    assert host.dump() == before
    foreseen = run(foresee_sub_interfaces(host, [want], OWNER, persistence=persistence))
    assert [str(problem) for problem in foreseen] == [str(caught.value)]
    return caught.value


def text(host: FakeHost, path: str) -> str:
    content = run(host.read(path))
    assert content is not None, path
    return content.decode()


def write(host: FakeHost, path: str, content: str) -> None:
    run(host.write(path, content.encode()))


# Files of ours


def test_ifupdown_gets_a_stanza() -> None:
    host = managed(ifupdown.NAME)
    assert f"wrote {STANZA}" in ensure(host).done
    assert text(host, STANZA) == (
        "# eth2.10 of tutorial/dev, brought back at boot; written by macvlan-fabric\n"
        "auto eth2.10\n"
        "iface eth2.10 inet manual\n"
        "    pre-up test -e /sys/class/net/eth2.10 || ip link add link eth2 name eth2.10 type vlan id 10\n"
        "    pre-up ip link set dev eth2.10 alias macvlan-fabric:tutorial/dev\n"
        "    pre-up ip link set dev eth2.10 mtu 1400\n"
        "    pre-up echo 2 >/proc/sys/net/ipv4/conf/eth2.10/rp_filter\n"
        "    pre-up ip address replace 172.16.10.1/24 dev eth2.10 proto 0x99 2>/dev/null"
        " || ip address replace 172.16.10.1/24 dev eth2.10\n"
        "    up ip link set dev eth2 up\n"
        "    up ip link set dev eth2.10 up\n"
    )
    assert text(host, RECORD).endswith("manager ifupdown\n")


def test_networkd_gets_a_netdev_a_network_and_a_drop_in_to_the_trunks() -> None:
    host = managed(networkd.NAME)
    ensure(host)
    first = "# eth2.10 of tutorial/dev, brought back at boot; written by macvlan-fabric\n"
    assert text(host, "/etc/systemd/network/05-macvlan-fabric-eth2.10.netdev") == (
        f"{first}[NetDev]\nName=eth2.10\nKind=vlan\nMTUBytes=1400\n\n[VLAN]\nId=10\n"
    )
    assert text(host, "/etc/systemd/network/05-macvlan-fabric-eth2.10.network") == (
        f"{first}[Match]\nName=eth2.10\n\n[Link]\nRequiredForOnline=no\n\n[Network]\n"
        "LinkLocalAddressing=no\nIPv6AcceptRA=no\nConfigureWithoutCarrier=yes\nKeepConfiguration=yes\n"
        "Address=172.16.10.1/24\n"
    )
    assert text(host, "/etc/systemd/network/20-trunk.network.d/macvlan-fabric-eth2.10.conf") == (
        f"{first}[Network]\nVLAN=eth2.10\n"
    )


def test_without_a_manager_the_unit_does_it() -> None:
    host = managed(None)
    ensure(host)
    assert "manager" not in text(host, RECORD)
    assert differences(host) == differences(host, "unit") == ()


@pytest.mark.parametrize("manager", [ifupdown.NAME, networkd.NAME])
def test_the_unit_is_the_default(manager: str) -> None:
    host = managed(manager)
    run(ensure_sub_interface(host, GATEWAY, OWNER))
    assert "manager" not in text(host, RECORD)


@pytest.mark.parametrize("manager", [ifupdown.NAME, networkd.NAME])
def test_the_manager_alone_makes_links_and_the_shims_on_them(manager: str) -> None:
    """Nothing but the alias, and what systemd-networkd cannot set, is left to our program."""
    host = managed(manager)
    for want in (GATEWAY, PARENT, SHIM):
        ensure(host, want)
    with host.machine() as machine:
        machine.reboot()  # without the boot unit
        links = {link.name: link for link in machine.kernel.links.values()}
        on = {a.interface: a.link for a in machine.kernel.addresses}
        assert on[GATEWAY.addresses[0]] == links["eth2.10"].index
        assert on[SHIM.addresses[0]] == links["eth2.20g"].index
        assert links["eth2.20g"].parent == links["eth2.20"].index
        assert links["eth2.10"].mtu == 1400


@pytest.mark.parametrize("manager", [ifupdown.NAME, networkd.NAME])
def test_every_file_is_missed_and_put_back(manager: str) -> None:
    host = managed(manager)
    bare = host.dump()
    run(ensure_boot_unit(host, OWNER))
    ensure(host)
    good = host.dump()
    with host.machine() as machine:
        ours = [path for path, (content, _) in machine.files.items() if content.startswith(b"# eth2.10 of ")]
    ours = [path for path in ours if not path.startswith("/run/")]
    assert len(ours) == (2 if manager == ifupdown.NAME else 4)
    for path in ours:
        run(host.remove(path))
        assert differences(host) == ("eth2.10 would not come back like this after a reboot",)
        ensure(host)
        assert host.dump() == good
    run(leave(host, OWNER))
    assert host.dump() == bare


@pytest.mark.parametrize("manager", [ifupdown.NAME, networkd.NAME])
def test_what_only_the_managers_files_know_is_removed_too(manager: str) -> None:
    host = managed(manager)
    bare = host.dump()
    ensure(host)
    with host.machine() as machine:
        machine.kernel.delete(machine.kernel.link("eth2.10").index)
        machine.remove(RECORD)
    run(leave(host, OWNER))
    assert host.dump() == bare


def test_networkd_forgets_a_link_that_goes_before_it_is_told_otherwise_of_the_trunk() -> None:
    host = managed(networkd.NAME)
    run(ensure_boot_unit(host, OWNER))
    for want in (GATEWAY, PARENT, SHIM):
        ensure(host, want)
    with host.machine() as machine:
        machine.reboot()
        index = machine.kernel.link("eth2.10").index
    host.reconnect()
    host.log.clear()
    run(remove_sub_interface(host, "eth2.10", OWNER))
    at = {step: number for number, step in enumerate(host.log)}
    path = f"{networkd.FOLDER}/05-macvlan-fabric-eth2.10"
    drop_in = f"{networkd.FOLDER}/20-trunk.network.d/macvlan-fabric-eth2.10.conf"
    assert at[f"remove {path}.network"] < at["run networkctl reload"] < at[f"remove {drop_in}"]
    assert at["run networkctl reload"] < at[f"remove {path}.netdev"] < at[f"delete_link {index}"]


def test_a_stanza_that_ifupdown_does_not_read_any_more_is_removed_too() -> None:
    host = managed(ifupdown.NAME)
    run(ensure_boot_unit(host, OWNER))
    ensure(host)
    write(host, ifupdown.INTERFACES, "auto lo\niface lo inet loopback\n")
    run(leave(host, OWNER))
    assert run(host.entries(ifupdown.FOLDER)) == ()


def test_another_trunk_file_moves_the_drop_in() -> None:
    host = managed(networkd.NAME)
    run(ensure_boot_unit(host, OWNER))
    ensure(host)
    with host.machine() as machine:
        machine.files["/etc/systemd/network/30-new.network"] = machine.files.pop(
            "/etc/systemd/network/20-trunk.network"
        )
        machine.reboot()
    assert differences(host)
    ensure(host)
    with host.machine() as machine:
        folders = {path for path in machine.folders if path.endswith(".network.d")}
    assert folders == {"/etc/systemd/network/30-new.network.d"}
    assert differences(host) == ()


# What a manager cannot do


@pytest.mark.parametrize(
    ("spoil", "why"),
    [
        (lambda m: m.files.pop(ifupdown.INTERFACES), "there is no /etc/network/interfaces"),
        (
            lambda m: m.write(ifupdown.INTERFACES, b"source /etc/network/interfaces.d/*.cfg\n"),
            "/etc/network/interfaces does not include /etc/network/interfaces.d",
        ),
        (
            lambda m: m.remove("/etc/systemd/system/multi-user.target.wants/networking.service"),
            "networking.service is not enabled",
        ),
        (
            lambda m: m.symlinks.update({"/etc/systemd/system/networking.service": "/dev/null"}),
            "networking.service is not enabled",
        ),
    ],
)
def test_ifupdown_that_would_not_bring_it_up(spoil: Any, why: str) -> None:
    host = managed(ifupdown.NAME)
    with host.machine() as machine:
        spoil(machine)
    error = refusal(host, "ifupdown")
    assert isinstance(error, Unsupported)
    assert str(error) == (
        f"host1: ifupdown would not bring eth2.10 up at boot: {why}\n"
        "  hint: mend that on the host, or set `persistence: unit` for host1"
    )
    ensure(host)
    assert "manager" not in text(host, RECORD)


def test_a_directory_that_is_included_will_do() -> None:
    host = managed(ifupdown.NAME)
    write(host, ifupdown.INTERFACES, "source-directory interfaces.d\n")
    ensure(host, persistence="ifupdown")
    assert differences(host, "ifupdown") == ()


def test_a_unit_that_somebody_wrote_anew_is_a_unit() -> None:
    host = managed(ifupdown.NAME)
    write(host, "/etc/systemd/system/networking.service", "[Service]\nExecStart=/sbin/ifup -a\n")
    ensure(host, persistence="ifupdown")


def test_a_folder_among_the_files_is_passed_over() -> None:
    host = managed(ifupdown.NAME)
    write(host, "/etc/network/interfaces.d/old/vlans", "iface eth2.10 inet manual\n")
    ensure(host, persistence="ifupdown")


def test_what_ifupdown_does_not_read_claims_nothing() -> None:
    host = managed(None)
    write(host, ifupdown.INTERFACES, "source-directory /etc/network/interfaces.d\nsource other/*.cfg\n")
    for path in ("interfaces.d/vlans.bak", "other/vlans"):
        write(host, f"/etc/network/{path}", "auto eth2.10\niface eth2.10 inet manual\n")
    ensure(host)


def test_networkd_that_does_not_manage_the_trunk() -> None:
    host = managed(None)
    error = refusal(host, "networkd")
    assert isinstance(error, Unsupported)
    assert str(error) == (
        "host1: systemd-networkd would not make eth2.10 at boot: it does not manage eth2\n"
        "  hint: give eth2 a .network file on the host, or set `persistence: unit` for host1"
    )


def test_a_manager_that_is_taken_away_later_is_drift() -> None:
    host = managed(ifupdown.NAME)
    ensure(host, persistence="ifupdown")
    with host.machine() as machine:
        machine.remove("/etc/systemd/system/multi-user.target.wants/networking.service")
    assert differences(host, "ifupdown") == (
        "ifupdown would not bring eth2.10 up at boot: networking.service is not enabled",
    )


def test_what_sits_on_a_link_that_is_yet_to_be_made_is_not_foreseen_to_fail() -> None:
    host = managed(networkd.NAME)
    assert run(foresee_sub_interfaces(host, [PARENT, SHIM], OWNER, persistence="networkd")) == ()


# What others have configured

CLAIMS = {
    "ifupdown": (
        "/etc/network/interfaces",
        "auto lo\niface lo inet loopback\n\nauto eth2.10\niface eth2.10 inet static\n"
        "    address 172.16.10.1\n    netmask 255.255.255.0\n    vlan-raw-device eth2\n",
        5,
    ),
    "ifupdown, in another file": (
        "/etc/network/interfaces.d/vlans",
        "auto eth2.10\niface eth2.10 inet manual\n",
        2,
    ),
    "systemd-networkd": (
        "/etc/systemd/network/30-ten.netdev",
        "[NetDev]\nName=eth2.10\nKind=vlan\n\n[VLAN]\nId=10\n",
        2,
    ),
    "netplan": (
        "/etc/netplan/50-vlans.yaml",
        "network:\n  version: 2\n  vlans:\n    eth2.10: {id: 10, link: eth2}\n",
        4,
    ),
    "NetworkManager": (
        "/etc/NetworkManager/system-connections/ten.nmconnection",
        "[connection]\nid=ten\ntype=vlan\ninterface-name=eth2.10\n\n[vlan]\nid=10\nparent=eth3\n",
        4,
    ),
    "NetworkManager, without the name": (
        "/etc/NetworkManager/system-connections/ten.nmconnection",
        "[connection]\nid=ten\ntype=vlan\n\n[vlan]\nflags=1\nid=10\nparent=eth2\n",
        7,
    ),
}


def claimed(name: str) -> tuple[FakeHost, str, str]:
    """A host with it, where it is, and the manager's name."""
    path, content, line = CLAIMS[name]
    host = managed(None)
    write(host, ifupdown.INTERFACES, "source /etc/network/interfaces.d/*\n")
    write(host, path, content)
    return host, f"{path}:{line}", name.partition(",")[0]


@pytest.mark.parametrize("name", CLAIMS)
def test_a_link_that_others_have_configured_is_a_conflict(name: str) -> None:
    host, place, manager = claimed(name)
    error = refusal(host)
    assert isinstance(error, ConflictError)
    assert str(error) == (
        f"host1: eth2.10 is already configured in {place}, by which {manager} makes it at boot\n"
        f"  hint: set `adopt: true` for host1 to leave that to {manager}, or remove it from that file"
    )


@pytest.mark.parametrize("name", CLAIMS)
def test_adopting_leaves_their_file_as_it_is_to_make_the_link_at_boot(name: str) -> None:
    host, place, manager = claimed(name)
    before = host.dump()
    done = ensure(host, adopt=True).done
    assert done[0] == f"adopted {place}, by which {manager} makes eth2.10 at boot"
    assert not [clause for clause in done if clause.startswith("wrote /")]
    assert text(host, RECORD).endswith(f"manager {manager}\nadopted {CLAIMS[name][0]}\n")
    assert not ensure(host, adopt=True)
    assert not ensure(host)  # it is remembered
    assert differences(host) == ()
    run(leave(host, OWNER))
    assert host.dump() == before


def test_what_network_manager_only_describes_is_no_claim() -> None:
    """As it writes it for every link that somebody else has made, ours, too (NetworkManager 1.52)."""
    host = managed(None)
    ensure(host)
    described = (
        "[connection]\nid=eth2.10\ntype=vlan\nautoconnect=false\ninterface-name=eth2.10\n\n"
        "[vlan]\nflags=1\nid=10\nparent=eth2\n\n[.nmmeta]\nnm-generated=true\nvolatile=true\nexternal=true\n"
    )
    write(host, "/run/NetworkManager/system-connections/eth2.10.nmconnection", described)
    write(host, "/etc/NetworkManager/NetworkManager.conf", "")
    assert differences(host) == ()
    assert not ensure(host)


def test_a_link_that_runs_is_told_with_what_makes_it() -> None:
    host, place, _ = claimed("ifupdown")
    with host.machine() as machine:
        machine.kernel.add("eth2.10", "vlan", machine.kernel.link("eth2").index, 10)
    assert str(refusal(host)) == (
        "host1: there is already a link eth2.10, VLAN 10 on eth2, of somebody else (it has no alias), "
        f"configured in {place}\n"
        "  hint: set `adopt: true` for host1 to take it over as it runs, or remove it from "
        "/etc/network/interfaces, then: ip link delete eth2.10"
    )


def test_a_claim_that_appears_later_is_drift() -> None:
    host = managed(None)
    ensure(host)
    write(host, *CLAIMS["netplan"][:2])
    assert differences(host) == (
        "eth2.10 is already configured in /etc/netplan/50-vlans.yaml:4, by which netplan makes it at boot",
    )


def test_what_was_configured_by_hand_as_in_the_tutorial_is_ours_after_a_reboot_too() -> None:
    host = managed(ifupdown.NAME)
    path, stanza, _ = CLAIMS["ifupdown"]
    write(host, path, stanza)
    with host.machine() as machine:
        machine.reboot()
        index = machine.kernel.link("eth2.10").index
    want = replace(GATEWAY, mtu=None)
    run(ensure_boot_unit(host, OWNER))
    ensure(host, want, adopt=True)
    with host.machine() as machine:
        assert machine.kernel.link("eth2.10").index == index
        assert machine.reboot() == ""
        assert machine.kernel.link("eth2.10").alias == "macvlan-fabric:tutorial/dev"
        assert text(host, path) == stanza
    assert differences(host, want=want) == ()


@pytest.mark.parametrize("text", ["network: [", "vlans: {}", "network: {vlans: []}", ""])
def test_what_netplan_does_not_understand_claims_nothing(text: str) -> None:
    host = managed(None)
    write(host, "/etc/netplan/50-odd.yaml", text)
    ensure(host)


def test_a_link_that_the_manager_makes_otherwise_is_left_alone() -> None:
    host = managed(networkd.NAME)
    run(ensure_boot_unit(host, OWNER))
    ensure(host)
    path = "/etc/systemd/network/05-macvlan-fabric-eth2.10.netdev"
    write(host, path, text(host, path).replace("Id=10", "Id=12"))
    with host.machine() as machine:
        assert machine.reboot() == "eth2.10: not ours\n"
        assert machine.kernel.link("eth2.10").alias == ""
