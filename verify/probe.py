"""Asks, from inside one container's network namespace, who answers.

This file's source is run on the container's host as `nsenter --net=… python3 -ISc SOURCE`, so the
container's image needs no tools at all. It stands alone: Python 3.6, modules of python3-minimal.

Standard input: a line `PROTOCOL ADDRESS PORT` for each question (port 0 for icmp). Standard output: a line
`yes` or `no` for each, in their order. A closed TCP or UDP port is a yes: the refusal came from there.
"""

# ruff: noqa: UP032, UP037
# Python 3.6 evaluates annotations that are not in quotes.

import errno
import os
import select
import socket
import struct
import sys
import time

PATIENCE = 3.0  # seconds; an answer on a VLAN takes milliseconds, ARP over a busy host up to a second
RESEND = (0.0, 0.5, 1.2, 2.0)  # seconds after the start at which datagrams are sent (again)


def checksum(data: bytes) -> int:
    """The Internet checksum (RFC 1071)."""
    total: int = sum(struct.unpack("!{}H".format(len(data) // 2), data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def echo_request(identifier: int, sequence: int) -> bytes:
    """An ICMP echo request (RFC 792) without data."""
    header = struct.pack("!BBHHH", 8, 0, 0, identifier, sequence)
    return struct.pack("!BBHHH", 8, 0, checksum(header), identifier, sequence)


class Question:
    """One question under way; `answer` is None as long as nothing came back."""

    def __init__(self, number: int, protocol: str, address: str, port: int) -> None:
        self.number = number
        self.protocol = protocol
        self.where = (address, port)
        self.identifier = (os.getpid() + number) & 0xFFFF
        self.sent = 0
        self.answer: "bool | None" = None
        kind = {"icmp": socket.SOCK_RAW, "tcp": socket.SOCK_STREAM, "udp": socket.SOCK_DGRAM}[protocol]
        self.socket = socket.socket(socket.AF_INET, kind, socket.IPPROTO_ICMP if protocol == "icmp" else 0)
        self.socket.setblocking(False)
        if protocol != "icmp":
            self.judge(self.socket.connect_ex(self.where))

    def judge(self, code: "int | None") -> None:
        """What an error of the socket says about the far end."""
        if code == errno.ECONNREFUSED or (code == 0 and self.protocol == "tcp"):
            self.answer = True
        elif code not in (0, errno.EINPROGRESS, errno.EAGAIN):
            self.answer = False  # no route, or somebody on the way said that it cannot be

    def send(self, elapsed: float) -> None:
        """Send what is due by now."""
        while self.protocol != "tcp" and self.sent < len(RESEND) and RESEND[self.sent] <= elapsed:
            self.sent += 1
            try:
                if self.protocol == "icmp":
                    self.socket.sendto(echo_request(self.identifier, self.sent), self.where)
                else:
                    self.socket.send(b"?")
            except OSError as error:
                self.judge(error.errno)

    def receive(self) -> None:
        """Something is there for the socket."""
        if self.protocol == "tcp":
            self.judge(self.socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR))
            return
        try:
            data, (sender, _) = self.socket.recvfrom(2048)
        except OSError as error:
            self.judge(error.errno)
            return
        if self.protocol == "udp":
            self.answer = True
        else:
            start = (data[0] & 15) * 4
            kind, identifier = data[start], struct.unpack("!H", data[start + 4 : start + 6])[0]
            if kind == 0 and identifier == self.identifier and sender == self.where[0]:
                self.answer = True


def main() -> None:
    lines = [line.split() for line in sys.stdin]
    questions = [Question(i, words[0], words[1], int(words[2])) for i, words in enumerate(lines)]
    started = time.monotonic()
    while True:
        elapsed = time.monotonic() - started
        for question in questions:
            if question.answer is None:
                question.send(elapsed)
        waiting = {q.socket: q for q in questions if q.answer is None}
        if not waiting or elapsed > PATIENCE:
            break
        reading = [s for s, q in waiting.items() if q.protocol != "tcp"]
        writing = [s for s, q in waiting.items() if q.protocol == "tcp"]
        readable, writable, _ = select.select(reading, writing, [], 0.1)
        for ready in readable + writable:
            waiting[ready].receive()
    for question in questions:
        print("yes" if question.answer else "no")


if __name__ == "__main__":
    main()
