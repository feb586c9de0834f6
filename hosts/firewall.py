"""A stack's chains in a host's iptables.

Everything of ours is in chains whose name carries our tag, and in one jump each from FORWARD and
POSTROUTING. The tables are read with `iptables-save`, where only our chains, our jumps and their
comments are looked at, and changed with `iptables-restore --noflush`, a table at a time, each as a
whole or not at all. If somebody else changes a table between our reading and our writing, the write
either does not mind or fails as a whole, and is tried again from a fresh reading.

What iptables prints of a rule differs between versions, so rules are compared by the hash in their
comment. To notice one that was altered under its comment, a digest of what was printed right after
writing is kept in the boot file, whose other content brings the same rules back at boot.

A change stays only if the host can still be reached with it (`hosts.rollback`), and only then the boot
file follows. Undone is what is ours alone: chains and jumps are put back as they were printed before.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from hashlib import sha256
from itertools import pairwise

from hosts import rollback
from hosts.boot import read_object, remove_object, write_object
from hosts.change import Change
from hosts.errors import ConflictError, DeadlineExceeded, HostError, Unsupported, VerificationError
from hosts.host import Completed, Host
from hosts.ownership import LOCK, folder
from model.firewall import Firewall, Jump, chain_name, jump_arguments, jump_comment, render, rule_comments

OBJECT = "firewall"  # the file that brings it back at boot
LOCK_WAIT = 20  # seconds; for the lock that iptables programs take against each other
ATTEMPTS = 5  # when others keep changing the tables under us

_BEFORE = "/run/macvlan-fabric/before"  # what a change that is not confirmed yet found, in files by its name
_LOCK_FILE = "/run/xtables.lock"
_LOCK_HELD = 4  # exit status of iptables (RESOURCE_PROBLEM)
_OTHER_SAVE = {"nf_tables": "iptables-legacy-save", "legacy": "iptables-nft-save"}


@dataclass(frozen=True)
class ChainFacts:
    """One of our chains as it is printed."""

    table: str
    name: str
    rules: tuple[str, ...]  # everything after `-A CHAIN`

    @property
    def comments(self) -> tuple[str, ...]:
        """The comment of each rule; "" for one that has none."""
        return tuple(_option(rule, "--comment") for rule in self.rules)


@dataclass(frozen=True)
class JumpFacts:
    """A rule outside our chains that leads into one of them."""

    table: str
    chain: str  # where it stands
    rule: str  # everything after `-A CHAIN`

    @property
    def target(self) -> str:
        """The chain of ours."""
        return _option(self.rule, "-j")


@dataclass(frozen=True)
class FirewallFacts:
    """What one stack has in a host's tables."""

    owner: str
    chains: tuple[ChainFacts, ...]
    jumps: tuple[JumpFacts, ...]
    boot_file: bytes | None

    @property
    def digest(self) -> str:
        """Of all that is printed of our chains; another version of iptables may give another one."""
        lines = sorted(f"{chain.table} {chain.name} {' | '.join(chain.rules)}" for chain in self.chains)
        return sha256("\n".join(lines).encode()).hexdigest()

    def differences(self, want: Firewall) -> tuple[str, ...]:
        """In what the host is not as wanted, a clause each; () if it is."""
        said = []
        have = {(chain.table, chain.name): chain for chain in self.chains}
        for chain in want.chains:
            found = have.pop((chain.table, chain.name), None)
            if found is None:
                said.append(f"table {chain.table} lacks chain {chain.name}")
                continue
            wanted = rule_comments(want, chain)
            for rule, comment in zip(chain.rules, wanted, strict=True):
                if comment not in found.comments:
                    said.append(f"chain {chain.name} lacks the rule to {rule.target} ({comment})")
            said += [
                f"chain {chain.name} has a rule that is not ours: {rule}"
                for rule, comment in zip(found.rules, found.comments, strict=True)
                if comment not in wanted
            ]
            if found.comments != wanted and set(found.comments) == set(wanted):
                said.append(f"the rules of chain {chain.name} are in another order, or twice")
        said += [f"chain {name} in table {table} is not wanted any more" for table, name in have]
        for jump in want.jumps:
            count = len(self._jumps_like(want, jump))
            if count != 1:
                said.append(f"{count or 'no'} jumps from {jump.built_in} to {jump.chain} instead of one")
        said += [
            f"{found.chain} has a jump of ours that is not wanted: {found.rule}"
            for found in self._stray(want)
        ]
        if not said and self.boot_file != boot_content(want, self.digest):
            if (self.boot_file or b"").startswith(boot_content(want, "")[: -len("# printed \n")]):
                said.append("a rule was altered under its comment")
            else:
                said.append("it would not come back like this after a reboot")
        return tuple(said)

    def differences_now(self, want: Firewall) -> tuple[str, ...]:
        """The same, but for what the next boot will make of it."""
        return replace(self, boot_file=boot_content(want, self.digest)).differences(want)

    def _jumps_like(self, want: Firewall, jump: Jump) -> list[JumpFacts]:
        return [
            found
            for found in self.jumps
            if (found.table, found.chain, found.target) == (jump.table, jump.built_in, jump.chain)
            and _option(found.rule, "--comment") == jump_comment(want, jump)
        ]

    def _stray(self, want: Firewall) -> list[JumpFacts]:
        """Jumps that carry our tag in their comment and are not among the wanted."""
        wanted = [found for jump in want.jumps for found in self._jumps_like(want, jump)]
        return [found for found in self.jumps if found not in wanted and self._carries_our_tag(found)]

    def _carries_our_tag(self, jump: JumpFacts) -> bool:
        return _option(jump.rule, "--comment").startswith(f"mvf:{_tag(self.owner)}")


async def read_firewall(host: Host, owner: str) -> FirewallFacts:
    """What that owner has in the tables; without chains if it has nothing, and if there is no iptables."""
    try:
        saved = await _save(host, "iptables-save")
    except Unsupported:
        saved = ""
    return _facts(saved, owner, await read_object(host, owner, OBJECT))


async def ensure_firewall(host: Host, want: Firewall) -> Change:
    """Make our chains, rules and jumps exactly as wanted, now and after a reboot.

    Raises Unsupported without iptables, ConflictError if the other iptables backend holds chains of
    ours or a rule of somebody else leads into a chain that must go, DeadlineExceeded if another
    program keeps the tables locked, and VerificationError if the result is not what was written, or
    cut the host off and was undone.
    """
    async with host.lock(LOCK):
        await rollback.settle(host)
        await _refuse_other_backend(host, want.owner)
        facts = await _required_facts(host, want.owner)
        before, wrong = facts, facts.differences(want)
        if not wrong:
            return Change()
        facts = await _change(host, facts, want)
        await write_object(host, want.owner, OBJECT, boot_content(want, facts.digest))
        still = facts.differences_now(want)
        if still:
            raise VerificationError(
                host.name,
                f"the firewall was set up, but right after: {'; '.join(still)}",
                "another firewall program on the host undoes it: stop it, or let it keep chains named MVF-*",
            )
        if not before.chains:
            rules = sum(len(chain.rules) for chain in want.chains)
            return Change((f"made {len(want.chains)} chains with {rules} rules and {len(want.jumps)} jumps",))
        return Change(tuple(f"put right: {clause}" for clause in wrong))


async def foresee_firewall(host: Host, owner: str) -> HostError | None:
    """What would keep `ensure_firewall` from working at all; only looks."""
    try:
        await _save(host, "iptables-save")
        await _refuse_other_backend(host, owner)
    except HostError as problem:
        return problem
    return None


async def remove_firewall(host: Host, owner: str) -> Change:
    """Remove all our chains and jumps, and the boot file. What is gone already is fine."""
    nothing = Firewall(owner, (), ())
    async with host.lock(LOCK):
        done = []
        await rollback.settle(host)
        facts = await read_firewall(host, owner)
        if facts.chains or facts.jumps:
            await _change(host, facts, nothing)
            done += [f"removed chain {chain.name} from table {chain.table}" for chain in facts.chains]
        if await remove_object(host, owner, OBJECT):
            done.append(f"removed its boot file in {folder(owner)}")
        return Change(tuple(done))


def boot_content(want: Firewall, digest: str) -> bytes:
    """What `replay.sh` reads: input for iptables-restore, with the jumps as comments of a fixed form."""
    lines = [
        f"# firewall of {want.owner}, brought back at boot; written by macvlan-fabric",
        *render(want).values(),
        *(
            f"# jump {jump.table} {jump.built_in} {jump.chain} {jump_comment(want, jump)}"
            for jump in want.jumps
        ),
        f"# printed {digest}",
    ]
    return "".join(line if line.endswith("\n") else f"{line}\n" for line in lines).encode()


# Reading


def _tag(owner: str) -> str:
    return chain_name(owner, "").split("-")[1]


def _facts(saved: str, owner: str, boot_file: bytes | None) -> FirewallFacts:
    """From the output of iptables-save, what belongs to that owner."""
    prefix = chain_name(owner, "")
    names: list[tuple[str, str]] = []
    rules: dict[tuple[str, str], list[str]] = {}
    jumps: list[JumpFacts] = []
    table = ""
    for line in saved.splitlines():
        if line.startswith("*"):
            table = line[1:]
        elif line.startswith(f":{prefix}"):
            names.append((table, line[1:].split()[0]))
        elif line.startswith("-A "):
            _, chain, *rest = line.split(" ", 2)
            rule = rest[0] if rest else ""
            if chain.startswith(prefix):
                rules.setdefault((table, chain), []).append(rule)
            elif prefix in rule and _option(rule, "-j").startswith(prefix):
                jumps.append(JumpFacts(table, chain, rule))
    chains = tuple(ChainFacts(*name, tuple(rules.get(name, ()))) for name in names)
    return FirewallFacts(owner, chains, tuple(jumps), boot_file)


_WORD = re.compile(r'"((?:[^"\\]|\\.)*)"|(\S+)')  # iptables quotes with "", and escapes with a backslash


def _words(rule: str) -> list[str]:
    return [quoted or bare for quoted, bare in _WORD.findall(rule)]


def _option(rule: str, option: str) -> str:
    """The value of an option of a printed rule; "" if it has none."""
    return next((value for word, value in pairwise(_words(rule)) if word == option), "")


async def _required_facts(host: Host, owner: str) -> FirewallFacts:
    return _facts(await _save(host, "iptables-save"), owner, await read_object(host, owner, OBJECT))


async def _save(host: Host, program: str) -> str:
    try:
        completed = await host.run([program])
    except Unsupported:
        raise Unsupported(
            host.name,
            f"there is no {program}, which the gateway's firewall needs",
            "install it on the host: apt install iptables (or dnf install iptables-nft)",
        ) from None
    if completed.status:
        raise HostError(
            host.name,
            f"{program} fails: {_last_words(completed)}",
            "try it on the host; the session must be root, and the kernel have iptables support",
        )
    return completed.stdout.decode(errors="replace")


async def _refuse_other_backend(host: Host, owner: str) -> None:
    """Raise if chains of ours are where the `iptables` of this host does not look."""
    try:
        version = (await host.run(["iptables", "-V"])).stdout.decode(errors="replace")
    except Unsupported:
        version = ""
    backend = "nf_tables" if "(nf_tables)" in version else "legacy"
    other = _OTHER_SAVE[backend]
    try:
        completed = await host.run([other])
    except Unsupported:
        return
    if _facts(completed.stdout.decode(errors="replace"), owner, None).chains:
        raise ConflictError(
            host.name,
            f"`iptables` works on {backend} here, but {other} shows chains of ours: both would filter",
            f"switch back with update-alternatives, or remove the jumps and chains "
            f"{chain_name(owner, '*')} from tables filter and nat with {other.removesuffix('-save')}",
        )


# Writing


async def _change(host: Host, facts: FirewallFacts, want: Firewall) -> FirewallFacts:
    """Lead from what is there to what is wanted, unless that cuts the host off; what is there then."""
    _transaction(host, facts, want)  # raises what would keep us from even trying
    if await host.way() is None:
        return await _apply(host, facts, want)
    name = _armed(want.owner)
    before = f"{_BEFORE}/{name}"
    await host.write(before, _as_before(facts, want).encode(), mode=0o600)
    async with rollback.guarded(host, name, _undo(facts, want, before), seconds=LOCK_WAIT + rollback.SECONDS):
        facts = await _apply(host, facts, want)
    await host.remove(before)
    return facts


async def _apply(host: Host, facts: FirewallFacts, want: Firewall) -> FirewallFacts:
    for _ in range(ATTEMPTS):
        refused = await _restore(host, _transaction(host, facts, want))
        facts = await read_firewall(host, want.owner)
        if not refused and not facts.differences_now(want):
            return facts
    if not refused:  # others undo it faster than we can look
        return facts
    if not want.chains:
        raise VerificationError(
            host.name,
            f"iptables-restore does not remove our chains: {refused}",
            "see `iptables-save | grep MVF-` on the host for what still refers to them",
        )
    raise VerificationError(
        host.name,
        f"iptables-restore refuses our rules: {refused}",
        "if other programs change the firewall all the time, stop them for a moment; "
        "else the host's iptables or kernel may lack a match or target that the message names",
    )


def _armed(owner: str) -> str:
    return rollback.name_of(owner, OBJECT)


def _undo(facts: FirewallFacts, want: Firewall, before: str) -> list[list[str]]:
    """The commands that lead back, from anywhere on the way; `before` is the file with `_as_before`."""
    ways: list[tuple[str, str, list[str]]] = [
        (jump.table, jump.built_in, list(jump_arguments(want, jump)))
        for jump in want.jumps
        if not facts._jumps_like(want, jump)
    ]
    ways += [(found.table, found.chain, _words(found.rule)) for found in facts._stray(want)]
    wait = ["--wait", str(LOCK_WAIT)]
    return [
        *(["-iptables", *wait, "-t", table, "-D", chain, *rule] for table, chain, rule in ways),
        ["iptables-restore", "--noflush", *wait, before],
        ["rm", "-f", before],
    ]


def _as_before(facts: FirewallFacts, want: Firewall) -> str:
    """Input for iptables-restore that makes our chains what they are now, without those that are to come."""
    there = [(chain.table, chain.name) for chain in facts.chains]
    new = [(chain.table, chain.name) for chain in want.chains if (chain.table, chain.name) not in there]
    text = ""
    for table in dict.fromkeys(table for table, _ in (*there, *new)):
        text += "\n".join(
            [
                f"*{table}",
                *(f":{name} - [0:0]" for where, name in (*there, *new) if where == table),
                *(f"-A {c.name} {rule}" for c in facts.chains if c.table == table for rule in c.rules),
                *(f"-I {found.chain} {found.rule}" for found in facts._stray(want) if found.table == table),
                *(f"-X {name}" for where, name in new if where == table),
                "COMMIT",
                "",
            ]
        )
    return text


def _transaction(host: Host, facts: FirewallFacts, want: Firewall) -> str:
    """Input for iptables-restore that leads from what is there to what is wanted."""
    obsolete = [c for c in facts.chains if (c.table, c.name) not in {(w.table, w.name) for w in want.chains}]
    gone = {(chain.table, chain.name) for chain in obsolete}
    stray = facts._stray(want)
    for found in facts.jumps:
        if (found.table, found.target) in gone and found not in stray:
            raise ConflictError(
                host.name,
                f"a rule that is not ours leads into {found.target}, which must be removed: "
                f"-t {found.table} -A {found.chain} {found.rule}",
                f"remove it: iptables -t {found.table} -D {found.chain} {found.rule}",
            )
    rendered = {str(table): text for table, text in render(want).items()}
    tables: dict[str, list[str]] = {}
    for table in dict.fromkeys(
        ("filter", "nat", *(c.table for c in facts.chains), *(found.table for found in stray))
    ):
        lines = rendered.get(table, "").splitlines()[1:-1]
        lines = [f":{chain.name} - [0:0]" for chain in obsolete if chain.table == table] + lines
        lines += [f"-D {found.chain} {found.rule}" for found in stray if found.table == table]
        for jump in want.jumps:
            if jump.table == table:
                lines += _settle_jump(facts, want, jump)
        lines += [f"-X {chain.name}" for chain in obsolete if chain.table == table]
        if lines:
            tables[table] = lines
    return "".join("\n".join([f"*{table}", *lines, "COMMIT", ""]) for table, lines in tables.items())


def _settle_jump(facts: FirewallFacts, want: Firewall, jump: Jump) -> list[str]:
    """Exactly one, in front if there was none. Where others have put theirs since is not fought over."""
    found = facts._jumps_like(want, jump)
    if found:
        return [f"-D {jump.built_in} {extra.rule}" for extra in found[1:]]
    words = " ".join(f'"{word}"' if " " in word else word for word in jump_arguments(want, jump))
    return [f"-I {jump.built_in} {words}"]


async def _restore(host: Host, transaction: str) -> str:
    """Apply; what iptables-restore says if it refuses, "" if it does not."""
    completed = await host.run(
        ["iptables-restore", "--noflush", "--wait", str(LOCK_WAIT)],
        stdin=transaction.encode(),
        deadline=LOCK_WAIT + 15.0,
    )
    if completed.status == _LOCK_HELD and b"xtables lock" in completed.stderr:
        raise DeadlineExceeded(
            host.name,
            f"the firewall was locked for {LOCK_WAIT} s by {await _lock_holder(host)}; nothing was changed",
            f"wait for it to finish, or end it: it holds {_LOCK_FILE}",
        )
    return _last_words(completed) if completed.status else ""


def _last_words(completed: Completed) -> str:
    lines = [line.strip() for line in completed.stderr.decode(errors="replace").splitlines() if line.strip()]
    said = "; ".join(line for line in lines if not line.startswith("Try `"))
    return said or f"exit status {completed.status}"


async def _lock_holder(host: Host) -> str:
    """Who holds the xtables lock, from /proc/locks."""
    try:
        inode = (await host.run(["stat", "-c", "%i", _LOCK_FILE])).stdout.decode().strip()
    except Unsupported:
        inode = ""
    for line in (await host.read("/proc/locks") or b"").decode().splitlines():
        found = re.search(r" (\d+) \w+:\w+:(\d+) ", line)
        if found and "->" not in line and found[2] == inode:
            name = await host.read(f"/proc/{found[1]}/comm") or b"a program"
            return f"{name.decode(errors='replace').strip()} (pid {found[1]})"
    return "another program"
