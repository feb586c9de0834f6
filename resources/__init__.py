"""Dynamic resources: thin check, diff, create, read, update and delete over `hosts`."""

from resources.addresses import Addresses
from resources.boot_unit import BootUnit
from resources.firewall import Firewall
from resources.holdings import Holdings
from resources.host_ref import HostRef
from resources.sub_interface import SubInterface
from resources.sysctls import Sysctls

__all__ = ["Addresses", "BootUnit", "Firewall", "Holdings", "HostRef", "SubInterface", "Sysctls"]
