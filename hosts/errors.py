"""What can go wrong on a host; the class says who must act.

    HostError
    ├── HostUnreachable     the network, ssh or the user's ssh configuration: no session could be had
    ├── PermissionDenied    the session is there, but not root: sudo or file permissions
    ├── DeadlineExceeded    the host answers too slowly, or not any more; what was done is unknown
    ├── ConflictError       an object that is not ours is in the way: remove it, or allow to adopt it
    ├── Unsupported         the host lacks something: a kernel feature, a program, a version
    ├── VerificationError   applied, but the host or the wire shows something else
    └── AgentError          a defect of ours: the two ends disagree, or an answer made no sense

Every message names the host, the object, what was found and what to do next.
"""

from __future__ import annotations


class HostError(Exception):
    """Something about one host; `str()` is a complete sentence for the user."""

    def __init__(self, host: str, message: str, hint: str = "") -> None:
        self.host = host
        self.message = message
        self.hint = hint
        super().__init__(f"{host}: {message}" + (f"\n  hint: {hint}" if hint else ""))


class HostUnreachable(HostError):
    """No session with the host: name, route, port, host key, authentication."""


class PermissionDenied(HostError):
    """The session works, but may not do what is needed."""


class DeadlineExceeded(HostError):
    """An operation did not finish in its time. It may or may not have happened."""


class ConflictError(HostError):
    """An object that is not ours has the name or the place that we need. Nothing was changed."""


class Unsupported(HostError):
    """The host lacks something that cannot be done without."""


class VerificationError(HostError):
    """Applied without an error, yet what is there is not what was asked for."""


class AgentError(HostError):
    """Our own defect."""


def makes_no_sense(host: str, error: Exception) -> AgentError:
    """The error for whatever a host said that nobody has expected."""
    where = error.__traceback__
    while where and where.tb_next:
        where = where.tb_next
    place = f" ({where.tb_frame.f_globals.get('__name__')}:{where.tb_lineno})" if where else ""
    return AgentError(
        host,
        f"it said something that makes no sense here{place}: {error!r}",
        "please report it, with the versions of its kernel, of iptables and of Docker",
    )
