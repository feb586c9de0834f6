"""What people type at Pulumi, operation by operation, for every kind of resource that a fabric has.

The kinds are those of the exported state: one that is in no table makes a test fail. After each operation
everything runs on as it did, but for what the operation was about; what somebody else has there was not
touched; and the next preview has nothing to do.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import pytest

from hosts.fake import FakeHost
from tests.docked import TOPOLOGY, Container, Seen
from tests.project import Project, Run
from tests.tutorial import LONE_ROUTER

__all__ = ["TOPOLOGY"]

pytestmark = pytest.mark.lifecycle

State = Mapping[str, str]  # the types of all resources, by their URNs
Chosen = Mapping[str, str]  # the names of some, one of a type, by their types

FIREWALL = "pulumi-python:dynamic/net:Firewall"
SYSCTLS = "pulumi-python:dynamic/net:Sysctls"
LINK = "pulumi-python:dynamic/net:SubInterface"
BOOT = "pulumi-python:dynamic/boot:BootUnit"
ADDRESSES = "pulumi-python:dynamic/docker:Addresses"
ATTACHMENTS = "pulumi-python:dynamic/docker:Attachments"
IMAGE = "docker:index/remoteImage:RemoteImage"
NETWORK = "docker:index/network:Network"
CONTAINER = "docker:index/container:Container"
GATEWAY = "macvlan-fabric:net:VlanGateway"
TRUNK = "macvlan-fabric:net:VlanTrunk"
DOCKER_HOST = "macvlan-fabric:docker:DockerHost"
MACVLAN = "macvlan-fabric:docker:MacvlanNetwork"
FABRIC = "macvlan-fabric:index:VlanFabric"
VERIFICATION = "macvlan-fabric:index:Verification"
COMMAND = "command:local:Command"
STACK = "pulumi:pulumi:Stack"
DOCKER_PROVIDER = "pulumi:providers:docker"
PYTHON_PROVIDER = "pulumi:providers:pulumi-python"
ENGINE_PROVIDER = "pulumi:providers:pulumi"
COMMAND_PROVIDER = "pulumi:providers:command"

# Those of a round are tried at once, because time is dear. Each is another host's, or nothing refers to it;
# so what is wrong on a host says which of them it was. What concerns all hosts is alone.
ROUNDS: tuple[Chosen, ...] = (
    {FIREWALL: "router-firewall", ADDRESSES: "host2-addresses"},
    {SYSCTLS: "router-sysctls", DOCKER_HOST: "host1", ATTACHMENTS: "host2-attachments"},
    {GATEWAY: "router", BOOT: "host1", NETWORK: "web-host2"},
    {TRUNK: "router", IMAGE: "host1-keeper:1", CONTAINER: "copy"},
    {ENGINE_PROVIDER: "default", DOCKER_PROVIDER: "host1", LINK: "host2-eth2.20"},
    {MACVLAN: "web"},
    {FABRIC: "fabric", STACK: "macvlan-fabric-test"},
    {PYTHON_PROVIDER: "default"},
)
# The kinds that only a topology with `verify: true` has.
VERIFYING: Chosen = {VERIFICATION: "verification", COMMAND: "verify", COMMAND_PROVIDER: "default_1_2_1"}

# What is another one afterwards, in the words of `about`, when a resource of the kind was replaced: its own
# object, and what cannot be without it.
REPLACED = {
    CONTAINER: {"host2 container copy"},
    NETWORK: {"host2 network web"},  # its containers run on
}


@dataclass(frozen=True)
class Done:
    """What came of an operation."""

    runs: tuple[Run, ...]
    anew: frozenset[str] = frozenset()  # what it was about, and so may be another one now
    gone: frozenset[str] = frozenset()  # what was not there meanwhile


Operation = Callable[[Project, State, Chosen], Done]


def target_replace(project: Project, state: State, chosen: Chosen) -> Done:
    return Done((project.up(*options("--target-replace", state, chosen)),), replaced(chosen))


def replace_one(project: Project, state: State, chosen: Chosen) -> Done:
    return Done((project.up(*options("--replace", state, chosen)),), replaced(chosen))


def taint(project: Project, state: State, chosen: Chosen) -> Done:
    return Done(
        (project.pulumi("state", "taint", "--yes", *urns_of(state, chosen)), project.up()), replaced(chosen)
    )


def forget(project: Project, state: State, chosen: Chosen) -> Done:
    """What docker has of the stack and the state has not is made anew; all else is found again."""
    argv = ("state", "delete", "--yes", "--force", "--target-dependents", *urns_of(state, chosen))
    forgotten = project.pulumi(*argv)
    lost = missing(state, exported(project))
    return Done((forgotten, project.up()), frozenset(each for each in lost if " link " not in each))


def target(project: Project, state: State, chosen: Chosen) -> Done:
    return Done((project.up("--expect-no-changes", *options("--target", state, chosen)),))


def exclude(project: Project, state: State, chosen: Chosen) -> Done:
    return Done((project.up("--expect-no-changes", *options("--exclude", state, chosen)),))


def destroy(project: Project, state: State, chosen: Chosen) -> Done:
    destroyed = project.destroy("--target-dependents", *options("--target", state, chosen))
    lost = missing(state, exported(project))
    return Done((destroyed, project.up()), lost, lost)


OPERATIONS: dict[str, Operation] = {
    "--target-replace": target_replace,
    "--replace": replace_one,
    "taint": taint,
    "state delete": forget,
    "--target": target,
    "--exclude": exclude,
    "destroy --target": destroy,
}
REPLACING = {"--target-replace", "--replace", "taint"}
LEAVING_NOTHING = {"--target", "--exclude"}  # that nothing is to be done they say themselves
# The preview costs as much as the operation; of what is the same to the engine one is asked each time.
ASKED_AT_THE_END = {*LEAVING_NOTHING, "taint", "destroy --target"}
# After these another `up` does the rest, as of everything that refers to what alone was to be touched.
ANOTHER_UP = {("--target-replace", NETWORK), ("--target-replace", LINK)}
# What the engine itself refuses, before anything is touched, and how it says so.
REFUSED = {
    ("--target-replace", DOCKER_PROVIDER): "due to a change of providers mixed with --target",
    ("--target-replace", PYTHON_PROVIDER): "due to a change of providers mixed with --target",
}


def options(option: str, state: State, chosen: Chosen) -> list[str]:
    return [word for urn in urns_of(state, chosen) for word in (option, urn)]


def exported(project: Project) -> State:
    state = json.loads(project.pulumi("stack", "export").check().output)
    return {each["urn"]: each["type"] for each in state["deployment"]["resources"]}


def urns_of(state: State, chosen: Chosen) -> list[str]:
    urns = [urn for urn, kind in state.items() if chosen.get(kind) == urn.rpartition("::")[2]]
    assert len(urns) == len(chosen), f"the state has not all of {chosen}"
    return urns


def replaced(chosen: Chosen) -> frozenset[str]:
    return frozenset(what for kind in chosen for what in REPLACED.get(kind, ()))


def missing(before: State, after: State) -> frozenset[str]:
    """What the state does not know any more."""
    lost = [(kind, urn.rpartition("::")[2]) for urn, kind in before.items() if urn not in after]
    return frozenset(what for kind, name in lost for what in about(kind, name))


def about(kind: str, name: str) -> Iterator[str]:
    """What a resource stands for on a host, in words."""
    if kind == LINK:
        host, _, link = name.partition("-")
        yield f"{host} link {link}"
    elif kind == NETWORK:
        network, _, host = name.rpartition("-")
        yield f"{host} network {network}"
    elif kind == CONTAINER:
        yield f"{TOPOLOGY['containers'][name]['host']} container {name}"


def attempt(
    project: Project, hosts: Mapping[str, FakeHost], operation: str, state: State, chosen: Chosen
) -> list[str]:
    """Do it; what was wrong, and where."""
    before = see(hosts)
    done = OPERATIONS[operation](project, state, chosen)
    more = [project.up()] if any((operation, kind) in ANOTHER_UP for kind in chosen) else []
    if operation not in ASKED_AT_THE_END:
        more.append(project.preview("--expect-no-changes"))
    after = see(hosts)
    return [
        *(f"{' '.join(run.argv)} -> {run.output}" for run in (*done.runs, *more) if run.status),
        *(f"{name}: {what}" for name in hosts for what in complaints(name, before[name], after[name], done)),
    ]


def see(hosts: Mapping[str, FakeHost]) -> dict[str, Seen]:
    return {name: Seen.on(host) for name, host in hosts.items()}


def complaints(host: str, before: Seen, after: Seen, done: Done) -> Iterator[str]:
    """What has changed on a host, and should not have."""
    for name, index in before.links.items():
        if after.links.get(name) != index and f"{host} link {name}" not in done.anew:
            yield f"link {name} was {index} and is {after.links.get(name)}"
    for name, id_ in before.networks.items():
        if after.networks.get(name) != id_ and f"{host} network {name}" not in done.anew:
            yield f"docker network {name} is another one"
    for name, was in before.containers.items():
        yield from changes(f"{host} container {name}", was, after.containers.get(name), done)
    yield from (f"{name} is cut off" for name in after.cut_off)
    renamed = sorted({*before.interfaces} ^ {*after.interfaces})
    yield from (f"interface {each}" for each in renamed if not done.anew)
    shown = {*before.text.splitlines()} ^ {*after.text.splitlines()}
    yield from (f"it shows: {line}" for line in sorted(shown))


def changes(name: str, was: Container, now: Container | None, done: Done) -> Iterator[str]:
    if now is None:
        yield f"{name} is gone"
        return
    if now.addresses != was.addresses:
        yield f"{name} has {now.addresses} instead of {was.addresses}"
    if now.volumes != was.volumes and name not in done.gone:
        yield f"{name} has another volume"
    if name not in done.anew and (now.id, now.started) != (was.id, was.started):
        yield f"{name} was made anew" if now.id != was.id else f"{name} was restarted"


def rounds(operation: str) -> Iterator[Chosen]:
    """The fewest in which an operation that goes wrong still says of which kind that was."""
    together = {kind: name for chosen in ROUNDS[:5] for kind, name in chosen.items()}
    above = {kind: name for chosen in ROUNDS[5:7] for kind, name in chosen.items()}
    if operation in LEAVING_NOTHING:
        yield from (together, {**above, **ROUNDS[7]})
    elif operation in REPLACING:
        yield from (*ROUNDS[:5], above, ROUNDS[7])
    else:
        yield from ROUNDS


def promised(operation: str, chosen: Chosen) -> Chosen:
    """Those of a round that are expected to succeed."""
    return {kind: name for kind, name in chosen.items() if (operation, kind) not in REFUSED}


@pytest.mark.parametrize("operation", OPERATIONS)
def test_an_operation_costs_nothing_but_what_it_is_about(
    project: Project, docked: dict[str, FakeHost], operation: str
) -> None:
    project.up().check()
    state = exported(project)
    assert {*state.values()} == {kind for chosen in ROUNDS for kind in chosen}
    found = {}
    for each in rounds(operation):
        chosen = promised(operation, each)
        if chosen and (wrong := attempt(project, docked, operation, state, chosen)):
            found[str(chosen)] = "\n".join(wrong)
    assert not found, "\n\n".join(f"{operation} {chosen}:\n{wrong}" for chosen, wrong in found.items())
    if operation in ASKED_AT_THE_END:
        project.assert_clean()


def name_of(kind: str) -> dict[str, str]:
    return {kind: next(chosen[kind] for chosen in ROUNDS if kind in chosen)}


def test_what_the_engine_refuses_costs_nothing(project: Project, docked: dict[str, FakeHost]) -> None:
    project.up().check()
    before, state = see(docked), exported(project)
    for (operation, kind), words in REFUSED.items():
        (done,) = OPERATIONS[operation](project, state, name_of(kind)).runs
        assert done.status != 0
        assert words in done.output
        assert see(docked) == before
    project.up().check()
    project.preview("--expect-no-changes").check()
    assert see(docked) == before


def test_operations_on_the_check_of_the_wire(project: Project, router: FakeHost) -> None:
    project.write(LONE_ROUTER | {"verify": True})
    project.up().check()
    state = exported(project)
    assert {*state.values()} - {kind for chosen in ROUNDS for kind in chosen} == {*VERIFYING}
    for operation in OPERATIONS:
        wrong = attempt(project, {"router": router}, operation, state, VERIFYING)
        assert not wrong, "\n".join([operation, *wrong])
