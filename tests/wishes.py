"""What a stack may want on one host, and machines to want it on: for the laws of `hosts`."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass, replace
from ipaddress import IPv4Interface

from hypothesis import strategies as st

from hosts import ifupdown, networkd
from hosts.boot import UNIT_FOLDER, UNITS, ensure_boot_unit
from hosts.fake import FakeHost, Machine
from hosts.firewall import ensure_firewall, remove_firewall
from hosts.host import Host
from hosts.leave import leave
from hosts.links import ensure_sub_interface, remove_sub_interface
from hosts.ownership import ADDRESS_PROTOCOL, PREVIOUS, ROOT, owner_in_alias
from hosts.sysctls import ensure_sysctls
from model.fabric import SubInterface
from model.firewall import Chain, Firewall, Jump, Rule, chain_name
from model.topology import Persistence

OWNER = "tutorial/dev"
OTHER = "tutorial/prod"


@dataclass(frozen=True)
class Wish:
    """All that one stack wants on one host; links parents first."""

    links: tuple[SubInterface, ...] = ()
    sysctls: tuple[tuple[str, str], ...] = ()
    rules: tuple[Rule, ...] | None = None  # None: no firewall
    masquerade: bool = False
    persistence: Persistence = "unit"

    def firewall(self, owner: str) -> Firewall | None:
        """The same as `hosts.firewall` wants it."""
        if self.rules is None:
            return None
        forward, leaving = chain_name(owner, "FORWARD"), chain_name(owner, "POSTROUTING")
        chains = [Chain("filter", forward, self.rules)]
        jumps = [Jump("filter", "FORWARD", forward)]
        if self.masquerade:
            chains.append(Chain("nat", leaving, (Rule("MASQUERADE", out_interface="eth2.10"),)))
            jumps.append(Jump("nat", "POSTROUTING", leaving))
        return Firewall(owner, tuple(chains), tuple(jumps))


NAMES = ("lan", "eth2.20", "shim")  # each with VLAN ids of its own; the shim sits on "lan"


async def fulfil(host: Host, wish: Wish, owner: str = OWNER, *, adopt: bool = False) -> None:
    """What one `pulumi up` does to one host, in the engine's order: make and mend, then remove."""
    await ensure_boot_unit(host, owner)
    firewall = wish.firewall(owner)
    if firewall is not None:
        await ensure_firewall(host, firewall)
    await ensure_sysctls(host, dict(wish.sysctls), owner)
    for link in wish.links:
        await ensure_sub_interface(host, link, owner, adopt=adopt, persistence=wish.persistence)
    wanted = {link.name for link in wish.links}
    for name in reversed(NAMES):
        if name not in wanted:
            await remove_sub_interface(host, name, owner)
    if firewall is None:
        await remove_firewall(host, owner)


async def forgo(host: Host, owner: str = OWNER) -> None:
    """What `pulumi destroy` does."""
    await leave(host, owner)


_hosts = st.integers(1, 6)


def _pairs(values: dict[str, str]) -> tuple[tuple[str, str], ...]:
    return tuple(sorted(values.items()))


@st.composite
def addresses(draw: st.DrawFn, vlan: int) -> tuple[IPv4Interface, ...]:
    """Up to three on one link; several of them in one prefix, in any order."""
    ends = draw(st.lists(_hosts, max_size=3, unique=True))
    lengths = draw(st.lists(st.sampled_from((24, 25)), min_size=len(ends), max_size=len(ends)))
    return tuple(IPv4Interface(f"172.16.{vlan}.{e}/{p}") for e, p in zip(ends, lengths, strict=True))


@st.composite
def links(draw: st.DrawFn) -> tuple[SubInterface, ...]:
    """Any subset of `NAMES` that can stand together."""
    wanted: list[SubInterface] = []
    mtus = st.sampled_from((None, 1400, 1300))
    settings = st.dictionaries(
        st.sampled_from(("arp_ignore", "rp_filter")), st.sampled_from("012"), max_size=2
    )
    pairs = settings.map(_pairs)
    if draw(st.booleans()):
        vlan = draw(st.sampled_from((10, 11)))
        wanted.append(SubInterface("lan", "eth2", vlan, draw(mtus), draw(addresses(vlan)), draw(pairs)))
        if draw(st.booleans()):
            mtu = wanted[0].mtu and draw(st.sampled_from((wanted[0].mtu, 1280)))
            wanted.append(SubInterface("shim", "lan", None, mtu, draw(addresses(12))))
    if draw(st.booleans()):
        wanted.append(SubInterface("eth2.20", "eth2", 20, draw(mtus), draw(addresses(20)), draw(pairs)))
    return tuple(wanted)


_rules = st.builds(
    Rule,
    st.sampled_from(("ACCEPT", "DROP")),
    in_interface=st.sampled_from((None, "lan", "eth2.20")),
    out_interface=st.sampled_from((None, "lan", "eth2.20")),
    states=st.sampled_from(((), ("RELATED", "ESTABLISHED"))),
)


def wishes() -> st.SearchStrategy[Wish]:
    """Anything a stack may want."""
    parameters = st.dictionaries(
        st.sampled_from(("net.ipv4.ip_forward", "net.ipv4.conf.all.rp_filter")),
        st.sampled_from("01"),
        max_size=2,
    )
    return st.builds(
        Wish,
        links=links(),
        sysctls=parameters.map(_pairs),
        rules=st.none() | st.lists(_rules, max_size=4).map(tuple),
        masquerade=st.booleans(),
        persistence=st.sampled_from(("unit", "auto")),
    )


# A host whose trunk one of these manages, as its administrator would have configured it.
INTERFACES = (
    b"auto lo\niface lo inet loopback\n\nauto eth2\niface eth2 inet manual\n\nsource interfaces.d/*\n"
)
TRUNK_NETWORK = b"[Match]\nName=eth2\n\n[Network]\nLinkLocalAddressing=no\n"


def with_manager(machine: Machine, manager: str) -> None:
    """Let it manage the trunk, from now on."""
    if manager == ifupdown.NAME:
        machine.write(ifupdown.INTERFACES, INTERFACES)
        machine.folders.add(ifupdown.FOLDER)
        machine.symlinks[f"{UNIT_FOLDER}/multi-user.target.wants/{ifupdown.UNIT}"] = "/lib/systemd/system"
    else:
        machine.write(f"{networkd.FOLDER}/20-trunk.network", TRUNK_NETWORK)
        machine.networkd = True
    machine.start_managers()


@dataclass(frozen=True)
class Surroundings:
    """A host that others use as well: links, addresses, rules, parameters and files that are not ours."""

    trunk_up: bool = True
    neighbour: str | None = None  # the alias of a VLAN 99 on our trunk
    neighbour_up: bool = False
    docker: bool = False
    their_chain: bool = False
    parameters: tuple[tuple[str, str], ...] = ()
    file: bool = False
    address_protocol: bool = True  # whether the kernel knows IFA_PROTO
    manager: str | None = None  # of the trunk

    def machine(self) -> Machine:
        """The host."""
        machine = Machine.bare(trunk_up=self.trunk_up)
        kernel = machine.kernel
        kernel.address_protocol = self.address_protocol
        if self.manager is not None:
            with_manager(machine, self.manager)
        if self.neighbour is not None:
            index = kernel.add("eth2.99", "vlan", kernel.link("eth2").index, 99)
            kernel.set(index, alias=self.neighbour)
            if self.trunk_up and self.neighbour_up:
                kernel.set(index, up=True)
            kernel.add_address(index, IPv4Interface("10.99.0.1/24"))
        if self.their_chain:
            machine.tables["nf_tables"].restore(
                "*filter\n:THEIRS - [0:0]\n-A FORWARD -i eth2.99 -j THEIRS\n-A THEIRS -j DROP\nCOMMIT\n"
            )
        for path, value in self.parameters:
            kernel.write_sysctl(path, value)
        if self.file:
            machine.write("/etc/sysctl.d/99-local.conf", b"net.ipv4.ip_forward = 0\n")
        machine.devices = tuple(kernel.links.values())  # so that all of it survives a reboot
        machine.device_addresses = tuple(kernel.addresses)
        machine.boot_sysctls = dict(kernel.sysctls)
        if self.docker:
            machine.start_docker()
        return machine


def surroundings() -> st.SearchStrategy[Surroundings]:
    """Any of them."""
    values = {
        "net/ipv4/conf/eth1/forwarding": st.sampled_from("01"),
        "net/ipv4/conf/all/accept_redirects": st.sampled_from("10"),
        "net/ipv4/conf/all/rp_filter": st.sampled_from("012"),
    }
    return st.builds(
        Surroundings,
        trunk_up=st.booleans(),
        neighbour=st.sampled_from((None, "", "the neighbours'")),
        neighbour_up=st.booleans(),
        docker=st.booleans(),
        their_chain=st.booleans(),
        parameters=st.fixed_dictionaries({}, optional=values).map(
            lambda chosen: tuple(sorted(chosen.items()))
        ),
        file=st.booleans(),
        address_protocol=st.booleans(),
        manager=st.sampled_from((None, ifupdown.NAME, networkd.NAME)),
    )


def foreign(machine: Machine) -> set[str]:
    """Every object on a machine that is not ours, as a line; what it sits in or on does not show."""
    ours = tuple(unit.name for unit in UNITS)
    mine = {link.index for link in machine.kernel.links.values() if owner_in_alias(link.alias)}
    touched = _known_to_be_raised(machine)
    lines = {
        str(replace(link, up=False, carrier=False) if link.name in touched else link)
        for link in machine.kernel.links.values()
        if link.index not in mine
    }
    lines |= {
        str(a) for a in machine.kernel.addresses if a.link not in mine or a.protocol != ADDRESS_PROTOCOL
    }
    for backend, tables in machine.tables.items():
        lines |= {f"{backend} {line}" for line in tables.dump() if "MVF-" not in line}
    lines |= {
        f"{path} {file}"
        for path, file in machine.files.items()
        if not path.startswith((ROOT, "/run/")) and not path.endswith(ours)
    }
    return lines | {path for path in machine.symlinks if not path.endswith(ours)}


def _known_to_be_raised(machine: Machine) -> set[str]:
    """The trunk may have to be raised, and what the kernel raises with it until the next run puts it down."""
    records = [
        content.decode().splitlines()
        for path, (content, _) in machine.files.items()
        if path.startswith(PREVIOUS) and path.endswith(".down")
    ]
    return {"eth2", *(name for record in records for name in record[1:])}


def order_of_foreign_rules(machine: Machine) -> list[str]:
    """The rules of others in each chain, in their order."""
    return [
        f"{table} {chain} {rule}"
        for table, chains in sorted(machine.tables[machine.backend].tables.items())
        for chain, content in sorted(chains.items())
        for rule in content.rules
        if "MVF-" not in rule and not chain.startswith("MVF-")
    ]


def session(machine: Machine) -> FakeHost:
    """A session with a copy of the machine."""
    return FakeHost(machine=deepcopy(machine))
