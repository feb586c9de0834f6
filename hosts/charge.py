"""Which resource of a stack's is in charge of an object on a host.

One object can have two resources for a while: the engine makes a replacement before it removes what is
replaced (`pulumi up --target-replace`, `pulumi state taint`), and both are the same link, chain or file. So
whoever makes an object leaves a mark beside it, and only who finds that very mark, or none, removes it.
The boot unit's mark also tells a stack which machine it is (`resources.machines`).

The marks lie in the owner's folder, a small file for each object. Objects of earlier releases have none.
Nobody holds the host's lock for them: a mark belongs to one object, and the engine never makes and removes
one object at the same time.
"""

from __future__ import annotations

from hosts.boot import read_object, remove_object, write_object
from hosts.host import Host

_SUFFIX = ".mark"


async def take_charge(host: Host, owner: str, name: str, mark: str) -> None:
    """Leave the mark of the resource that has made the object."""
    await write_object(host, owner, name + _SUFFIX, f"{mark}\n".encode())


async def in_charge(host: Host, owner: str, name: str) -> str | None:
    """Whose mark the object has; None: nobody's."""
    content = await read_object(host, owner, name + _SUFFIX)
    return content.decode(errors="replace").strip() if content else None


async def give_up_charge(host: Host, owner: str, name: str) -> None:
    """Take the mark away; before the object goes, so that a removal that fails can be tried again."""
    await remove_object(host, owner, name + _SUFFIX)
