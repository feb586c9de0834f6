"""Links: the names that sub-interfaces will have on a host, and the MTU they can carry."""

from __future__ import annotations

from collections.abc import Iterator

from model.declaration import TrunkEntry
from model.kinds import Given
from model.problems import Problems
from model.validation.scope import Scope

LONGEST = 15  # bytes of an interface name: IFNAMSIZ - 1 (Linux, include/uapi/linux/if.h)


def check_links(scope: Scope, problems: Problems) -> None:
    """No generated name is too long or taken, no network's MTU is more than its trunk's."""
    longest: dict[str, tuple[str, str, Given[str]]] = {}
    taken: set[str] = set()
    for host, network, interface, name in links(scope):
        if len(name) > len(longest.get(interface.path, ("", "", ""))[0]):
            longest[interface.path] = (name, network, interface)
        trunks = [entry.interface for entry in (scope.trunks[host] or {}).values() if entry.interface]
        if name not in taken and any(trunk.value == name for trunk in trunks):
            taken.add(name)
            message = f"{name}, the sub-interface for {network}, is itself a trunk of {host}"
            problems.add(interface, message, "use another VLAN id, or another interface as trunk")
    for name, network, interface in longest.values():
        if len(name) > LONGEST:
            message = f"{name}, the sub-interface for {network}, would have {len(name)} characters"
            hint = f"Linux takes at most {LONGEST}: rename the interface (systemd.link) or lower the VLAN id"
            problems.add(interface, message, hint)
    _check_mtus(scope, problems)


def _uses(scope: Scope) -> dict[tuple[str, str], TrunkEntry]:
    """The trunk that carries a network on a host, by (host, network), wherever the host needs it."""
    gateway = scope.gateway
    routed = [(gateway.host.value, name) for name in scope.routed] if gateway and gateway.host else []
    found = {use: scope.carrier(*use) for use in (*scope.uses(), *routed)}
    return {use: trunk for use, trunk in found.items() if trunk}


def links(scope: Scope) -> Iterator[tuple[str, str, Given[str], str]]:
    """(host, network, interface, name of the link) for every link that the fabric will have.

    The names are those of `model.interfaces`, which needs a whole topology; a test holds the two together.
    """
    router = scope.gateway.host.value if scope.gateway and scope.gateway.host else None
    own = set(scope.uses())
    for (host, network), trunk in _uses(scope).items():
        entry = scope.network(network)
        if trunk.interface and entry and entry.vlan:
            name = f"{trunk.interface.value}.{entry.vlan.value}"
            yield host, network, trunk.interface, name
            if host == router and network in scope.routed and (host, network) in own:
                yield host, network, trunk.interface, f"{name}g"


def _check_mtus(scope: Scope, problems: Problems) -> None:
    reported: set[str] = set()
    for (host, network), trunk in _uses(scope).items():
        entry = scope.network(network)
        if entry is None or entry.mtu is None or trunk.mtu is None or network in reported:
            continue
        if entry.mtu.value > trunk.mtu.value:
            reported.add(network)
            message = f"an MTU of {entry.mtu.value} is more than the {trunk.mtu.value} of {host}'s trunk"
            hint = "lower it, or raise the mtu of the trunk if the interface carries more"
            problems.add(entry.mtu, message, hint)
