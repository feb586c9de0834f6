"""Messages survive the wire, however it cuts them; what is not a message is noticed."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hosts.agent import LARGEST, Messages, encode

numbers = st.integers(min_value=0, max_value=2**32 - 1)
messages = st.tuples(numbers, st.lists(st.binary(max_size=50), min_size=1, max_size=5))


@given(st.lists(messages, max_size=5), st.data())
def test_any_cut_gives_the_same_messages(sent: list[tuple[int, list[bytes]]], data: st.DataObject) -> None:
    wire = b"".join(encode(number, *fields) for number, fields in sent)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(wire)), max_size=10)))
    stream = Messages()
    received = []
    for start, end in zip([0, *cuts], [*cuts, len(wire)], strict=True):
        received += stream.feed(wire[start:end])
    assert received == sent


@given(st.lists(messages, min_size=1, max_size=3))
def test_one_byte_at_a_time(sent: list[tuple[int, list[bytes]]]) -> None:
    stream = Messages()
    wire = b"".join(encode(number, *fields) for number, fields in sent)
    assert [message for byte in wire for message in stream.feed(bytes([byte]))] == sent


@given(messages, st.data())
def test_nothing_comes_out_before_the_last_byte(
    message: tuple[int, list[bytes]], data: st.DataObject
) -> None:
    wire = encode(message[0], *message[1])
    assert Messages().feed(wire[: data.draw(st.integers(0, len(wire) - 1))]) == []


@given(st.binary(max_size=300))
def test_garbage_is_noticed_or_waited_for_but_never_read_beyond_its_end(garbage: bytes) -> None:
    stream = Messages()
    try:
        received = stream.feed(garbage)
    except ValueError:
        return
    assert sum(8 + sum(4 + len(field) for field in fields) for _, fields in received) <= len(garbage)


@pytest.mark.parametrize(
    ("wire", "complaint"),
    [
        (struct.pack(">II", LARGEST + 1, 1), "over the limit"),
        (struct.pack(">II", 2, 1) + b"ab", "ends inside a length"),
        (struct.pack(">III", 4, 1, 1), "beyond its message"),
        (struct.pack(">II", 0, 1), "without a verb"),
    ],
)
def test_what_cannot_be_a_message_is_refused(wire: bytes, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        Messages().feed(wire)


def test_a_message_that_the_other_end_would_refuse_is_not_sent() -> None:
    class Huge(bytes):
        def __len__(self) -> int:
            return LARGEST

    with pytest.raises(ValueError, match="over the limit"):
        encode(1, Huge())
