"""Values that Pulumi keeps encrypted in a stack's file: `{secure: v1:...}`.

Pulumi hands the program its configuration decrypted, and does not say what of it was encrypted. The file
does, so the two are put together here.
"""

from __future__ import annotations

from dataclasses import replace

from model.document import Encrypted, Mapping, Node, Scalar, Sequence, is_encrypted
from model.kinds import below
from model.problems import Spot
from model.secret import Secret


def first_difference(written: Node, given: Node, path: str = "") -> Spot | None:
    """The first place where `given` says something else than the file; None if it says the same.

    An encrypted value is the same as any single value.
    """
    if is_encrypted(written):
        return None if isinstance(given, Scalar) else Spot(written.line, path)
    if isinstance(written, Scalar) and isinstance(given, Scalar):
        same = written.text == given.text or (written.is_null and given.is_null)
        return None if same else Spot(written.line, path)
    if isinstance(written, Mapping) and isinstance(given, Mapping):
        left, right = _by_name(written), _by_name(given)
        if left.keys() != right.keys():
            return Spot(written.line, path)
        pairs = [(left[name], right[name], below(path, name)) for name in left]
    elif isinstance(written, Sequence) and isinstance(given, Sequence):
        if len(written.items) != len(given.items):
            return Spot(written.line, path)
        pairs = [
            (one, other, f"{path}[{index}]")
            for index, (one, other) in enumerate(zip(written.items, given.items, strict=True))
        ]
    else:
        return Spot(written.line, path)
    return next((spot for pair in pairs if (spot := first_difference(*pair))), None)


def opened(written: Node, given: Node | None) -> Node:
    """What is written, with each encrypted value as the secret that `given` has in its place.

    `given` must say the same otherwise. Without it a secret is what it is encrypted to: enough for whoever
    does not need to know it.
    """
    if is_encrypted(written):
        return Encrypted(written.line, Secret(_text(written if given is None else given)))
    if isinstance(written, Mapping):
        plain = _by_name(given) if isinstance(given, Mapping) else {}
        return replace(
            written,
            entries=tuple((name, opened(node, plain.get(name.text))) for name, node in written.entries),
        )
    if isinstance(written, Sequence):
        items = given.items if isinstance(given, Sequence) else [None] * len(written.items)
        return replace(written, items=tuple(map(opened, written.items, items)))
    return written


def _by_name(node: Mapping) -> dict[str, Node]:
    return {name.text: value for name, value in node.entries}


def _text(node: Node) -> str:
    """The text of a single value, also of one that is still encrypted."""
    while isinstance(node, Mapping) and node.entries:
        node = node.entries[0][1]
    return node.text if isinstance(node, Scalar) else ""
