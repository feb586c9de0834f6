"""What a user sees in `pulumi up`: gateway, trunks, networks and docker hosts, wired from a plan."""

from components.docker_host import DockerHost
from components.fabric import VlanFabric
from components.gateway import VlanGateway
from components.macvlan import MacvlanNetwork
from components.trunk import VlanTrunk
from components.verification import Verification

__all__ = ["DockerHost", "MacvlanNetwork", "Verification", "VlanFabric", "VlanGateway", "VlanTrunk"]
