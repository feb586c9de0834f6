"""Sub-interfaces of a trunk, and macvlan links on them, with their addresses.

A link is ours if its alias names our owner; or, the alias being lost, if our file for it says the same
parent and VLAN id; or if an operation of ours was cut off right after making it, which a note under
/run tells. An address is ours if it carries our protocol number, or stands in that file or note.

Who makes it at boot, `hosts.managers` says.

The trunk interface itself is not ours. Yet the kernel refuses to raise a sub-interface whose parent is
down, and a trunk that nothing configures is down on a fresh host, so a parent that is down is raised,
which is written down, and taken down again when the last link on it goes. VLANs of others that the
kernel raises along with it are put back.

What carries the session that we come by is not touched at all, unless that is allowed. Whatever else
could cut us off - addresses, and links that come or go with them - stays only if the host can still be
reached with it (`hosts.rollback`); only then the boot file follows.
"""

from hosts.links.ensure import ensure_sub_interface
from hosts.links.foresee import foresee_sub_interfaces
from hosts.links.record import at_boot_in, boot_content, from_boot_content
from hosts.links.remove import remove_all_sub_interfaces, remove_sub_interface
from hosts.links.view import SubInterfaceFacts, is_gone, read_sub_interface

__all__ = [
    "SubInterfaceFacts",
    "at_boot_in",
    "boot_content",
    "ensure_sub_interface",
    "foresee_sub_interfaces",
    "from_boot_content",
    "is_gone",
    "read_sub_interface",
    "remove_all_sub_interfaces",
    "remove_sub_interface",
]
