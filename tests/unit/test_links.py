"""Sub-interfaces on a host: what is made, mended, adopted, refused and removed."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from dataclasses import replace
from ipaddress import IPv4Interface
from typing import Any, TypeVar

import pytest

from hosts.change import Change
from hosts.errors import ConflictError, HostError, PermissionDenied, Unsupported, VerificationError
from hosts.fake import FakeHost, Fault, Machine
from hosts.host import NetlinkFailure
from hosts.links import (
    SubInterfaceFacts,
    boot_content,
    ensure_sub_interface,
    foresee_sub_interfaces,
    from_boot_content,
    read_sub_interface,
    remove_sub_interface,
)
from hosts.ownership import ADDRESS_PROTOCOL, alias, folder
from model.fabric import SubInterface

T = TypeVar("T")

OWNER = "tutorial/dev"
GATEWAY = SubInterface("eth2.10", "eth2", 10, addresses=(IPv4Interface("172.16.10.1/24"),))
SHIM = SubInterface("shim", "eth2.10", None)


def run(operation: Coroutine[Any, Any, T]) -> T:
    return asyncio.run(operation)


def ensure(host: FakeHost, want: SubInterface = GATEWAY, *, adopt: bool = False) -> Change:
    return run(ensure_sub_interface(host, want, OWNER, adopt=adopt))


def read(host: FakeHost, name: str = "eth2.10") -> SubInterfaceFacts:
    facts = run(read_sub_interface(host, name, OWNER))
    assert facts is not None
    return facts


@pytest.fixture
def host() -> FakeHost:
    return FakeHost("host1", Machine.bare())


def by_hand(host: FakeHost, name: str = "eth2.10", vlan: int = 10, parent: str = "eth2") -> int:
    """A VLAN as an administrator would make it."""
    with host.machine() as machine:
        index = machine.kernel.add(name, "vlan", machine.kernel.link(parent).index, vlan)
        machine.kernel.set(index, up=True)
        return index


def error(host: FakeHost, want: SubInterface = GATEWAY, *, adopt: bool = False) -> HostError:
    """What `ensure_sub_interface` refuses with, having changed nothing."""
    before = host.dump()
    with pytest.raises(HostError) as caught:
        ensure(host, want, adopt=adopt)
    assert host.dump() == before
    foreseen = run(foresee_sub_interfaces(host, [want], OWNER, adopt=adopt))
    assert [str(problem) for problem in foreseen] == [str(caught.value)]
    return caught.value


def test_a_new_sub_interface_is_marked_addressed_and_up(host: FakeHost) -> None:
    assert str(ensure(host)) == (
        "made eth2.10, VLAN 10 on eth2; added address 172.16.10.1/24 to eth2.10; raised eth2.10; "
        "wrote its boot file in /etc/macvlan-fabric/tutorial+dev"
    )
    facts = read(host)
    assert facts.differences(GATEWAY, OWNER) == ()
    assert (facts.kind, facts.parent, facts.vlan, facts.up) == ("vlan", "eth2", 10, True)
    assert facts.alias == "macvlan-fabric:tutorial/dev"
    assert run(host.addresses())[-1].protocol == ADDRESS_PROTOCOL


def test_a_second_time_says_that_there_is_nothing_to_do(host: FakeHost) -> None:
    ensure(host)
    change = ensure(host)
    assert not change
    assert str(change) == "as wanted already, nothing to do"


def test_a_boot_file_reads_back_as_the_wish_it_was_written_from() -> None:
    want = replace(
        GATEWAY,
        mtu=1400,
        addresses=tuple(sorted((IPv4Interface("10.0.0.2/8"), *GATEWAY.addresses))),
        settings=(("arp_ignore", "1"), ("rp_filter", "2")),
    )
    assert from_boot_content(boot_content(want, OWNER)) == want
    assert from_boot_content(boot_content(SHIM, OWNER)) == SHIM
    assert from_boot_content(b"name eth2.10\nvlan ten\n") is None


@pytest.mark.parametrize(
    ("tamper", "seen"),
    [
        (lambda m, i: m.kernel.set(i, up=False), "eth2.10 is down"),
        (lambda m, i: m.kernel.set(i, mtu=1300), "eth2.10 has MTU 1300 instead of 1400"),
        (lambda m, i: m.kernel.set(i, alias=""), "eth2.10 has the alias '' instead of ours"),
        (
            lambda m, i: m.kernel.delete_address(i, GATEWAY.addresses[0]),
            "eth2.10 lacks address 172.16.10.1/24",
        ),
        (
            lambda m, i: m.kernel.add_address(i, IPv4Interface("172.16.10.9/24"), ADDRESS_PROTOCOL),
            "eth2.10 still has address 172.16.10.9/24",
        ),
        (
            lambda m, _: m.kernel.write_sysctl("net/ipv4/conf/eth2.10/arp_ignore", "0"),
            "eth2.10 has arp_ignore 0 instead of 1",
        ),
        (
            lambda m, _: m.remove(f"{folder(OWNER)}/eth2.10.link"),
            "eth2.10 would not come back like this after a reboot",
        ),
    ],
)
def test_every_attribute_is_seen_to_differ_and_put_right(host: FakeHost, tamper: Any, seen: str) -> None:
    want = replace(GATEWAY, mtu=1400, settings=(("arp_ignore", "1"),))
    ensure(host, want)
    good = host.dump()
    with host.machine() as machine:
        tamper(machine, machine.kernel.link("eth2.10").index)
    assert read(host).differences(want, OWNER) == (seen,)
    assert ensure(host, want)
    assert host.dump() == good


def test_a_deleted_link_is_made_again_as_it_was(host: FakeHost) -> None:
    ensure(host)
    good = host.dump()
    with host.machine() as machine:
        machine.kernel.delete(machine.kernel.link("eth2.10").index)
    assert run(read_sub_interface(host, "eth2.10", OWNER)) is None
    ensure(host)
    assert host.dump() == good


def test_a_link_of_ours_with_another_vlan_id_is_made_anew_with_what_sits_on_it(host: FakeHost) -> None:
    ensure(host)
    ensure(host, SHIM)
    good = host.dump()
    with host.machine() as machine:
        machine.kernel.delete(machine.kernel.link("eth2.10").index)
        index = machine.kernel.add("eth2.10", "vlan", machine.kernel.link("eth2").index, 12)
        machine.kernel.set(index, alias=alias(OWNER))
        shim = machine.kernel.add("shim", "macvlan", index)
        machine.kernel.set(shim, alias=alias(OWNER))
    assert read(host).differences(GATEWAY, OWNER)[0] == "eth2.10 is VLAN 12 on eth2"
    assert "deleted eth2.10, which was VLAN 12 on eth2" in ensure(host).done
    assert host.dump() == good


def test_addresses_of_others_on_our_link_stay_even_when_their_prefix_loses_its_first(host: FakeHost) -> None:
    ensure(host)
    theirs = IPv4Interface("172.16.10.77/24")
    with host.machine() as machine:
        machine.kernel.add_address(machine.kernel.link("eth2.10").index, theirs)
    ensure(host, replace(GATEWAY, addresses=(IPv4Interface("172.16.10.254/24"),)))
    facts = read(host)
    assert facts.addresses == (IPv4Interface("172.16.10.254/24"),)
    assert facts.foreign_addresses == (theirs,)
    with host.machine() as machine:
        assert machine.kernel.sysctls["net/ipv4/conf/eth2.10/promote_secondaries"] == "0"


def test_without_a_wish_for_an_mtu_only_our_own_one_is_taken_back(host: FakeHost) -> None:
    ensure(host)
    with host.machine() as machine:
        machine.kernel.set(machine.kernel.link("eth2.10").index, mtu=1300)
    assert not ensure(host)
    ensure(host, replace(GATEWAY, mtu=1400))
    ensure(host)
    assert read(host).mtu == 1500


def test_a_kernel_without_address_protocols_does_as_well(host: FakeHost) -> None:
    with host.machine() as machine:
        machine.kernel.address_protocol = False
    ensure(host)
    with host.machine() as machine:
        machine.kernel.add_address(machine.kernel.link("eth2.10").index, IPv4Interface("10.9.9.9/24"))
    moved = replace(GATEWAY, addresses=(IPv4Interface("172.16.10.2/24"),))
    ensure(host, moved)
    assert read(host).addresses == moved.addresses
    assert read(host).foreign_addresses == (IPv4Interface("10.9.9.9/24"),)


# The trunk


def test_a_trunk_that_is_down_is_raised_and_taken_down_again_with_the_last_link() -> None:
    host = FakeHost("host1", Machine.bare(trunk_up=False))
    before = host.dump()
    assert "raised eth2, which was down" in ensure(host).done
    ensure(host, SubInterface("eth2.20", "eth2", 20))
    assert "took eth2 down again" not in run(remove_sub_interface(host, "eth2.10", OWNER)).done
    assert "took eth2 down again" in run(remove_sub_interface(host, "eth2.20", OWNER)).done
    assert host.dump() == before


def test_a_trunk_that_we_raised_stays_up_for_others_who_came_to_use_it() -> None:
    host = FakeHost("host1", Machine.bare(trunk_up=False))
    ensure(host)
    by_hand(host, "eth2.99", 99)
    run(remove_sub_interface(host, "eth2.10", OWNER))
    with host.machine() as machine:
        assert machine.kernel.link("eth2").up


def test_raising_a_trunk_does_not_raise_the_vlans_of_others() -> None:
    host = FakeHost("host1", Machine.bare(trunk_up=False))
    with host.machine() as machine:
        machine.kernel.add("eth2.99", "vlan", machine.kernel.link("eth2").index, 99)
    ensure(host)
    with host.machine() as machine:
        assert not machine.kernel.link("eth2.99").up


# Refusals: each says what is there, whose it is, and what to do; and a preview says the same


def test_no_such_trunk(host: FakeHost) -> None:
    problem = error(host, replace(GATEWAY, parent="eth7"))
    assert isinstance(problem, Unsupported)
    assert str(problem) == (
        "host1: there is no interface eth7, which eth2.10 needs as its parent; there are eth1, eth2\n"
        "  hint: correct the trunk of host1 in the topology, or make eth7 appear on the host"
    )


def test_a_trunk_that_carries_less(host: FakeHost) -> None:
    assert str(error(host, replace(GATEWAY, mtu=9000))) == (
        "host1: eth2.10 needs MTU 9000, but its parent eth2 carries 1500\n"
        "  hint: raise the MTU of eth2 on the host, or lower the network's"
    )


def test_a_foreign_link_of_that_name(host: FakeHost) -> None:
    by_hand(host)
    problem = error(host)
    assert isinstance(problem, ConflictError)
    assert str(problem) == (
        "host1: there is already a link eth2.10, VLAN 10 on eth2, of somebody else (it has no alias)\n"
        "  hint: set `adopt: true` for host1 to take it over as it runs, or remove it: ip link delete eth2.10"
    )


def test_a_link_of_another_stack_even_with_adopt(host: FakeHost) -> None:
    run(ensure_sub_interface(host, GATEWAY, "tutorial/prod"))
    assert str(error(host, adopt=True)) == (
        "host1: there is already a link eth2.10, VLAN 10 on eth2, of the stack tutorial/prod\n"
        "  hint: give one of the two stacks another VLAN on this host, or remove it from that stack first"
    )


def test_what_differs_too_much_to_be_adopted(host: FakeHost) -> None:
    by_hand(host, vlan=12)
    assert error(host, adopt=True).hint == (
        "it cannot be adopted, being VLAN 12 on eth2 instead of VLAN 10 on eth2: rename or remove it by hand"
    )


def test_a_vlan_id_that_is_taken_under_another_name(host: FakeHost) -> None:
    by_hand(host, "lan")
    assert str(error(host)) == (
        "host1: VLAN 10 on eth2 is already taken by lan of somebody else (it has no alias), "
        "so eth2.10 cannot be made\n"
        "  hint: use another VLAN id, or remove it: ip link delete lan"
    )


def test_an_address_that_another_link_has(host: FakeHost) -> None:
    with host.machine() as machine:
        machine.kernel.add_address(machine.kernel.link("eth1").index, IPv4Interface("172.16.10.1/32"))
    assert str(error(host)) == (
        "host1: address 172.16.10.1 of eth2.10 is already on eth1 of somebody else (it has no alias)\n"
        "  hint: use another gateway address, or remove it: ip address delete 172.16.10.1/32 dev eth1"
    )


def test_an_address_may_move_to_another_link_of_ours(host: FakeHost) -> None:
    ensure(host)
    assert ensure(host, SubInterface("eth2.11", "eth2", 11, addresses=GATEWAY.addresses))


def test_a_foreign_link_that_would_go_with_ours_keeps_it(host: FakeHost) -> None:
    ensure(host)
    by_hand(host, "theirs", 5, parent="eth2.10")
    with pytest.raises(ConflictError) as caught:
        run(remove_sub_interface(host, "eth2.10", OWNER))
    assert str(caught.value) == (
        "host1: eth2.10 cannot be deleted: "
        "theirs of somebody else (it has no alias) sits on it and would go too\n"
        "  hint: remove it first: ip link delete theirs"
    )
    assert read(host).differences(GATEWAY, OWNER) == ()


def test_a_parent_that_is_missing_for_several_links_is_reported_once(host: FakeHost) -> None:
    wants = [replace(GATEWAY, parent="eth7"), SubInterface("eth7.20", "eth7", 20), SHIM]
    assert len(run(foresee_sub_interfaces(host, wants, OWNER))) == 1


@pytest.mark.parametrize(
    ("code", "kind", "words"),
    [
        (95, Unsupported, "no support for vlan links"),
        (1, PermissionDenied, "the ssh user must be root or able to sudo"),
        (17, ConflictError, "by somebody else at the same moment"),
        (19, ConflictError, "an interface vanished"),
        (12, Unsupported, "the kernel refuses eth2.10 (VLAN 10 on eth2)"),
    ],
)
def test_what_the_kernel_refuses_is_told_in_our_words(
    host: FakeHost, monkeypatch: pytest.MonkeyPatch, code: int, kind: type[HostError], words: str
) -> None:
    async def refuse(*_: object) -> int:
        raise NetlinkFailure(code, "refused")

    monkeypatch.setattr(host, "add_vlan", refuse)
    with pytest.raises(kind) as caught:
        ensure(host)
    assert words in str(caught.value)


def test_a_host_that_undoes_what_was_set_is_told_apart(
    host: FakeHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As systemd-networkd does with links that one of its files matches."""

    async def forget(*_: object, **__: object) -> None:
        pass

    monkeypatch.setattr(host, "add_address", forget)
    with pytest.raises(VerificationError) as caught:
        ensure(host)
    assert "right after: eth2.10 lacks address 172.16.10.1/24" in str(caught.value)
    assert "systemd-networkd" in caught.value.hint


# Adoption


def test_adopting_touches_nothing_that_runs(host: FakeHost) -> None:
    index = by_hand(host)
    with host.machine() as machine:
        machine.kernel.set(index, alias="uplink of the lab")
        machine.kernel.add_address(index, GATEWAY.addresses[0])
        machine.kernel.add_address(index, IPv4Interface("10.1.1.1/24"))
    host.log.clear()
    change = ensure(host, adopt=True)
    assert change.done[0] == "adopted eth2.10, whose alias was 'uplink of the lab'"
    touching = ("set_link", "add_", "delete_")
    assert [step for step in host.log if step.startswith(touching)] == [
        f"set_link {index} up=None mtu=None alias={alias(OWNER)}"
    ]
    facts = read(host)
    assert facts.differences(GATEWAY, OWNER) == ()
    assert facts.foreign_addresses == (IPv4Interface("10.1.1.1/24"),)
    assert not ensure(host)


# Removal


def test_removing_what_is_gone_is_fine(host: FakeHost) -> None:
    assert not run(remove_sub_interface(host, "eth2.10", OWNER))


def test_removing_leaves_a_foreign_link_that_took_the_name(host: FakeHost) -> None:
    ensure(host)
    with host.machine() as machine:
        machine.kernel.delete(machine.kernel.link("eth2.10").index)
    by_hand(host, vlan=12)
    run(remove_sub_interface(host, "eth2.10", OWNER))
    with host.machine() as machine:
        assert machine.kernel.link("eth2.10").vlan == 12


def test_removing_says_which_addresses_of_others_went_along(host: FakeHost) -> None:
    ensure(host)
    with host.machine() as machine:
        machine.kernel.add_address(machine.kernel.link("eth2.10").index, IPv4Interface("10.1.1.1/24"))
    assert "deleted eth2.10 and with it 10.1.1.1/24, added by others" in (
        run(remove_sub_interface(host, "eth2.10", OWNER)).done
    )


# Whose is a link without an alias?


def test_a_link_that_we_had_just_made_when_we_were_cut_off_is_ours(host: FakeHost) -> None:
    ensure(host)
    making = host.log.index("add_vlan eth2.10 10") + 1
    cut = FakeHost("host1", Machine.bare(), fault=Fault(making, effect=True))
    with pytest.raises(HostError):
        ensure(cut)
    with cut.machine() as machine:
        assert machine.kernel.link("eth2.10").alias == ""
    cut.reconnect()
    assert ensure(cut)
    assert cut.dump() == host.dump()


def test_the_same_link_made_by_hand_is_not(host: FakeHost) -> None:
    with host.machine() as machine:
        machine.kernel.add("eth2.10", "vlan", machine.kernel.link("eth2").index, 10)
    assert "of somebody else" in str(error(host))
