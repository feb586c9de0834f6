"""The gateway: a host that exists and has every trunk it routes between."""

from __future__ import annotations

from model.problems import Problems
from model.validation.containers import check_not_lost, check_trunk
from model.validation.scope import Scope


def check_gateway(scope: Scope, problems: Problems) -> None:
    """The gateway's host and networks."""
    gateway = scope.gateway
    if gateway is None:
        return
    seen: set[str] = set()
    for network in gateway.networks.value if gateway.networks else ():
        if network.value in seen:
            problems.add(network, f"{network.value} is listed twice", "remove one")
        elif scope.networks is not None and network.value not in scope.networks:
            problems.unknown(network, "network", network.value, scope.networks)
        seen.add(network.value)
    if gateway.host is None or scope.hosts is None:
        return
    if gateway.host.value not in scope.hosts:
        problems.unknown(gateway.host, "host", gateway.host.value, scope.hosts)
        return
    check_not_lost(scope, gateway.host, problems)
    for name in scope.routed:
        check_trunk(scope, gateway.host, name, problems)
