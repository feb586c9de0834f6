"""Looking at a host before anything is touched, so that a preview already says what cannot work.

Only what is certain to fail is a problem. What may be different by the time the plan is carried out is a
warning (a daemon that is down), or left to whoever needs it then (an interface without a carrier).
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import IPv4Network
from types import MappingProxyType
from typing import TypeVar

from hosts.adoption import (
    Adoption,
    container_differences,
    kept_of_container,
    kept_of_network,
    network_differences,
    remedy,
    wish_of,
)
from hosts.boot import read_boot_unit
from hosts.containers import differences_of_places, interface_differences
from hosts.daemon import has_client, without_client
from hosts.docker import ContainerFacts, NetworkFacts, read_containers, read_networks
from hosts.docker_rights import foresee_docker_rights
from hosts.errors import (
    ConflictError,
    HostError,
    HostUnreachable,
    Unsupported,
    VerificationError,
    makes_no_sense,
)
from hosts.firewall import foresee_firewall, read_firewall
from hosts.host import Host
from hosts.identity import read_identity
from hosts.leftovers import whose
from hosts.links import foresee_sub_interfaces, is_gone, read_sub_interface
from hosts.ownership import alias
from hosts.ssh import Target
from hosts.sysctls import sysctl_differences
from model.fabric import DockerNetwork, HostPlan, SubInterface

# What was taken over in earlier runs: by its id, what the file said of it then (`hosts.adoption.wish_of`), or
# "" of what an earlier release took over.
TakenOver = Mapping[str, str]

T = TypeVar("T")


@dataclass(frozen=True)
class Findings:
    """What was seen on one host."""

    host_problems: tuple[HostError, ...] = ()  # what stands in the plan's way, each with a way out
    adoptions: tuple[Adoption, ...] = ()  # of docker's objects, in every run anew: they carry no mark of ours
    # In what our objects are not as the plan has them, a clause each, by `boot`, `firewall`, `sysctls`,
    # `attachments` or `link NAME`. Whether one was there before, only the state knows.
    differences: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    bare: bool = False  # Docker has nothing of ours; False also where it could not be asked
    warnings: tuple[HostError, ...] = ()  # what will be in the way, if it is still so by then
    present: frozenset[str] | None = None  # `container NAME`, `network NAME` of ours; None: nobody knows
    # By container, whose ever it is, the volumes that it has, by the path inside. One that takes its name
    # over gets them again.
    volumes: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    news: tuple[str, ...] = ()  # what is going to happen and no resource shows, a clause each
    identity: str = ""  # see `hosts.identity`; equal ones are one machine
    docker_problems: tuple[HostError, ...] = ()  # what stands in the way of docker's objects alone

    @property
    def problems(self) -> tuple[HostError, ...]:
        """All that stands in the plan's way."""
        return (*self.host_problems, *self.docker_problems)


async def survey(
    host: Host,
    plan: HostPlan,
    owner: str,
    *,
    ssh_config: str | None = None,
    taken_over: TakenOver = MappingProxyType({}),
) -> Findings:
    """What the plan meets on one host, which was reached with that configuration of ssh's. Only reads.

    What one part of the host does not say, or says so that it makes no sense, is a warning, and the others
    count. Raises HostUnreachable if the session ends.
    """
    silent: list[HostError] = []

    async def part(work: Awaitable[T], otherwise: T) -> T:
        try:
            return await work
        except (HostUnreachable, AssertionError):  # the latter is nothing that a host says
            raise
        except HostError as error:
            silent.append(error)
        except Exception as error:  # whatever a host can say
            silent.append(makes_no_sense(host.name, error))
        return otherwise

    nothing: tuple[HostError, ...] = ()
    problems = asyncio.gather(
        part(_link_problems(host, plan, owner), nothing),
        part(_overlapping_prefixes(host, plan, owner), nothing),
        part(_missing_kernel_support(host, plan), nothing),
        part(_firewall(host, plan, owner), nothing),
    )
    wishes = {
        "boot": _boot_differences(host, owner),
        "sysctls": sysctl_differences(host, dict(plan.sysctls), owner),
        "firewall": _firewall_differences(host, plan, owner),
        **{f"link {want.name}": _link_differences(host, plan, want, owner) for want in plan.links},
    }
    differences = asyncio.gather(*(part(work, ()) for work in wishes.values()))
    identity, docker, rights, links_taken_over = await asyncio.gather(
        part(read_identity(host), ""),
        part(_docker(host, plan, owner, taken_over), Findings()),
        part(_docker_rights(host, plan, ssh_config), nothing),
        part(_links_taken_over(host, plan, owner), ()),
    )
    found = (problem for each in await problems for problem in each)
    return Findings(
        tuple(found),
        docker.adoptions,
        {**dict(zip(wishes, await differences, strict=True)), **docker.differences},
        docker.bare,
        (*docker.warnings, *{str(error): error for error in silent}.values()),
        docker.present,
        docker.volumes,
        (*links_taken_over, *docker.news),
        identity,
        (*docker.docker_problems, *rights),
    )


async def _link_problems(host: Host, plan: HostPlan, owner: str) -> tuple[HostError, ...]:
    return tuple(
        await foresee_sub_interfaces(
            host,
            plan.links,
            owner,
            adopt=plan.host.adopt,
            may_touch_session=plan.host.may_touch_session,
            persistence=plan.host.persistence,
        )
    )


async def _boot_differences(host: Host, owner: str) -> tuple[str, ...]:
    return (await read_boot_unit(host, owner)).differences()


async def _firewall_differences(host: Host, plan: HostPlan, owner: str) -> tuple[str, ...]:
    if plan.firewall is None:
        return ()
    return (await read_firewall(host, owner)).differences(plan.firewall)


async def _link_differences(host: Host, plan: HostPlan, want: SubInterface, owner: str) -> tuple[str, ...]:
    facts = await read_sub_interface(host, want.name, owner)
    if facts is None:
        return (is_gone(want.name),)
    if not facts.ours:
        return ()  # a problem, or to be adopted
    return facts.differences(want, owner, plan.host.persistence, adopt=plan.host.adopt)


async def _links_taken_over(host: Host, plan: HostPlan, owner: str) -> tuple[str, ...]:
    """The links of others that are adopted, as news; one that cannot be is a problem, and said as that."""
    if not plan.host.adopt:
        return ()
    found = await asyncio.gather(*(read_sub_interface(host, want.name, owner) for want in plan.links))
    return tuple(
        f"the link {facts.name} of somebody else is taken over as it runs"
        for facts in found
        if facts is not None and not facts.ours
    )


async def _overlapping_prefixes(host: Host, plan: HostPlan, owner: str) -> tuple[HostError, ...]:
    """Prefixes that the host already reaches another way: it would send the gateway's answers there."""
    links, addresses = await asyncio.gather(host.links(), host.addresses())
    wanted = {link.name for link in plan.links}
    others = {
        link.index: link.name
        for link in links
        if link.alias != alias(owner) and link.name not in wanted and link.name != "lo"
    }
    return tuple(
        ConflictError(
            host.name,
            f"the prefix {ours.network} of {link.name} overlaps {theirs.interface} on {others[theirs.link]}",
            "use another subnet for the network, or another address there",
        )
        for link in plan.links
        for ours in link.addresses
        for theirs in addresses
        if theirs.link in others
        and theirs.interface.network.prefixlen < 31  # an address of its own leads nowhere else
        and theirs.interface.ip != ours.ip  # reported with the link
        and theirs.interface.network.overlaps(ours.network)
    )


async def _missing_kernel_support(host: Host, plan: HostPlan) -> tuple[HostError, ...]:
    """802.1Q, as far as one can know without trying: it is loaded, or there is a module."""
    if not any(link.vlan is not None for link in plan.links) or await host.entries("/proc/net/vlan"):
        return ()
    try:
        loadable = await host.run(["modprobe", "--dry-run", "--quiet", "8021q"])
    except Unsupported:
        return ()  # a kernel without modules: it will tell
    if loadable.status == 0:
        return ()
    problem = "the kernel has neither support for 802.1Q VLANs nor a module 8021q"
    hint = "some images lack it: install linux-modules-extra, or another kernel"
    return (Unsupported(host.name, problem, hint),)


async def _firewall(host: Host, plan: HostPlan, owner: str) -> tuple[HostError, ...]:
    problem = await foresee_firewall(host, owner) if plan.firewall is not None else None
    return () if problem is None else (problem,)


async def _docker_rights(host: Host, plan: HostPlan, ssh_config: str | None) -> tuple[HostError, ...]:
    if not plan.networks and not plan.containers:
        return ()
    target = Target(plan.host.name, plan.host.address, ssh_config)
    problem = await foresee_docker_rights(host, target)
    return () if problem is None else (problem,)


async def _docker(host: Host, plan: HostPlan, owner: str, taken_over: TakenOver) -> Findings:
    """Docker networks and containers of others with a name or a prefix that ours need."""
    if not plan.networks and not plan.containers:
        return Findings()
    try:
        client, networks, containers = await asyncio.gather(
            has_client(host),
            read_networks(host),
            read_containers(host, [container.name for container in plan.containers]),
        )
    except Unsupported as problem:
        # A daemon that is down may be up by the time. But what there is to adopt must be seen now.
        if plan.host.adopt or not await has_client(host):
            return Findings(docker_problems=(problem,))
        return Findings(warnings=(problem,))
    if not client:
        return Findings(docker_problems=(without_client(host),))
    findings = [
        *(
            _network(host, plan, want, [n for n in networks if n.owner != owner], taken_over)
            for want in plan.networks
        ),
        *(_container(host, plan, found, taken_over) for found in containers if found.owner != owner),
    ]
    ours = {container.name: container for container in containers if container.owner == owner}
    moved = [
        clause
        for want in plan.containers
        if want.name in ours
        for clause in differences_of_places(ours[want.name], {a.network: a.address for a in want.attachments})
    ]
    moved += await interface_differences(host, ours.values())
    return Findings(
        docker_problems=tuple(problem for each in findings for problem in each.docker_problems),
        adoptions=tuple(adoption for each in findings for adoption in each.adoptions),
        warnings=(
            *(warning for each in findings for warning in each.warnings),
            *(
                _restarting(host, container)
                for container in ours.values()
                if container.status == "restarting"
            ),
        ),
        differences={"attachments": tuple(moved)},
        bare=not ours and all(network.owner != owner for network in networks),
        present=frozenset(
            {f"container {name}" for name in ours}
            | {f"network {n.name}" for n in networks if n.owner == owner}
        ),
        volumes={each.name: each.volumes for each in containers if each.volumes},
        news=tuple(clause for each in findings for clause in each.news),
    )


def _restarting(host: Host, container: ContainerFacts) -> HostError:
    return VerificationError(
        host.name,
        f"{container.name} restarts again and again",
        f"see why it ends: docker logs --tail 20 {container.name}",
    )


def _network(
    host: Host,
    plan: HostPlan,
    want: DockerNetwork,
    foreign: Sequence[NetworkFacts],
    taken_over: TakenOver,
) -> Findings:
    problems: list[HostError] = []
    warnings: list[HostError] = []
    for network in foreign:
        if network.name == want.name:
            differs = network_differences(network, want)
            known = network.id in taken_over
            if known or (plan.host.adopt and not network.owner and not differs):
                kept = (*differs.values(), *kept_of_network(network, want))
                return Findings(adoptions=(Adoption("network", network.name, network.id, kept),))
            problem = f"there is already a docker network {want.name} of {whose(network)}"
            hint = f"name the network otherwise, or remove it: docker network rm {want.name}"
            problems.append(_conflict(host, plan, network, problem, differs, hint))
            continue
        overlaps = [
            _overlap(host, network, subnet, want) for subnet in network.holds if subnet.overlaps(want.subnet)
        ]
        (problems if network.scope == "local" else warnings).extend(overlaps)
    return Findings(docker_problems=tuple(problems), warnings=tuple(warnings))


def _overlap(host: Host, network: NetworkFacts, subnet: IPv4Network, want: DockerNetwork) -> HostError:
    """What there is to say of somebody's network in the subnet that is wanted.

    Which of a swarm's networks are compared with a host's own depends on Docker's version, the driver, and
    whether a task runs there (moby/moby, libnetwork: `Network.deriveAddressSpace`).
    """
    if network.scope != "local":
        return ConflictError(
            host.name,
            f"the subnet {want.subnet} of {want.name} overlaps {subnet} of the swarm's docker network "
            f"{network.name}, which Docker may refuse",
            "if it does, use another subnet",
        )
    return ConflictError(
        host.name,
        f"the subnet {want.subnet} of {want.name} overlaps {subnet} of the docker network "
        f"{network.name} of {whose(network)}, which Docker refuses",
        f"use another subnet, or remove that network: docker network rm {network.name}",
    )


def _container(host: Host, plan: HostPlan, found: ContainerFacts, taken_over: TakenOver) -> Findings:
    want = next(container for container in plan.containers if container.name == found.name)
    differs, wish, known = container_differences(found, want), wish_of(want), taken_over.get(found.id)
    if known and known != wish:
        news = f"the docker container {want.name}, which was taken over, becomes ours: it is made anew"
        return Findings(news=(news,))
    if known is not None or (plan.host.adopt and not found.owner and not differs):
        kept = (*differs.values(), *kept_of_container(found, want))
        return Findings(adoptions=(Adoption("container", found.name, found.id, kept, wish),))
    problem = f"there is already a container {want.name} of {whose(found)}"
    hint = f"name the container otherwise, or remove it: docker rm -f {want.name}"
    conflict = _conflict(host, plan, found, problem, differs, hint, remedy(want, differs))
    return Findings(docker_problems=(conflict,))


def _conflict(
    host: Host,
    plan: HostPlan,
    thing: NetworkFacts | ContainerFacts,
    problem: str,
    differs: Mapping[str, str],
    hint: str,
    first: str = "",
) -> ConflictError:
    """Why somebody's object is in the way, and whether adopting it would help; `first` allows for that."""
    if thing.owner:
        return ConflictError(host.name, problem, hint)
    if plan.host.adopt:
        problem = f"{problem}, which cannot be adopted: {', '.join(differs.values())}"
        return ConflictError(host.name, problem, f"{first}, or {hint}" if first else hint)
    if not differs or first:
        before = f"{first} and " if first else ""
        hint = f"{before}set `adopt: true` for {host.name} to take it over as it runs, or {hint}"
    return ConflictError(host.name, problem, hint)
