"""Who else on a host needs it to forward: programs that switch it on when they start, or find it on.

None of them says so anywhere. They are known by the interfaces that they make; that is more than is needed at
times (a WireGuard that only dials out), and then forwarding stays on, which is said, and not lost.
"""

from __future__ import annotations

from collections.abc import Mapping
from fnmatch import fnmatchcase

from hosts.host import Host

DOCKER_PID = "/run/docker.pid"  # a daemon with a bridge of another name, or with none

# by the interface's name, the first that matches
_NAMES: Mapping[str, str] = {
    "docker0": "Docker",
    "virbr*": "libvirt",
    "podman*": "Podman",
    "cni-podman*": "Podman",
    "nerdctl*": "containerd",
    "cni*": "Kubernetes",
    "flannel*": "Kubernetes",
    "cali*": "Kubernetes",
    "cilium*": "Kubernetes",
    "lxcbr*": "LXC",
    "lxdbr*": "LXD",
    "incusbr*": "Incus",
    "tailscale*": "Tailscale",
}
_KINDS: Mapping[str, str] = {"wireguard": "WireGuard"}


async def who_needs_forwarding(host: Host) -> str:
    """What others have there that needs it, in words: `virbr0 of libvirt needs it`; "" without any."""
    found: dict[str, str] = {}  # by program: in words
    for link in sorted(await host.links(), key=lambda link: link.name):
        program = next((of for name, of in _NAMES.items() if fnmatchcase(link.name, name)), None)
        program = program or _KINDS.get(link.kind or "")
        if program is not None:
            found.setdefault(program, f"{link.name} of {program}")
    if "Docker" not in found and await host.read(DOCKER_PID) is not None:
        found["Docker"] = "Docker"
    return f"{' and '.join(found.values())} {'need' if len(found) > 1 else 'needs'} it" if found else ""
