"""Networks: VLAN ids, prefixes and gateway addresses that do not get into each other's way."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network

from model.declaration import NetworkEntry
from model.kinds import Given
from model.problems import Placed, Problems
from model.validation.scope import Scope


def check_networks(scope: Scope, problems: Problems) -> None:
    """Every network alone and all together."""
    vlans: dict[tuple[str, int], str] = {}
    for name, item in (scope.networks or {}).items():
        network = item.value
        if network is None:
            continue
        trunk = _check_trunk(scope, name, network, problems)
        if trunk and network.vlan:
            first = vlans.setdefault((trunk, network.vlan.value), name)
            if first != name:
                message = f"VLAN {network.vlan.value} is already used by {first}"
                problems.add(network.vlan, message, "two networks on one trunk need different VLAN ids")
        if network.gateway:
            check_usable(network.gateway, network.gateway.value, name, scope, problems)
    _check_overlaps(scope, problems)


def _check_trunk(scope: Scope, name: str, network: NetworkEntry, problems: Problems) -> str | None:
    """The network's trunk if some host has it, or may have it."""
    trunk = scope.trunk_of(name)
    if trunk is None or scope.hosts is None or None in scope.trunks.values():
        return trunk
    known = list(dict.fromkeys(trunk for trunks in scope.trunks.values() for trunk in trunks or ()))
    if trunk in known:
        return trunk
    if network.trunk:
        problems.unknown(network.trunk, "trunk", trunk, known)
    else:
        hint = f"say which one carries it: trunk: {known[0]}"
        problems.add(network, f"no host has a trunk named {trunk}, the default", hint)
    return None


def _check_overlaps(scope: Scope, problems: Problems) -> None:
    declared = [
        (item.value.subnet, name)
        for name, item in (scope.networks or {}).items()
        if item.value and item.value.subnet
    ]
    # In the order of addresses, a prefix can only overlap with the widest before it that has not ended.
    widest: tuple[Given[IPv4Network], str] | None = None
    for subnet, name in sorted(declared, key=lambda pair: (pair[0].value, pair[0].line)):
        if widest and widest[0].value.overlaps(subnet.value):
            later, other = sorted([(subnet, name), widest], key=lambda pair: pair[0].line)[::-1]
            relation = f"overlaps {other[0].value}," if later[0].value != other[0].value else "is"
            message = f"{later[0].value} {relation} the subnet of {other[1]}"
            problems.add(later[0], message, "an address belongs to one network only")
        else:
            widest = (subnet, name)


def check_usable(at: Placed, address: IPv4Address, name: str, scope: Scope, problems: Problems) -> bool:
    """Whether a machine on the network `name` can have that address; reported if it cannot."""
    network = scope.network(name)
    if network is None or network.subnet is None:
        return False
    subnet = network.subnet.value
    if address not in subnet:
        hint = f"addresses on {name} go from {subnet[1]} to {subnet[-2]}"
        if home := scope.home(address):
            hint = f"it is one of {home}; {hint}"
        problems.add(at, f"{address} is outside of {subnet}", hint)
    elif address == subnet[0]:
        problems.add(
            at, f"{address} is the network address of {subnet}", f"the first usable one is {subnet[1]}"
        )
    elif address == subnet[-1]:
        problems.add(
            at, f"{address} is the broadcast address of {subnet}", f"the last usable one is {subnet[-2]}"
        )
    else:
        return True
    return False
