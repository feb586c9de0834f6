"""A provider process that has lost its engine ends.

An engine that is killed leaves its providers behind, and they would finish what they have begun: a removal
that goes on beside the `pulumi up` that a person types next takes away what that run has just found in
order. So it stops where it is, like everything else that the engine did, and the next run mends what is
half done. The agents on the hosts end with it, and let go of their locks.
"""

from __future__ import annotations

import os
import select
import threading

_lock = threading.Lock()
_watched = False


def end_with_engine(output: int = 1) -> None:
    """End this process as soon as nobody reads its standard output any more; returns at once.

    The engine reads it from the start, because a provider prints its port there. Of anything but a pipe
    (a terminal, a file) nobody can say who reads it, and nothing is ended.
    """
    global _watched
    with _lock:
        if not _watched:
            threading.Thread(target=_end, args=(output,), name="orphan", daemon=True).start()
        _watched = True


def _end(output: int) -> None:
    readers = select.poll()
    readers.register(output, 0)  # poll(2) reports POLLERR unasked, once a pipe's last reader is gone
    ((_, event),) = readers.poll()
    if not event & select.POLLNVAL:
        os._exit(1)  # at once: its threads wait for hosts
