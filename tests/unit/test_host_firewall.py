"""A stack's chains in a host's iptables: on the fake tables, and on the real ones of a namespace."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Awaitable, Callable
from typing import TypeVar

import pytest

from hosts.errors import ConflictError, DeadlineExceeded, Unsupported, VerificationError
from hosts.fake import FakeHost, Machine
from hosts.firewall import ensure_firewall, foresee_firewall, read_firewall, remove_firewall
from hosts.host import Completed, Host
from model.fabric import plan
from model.firewall import Chain, Firewall, Jump, Rule, chain_name
from tests.local_host import NAMESPACE, on_host
from tests.tutorial import OWNER, TUTORIAL

T = TypeVar("T")

FORWARD, VLANS, OLD = (chain_name(OWNER, role) for role in ("FORWARD", "VLANS", "OLD"))


def _tutorial() -> Firewall:
    firewall = plan(TUTORIAL, OWNER).hosts[0].firewall
    assert firewall is not None
    return firewall


TUTORIAL_FIREWALL = _tutorial()


def in_memory(work: Callable[[Host], Awaitable[T]]) -> T:
    async def on_fake() -> T:
        return await work(FakeHost("router"))

    return asyncio.run(on_fake())


def on_real_tables(work: Callable[[Host], Awaitable[T]]) -> T:
    async def alone(host: Host) -> T:
        # Nothing of this machine may change: folders of its own, with the links to the chosen backend.
        for command in (
            "mount -t tmpfs none /run",
            "mkdir /run/etc",
            "cp -a /etc/alternatives /run/etc",
            "mount --bind /run/etc /etc",
        ):
            done = await host.run(command.split())
            assert done.status == 0, done.stderr
        return await work(host)

    return on_host(alone, NAMESPACE)


Stage = Callable[[Callable[[Host], Awaitable[None]]], None]
needs_iptables = pytest.mark.skipif(shutil.which("iptables") is None, reason="no iptables on this machine")
both_stages = pytest.mark.parametrize(
    "on_stage",
    [pytest.param(in_memory, id="fake"), pytest.param(on_real_tables, id="real", marks=needs_iptables)],
)


async def iptables(host: Host, *arguments: str) -> None:
    done = await host.run(["iptables", *arguments])
    assert done.status == 0, done.stderr


async def printed(host: Host) -> list[str]:
    """What iptables-save says, without counters, comments and empty tables."""
    lines = (await host.run(["iptables-save"])).stdout.decode().splitlines()
    return [line for line in lines if line.startswith("-A ") or " - [" in line]


async def differences(host: Host, want: Firewall = TUTORIAL_FIREWALL) -> tuple[str, ...]:
    return (await read_firewall(host, OWNER)).differences(want)


async def others_rules(host: Host) -> None:
    await iptables(host, "-t", "filter", "-N", "THEIRS")
    await iptables(host, "-t", "filter", "-A", "THEIRS", "-i", "eth9", "-j", "DROP")
    await iptables(host, "-t", "filter", "-A", "FORWARD", "-j", "THEIRS")
    await iptables(host, "-t", "nat", "-A", "POSTROUTING", "-o", "eth0", "-j", "MASQUERADE")


@both_stages
def test_the_tutorials_rules_are_applied_once_and_removed_without_a_trace(on_stage: Stage) -> None:
    async def work(host: Host) -> None:
        await others_rules(host)
        before = await printed(host)
        change = await ensure_firewall(host, TUTORIAL_FIREWALL)
        assert str(change) == "made 3 chains with 10 rules and 2 jumps"
        assert await differences(host) == ()
        after = await printed(host)
        assert [line for line in after if "MVF-" not in line] == before
        assert not await ensure_firewall(host, TUTORIAL_FIREWALL)
        assert await printed(host) == after
        assert f"removed chain {VLANS} from table filter" in (await remove_firewall(host, OWNER)).done
        assert await printed(host) == before
        assert not await remove_firewall(host, OWNER)

    on_stage(work)


@both_stages
def test_another_wish_replaces_chains_rules_and_jumps(on_stage: Stage) -> None:
    other = Firewall(
        OWNER,
        (Chain("filter", FORWARD, (Rule("DROP", in_interface="eth2.10"),)),),
        (Jump("filter", "FORWARD", FORWARD),),
    )

    async def work(host: Host) -> None:
        await others_rules(host)
        await ensure_firewall(host, other)
        alone = await printed(host)
        await ensure_firewall(host, TUTORIAL_FIREWALL)
        await ensure_firewall(host, other)
        assert await printed(host) == alone

    on_stage(work)


DROP = ("-i", "lo", "-j", "DROP")


@both_stages
@pytest.mark.parametrize(
    ("tamper", "seen"),
    [
        ([("-F", VLANS)], f"chain {VLANS} lacks the rule to ACCEPT"),
        ([("-A", VLANS, *DROP)], f"chain {VLANS} has a rule that is not ours: -i lo -j DROP"),
        ([("-F", FORWARD), ("-D", "FORWARD", "JUMP"), ("-X", FORWARD)], f"lacks chain {FORWARD}"),
        ([("-D", "FORWARD", "JUMP")], f"no jumps from FORWARD to {FORWARD} instead of one"),
        ([("-A", "FORWARD", "JUMP")], f"2 jumps from FORWARD to {FORWARD} instead of one"),
        ([("-A", "INPUT", "JUMP")], "INPUT has a jump of ours that is not wanted"),
        ([("-N", OLD)], f"chain {OLD} in table filter is not wanted"),
        ([("-D", VLANS, "FIRST"), ("-I", VLANS, "FIRST ALTERED")], "a rule was altered under its comment"),
    ],
    ids=["emptied", "added to", "deleted", "no jump", "two jumps", "stray jump", "stray chain", "altered"],
)
def test_whatever_is_changed_in_our_chains_is_seen_and_put_right(
    on_stage: Stage, tamper: list[tuple[str, ...]], seen: str
) -> None:
    async def work(host: Host) -> None:
        await others_rules(host)
        await ensure_firewall(host, TUTORIAL_FIREWALL)
        good = await printed(host)
        facts = await read_firewall(host, OWNER)
        jump = words(next(jump.rule for jump in facts.jumps if jump.table == "filter"))
        first = words(next(chain.rules[0] for chain in facts.chains if chain.name == VLANS))
        altered = ["eth2.20" if word == "eth2.10" else word for word in first]
        stand_for = {"JUMP": jump, "FIRST": first, "FIRST ALTERED": altered}
        for command in tamper:
            arguments = [word for part in command for word in stand_for.get(part, [part])]
            await iptables(host, "-t", "filter", *arguments)
        assert seen in "; ".join(await differences(host))
        assert await ensure_firewall(host, TUTORIAL_FIREWALL)
        assert await differences(host) == ()
        assert sorted(await printed(host)) == sorted(good)

    on_stage(work)


def words(rule: str) -> list[str]:
    """A printed rule as arguments: of the quoted ones, there is the comment alone."""
    before, quote, rest = rule.partition('"')
    if not quote:
        return rule.split()
    comment, _, after = rest.partition('"')
    return [*before.split(), comment, *after.split()]


@both_stages
def test_a_foreign_rule_into_a_chain_that_must_go_is_told(on_stage: Stage) -> None:
    async def work(host: Host) -> None:
        await ensure_firewall(host, TUTORIAL_FIREWALL)
        await iptables(host, "-t", "filter", "-A", "INPUT", "-j", VLANS)
        with pytest.raises(ConflictError) as caught:
            await remove_firewall(host, OWNER)
        assert f"a rule that is not ours leads into {VLANS}" in str(caught.value)
        assert caught.value.hint == f"remove it: iptables -t filter -D INPUT -j {VLANS}"

    on_stage(work)


@both_stages
def test_a_foreign_rule_into_a_chain_that_stays_does_no_harm(on_stage: Stage) -> None:
    async def work(host: Host) -> None:
        await ensure_firewall(host, TUTORIAL_FIREWALL)
        await iptables(host, "-t", "filter", "-A", "INPUT", "-j", VLANS)
        assert await differences(host) == ()

    on_stage(work)


@needs_iptables
def test_two_stacks_keep_out_of_each_others_chains() -> None:
    theirs = plan(TUTORIAL, "macvlan-fabric/prod").hosts[0].firewall
    assert theirs is not None

    async def work(host: Host) -> None:
        await ensure_firewall(host, TUTORIAL_FIREWALL)
        alone = await printed(host)
        await ensure_firewall(host, theirs)
        assert await differences(host) == ()
        await remove_firewall(host, "macvlan-fabric/prod")
        assert await printed(host) == alone

    on_real_tables(work)


def test_without_iptables_it_says_what_to_install() -> None:
    host = FakeHost("router")
    with host.machine() as machine:
        machine.missing |= {"iptables", "iptables-save", "iptables-restore"}
    with pytest.raises(Unsupported) as caught:
        asyncio.run(ensure_firewall(host, TUTORIAL_FIREWALL))
    assert str(caught.value) == (
        "router: there is no iptables-save, which the gateway's firewall needs\n"
        "  hint: install it on the host: apt install iptables (or dnf install iptables-nft)"
    )
    assert str(asyncio.run(foresee_firewall(host, OWNER))) == str(caught.value)
    assert not asyncio.run(remove_firewall(host, OWNER))


@pytest.mark.parametrize(("before", "after"), [("legacy", "nf_tables"), ("nf_tables", "legacy")])
def test_a_host_that_was_switched_to_the_other_backend_is_a_conflict(before: str, after: str) -> None:
    host = FakeHost("router")
    with host.machine() as machine:
        machine.backend = before
    asyncio.run(ensure_firewall(host, TUTORIAL_FIREWALL))
    with host.machine() as machine:
        machine.backend = after
    with pytest.raises(ConflictError) as caught:
        asyncio.run(ensure_firewall(host, TUTORIAL_FIREWALL))
    assert f"`iptables` works on {after} here, but" in str(caught.value)
    assert str(asyncio.run(foresee_firewall(host, OWNER))) == str(caught.value)


def test_who_holds_the_tables_is_named() -> None:
    machine = Machine.bare()
    machine.backend = "legacy"
    machine.xtables_lock = (4321, "ufw")
    host = FakeHost("router", machine)
    before = host.dump()
    with pytest.raises(DeadlineExceeded) as caught:
        asyncio.run(ensure_firewall(host, TUTORIAL_FIREWALL))
    assert str(caught.value) == (
        "router: the firewall was locked for 20 s by ufw (pid 4321); nothing was changed\n"
        "  hint: wait for it to finish, or end it: it holds /run/xtables.lock"
    )
    assert host.dump() == before


class Clobbered(FakeHost):
    """Somebody changes the tables each time after we have read them."""

    def __init__(self, *times: tuple[str, ...]) -> None:
        super().__init__("router")
        self.times = list(times)

    async def run(self, argv, *, stdin=b"", deadline=15.0) -> Completed:  # type: ignore[no-untyped-def]
        done = await super().run(argv, stdin=stdin, deadline=deadline)
        if argv[0] == "iptables-save" and self.times:
            await super().run(["iptables", "-t", "filter", *self.times.pop(0)])
        return done


def test_tables_that_change_between_reading_and_writing_are_read_again() -> None:
    plain = FakeHost("router")
    asyncio.run(ensure_firewall(plain, TUTORIAL_FIREWALL))
    jump = words(asyncio.run(read_firewall(plain, OWNER)).jumps[0].rule)
    host = Clobbered()
    asyncio.run(ensure_firewall(host, TUTORIAL_FIREWALL))
    good = host.dump()
    asyncio.run(host.run(["iptables", "-t", "filter", "-A", "FORWARD", *jump]))
    # we see two jumps and delete one; meanwhile both are gone, so that the deletion fails
    host.times = [("-F", "FORWARD")]
    asyncio.run(ensure_firewall(host, TUTORIAL_FIREWALL))
    assert host.dump() == good


def test_a_jump_that_goes_between_reading_and_writing_comes_back() -> None:
    host = Clobbered()
    asyncio.run(ensure_firewall(host, TUTORIAL_FIREWALL))
    good = host.dump()
    asyncio.run(host.run(["iptables", "-t", "filter", "-F", TUTORIAL_FIREWALL.chains[1].name]))
    # we see the jump and leave it alone; meanwhile it is gone, which the write does not mind
    host.times = [("-F", "FORWARD")]
    asyncio.run(ensure_firewall(host, TUTORIAL_FIREWALL))
    assert host.dump() == good


def test_rules_that_the_host_refuses_are_told_with_its_own_words(monkeypatch: pytest.MonkeyPatch) -> None:
    host = FakeHost("router")
    run = host.run

    async def refuse(argv, **options) -> Completed:  # type: ignore[no-untyped-def]
        if argv[0] == "iptables-restore":
            return Completed(tuple(argv), 2, b"", b"Extension conntrack revision 0 not supported\nTry `-h'\n")
        return await run(argv, **options)

    monkeypatch.setattr(host, "run", refuse)
    with pytest.raises(VerificationError) as caught:
        asyncio.run(ensure_firewall(host, TUTORIAL_FIREWALL))
    assert "refuses our rules: Extension conntrack revision 0 not supported" in str(caught.value)
