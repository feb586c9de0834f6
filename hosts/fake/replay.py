"""What the boot units do when they start: `replay.sh`, on a machine in memory."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from hosts import ifupdown
from hosts.boot import LINKS_UNIT, PROGRAM_FILE, PROGRAM_TEXT
from hosts.fake.tables import Refused
from hosts.host import Link, NetlinkFailure
from hosts.links import at_boot_in, from_boot_content
from hosts.ownership import ADDRESS_PROTOCOL, ROOT, owner_in_alias
from model.fabric import SubInterface

if TYPE_CHECKING:
    from hosts.fake.machine import Machine


def replay(machine: Machine, argument: str = LINKS_UNIT.argument) -> str:
    """What `replay.sh` does with that argument: what it printed."""
    if machine.files.get(PROGRAM_FILE, (b"", 0))[0] != PROGRAM_TEXT.encode():
        return "no replay program"
    said: list[str] = []
    ours = sorted(path for path in machine.files if PurePosixPath(path).parent.parent == PurePosixPath(ROOT))
    if argument == LINKS_UNIT.argument:
        for path in ours:
            if path.endswith("/firewall"):
                _replay_firewall(machine, path, said)
        _replay_links(machine, [path for path in ours if path.endswith(".link")], said)
    else:
        for path in ours:
            firewall = str(PurePosixPath(path).parent / "firewall")
            if path.endswith("/sysctls") and (
                firewall not in machine.files or _replay_firewall(machine, firewall, said)
            ):
                _replay_sysctls(machine, path, said)
    return "".join(f"{line}\n" for line in said)


def _replay_links(machine: Machine, pending: list[str], said: list[str]) -> None:
    late = False
    while pending:
        before = len(pending)
        pending = [path for path in pending if not _replay_link(machine, path, said, late=late)]
        if len(pending) == before and late:
            said += [f"{path}: its parent did not appear" for path in pending]
            return
        late = len(pending) == before


def _replay_firewall(machine: Machine, path: str, said: list[str]) -> bool:
    """False if it could not be restored."""
    text = machine.files[path][0].decode()
    tables = machine.tables[machine.backend]
    try:
        tables.restore(text)
        for line in text.splitlines():
            mark, _, rest = line.partition("# jump ")
            if mark or not rest:
                continue
            table, built_in, chain, comment = rest.split(" ", 3)
            rule = ["-m", "comment", "--comment", comment, "-j", chain]
            if not tables.has(table, built_in, rule):
                quoted = f'-I {built_in} -m comment --comment "{comment}" -j {chain}'
                tables.restore(f"*{table}\n{quoted}\nCOMMIT\n")
    except Refused as refused:
        said.append(f"{path}: {refused}")
        return False
    return True


def _replay_link(machine: Machine, path: str, said: list[str], *, late: bool) -> bool:
    """False if its parent is not there yet, or it is not made yet by the manager who shall."""
    content = machine.files[path][0]
    want = from_boot_content(content)
    if want is None:
        said.append(f"{path}: makes no sense")
        return True
    alias = next(line[6:] for line in content.decode().splitlines() if line.startswith("alias "))
    kernel = machine.kernel
    try:
        parent = kernel.link(want.parent)
    except NetlinkFailure:
        return False
    try:
        link = next((link for link in kernel.links.values() if link.name == want.name), None)
        manager = at_boot_in(content).manager
        if link is None and manager not in (None, ifupdown.NAME) and not late:
            return False
        if link is None:
            index = kernel.add(want.name, want.kind, parent.index, want.vlan)
            kernel.set(index, alias=alias)
        elif link.alias != alias and manager and _is_made_as(link, parent, want):
            kernel.set(link.index, alias=alias)
        elif link.alias != alias:
            said.append(f"{want.name}: not ours")
            return True
        link = kernel.link(want.name)
        if want.mtu is not None and link.mtu != want.mtu:
            kernel.set(link.index, mtu=want.mtu)
        for key, value in want.settings:
            kernel.write_sysctl(f"net/ipv4/conf/{want.name}/{key}", value)
        for address in want.addresses:
            kernel.replace_address(link.index, address, ADDRESS_PROTOCOL)
        kernel.set(parent.index, up=True)
        kernel.set(link.index, up=True)
    except NetlinkFailure as failure:
        said.append(f"{want.name}: {failure}")
    return True


def _replay_sysctls(machine: Machine, path: str, said: list[str]) -> None:
    for line in machine.files[path][0].decode().splitlines():
        if not line.startswith("#"):
            key, _, value = line.partition(" ")
            try:
                machine.kernel.write_sysctl(key, value)
            except FileNotFoundError:
                said.append(f"{key}: not set")


def _is_made_as(link: Link, parent: Link, want: SubInterface) -> bool:
    return (link.parent, link.vlan) == (parent.index, want.vlan) and not owner_in_alias(link.alias)
