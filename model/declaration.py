# ruff: noqa: RUF009 - `key` declares a field, as `dataclasses.field` does
"""What may stand in a topology: the keys, their meaning, their values.

The declarations drive the reading, the suggestions in errors and the JSON Schema. What a value alone
cannot show (whether a network exists, whether an address lies inside its subnet) is `model.validation`'s.
"""

from __future__ import annotations

from collections.abc import Iterator
from collections.abc import Mapping as StringMapping
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network
from typing import ClassVar, TypeVar

from model.document import Encrypted, Mapping, Node, Scalar, Sequence, is_encrypted, shown
from model.entries import Entry, Exclusive, Record, key
from model.kinds import Given, Item, Kind, ListOf, MapOf, Schema
from model.problems import Problems, Spot
from model.secret import Secret
from model.topology import (
    DEFAULT_TRUNK,
    Container,
    Gateway,
    Host,
    NatMode,
    Network,
    Persistence,
    RestartPolicy,
    Topology,
    Traffic,
)
from model.values import (
    ADDRESS,
    ADDRESS_OR_AUTO,
    COMMAND_LINE,
    CONTAINER_NAME,
    DESTINATION,
    ENCRYPTED_SCHEMA,
    ENVIRONMENT_NAME,
    FLAG,
    HOST,
    HOST_NAME,
    IMAGE,
    INTERFACE,
    LABEL_NAME,
    MTU,
    NAT,
    NETWORK,
    NETWORK_NAME,
    PATH,
    PEER,
    PERSISTENCE,
    PREFIX,
    REPLICAS,
    RESTART,
    STOP_GRACE,
    TEXT,
    TRAFFIC,
    TRUNK,
    TRUNK_NAME,
    VLAN,
)

Names = Given[tuple[Given[str], ...]]
P = TypeVar("P", covariant=True)


@dataclass(frozen=True)
class TrunkEntry(Entry):
    """An interface that carries tagged frames. Written as a word, it is the interface."""

    shorthand: ClassVar[str] = "interface"

    interface: Given[str] | None = key(
        INTERFACE, "the Linux interface", required=True, also=("parent", "device", "name", "nic")
    )
    mtu: Given[int] | None = key(
        MTU, "what the interface carries, in bytes; a network's MTU is checked against it"
    )


@dataclass(frozen=True)
class HostEntry(Entry):
    """A Linux machine that is reached with ssh."""

    elsewhere: ClassVar[StringMapping[str, str]] = {
        "user": "write it before the host: address: user@host",
        "port": "it goes into the ssh configuration (Port)",
        "key": "it goes into the ssh configuration (IdentityFile)",
        "identity_file": "it goes into the ssh configuration (IdentityFile)",
        "password": "ssh logs in by key here",
    }
    exclusive: ClassVar[Exclusive] = ((("trunk",), ("trunks",)),)

    address: Given[str] | None = key(
        DESTINATION,
        "where ssh connects to: [user@]host, or an alias of its configuration; by default the host's name",
        also=("ip", "ssh", "host", "hostname", "destination"),
    )
    trunk: Given[str] | None = key(
        INTERFACE,
        f'the interface that carries tagged frames: short for trunks with one entry, "{DEFAULT_TRUNK}"',
        also=("interface", "parent", "nic"),
    )
    trunks: Given[tuple[Item[TrunkEntry], ...]] | None = key(
        MapOf(
            TRUNK_NAME,
            Record(TrunkEntry, "an interface, or a map with interface and mtu", "eth2"),
            "a map from trunk names to interfaces",
            at_least=1,
            example="{ trunk: eth2 }",
        ),
        "several trunks by name; trunks of the same name are cabled together across hosts",
        also=("interfaces",),
    )
    adopt: Given[bool] | None = key(
        FLAG, "take over hand-made objects of the wanted names instead of refusing", default=Host.adopt
    )
    may_touch_session: Given[bool] | None = key(
        FLAG,
        "change even the interface or route that carries the ssh session to the host, instead of refusing; "
        "the host undoes what cuts it off",
        default=Host.may_touch_session,
    )
    lost: Given[bool] | None = key(
        FLAG,
        "the machine is gone for good: the stack lets go of what it had there, without asking it",
        default=Host.lost,
        also=("gone", "dead"),
    )
    persistence: Given[Persistence] | None = key(
        PERSISTENCE,
        "who makes the host's links at boot: unit, a systemd unit of ours; ifupdown or networkd, by files of "
        "ours; auto, whichever of these two manages the trunk interface, else unit",
        default=Host.persistence,
        also=("boot", "network_manager", "renderer"),
    )

    def named_trunks(self) -> dict[str, TrunkEntry] | None:
        """The trunks by name, from either way of writing them; None if some could not be read."""
        if self.trunk:
            place = (self.trunk.line, self.trunk.path)
            return {DEFAULT_TRUNK: TrunkEntry(*place, frozenset(["interface"]), self.trunk, None)}
        if self.trunks is None or not all(item.value for item in self.trunks.value):
            return None
        return {item.name: item.value for item in self.trunks.value if item.value}


@dataclass(frozen=True)
class NetworkEntry(Entry):
    """A VLAN and its prefix; containers on it share one broadcast domain."""

    vlan: Given[int] | None = key(
        VLAN, "802.1Q VLAN id, unique on its trunk", required=True, also=("id", "vlan_id", "tag", "vid")
    )
    subnet: Given[IPv4Network] | None = key(
        PREFIX, "the IPv4 prefix of the network", required=True, also=("prefix", "cidr", "range", "ip_range")
    )
    gateway: Given[IPv4Address] | None = key(
        ADDRESS,
        "the containers' default route; by default the first address of the subnet",
        also=("router", "gw", "default_gateway"),
    )
    trunk: Given[str] | None = key(
        TRUNK,
        "the name of the trunk that carries the VLAN",
        default=Network.trunk,
        also=("parent", "interface"),
    )
    mtu: Given[int] | None = key(MTU, "the containers' MTU in bytes; by default the trunk interface's")


_PEERS = ListOf(PEER, "a list of two names or more", at_least=2, example="[mac_net10, mac_net20]")
_NAMES = ListOf(PEER, "a name or a list of names", at_least=1, single=True, example="mac_net10")
_TRAFFICS = ListOf(
    TRAFFIC, "a kind of traffic or a list of them", at_least=1, single=True, example="[icmp, tcp/80]"
)


@dataclass(frozen=True)
class Direction:
    """From whom to whom, read from either way of writing it."""

    source: Given[str]
    target: Given[str]
    both: bool


@dataclass(frozen=True)
class PairsEntry(Entry):
    """Who and whom: `[a, b]` or `between: [a, b]` for both directions, `from: a, to: b` for one."""

    shorthand: ClassVar[str] = "between"
    exclusive: ClassVar[Exclusive] = ((("between",), ("from", "to")),)

    between: Names | None = key(
        _PEERS, "networks or containers: each to and from each", also=("both", "pair")
    )
    source: Names | None = key(
        _NAMES, "networks or containers that open connections", name="from", also=("source", "src")
    )
    target: Names | None = key(
        _NAMES,
        "networks or containers that are connected to",
        name="to",
        also=("target", "destination", "dst"),
    )

    def directions(self) -> Iterator[Direction]:
        """Every pair of names, in the order of the file."""
        peers = self.between.value if self.between else ()
        for index, one in enumerate(peers):
            for other in peers[index + 1 :]:
                yield Direction(one, other, both=True)
        for source in self.source.value if self.source else ():
            for target in self.target.value if self.target else ():
                yield Direction(source, target, both=False)


@dataclass(frozen=True)
class AllowEntry(PairsEntry):
    """Who may open connections to whom through the gateway. Answers always pass.

    `[a, b]` and `between: [a, b]` allow both directions, `from: a, to: b` allows one.
    """

    traffic: Given[tuple[Given[Traffic], ...]] | None = key(
        _TRAFFICS,
        "what may pass; a port is the target's",
        default="all",
        also=("protocol", "ports", "port", "proto"),
    )


@dataclass(frozen=True)
class ExpectEntry(PairsEntry):
    """What must hold; a preview that would break it fails.

    `[a, b]` and `between: [a, b]` speak of both directions, `from: a, to: b` of one.
    """

    reach: Given[bool] | None = key(FLAG, "whether they must reach each other, or must not", default=True)
    traffic: Given[tuple[Given[Traffic], ...]] | None = key(
        _TRAFFICS, "with what", default="icmp", also=("protocol", "ports", "port", "proto")
    )


class PairsOf(ListOf[P]):
    """A list of pairs. Written as one pair, which is the usual slip, it is told how to be one."""

    def read(self, node: Node, path: str, problems: Problems) -> Given[tuple[P, ...]] | None:
        one = (
            isinstance(node, Sequence) and node.items and all(isinstance(item, Scalar) for item in node.items)
        )
        if one or isinstance(node, Mapping):
            hint = f"put the pair into a list of its own: [{shown(node)}]"
            problems.add(Spot(node.line, path), f"must be {self.expects}, got {shown(node)}", hint)
            return None
        return super().read(node, path, problems)


@dataclass(frozen=True)
class GatewayEntry(Entry):
    """The host that routes between the networks."""

    host: Given[str] | None = key(HOST, "the host that routes", required=True, also=("router", "name"))
    nat: Given[NatMode] | None = key(
        NAT,
        "masquerade: the target sees the gateway's address; routed: it sees the source's",
        default=Gateway.nat,
        also=("mode", "snat"),
    )
    networks: Names | None = key(
        ListOf(NETWORK, "a list of network names", at_least=1, example="[mac_net10, mac_net20]"),
        "the networks that the gateway has an address in; by default all",
    )
    allow: Given[tuple[AllowEntry, ...]] | None = key(
        PairsOf(Record(AllowEntry, "a pair of names"), "a list of pairs", example="[[mac_net10, mac_net20]]"),
        "what may pass between networks; all else does not",
        default=[],
        also=("policy", "rules", "permit", "accept"),
    )


class CommandKind(Kind[Given[tuple[str, ...]]]):
    """A command line, split as a shell would, or a list of words."""

    expects = "a command line or a list of words"
    example = "sleep infinity"
    _words = ListOf(TEXT, expects, at_least=1, example="[sleep, infinity]")

    def read(self, node: Node, path: str, problems: Problems) -> Given[tuple[str, ...]] | None:
        if isinstance(node, Scalar) and not node.is_null:
            return COMMAND_LINE.read(node, path, problems)
        words = self._words.read(node, path, problems)
        if words is None:
            return None
        return Given(tuple(word.value for word in words.value), words.line, words.path, words.whole)

    def schema(self, definitions: Schema) -> Schema:
        return {"anyOf": [COMMAND_LINE.schema(definitions), self._words.schema(definitions)]}


class NetworksKind(Kind[Given[tuple[Item[Given[IPv4Address | None]], ...]]]):
    """A container's networks: a list of names, or a map from names to addresses."""

    expects = "a list of network names, or a map from network names to addresses"
    example = "{ mac_net10: 172.16.10.10, mac_net20: auto }"
    _map = MapOf(NETWORK, ADDRESS_OR_AUTO, expects, at_least=1, example=example)
    _list = ListOf(NETWORK, expects, at_least=1, example=example)

    def read(
        self, node: Node, path: str, problems: Problems
    ) -> Given[tuple[Item[Given[IPv4Address | None]], ...]] | None:
        if not isinstance(node, Sequence):
            return self._map.read(node, path, problems)
        names = self._list.read(node, path, problems)
        if names is None:
            return None
        return Given(tuple(map(self._automatic, names.value)), names.line, names.path, names.whole)

    @staticmethod
    def _automatic(name: Given[str]) -> Item[Given[IPv4Address | None]]:
        return Item(name.value, name.line, name.path, Given(None, name.line, name.path))

    def schema(self, definitions: Schema) -> Schema:
        return {"anyOf": [self._list.schema(definitions), self._map.schema(definitions)]}


class EnvironmentKind(Kind[Given[str | Secret]]):
    """The value of an environment variable: text, or what Pulumi has encrypted in the stack's own file."""

    expects = "text"

    def read(self, node: Node, path: str, problems: Problems) -> Given[str | Secret] | None:
        if isinstance(node, Encrypted):
            text = TEXT.parsed(Scalar(node.line, node.secret.reveal()), Spot(node.line, path), problems)
            return None if text is None else Given(node.secret, node.line, path)
        if is_encrypted(node):
            hint = "put the topology itself there instead of the name of this file"
            problem = "is encrypted, but Pulumi decrypts only what stands in the stack's own file"
            problems.add(Spot(node.line, path), problem, hint)
            return None
        read = TEXT.read(node, path, problems)
        return None if read is None else Given(read.value, read.line, read.path)

    def schema(self, definitions: Schema) -> Schema:
        return {"anyOf": [TEXT.schema(definitions), ENCRYPTED_SCHEMA]}


@dataclass(frozen=True)
class ContainerEntry(Entry):
    """A container, or several replicas of it."""

    elsewhere: ClassVar[StringMapping[str, str]] = {
        "ports": "nothing has to be published: the container has an address of its own; see gateway.allow",
        "expose": "nothing has to be published: the container has an address of its own; see gateway.allow",
        "volumes": "containers have no volumes here; build what they need into the image",
        "depends_on": "containers start in any order; let them wait for what they need",
        "build": "images are pulled, not built",
    }
    exclusive: ClassVar[Exclusive] = ((("host",), ("hosts",)), (("network",), ("networks",)))
    only_with: ClassVar[tuple[tuple[str, str], ...]] = (("address", "network"),)

    host: Given[str] | None = key(HOST, "the host it runs on", also=("node", "server", "on"))
    hosts: Names | None = key(
        ListOf(HOST, "a list of host names", at_least=1, example="[host1, host2]"),
        "the hosts that replicas run on, one after the other, from the start again",
        also=("nodes",),
    )
    replicas: Given[int] | None = key(
        REPLICAS,
        "how many, named NAME-1, NAME-2, ...; by default one on each of `hosts`",
        also=("count", "scale", "instances"),
    )
    network: Given[str] | None = key(NETWORK, "the network it is on", also=("net",))
    address: Given[IPv4Address | None] | None = key(
        ADDRESS_OR_AUTO,
        "its address on `network`; by default one is chosen",
        default="auto",
        also=("ip", "ipv4", "ipv4_address", "ip_address"),
    )
    networks: Given[tuple[Item[Given[IPv4Address | None]], ...]] | None = key(
        NetworksKind(), "several networks, with addresses if they are a map", also=("nets",)
    )
    image: Given[str] | None = key(IMAGE, "the image it is made from", required=True)
    command: Given[tuple[str, ...]] | None = key(
        CommandKind(), "what it runs; by default what the image says", also=("cmd", "entrypoint", "args")
    )
    environment: Given[tuple[Item[Given[str | Secret]], ...]] | None = key(
        MapOf(
            ENVIRONMENT_NAME, EnvironmentKind(), "a map from names to values", example="{ LOG_LEVEL: debug }"
        ),
        "environment variables; those that Pulumi has encrypted (config set --secret --path) stay secret",
        default={},
        also=("env", "envs", "variables"),
    )
    labels: Given[tuple[Item[Given[str]], ...]] | None = key(
        MapOf(LABEL_NAME, TEXT, "a map from names to values", example="{ org.example.role: web }"),
        "Docker labels",
        default={},
    )
    restart: Given[RestartPolicy] | None = key(
        RESTART, "when Docker starts it again", default=Container.restart, also=("restart_policy",)
    )
    stop_grace: Given[int] | None = key(
        STOP_GRACE,
        "seconds between the stop signal and the kill",
        default=Container.stop_grace,
        also=("stop_grace_period", "stop_timeout", "grace"),
    )

    def placements(self, name: str) -> tuple[Placement, ...]:
        """The containers that the declaration `name` makes, as far as it could be read."""
        hosts = self.hosts.value if self.hosts and self.hosts.whole else (self.host,)
        if self.networks:
            attached = tuple(
                AttachmentEntry(Given(item.name, item.line, item.path), item.value)
                for item in self.networks.value
            )
        elif self.network:
            address = self.address
            if "address" not in self.given:
                address = Given(None, self.network.line, self.network.path)
            attached = (AttachmentEntry(self.network, address),)
        else:
            attached = ()
        if self.given.isdisjoint(("replicas", "hosts")):
            return (Placement(name, hosts[0], attached),)
        count = self.replicas.value if self.replicas else len(hosts)
        return tuple(
            Placement(f"{name}-{number + 1}", hosts[number % len(hosts)], attached) for number in range(count)
        )


@dataclass(frozen=True)
class AttachmentEntry:
    """A container's place on a network. `address` None: wrong, and reported; its value None: automatic."""

    network: Given[str]
    address: Given[IPv4Address | None] | None


@dataclass(frozen=True)
class Placement:
    """One of the containers that a declaration makes."""

    name: str
    host: Given[str] | None
    attached: tuple[AttachmentEntry, ...]


@dataclass(frozen=True)
class TopologyEntry(Entry):
    """A VLAN fabric for containers. Keys that start with `x-` are ignored: a place for YAML anchors."""

    extensible: ClassVar[bool] = True

    ssh_config: Given[str] | None = key(
        PATH,
        "an ssh configuration, relative to this file; by default the user's own",
        also=("ssh",),
    )
    hosts: Given[tuple[Item[HostEntry], ...]] | None = key(
        MapOf(
            HOST_NAME,
            Record(HostEntry, "a map with a trunk", "{ trunk: eth2 }"),
            "a map from host names to hosts",
            at_least=1,
            example="{ host1: { trunk: eth2 } }",
        ),
        "the machines, by name",
        required=True,
        also=("nodes", "machines", "servers"),
    )
    networks: Given[tuple[Item[NetworkEntry], ...]] | None = key(
        MapOf(
            NETWORK_NAME,
            Record(NetworkEntry, "a map with vlan and subnet", "{ vlan: 10, subnet: 172.16.10.0/24 }"),
            "a map from network names to networks",
            at_least=1,
            example="{ mac_net10: { vlan: 10, subnet: 172.16.10.0/24 } }",
        ),
        "the VLANs, by name; Docker's networks are called the same",
        required=True,
        also=("vlans", "subnets"),
    )
    gateway: GatewayEntry | None = key(
        Record(
            GatewayEntry, "a map with host and allow", "{ host: router, allow: [[mac_net10, mac_net20]] }"
        ),
        "the router between the networks; without it each network stays for itself",
        also=("router", "gateways"),
    )
    containers: Given[tuple[Item[ContainerEntry], ...]] | None = key(
        MapOf(
            CONTAINER_NAME,
            Record(
                ContainerEntry,
                "a map with host, network and image",
                "{ host: host1, network: mac_net10, image: busybox }",
            ),
            "a map from container names to containers",
            example="{ web: { host: host1, network: mac_net10, image: nginx } }",
        ),
        "the containers, by name",
        default={},
        also=("services",),
    )
    expect: Given[tuple[ExpectEntry, ...]] | None = key(
        PairsOf(
            Record(ExpectEntry, "a pair of names"),
            "a list of pairs",
            example="[{ from: web, to: db, traffic: tcp/5432 }]",
        ),
        "what must hold; a preview that would break it fails",
        default=[],
        also=("expectations", "tests", "assert"),
    )
    verify: Given[bool] | None = key(
        FLAG,
        "after every update that changed something, compare the wire with the prediction",
        default=Topology.verify,
    )


TOPOLOGY = Record(TopologyEntry, "a map with hosts and networks", "hosts: { host1: { trunk: eth2 } }")
