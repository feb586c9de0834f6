"""What a user declares: hosts, trunks, networks, a gateway with its policy, containers.

Everything here is frozen and already valid: `model.loading` is the only place that makes a
`Topology` from text, and it refuses what does not hold together. So no function that takes a
`Topology` has to check it again.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network
from typing import Literal, Never

from model.errors import Place
from model.secret import Secret

DEFAULT_TRUNK = "trunk"

NatMode = Literal["masquerade", "routed"]
Protocol = Literal["tcp", "udp", "icmp"]
Persistence = Literal["unit", "ifupdown", "networkd", "auto"]
RestartPolicy = Literal["no", "on-failure", "always", "unless-stopped"]


@dataclass(frozen=True)
class Trunk:
    """A host's interface that carries tagged frames of one layer-2 domain.

    Trunks of the same name on different hosts are cabled together (the same switch), so a network
    lives on exactly one trunk name, and VLAN ids are unique within it.
    """

    name: str
    interface: str  # Linux interface name, at most 15 bytes (IFNAMSIZ - 1)
    mtu: int | None = None  # bytes; what the interface is known to carry; None: not checked


@dataclass(frozen=True)
class Host:
    """A Linux machine that is reached with the system's `ssh`."""

    name: str
    address: str  # an ssh destination: `[user@]host`, or an alias of the ssh configuration
    trunks: tuple[Trunk, ...]
    adopt: bool = False  # take over hand-made objects of the wanted names instead of refusing
    lost: bool = False  # gone for good: nothing runs there, and what did is let go of without asking it
    may_touch_session: bool = False  # change even what carries our ssh session; undone if that cuts us off
    persistence: Persistence = "unit"  # who makes its links at boot; auto: the trunk's own manager, else unit

    def trunk(self, name: str) -> Trunk:
        """The trunk of that name; KeyError if the host has none."""
        for trunk in self.trunks:
            if trunk.name == name:
                return trunk
        raise KeyError(name)


@dataclass(frozen=True)
class Network:
    """A VLAN and its prefix; containers on it share one broadcast domain."""

    name: str
    vlan: int  # 802.1Q VLAN id, 1..4094; 0 and 4095 are reserved (IEEE 802.1Q-2022, 9.6)
    subnet: IPv4Network
    gateway: IPv4Address  # the containers' default route, whether or not the stack has a gateway router
    trunk: str = DEFAULT_TRUNK
    mtu: int | None = None  # bytes; None: the trunk interface's own


@dataclass(frozen=True)
class Ports:
    """An inclusive range of TCP or UDP ports, 1..65535."""

    first: int
    last: int


@dataclass(frozen=True)
class Traffic:
    """What may pass: everything (`protocol` None), or one protocol, narrowed to ports for TCP and UDP."""

    protocol: Protocol | None = None
    ports: tuple[Ports, ...] = ()  # empty: every port


@dataclass(frozen=True)
class Allow:
    """Who may open connections to whom through the gateway.

    `source` and `target` name a network, or a container (all of its addresses). Answers to an
    allowed connection always pass. With `both`, the other direction may open connections too.
    """

    source: str
    target: str
    both: bool = True
    traffic: tuple[Traffic, ...] = (Traffic(),)


@dataclass(frozen=True)
class Gateway:
    """The host that routes between the networks: sub-interfaces, forwarding, firewall."""

    host: str
    networks: tuple[str, ...]  # the networks it has an address in; by default all of the topology
    nat: NatMode = "masquerade"
    allow: tuple[Allow, ...] = ()  # what no entry allows does not pass between these networks


@dataclass(frozen=True)
class Attachment:
    """A container's place on a network."""

    network: str
    address: IPv4Address | None = None  # None: the address plan assigns one


@dataclass(frozen=True)
class Container:
    """One container on one host. Replicas are separate containers, named `NAME-1`, `NAME-2`, ..."""

    name: str
    host: str
    attachments: tuple[Attachment, ...]  # at least one; at most one per network
    image: str
    command: tuple[str, ...] = ()  # empty: the image's own
    environment: tuple[tuple[str, str | Secret], ...] = ()  # sorted by name
    labels: tuple[tuple[str, str], ...] = ()  # sorted by name
    restart: RestartPolicy = "unless-stopped"
    stop_grace: int = 10  # seconds between the stop signal and the kill; 0: killed at once


@dataclass(frozen=True)
class Expectation:
    """What the user wants to hold; a preview that would break it fails."""

    source: str  # a container, or a network: each of its containers
    target: str
    reach: bool = True
    traffic: Traffic = Traffic("icmp")
    place: Place | None = field(default=None, compare=False, repr=False)  # where it is declared, if in a file
    path: str = field(default="expect", compare=False, repr=False)  # and the path that leads there


@dataclass(frozen=True)
class Topology:
    """A whole fabric. Tuples keep the order of the file."""

    hosts: tuple[Host, ...]
    networks: tuple[Network, ...]
    containers: tuple[Container, ...] = ()
    gateway: Gateway | None = None
    expect: tuple[Expectation, ...] = ()
    ssh_config: str | None = None  # path relative to the file that holds the topology; None: the user's own
    verify: bool = False  # after every `up` that changed something, compare the wire with the prediction

    def host(self, name: str) -> Host:
        """The host of that name; KeyError if there is none."""
        return next((h for h in self.hosts if h.name == name), None) or _missing(name)

    def network(self, name: str) -> Network:
        """The network of that name; KeyError if there is none."""
        return next((n for n in self.networks if n.name == name), None) or _missing(name)

    def container(self, name: str) -> Container:
        """The container of that name; KeyError if there is none."""
        return next((c for c in self.containers if c.name == name), None) or _missing(name)


def _missing(name: str) -> Never:
    raise KeyError(name)
