"""A value that nobody may see but the container it is for."""

from __future__ import annotations


class Secret:
    """A text that does not show: not in errors, logs, plans or whatever else prints it.

    What compares or counts secrets sees them; `reveal` is for whoever hands one to its container.
    """

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        """The text."""
        return self._text

    def __repr__(self) -> str:
        return "[secret]"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and self._text == other._text

    def __hash__(self) -> int:
        return hash(self._text)
