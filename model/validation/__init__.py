"""What a single value cannot show: names must exist, addresses must fit, policy must make sense.

Every check reports what it finds and goes on. It is silent where it would only repeat in other words
what is already reported: about a network without a readable subnet no address is outside.
"""

from __future__ import annotations

from model.declaration import TopologyEntry
from model.problems import Problems
from model.validation.containers import check_containers
from model.validation.expectations import check_expectations
from model.validation.gateway import check_gateway
from model.validation.hosts import check_hosts
from model.validation.links import check_links
from model.validation.networks import check_networks
from model.validation.policy import check_policy
from model.validation.scope import Scope

__all__ = ["validate"]


def validate(topology: TopologyEntry, problems: Problems) -> None:
    """Add to `problems` whatever keeps the declarations from fitting together."""
    scope = Scope(topology)
    check_hosts(scope, problems)
    check_networks(scope, problems)
    check_containers(scope, problems)
    check_gateway(scope, problems)
    check_links(scope, problems)
    check_policy(scope, problems)
    check_expectations(scope, problems)
