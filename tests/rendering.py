"""A topology as the YAML that somebody could have written for it: the other way round than loading."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

import yaml
from hypothesis import strategies as st
from hypothesis.strategies import DrawFn

from model.topology import (
    DEFAULT_TRUNK,
    Allow,
    Container,
    Expectation,
    Gateway,
    Host,
    Network,
    Topology,
    Traffic,
)

Plain = dict[str, object]  # what a YAML parser returns for a map


def document(topology: Topology) -> Plain:
    """The topology as plain data, everything said in full."""
    return _Spelling(None).topology(topology)


def text(topology: Topology) -> str:
    """The topology as a YAML file, everything said in full."""
    return yaml.safe_dump(document(topology), sort_keys=False)


@st.composite
def spellings(draw: DrawFn, topology: Topology) -> str:
    """A YAML file that says the topology in one of the many ways there are."""
    plain = _Spelling(draw).topology(topology)
    style = draw(st.sampled_from((None, True, False)))  # flow where it is short, everywhere, nowhere
    return yaml.safe_dump(plain, sort_keys=False, default_flow_style=style)


class _Spelling:
    """Chooses between ways to say the same; without `draw`, always the long one."""

    def __init__(self, draw: DrawFn | None) -> None:
        self._draw = draw

    def _short(self) -> bool:
        return self._draw is not None and self._draw(st.booleans())

    def _but(self, plain: Plain, **defaults: object) -> Plain:
        """The map, perhaps without what is said by default."""
        return {
            key: value
            for key, value in plain.items()
            if not (key in defaults and defaults[key] == value and self._short())
        }

    def topology(self, topology: Topology) -> Plain:
        plain: Plain = {}
        if topology.ssh_config is not None:
            plain["ssh_config"] = topology.ssh_config
        plain["hosts"] = {host.name: self.host(host) for host in topology.hosts}
        plain["networks"] = {network.name: self.network(network) for network in topology.networks}
        if topology.gateway:
            plain["gateway"] = self.gateway(topology.gateway, topology)
        plain["containers"] = self.containers(topology.containers)
        plain["expect"] = [self.expectation(expectation) for expectation in topology.expect]
        plain["verify"] = topology.verify
        return self._but(plain, containers={}, expect=[], verify=False)

    def host(self, host: Host) -> Plain:
        plain: Plain = {"address": host.address}
        if [(trunk.name, trunk.mtu) for trunk in host.trunks] == [(DEFAULT_TRUNK, None)] and self._short():
            plain["trunk"] = host.trunks[0].interface
        else:
            plain["trunks"] = {
                trunk.name: trunk.interface
                if trunk.mtu is None and self._short()
                else {"interface": trunk.interface} | ({} if trunk.mtu is None else {"mtu": trunk.mtu})
                for trunk in host.trunks
            }
        plain |= {
            "adopt": host.adopt,
            "lost": host.lost,
            "may_touch_session": host.may_touch_session,
            "persistence": host.persistence,
        }
        return self._but(
            plain, address=host.name, adopt=False, lost=False, may_touch_session=False, persistence="unit"
        )

    def network(self, network: Network) -> Plain:
        plain: Plain = {
            "vlan": network.vlan,
            "subnet": str(network.subnet),
            "gateway": str(network.gateway),
            "trunk": network.trunk,
        }
        if network.mtu is not None:
            plain["mtu"] = network.mtu
        return self._but(plain, gateway=str(network.subnet[1]), trunk=DEFAULT_TRUNK)

    def gateway(self, gateway: Gateway, topology: Topology) -> Plain:
        plain: Plain = {
            "host": gateway.host,
            "nat": gateway.nat,
            "networks": list(gateway.networks),
            "allow": [self.allow(entry) for entry in gateway.allow],
        }
        every = [network.name for network in topology.networks]
        return self._but(plain, nat="masquerade", networks=every, allow=[])

    def allow(self, entry: Allow) -> object:
        traffic = [word for traffic in entry.traffic for word in _words(traffic)]
        if entry.both:
            if traffic == ["all"] and self._short():
                return [entry.source, entry.target]
            plain: Plain = {"between": [entry.source, entry.target]}
        else:
            plain = {"from": self._one(entry.source), "to": self._one(entry.target)}
        plain["traffic"] = traffic
        return self._but(plain, traffic=["all"])

    def expectation(self, expectation: Expectation) -> Plain:
        plain: Plain = {
            "from": self._one(expectation.source),
            "to": self._one(expectation.target),
            "reach": expectation.reach,
            "traffic": _words(expectation.traffic),
        }
        return self._but(plain, reach=True, traffic=["icmp"])

    def _one(self, name: str) -> object:
        return name if self._short() else [name]

    def containers(self, containers: Sequence[Container]) -> Plain:
        plain: Plain = {}
        rest = list(containers)
        while rest:
            count = _replicas(rest)
            if count and self._short():
                hosts = list(dict.fromkeys(container.host for container in rest[:count]))
                name = rest[0].name.removesuffix("-1")
                plain[name] = {"hosts": hosts, "replicas": count, **self.container(rest[0])}
                if count == len(hosts) and self._short():
                    del plain[name]["replicas"]  # type: ignore[attr-defined]
                del rest[:count]
            else:
                first = rest.pop(0)
                plain[first.name] = {"host": first.host, **self.container(first)}
        return plain

    def container(self, container: Container) -> Plain:
        addresses = {a.network: str(a.address or "auto") for a in container.attachments}
        plain: Plain = {"networks": addresses}
        if set(addresses.values()) == {"auto"} and self._short():
            plain = {"networks": list(addresses)}
        if len(addresses) == 1 and self._short():
            network, address = next(iter(addresses.items()))
            plain = self._but({"network": network, "address": address}, address="auto")
        plain |= {
            "image": container.image,
            "command": list(container.command),
            "environment": dict(container.environment),
            "labels": dict(container.labels),
            "restart": container.restart,
            "stop_grace": container.stop_grace,
        }
        if not container.command:
            del plain["command"]  # the image's own is said by saying nothing
        return self._but(plain, environment={}, labels={}, restart="unless-stopped", stop_grace=10)


def _words(traffic: Traffic) -> list[str]:
    if not traffic.ports:
        return [traffic.protocol or "all"]
    return [
        f"{traffic.protocol}/{ports.first}" + ("" if ports.first == ports.last else f"-{ports.last}")
        for ports in traffic.ports
    ]


def _replicas(containers: Sequence[Container]) -> int:
    """How many at the beginning could be the replicas of one declaration; 0: none."""
    base = re.fullmatch("(.+)-1", containers[0].name)
    if base is None or any(attachment.address for attachment in containers[0].attachments):
        return 0
    count = 0
    for number, container in enumerate(containers, start=1):
        if container != replace(containers[0], name=f"{base[1]}-{number}", host=container.host):
            break
        count = number
    hosts = list(dict.fromkeys(container.host for container in containers[:count]))
    while any(containers[i].host != hosts[i % len(hosts)] for i in range(count)):
        count -= 1
        hosts = list(dict.fromkeys(container.host for container in containers[:count]))
    return count
