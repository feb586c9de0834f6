"""Dynamic resources: thin check, diff, create, read, update and delete over `hosts`."""

from resources.addresses import Addresses
from resources.attachments import Attachments
from resources.boot_unit import BootUnit
from resources.docker_hooks import make_way, put_back, vacate
from resources.firewall import Firewall
from resources.host_ref import HostRef
from resources.provider import HostResource
from resources.stuck import StuckRun
from resources.sub_interface import SubInterface
from resources.sysctls import Sysctls

__all__ = [
    "Addresses",
    "Attachments",
    "BootUnit",
    "Firewall",
    "HostRef",
    "HostResource",
    "StuckRun",
    "SubInterface",
    "Sysctls",
    "make_way",
    "put_back",
    "vacate",
]
