"""The event loop in the background, on which all sessions of this process live.

Pulumi's providers are called in a pool of threads, without an event loop of their own.
"""

from __future__ import annotations

import asyncio
import atexit
import os
import threading
from collections.abc import Coroutine
from concurrent.futures import Future
from typing import Any, TypeVar

T = TypeVar("T")

_lock = threading.Lock()
_loop: asyncio.AbstractEventLoop | None = None


def begin(work: Coroutine[Any, Any, T]) -> Future[T]:
    """Begin the work on the background loop; `result()` waits for it."""
    return asyncio.run_coroutine_threadsafe(work, running())


def run(work: Coroutine[Any, Any, T]) -> T:
    """Do the work on the background loop; wait for it in any other thread."""
    future = begin(work)
    try:
        return future.result()
    except BaseException:
        future.cancel()  # an interrupt (Ctrl-C) came to us, not to the loop
        raise


def running() -> asyncio.AbstractEventLoop:
    """The background loop, started by the first who asks."""
    global _loop
    with _lock:
        if _loop is None:
            _loop = asyncio.new_event_loop()
            thread = threading.Thread(target=_loop.run_forever, name="hosts", daemon=True)
            thread.start()
            atexit.register(_stop, _loop, thread)
        return _loop


def _stop(loop: asyncio.AbstractEventLoop, thread: threading.Thread) -> None:
    """End what is left, so that nothing is told of sessions that were never closed."""

    if loop is not _loop:
        return  # a forked child has no part in it

    async def cancel() -> None:
        rest = asyncio.all_tasks() - {asyncio.current_task()}
        for task in rest:
            task.cancel()
        await asyncio.gather(*rest, return_exceptions=True)
        await asyncio.wait_for(loop.shutdown_default_executor(), 1.0)

    try:
        asyncio.run_coroutine_threadsafe(cancel(), loop).result(2.0)
    except Exception:
        return  # the process ends anyhow
    loop.call_soon_threadsafe(loop.stop)
    thread.join(1.0)
    loop.close()


def _forget() -> None:
    """A forked child has the loop, but not the thread that ran it."""
    global _lock, _loop
    _lock = threading.Lock()
    _loop = None


os.register_at_fork(after_in_child=_forget)
