"""A Linux host in memory, behind the same `Host` as a real one.

It keeps the kernel's rules (`hosts.fake.kernel`), iptables' (`hosts.fake.tables`), network managers'
(`hosts.fake.managers`), Docker's (`hosts.fake.docker`) and, as far as we use it, systemd's; shows its whole
state as text; and fails loudly on any program that it does not know. It can fail at any step, be cut off
by what is done to it, be rebooted, and live in a file, so that several processes see the same machine. Its
clock moves only when somebody waits for it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hosts.fake.machine import Machine
    from hosts.fake.session import FakeHost, Fault

__all__ = ["FakeHost", "Fault", "Machine"]


def __getattr__(name: str) -> Any:
    """Loaded when asked for: who only speaks to the daemon in a file (`tests.fake_ssh`) starts often."""
    if name == "Machine":
        from hosts.fake.machine import Machine

        return Machine
    if name in ("FakeHost", "Fault"):
        from hosts.fake import session

        return getattr(session, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
