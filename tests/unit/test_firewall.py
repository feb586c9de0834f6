"""The rules of known policies, and their text."""

from __future__ import annotations

from dataclasses import replace

import pytest

from model.addresses import plan_addresses
from model.firewall import (
    Chain,
    Firewall,
    Rule,
    chain_name,
    jump_arguments,
    owner_tag,
    render,
    rule_comments,
    to_arguments,
)
from model.rules import plan_firewall
from model.topology import Allow, Gateway, NatMode, Ports, Topology, Traffic
from tests.tutorial import OWNER, TUTORIAL, container, network

ESTABLISHED = "-m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT"
NEW = "-m conntrack --ctstate NEW -j ACCEPT"


def allowing(*allow: Allow, nat: NatMode = "routed", topology: Topology = TUTORIAL) -> Topology:
    """The topology with another policy."""
    return replace(
        topology, gateway=Gateway("router", tuple(n.name for n in topology.networks), nat, tuple(allow))
    )


def firewall_of(topology: Topology) -> Firewall:
    firewall = plan_firewall(topology, plan_addresses(topology), OWNER)
    assert firewall is not None
    return firewall


def lines(topology: Topology, role: str) -> list[str]:
    """The rules of one chain as iptables arguments."""
    (chain,) = [c for c in firewall_of(topology).chains if c.name == chain_name(OWNER, role)]
    return [" ".join(to_arguments(rule)) for rule in chain.rules]


def accepted(topology: Topology) -> list[str]:
    """The ACCEPT rules for new connections, without what they all have in common."""
    return [line.removesuffix(f" {NEW}") for line in lines(topology, "VLANS") if line.endswith(NEW)]


def test_the_tutorial_s_policy_is_the_tutorial_s_rules_and_the_default_drop() -> None:
    vlans = chain_name(OWNER, "VLANS")
    assert lines(TUTORIAL, "FORWARD") == [
        f"-i eth2.10 ! -o eth2.10 -j {vlans}",
        f"-i eth2.20 ! -o eth2.20 -j {vlans}",
    ]
    assert lines(TUTORIAL, "VLANS") == [
        f"-i eth2.10 -o eth2.20 {ESTABLISHED}",
        f"-i eth2.20 -o eth2.10 {ESTABLISHED}",
        f"-i eth2.10 -o eth2.20 {NEW}",
        f"-i eth2.20 -o eth2.10 {NEW}",
        "-o eth2.10 -j DROP",
        "-o eth2.20 -j DROP",
    ]
    assert lines(TUTORIAL, "POSTROUTING") == ["-o eth2.10 -j MASQUERADE", "-o eth2.20 -j MASQUERADE"]
    assert [(j.table, j.built_in, j.chain) for j in firewall_of(TUTORIAL).jumps] == [
        ("filter", "FORWARD", chain_name(OWNER, "FORWARD")),
        ("nat", "POSTROUTING", chain_name(OWNER, "POSTROUTING")),
    ]


def test_one_way_opens_one_way_and_lets_answers_back() -> None:
    topology = allowing(Allow("mac_net10", "mac_net20", both=False), nat="masquerade")
    assert lines(topology, "VLANS")[:3] == [
        f"-i eth2.10 -o eth2.20 {ESTABLISHED}",
        f"-i eth2.20 -o eth2.10 {ESTABLISHED}",
        f"-i eth2.10 -o eth2.20 {NEW}",
    ]
    assert lines(topology, "POSTROUTING") == ["-o eth2.20 -j MASQUERADE"]


def test_without_an_entry_only_the_drops_are_left() -> None:
    assert lines(allowing(), "VLANS") == ["-o eth2.10 -j DROP", "-o eth2.20 -j DROP"]
    assert {chain.table for chain in firewall_of(allowing(nat="masquerade")).chains} == {"filter"}


@pytest.mark.parametrize("gateway", [None, Gateway("router", ("mac_net10",))])
def test_nothing_to_keep_apart_needs_no_firewall(gateway: Gateway | None) -> None:
    topology = replace(TUTORIAL, gateway=gateway)
    assert plan_firewall(topology, plan_addresses(topology), OWNER) is None


def test_routed_has_no_nat() -> None:
    firewall = firewall_of(allowing(Allow("mac_net10", "mac_net20")))
    assert {chain.table for chain in firewall.chains} == {jump.table for jump in firewall.jumps} == {"filter"}


def test_containers_are_matched_by_address_and_by_the_interface_they_are_behind() -> None:
    assert accepted(allowing(Allow("bbox1", "mac_net20", both=False))) == [
        "-s 172.16.10.10/32 -i eth2.10 -o eth2.20"
    ]
    assert accepted(allowing(Allow("mac_net20", "bbox1", both=False))) == [
        "-d 172.16.10.10/32 -i eth2.20 -o eth2.10"
    ]
    assert accepted(allowing(Allow("bbox1", "bbox4"))) == [
        "-s 172.16.10.10/32 -d 172.16.20.11/32 -i eth2.10 -o eth2.20",
        "-s 172.16.20.11/32 -d 172.16.10.10/32 -i eth2.20 -o eth2.10",
    ]


def test_neighbouring_addresses_share_a_rule() -> None:
    both = [Allow(name, "mac_net20", both=False) for name in ("bbox1", "bbox3")]
    assert accepted(allowing(*both)) == ["-s 172.16.10.10/31 -i eth2.10 -o eth2.20"]


def test_what_a_wider_entry_allows_needs_no_rule_of_its_own() -> None:
    web = Traffic("tcp", (Ports(80, 80), Ports(443, 443)))
    dns = Traffic("udp", (Ports(53, 53),))
    topology = allowing(
        Allow("bbox1", "bbox4", both=False, traffic=(web,)),
        Allow("bbox1", "mac_net20", both=False, traffic=(Traffic("tcp"),)),
        Allow("bbox3", "bbox4", both=False, traffic=(web, Traffic("icmp"))),
        Allow("mac_net10", "bbox4", both=False, traffic=(Traffic("icmp"), dns)),
    )
    assert accepted(topology) == [
        "-d 172.16.20.11/32 -i eth2.10 -o eth2.20 -p icmp",
        "-d 172.16.20.11/32 -i eth2.10 -o eth2.20 -p udp -m udp --dport 53",
        "-s 172.16.10.10/32 -i eth2.10 -o eth2.20 -p tcp",
        "-s 172.16.10.11/32 -d 172.16.20.11/32 -i eth2.10 -o eth2.20 -p tcp -m multiport --dports 80,443",
    ]


def test_ports_of_several_entries_are_merged_and_split_where_multiport_ends() -> None:
    wide = [Ports(100 * n, 100 * n + 10) for n in range(1, 15)]
    single = [Ports(port, port) for port in (7, 9, 8, 20)]
    topology = allowing(
        *(
            Allow("mac_net10", "mac_net20", both=False, traffic=(Traffic("udp", tuple(ports)),))
            for ports in (wide, single[:2], single[2:])
        )
    )
    assert accepted(topology) == [
        "-i eth2.10 -o eth2.20 -p udp -m multiport --dports "
        "7:9,20,100:110,200:210,300:310,400:410,500:510,600:610",
        "-i eth2.10 -o eth2.20 -p udp -m multiport --dports "
        "700:710,800:810,900:910,1000:1010,1100:1110,1200:1210,1300:1310",
        "-i eth2.10 -o eth2.20 -p udp -m udp --dport 1400:1410",
    ]


def test_a_container_on_several_networks_opens_connections_by_its_default_network_only() -> None:
    topology = replace(
        TUTORIAL,
        networks=(*TUTORIAL.networks, network(30)),
        containers=(container("both", "host1", "20.5", "10.5"), container("far", "host2", "30.5")),
    )
    assert accepted(allowing(Allow("both", "far"), topology=topology)) == [
        "-s 172.16.10.5/32 -d 172.16.30.5/32 -i eth2.10 -o eth2.30",
        "-s 172.16.30.5/32 -d 172.16.10.5/32 -i eth2.30 -o eth2.10",
        "-s 172.16.30.5/32 -d 172.16.20.5/32 -i eth2.30 -o eth2.20",
    ]


@pytest.mark.parametrize("nat", ["routed", "masquerade"])
def test_answers_that_leave_by_another_network_have_a_rule_where_sources_are_kept(nat: NatMode) -> None:
    topology = replace(
        TUTORIAL,
        networks=(*TUTORIAL.networks, network(30)),
        containers=(container("both", "host1", "20.5", "10.5"),),
    )
    rules = lines(allowing(Allow("mac_net30", "mac_net20", both=False), nat=nat, topology=topology), "VLANS")
    answers = [line for line in rules if line.endswith(ESTABLISHED)]
    expected = ["-i eth2.20 -o eth2.30", "-i eth2.30 -o eth2.20"]
    if nat == "routed":
        expected.insert(0, "-i eth2.10 -o eth2.30")
    assert answers == [f"{ways} {ESTABLISHED}" for ways in expected]


def test_frames_addressed_to_the_link_below_a_shim_are_judged_too() -> None:
    topology = replace(TUTORIAL, containers=(*TUTORIAL.containers, container("local", "router", "10.9")))
    vlans = chain_name(OWNER, "VLANS")
    assert lines(topology, "FORWARD") == [
        f"-i eth2.10 ! -o eth2.10g -j {vlans}",
        f"-i eth2.10g ! -o eth2.10g -j {vlans}",
        f"-i eth2.20 ! -o eth2.20 -j {vlans}",
    ]


def test_names_and_comments_carry_the_owner() -> None:
    firewall = firewall_of(TUTORIAL)
    tag = owner_tag(OWNER)
    assert len(tag) == 8
    for chain in firewall.chains:
        assert chain.name.startswith(f"MVF-{tag}-")
        assert len(chain.name) <= 28
        assert all(comment.startswith(f"mvf:{tag} ") for comment in rule_comments(firewall, chain))
    assert jump_arguments(firewall, firewall.jumps[0])[3].startswith(f"mvf:{tag} ")
    assert chain_name("other/stack", "VLANS") != chain_name(OWNER, "VLANS")


def test_comments_change_with_content_and_position() -> None:
    def comments(*rules: Rule) -> tuple[str, ...]:
        chain = Chain("filter", "MVF-x", rules)
        return rule_comments(Firewall(OWNER, (chain,), ()), chain)

    a, b = Rule("DROP", in_interface="a"), Rule("DROP", in_interface="b")
    assert comments(a, b) == comments(a, b)
    assert len({*comments(a, b), *comments(b, a)}) == 4
    assert len(set(comments(a, a))) == 2


def test_the_text_declares_our_chains_only_and_holds_no_jump() -> None:
    texts = render(firewall_of(TUTORIAL))
    assert list(texts) == ["filter", "nat"]
    for table, text in texts.items():
        rows = text.splitlines()
        assert rows[0] == f"*{table}"
        assert rows[-1] == "COMMIT"
        assert text.endswith("COMMIT\n")
        declared = [row.split()[0][1:] for row in rows if row.startswith(":")]
        assert declared
        assert all(name.startswith("MVF-") for name in declared)
        appended = [row.split()[1] for row in rows if row.startswith("-A")]
        assert set(appended) == set(declared)
