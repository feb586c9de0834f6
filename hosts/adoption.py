"""Docker objects of somebody else's: which are as wanted and may be taken over as they run, and which not.

What our promises rest on must be as wanted, because nothing of it is changed later: who reaches whom, what
comes back after a reboot. The rest is kept as it is, and said: the file may say something else.
"""

from __future__ import annotations

import hashlib
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from hosts.docker import STOPPING, ContainerFacts, NetworkFacts
from model.fabric import DockerNetwork
from model.homing import container_sysctls
from model.secret import Secret
from model.topology import Container

POLICY, COMMAND = "restart policy", "command"
RANGE = "range for addresses that Docker chooses"

Values = Mapping[str, tuple[str, str]]  # by what it is: as it is, as it is wanted; "" if it is not set


@dataclass(frozen=True)
class Adoption:
    """A docker object of somebody else's that is as wanted, on a host that may adopt: it is taken over."""

    kind: Literal["network", "container"]
    name: str
    id: str
    kept: tuple[str, ...] = ()  # in what it is not as wanted, and stays so; a clause each
    wish: str = ""  # what the file says of a container (`wish_of`): when that changes, it becomes ours

    @property
    def taking_over(self) -> str:
        """What is about to happen to it."""
        kept = f"; kept as it is: {', '.join(self.kept)}" if self.kept else ""
        return f"the docker {self.kind} {self.name} of somebody else is taken over as it runs{kept}"

    @property
    def staying(self) -> str:
        """What is so of one that was taken over earlier, if the file says something else; "" if not.

        The file does not say from which range Docker hands out addresses, so nobody is nagged about that.
        """
        kept = [clause for clause in self.kept if not clause.startswith(f"its {RANGE} ")]
        if not kept:
            return ""
        return f"the docker {self.kind} {self.name} was taken over and is kept as it is: {', '.join(kept)}"


def network_differences(network: NetworkFacts, want: DockerNetwork) -> dict[str, str]:
    """In what it is not as our promises need it: by what it is, a clause; {} if it may be adopted."""
    return _differences(
        {
            "driver": (network.driver, "macvlan"),
            "scope": (network.scope, "local"),
            "IPAM driver": (network.ipam_driver, "default"),
            "parent": (network.parent or "", want.parent),
            "subnet": (", ".join(map(str, network.subnets)), str(want.subnet)),
            "gateway": (", ".join(map(str, network.gateways)), str(want.gateway)),
            "MTU": (network.mtu or "", "" if want.mtu is None else str(want.mtu)),
            "macvlan_mode": (network.mode, "bridge"),  # in others containers of one host do not meet
            "access": ("internal" if network.internal else "external", "external"),
            # with it Docker has another rule for the default gateway of a container on several networks
            "IPv6": ("on" if network.ipv6 else "off", "off"),
        }
    )


def kept_of_network(network: NetworkFacts, want: DockerNetwork) -> tuple[str, ...]:
    """In what else it is not as ours would be, a clause each.

    The range is for containers that people start by hand without an address. Ours are all told theirs, so
    nothing of ours rests on it; and nobody who makes a network by hand can know which range a host gets.
    """
    ranges = ", ".join(map(str, network.ranges)) or "the whole subnet"
    wanted = str(want.ip_range or "the whole subnet")
    return tuple(_differences({RANGE: (ranges, wanted)}).values())


def container_differences(found: ContainerFacts, want: Container) -> dict[str, str]:
    """In what it is not as our promises need it: by what it is, a clause; {} if it may be adopted."""
    addresses = {name: str(attached.wished or attached.present) for name, attached in found.networks.items()}
    wanted = {
        "image": (_tagged(found.image), _tagged(want.image)),
        POLICY: (found.restart or "no", want.restart),
    }
    if want.command:  # else the image's own counts, which nobody has asked for
        wanted[COMMAND] = (shlex.join(found.command), shlex.join(want.command))
    for key, value in container_sysctls(want):
        wanted[key] = (found.sysctls.get(key, ""), value)
    for name in sorted({*addresses, *(attachment.network for attachment in want.attachments)}):
        planned = next((str(a.address) for a in want.attachments if a.network == name), "")
        wanted[f"address on {name}"] = (addresses.get(name, ""), planned)
    return _differences(wanted)


def kept_of_container(found: ContainerFacts, want: Container) -> tuple[str, ...]:
    """In what else it is not as the file says, a clause each; values, which may be secret, are not shown."""
    return tuple(_kept_of_container(found, want))


def _kept_of_container(found: ContainerFacts, want: Container) -> Iterator[str]:
    variables = [
        name for name, value in want.environment if f"{name}={_text(value)}" not in found.environment
    ]
    if variables:
        yield f"its environment is another one in {', '.join(variables)}"
    labels = [label for label, value in want.labels if found.labels.get(label) != value]
    if labels:
        yield f"its labels are others in {', '.join(labels)}"
    grace = STOPPING if found.grace is None else found.grace
    if grace != want.stop_grace:
        yield f"its stop grace is {grace} s instead of {want.stop_grace} s"


def wish_of(want: Container) -> str:
    """A digest of what the file says of a container; of secret values, only that there are some."""
    environment = [(name, "" if isinstance(value, Secret) else value) for name, value in want.environment]
    places = [(attachment.network, str(attachment.address)) for attachment in want.attachments]
    parts = [want.image, want.command, environment, want.labels, want.restart, want.stop_grace, places]
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:16]


def remedy(want: Container, differences: Mapping[str, str]) -> str:
    """How container and file come to agree without an interruption, if that is possible; else ""."""
    ways = {
        POLICY: f"give it the restart policy {want.restart} "
        f"(docker update --restart {want.restart} {want.name})",
        COMMAND: "leave its `command` out of the topology",
    }
    if not differences.keys() <= ways.keys():
        return ""
    return " and ".join(ways[what] for what in differences)


def _differences(values: Values) -> dict[str, str]:
    return {
        what: f"its {what} is {is_ or 'not set'} instead of {wanted or 'not set'}"
        for what, (is_, wanted) in values.items()
        if is_ != wanted
    }


def _tagged(image: str) -> str:
    return image if ":" in image.rpartition("/")[2] or "@" in image else f"{image}:latest"


def _text(value: str | Secret) -> str:
    return value.reveal() if isinstance(value, Secret) else value
