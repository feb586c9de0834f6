"""What goes wrong in the lab, as sentences for the person who runs it."""

from __future__ import annotations

from typing import Optional


class LabError(Exception):
    """Something the person at the keyboard can act on.

    `str()` is what is wrong, with the place and the value; `hint` is what to do about it, if there is anything.
    """

    def __init__(self, message: str, hint: Optional[str] = None) -> None:
        super().__init__(message)
        self.hint = hint
