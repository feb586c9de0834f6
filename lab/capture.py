"""What is on the wire: Ethernet frames as they enter the ports of the switch.

`Capture` is the side for programs; the reader is this file run inside the lab's namespace (`reader`), because a packet
socket sees the interfaces of the namespace it was made in.
"""

from __future__ import annotations

import select
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from ipaddress import IPv4Address
from pathlib import Path
from types import TracebackType
from typing import (
    IO,
    TYPE_CHECKING,
    BinaryIO,
    Callable,
    Dict,
    Iterator,
    List,
    Mapping,
    Optional,
    Sequence,
    Tuple,
    Type,
    Union,
)

if TYPE_CHECKING:
    from .switch import Switch

ETHERTYPES = {0x0800: "IPv4", 0x0806: "ARP", 0x86DD: "IPv6"}
PROTOCOLS = {1: "ICMP", 6: "TCP", 17: "UDP"}
TAG_TYPES = (0x8100, 0x88A8)  # IEEE 802.1Q customer and service tag

# From linux/if_packet.h, which Python's socket module does not know in full.
SOL_PACKET = 263
PACKET_AUXDATA = 8
PACKET_IGNORE_OUTGOING = 23
SO_RCVBUFFORCE = 33
ETH_P_ALL = 3
TP_STATUS_VLAN_VALID = 1 << 4
AUXDATA = struct.Struct("=IIIHHHH")  # tpacket_auxdata: status, len, snaplen, mac, net, vlan_tci, vlan_tpid
RECORD = struct.Struct("=dHI")  # time, length of the port's name, length of the frame


@dataclass(frozen=True)
class Frame:
    """An Ethernet frame that came in at a port of the switch."""

    time: float  # seconds since the epoch
    host: str  # whose port
    vlan: Optional[int]  # VLAN id of the outermost tag; None without a tag
    source: str  # MAC, lower-case hex with colons
    destination: str
    ethertype: int  # of what follows the outermost tag
    ipv4_source: Optional[IPv4Address] = None  # only for IPv4 (also in ARP: None)
    ipv4_destination: Optional[IPv4Address] = None
    protocol: Optional[int] = None  # IPv4 protocol number
    length: int = 0  # bytes, with all tags
    data: bytes = b""  # the whole frame, with all tags

    def __str__(self) -> str:
        tag = "untagged" if self.vlan is None else f"vlan {self.vlan}"
        kind = ETHERTYPES.get(self.ethertype, f"0x{self.ethertype:04x}")
        if self.protocol is not None:
            kind = (
                f"{kind} {self.ipv4_source} > {self.ipv4_destination} "
                f"{PROTOCOLS.get(self.protocol, f'protocol {self.protocol}')}"
            )
        elif self.ethertype == 0x0806:
            kind = _arp(self) or kind
        clock = time.strftime("%H:%M:%S", time.localtime(self.time)) + f"{self.time % 1:.3f}"[1:]
        return (
            f"{clock} {self.host:<8} {tag:<9} {self.source} > {self.destination} {kind} ({self.length} bytes)"
        )


def parse(data: bytes, host: str = "", at: float = 0.0) -> Frame:
    """Read an Ethernet II frame (IEEE 802.3, 802.1Q; RFC 791). Raises ValueError for fewer than 14 bytes.

    What is cut short or inconsistent further in is left None.
    """
    if len(data) < 14:
        raise ValueError(f"{len(data)} bytes are no Ethernet frame")
    ethertype, payload, vlan = int.from_bytes(data[12:14], "big"), 14, None
    if ethertype in TAG_TYPES and len(data) >= 18:
        vlan = int.from_bytes(data[14:16], "big") & 0x0FFF
        ethertype, payload = int.from_bytes(data[16:18], "big"), 18
    packet = data[payload:]
    ip = ethertype == 0x0800 and len(packet) >= 20 and packet[0] >> 4 == 4
    return Frame(
        time=at,
        host=host,
        vlan=vlan,
        source=data[6:12].hex(":"),
        destination=data[:6].hex(":"),
        ethertype=ethertype,
        ipv4_source=IPv4Address(packet[12:16]) if ip else None,
        ipv4_destination=IPv4Address(packet[16:20]) if ip else None,
        protocol=packet[9] if ip else None,
        length=len(data),
        data=data,
    )


def _arp(frame: Frame) -> Optional[str]:
    """An ARP request or reply for IPv4 over Ethernet (RFC 826) as a person reads it."""
    packet = frame.data[18 if frame.vlan is not None else 14 :]
    if len(packet) < 28 or packet[:6] != bytes.fromhex("000108000604"):
        return None
    sender, target = IPv4Address(packet[14:18]), IPv4Address(packet[24:28])
    if packet[6:8] == b"\0\x01":
        return f"ARP who has {target}? tell {sender}"
    return f"ARP {sender} is at {packet[8:14].hex(':')}"


class Capture:
    """The frames that enter `ports` (name -> host) of `switch`, of one VLAN or all.

    Use it as a context manager: on entry it is recording; `stop` (or leaving) returns when every frame that had
    entered by then is in `frames`.
    """

    def __init__(self, switch: "Switch", ports: Mapping[str, str], vlan: Optional[int] = None) -> None:
        self.frames: List[Frame] = []
        self._switch = switch
        self._ports = dict(ports)
        self._vlan = vlan
        self._grown = threading.Condition()
        self._reader: "Optional[subprocess.Popen[bytes]]" = None
        self._thread = threading.Thread(target=self._collect, daemon=True)

    def __enter__(self) -> "Capture":
        from .errors import LabError

        if not self._switch.exists():
            raise LabError(f"the lab in {self._switch.owner} is down", "python3 -m lab up")
        self._reader = subprocess.Popen(
            self._switch.inside([sys.executable, "-I", str(Path(__file__).resolve()), *self._ports]),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert self._reader.stdout is not None
        if self._reader.stdout.read(1) != b"R":
            raise LabError("the capture did not start", "it needs a packet socket, so root")
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: Optional[Type[BaseException]],
        error: Optional[BaseException],
        trace: Optional[TracebackType],
    ) -> None:
        self.stop()

    def stop(self) -> List[Frame]:
        """End the recording; all frames of it. Stopping again changes nothing."""
        if self._reader is not None:
            assert self._reader.stdin is not None
            self._reader.stdin.close()  # the reader drains its socket and ends
            self._thread.join()
            self._reader.wait()
            if self._reader.stdout is not None:
                self._reader.stdout.close()
            self._reader = None
        return self.frames

    def wait_for(self, enough: Callable[[Sequence[Frame]], bool], timeout: float) -> bool:
        """Wait until `enough(frames)`; False if it is not so within `timeout` seconds."""
        with self._grown:
            return self._grown.wait_for(lambda: enough(self.frames), timeout)

    def _collect(self) -> None:
        assert self._reader is not None and self._reader.stdout is not None
        for at, port, data in _records(self._reader.stdout):
            frame = parse(data, self._ports[port], at)
            if self._vlan is None or frame.vlan == self._vlan:
                with self._grown:
                    self.frames.append(frame)
                    self._grown.notify_all()


def _records(stream: IO[bytes]) -> Iterator[Tuple[float, str, bytes]]:
    while True:
        head = stream.read(RECORD.size)
        if len(head) < RECORD.size:
            return
        at, name, length = RECORD.unpack(head)
        yield at, stream.read(name).decode(), stream.read(length)


def reader(ports: Sequence[str], out: BinaryIO, stop: int) -> None:
    """Write the frames that come in at `ports` to `out` until the file descriptor `stop` is readable or closed."""
    packets = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
    packets.setblocking(False)
    packets.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 64 << 20)
    packets.setsockopt(SOL_PACKET, PACKET_AUXDATA, 1)
    packets.setsockopt(SOL_PACKET, PACKET_IGNORE_OUTGOING, 1)
    wanted: Dict[str, bytes] = {port: port.encode() for port in ports}
    out.write(b"R")
    out.flush()
    going = True
    while going:
        watched: List[Union[socket.socket, int]] = [packets, stop]
        readable = select.select(watched, [], [])[0]
        going = stop not in readable
        while True:  # when told to stop, also what had come in until then
            try:
                data, ancillary, _flags, address = packets.recvmsg(65536, 256)
            except BlockingIOError:
                break
            if address[0] in wanted:
                data = with_tag(data, ancillary)
                name = wanted[address[0]]
                out.write(RECORD.pack(time.time(), len(name), len(data)) + name + data)
        out.flush()


def with_tag(data: bytes, ancillary: Sequence[Tuple[int, int, bytes]]) -> bytes:
    """The frame as it was on the wire: the kernel takes the outermost tag off and reports it beside the data."""
    for level, kind, value in ancillary:
        if level == SOL_PACKET and kind == PACKET_AUXDATA:
            status, _length, _captured, _mac, _net, tci, tpid = AUXDATA.unpack(value[: AUXDATA.size])
            if status & TP_STATUS_VLAN_VALID:
                return data[:12] + struct.pack(">HH", tpid or 0x8100, tci) + data[12:]
    return data


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the program that asked for the capture
    reader(sys.argv[1:], sys.stdout.buffer, sys.stdin.fileno())
