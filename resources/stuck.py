"""A run in which the engine and the program wait for each other is ended.

The engine answers the registration of an object when it is in place. Of one that is deleted before it is
replaced, and cannot be deleted, an engine that was told to continue on errors says nothing any more
(pulumi/pulumi#16373: `DeleteStep.Fail` in pkg/resource/deploy/step.go does nothing). The program would wait
for the answer for ever, and the engine for the program.
"""

from __future__ import annotations

import os
import sys
import threading

import pulumi

QUIET = 30.0  # seconds without an answer to any registration until none is expected any more


class StuckRun:
    """Watches the registrations of objects that are deleted before they are replaced.

    Each of them needs `hook` among its hooks for errors. Hosts whose objects can be replaced are not
    disturbed: as long as answers come, nothing is ended; what has been begun is finished in any case.
    """

    def __init__(self, quiet: float = QUIET) -> None:
        self.hook = pulumi.ErrorHook("stuck-run", self._failed)
        self._quiet = quiet
        self._changed = threading.Condition()
        self._waiting = 0
        self._answers = 0
        self._warden: threading.Thread | None = None

    def watch(self, resource: pulumi.CustomResource) -> None:
        """Count on an answer for this one."""
        with self._changed:
            self._waiting += 1
        resource.urn.apply(self._answered, run_with_unknowns=True)

    def _answered(self, _urn: str) -> None:
        with self._changed:
            self._waiting -= 1
            self._answers += 1
            self._changed.notify_all()

    def _failed(self, failure: pulumi.ErrorHookArgs) -> bool:
        """Called by the engine when an operation on an object fails; False: do not try it again."""
        if failure.failed_operation == "delete" and self._warden is None:
            self._warden = threading.Thread(target=self._end_when_quiet, daemon=True)
            self._warden.start()
        return False

    def _end_when_quiet(self) -> None:
        """End the program when no answer has come for long enough and some are still missing."""
        with self._changed:
            while self._waiting and self._next_answer():
                pass
            if not self._waiting:
                return
        print(
            "what could not be deleted could not be replaced either, and what depends on it is as it was; "
            "run it again when the errors are mended",
            file=sys.stderr,
            flush=True,
        )
        os._exit(1)  # the threads that wait for the answers cannot be ended otherwise

    def _next_answer(self) -> bool:
        """Wait for one; False if none has come for long enough."""
        seen = self._answers
        return self._changed.wait_for(lambda: self._answers != seen, self._quiet)
