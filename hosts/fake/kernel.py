"""The part of a Linux kernel that we deal with: links, IPv4 addresses and sysctls, with its own rules.

Each rule that is modelled names where Linux has it, because a fake that is kinder than the kernel
proves nothing.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from ipaddress import IPv4Address, IPv4Interface
from typing import Any

from hosts.host import Address, Link, NetlinkFailure

IFNAMSIZ = 16  # with the final NUL (linux/if.h)
IFALIASZ = 256

FORWARDING = "net/ipv4/ip_forward"
_DEVICE_KEYS = ("accept_redirects", "arp_ignore", "forwarding", "promote_secondaries", "rp_filter")
_DEFAULTS = {
    "accept_redirects": "1",
    "arp_ignore": "0",
    "forwarding": "0",
    "promote_secondaries": "0",
    "rp_filter": "0",
}


def _refuse(code: int, what: str) -> NetlinkFailure:
    return NetlinkFailure(code, f"{what}: {os.strerror(code)}")


@dataclass
class Kernel:
    """What `ip link`, `ip address` and `sysctl` show."""

    links: dict[int, Link] = field(default_factory=dict)  # by index
    addresses: list[Address] = field(default_factory=list)  # in the order they were added
    sysctls: dict[str, str] = field(default_factory=dict)  # by path below /proc/sys
    last_index: int = 0  # the highest that was ever given; none is used again
    kinds: frozenset[str] = frozenset({"vlan", "macvlan"})  # what this kernel was built with
    address_protocol: bool = True  # IFA_PROTO: Linux 5.18 and newer

    @classmethod
    def booted(
        cls,
        links: Iterable[Link] = (),
        addresses: Iterable[Address] = (),
        sysctls: Mapping[str, str] | None = None,
    ) -> Kernel:
        """A kernel as it comes up: the devices and what the host's own network manager set on them."""
        kernel = cls()
        for scope in ("all", "default"):
            kernel.sysctls |= {f"net/ipv4/conf/{scope}/{key}": _DEFAULTS[key] for key in _DEVICE_KEYS}
        kernel.sysctls[FORWARDING] = "0"
        for link in links:
            kernel._insert(link)
        kernel.addresses = list(addresses)
        for path, value in (sysctls or {}).items():
            kernel.write_sysctl(path, value)
        return kernel

    # links

    def link(self, name: str) -> Link:
        """The link of that name; ENODEV if there is none."""
        for link in self.links.values():
            if link.name == name:
                return link
        raise _refuse(errno.ENODEV, name)

    def children(self, index: int) -> Iterator[Link]:
        """The links that sit directly on a link."""
        return (link for link in list(self.links.values()) if link.parent == index)

    def add(self, name: str, kind: str | None, parent: int | None, vlan: int | None = None) -> int:
        """Make a link, down; `kind` None is a plain device. The new link's index."""
        if len(os.fsencode(name)) >= IFNAMSIZ:
            raise _refuse(errno.ERANGE, name)
        if kind is not None and kind not in self.kinds:
            raise _refuse(errno.EOPNOTSUPP, f"unknown device type {kind}")
        if any(link.name == name for link in self.links.values()):
            raise _refuse(errno.EEXIST, name)
        mtu = 1500
        if parent is not None:
            if parent not in self.links:
                raise _refuse(errno.ENODEV, f"parent of {name}")
            mtu = self.links[parent].mtu
        if kind == "vlan" and any(
            (child.kind, child.vlan, child.protocol) == (kind, vlan, "802.1q")
            for child in self.children(parent or 0)
        ):  # vlan_check_real_dev: one device per protocol and id
            raise _refuse(errno.EEXIST, f"VLAN {vlan}")
        if kind == "macvlan" and parent is not None and self.links[parent].kind == "macvlan":
            parent = self.links[parent].parent  # macvlan_common_newlink
        index = self.last_index + 1
        mac = (
            self.links[parent].mac
            if kind == "vlan" and parent
            else f"02:fa:ce:00:{index >> 8:02x}:{index & 255:02x}"
        )
        self._insert(
            Link(
                index,
                name,
                kind,
                parent,
                vlan,
                "802.1q" if kind == "vlan" else None,
                "bridge" if kind == "macvlan" else None,
                mtu,
                "",
                False,
                False,
                mac,
            )
        )
        return index

    def set(
        self, index: int, *, up: bool | None = None, mtu: int | None = None, alias: str | None = None
    ) -> None:
        """Change a link; the parts that are not None, in the kernel's order (do_setlink)."""
        link = self._existing(index)
        if mtu is not None:
            if (
                link.parent is not None and mtu > self.links[link.parent].mtu
            ):  # vlan_dev_change_mtu, macvlan_change_mtu
                raise _refuse(
                    errno.ERANGE if link.kind == "vlan" else errno.EINVAL, f"MTU {mtu} of {link.name}"
                )
            self._set_mtu(link, mtu)
        if alias is not None:
            if len(alias.encode()) >= IFALIASZ - 1:  # pyroute2 sends a NUL with it
                raise _refuse(errno.ERANGE, f"alias of {link.name}")
            self.links[index] = replace(self.links[index], alias=alias)
        if up is not None and up != link.up:
            if up and link.kind == "vlan" and not self.links[link.parent or 0].up:  # vlan_dev_open
                raise _refuse(errno.ENETDOWN, link.name)
            self._set_up(link.index, up)

    def delete(self, index: int) -> None:
        """Delete a link and all that sits on it (NETDEV_UNREGISTER)."""
        link = self._existing(index)
        if link.kind is None:
            raise _refuse(errno.EOPNOTSUPP, link.name)
        for child in self.children(index):
            self.delete(child.index)
        del self.links[index]
        self.addresses = [address for address in self.addresses if address.link != index]
        for key in _DEVICE_KEYS:
            del self.sysctls[f"net/ipv4/conf/{link.name}/{key}"]

    def shown(self, link: Link) -> Link:
        """The link as it is reported: with a carrier where it and all below it are up."""
        below = (
            link.parent is None
            or (parent := self.links.get(link.parent)) is None
            or self.shown(parent).carrier
        )
        return replace(link, carrier=link.up and below)

    def _existing(self, index: int) -> Link:
        if index not in self.links:
            raise _refuse(errno.ENODEV, f"link {index}")
        return self.links[index]

    def _insert(self, link: Link) -> None:
        self.links[link.index] = link
        self.last_index = max(self.last_index, link.index)
        for key in _DEVICE_KEYS:  # inetdev_init copies the defaults
            self.sysctls[f"net/ipv4/conf/{link.name}/{key}"] = self.sysctls[f"net/ipv4/conf/default/{key}"]

    def _set_mtu(self, link: Link, mtu: int) -> None:
        self.links[link.index] = replace(self.links[link.index], mtu=mtu)
        for child in self.children(link.index):  # vlan_device_event, macvlan_device_event: NETDEV_CHANGEMTU
            if child.mtu > mtu:
                self._set_mtu(child, mtu)

    def _set_up(self, index: int, up: bool) -> None:
        self.links[index] = replace(self.links[index], up=up)
        for child in self.children(
            index
        ):  # vlan_device_event: NETDEV_UP and NETDEV_DOWN pull every VLAN along
            if child.kind == "vlan" and child.up != up:
                self._set_up(child.index, up)

    # addresses

    def add_address(self, index: int, interface: IPv4Interface, protocol: int = 0, label: str = "") -> None:
        """Add an address; EEXIST if it is there with that prefix length (inet_insert_ifa)."""
        self._existing(index)
        if any(a.link == index and a.interface == interface for a in self.addresses):
            raise _refuse(errno.EEXIST, str(interface))
        self.addresses.append(Address(index, interface, protocol if self.address_protocol else 0, label))

    def replace_address(self, index: int, interface: IPv4Interface, protocol: int) -> None:
        """Add an address, or mark the one that is there (inet_rtm_newaddr with NLM_F_REPLACE)."""
        protocol = protocol if self.address_protocol else 0
        for place, address in enumerate(self.addresses):
            if (address.link, address.interface) == (index, interface):
                self.addresses[place] = replace(address, protocol=protocol)
                return
        self.add_address(index, interface, protocol)

    def delete_address(self, index: int, interface: IPv4Interface) -> None:
        """Delete an address; the first of its prefix takes the others along (__inet_del_ifa)."""
        link = self._existing(index)
        same = [a for a in self.addresses if a.link == index and a.interface.network == interface.network]
        gone = [a for a in same if a.interface == interface]
        if not gone:
            raise _refuse(errno.EADDRNOTAVAIL, str(interface))
        promoting = (
            self.sysctls[f"net/ipv4/conf/{scope}/promote_secondaries"] for scope in ("all", link.name)
        )
        if gone[0] is same[0] and "1" not in promoting:
            gone = same
        self.addresses = [a for a in self.addresses if not any(a is other for other in gone)]

    def route(self, target: IPv4Address) -> int | None:
        """Where the narrowest prefix with the target leads, of several the first (fib_table_lookup)."""
        reaching = [
            address
            for address in self.addresses
            if target in address.interface.network and self.links[address.link].up
        ]
        best = max(reaching, key=lambda address: address.interface.network.prefixlen, default=None)
        return None if best is None else best.link

    # sysctls

    def write_sysctl(self, path: str, value: str) -> None:
        """Write below /proc/sys; FileNotFoundError if there is no such key."""
        if path not in self.sysctls:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), f"/proc/sys/{path}")
        if path not in (FORWARDING, "net/ipv4/conf/all/forwarding"):
            self.sysctls[path] = value
            return
        if self.sysctls[FORWARDING] == value:
            return
        # inet_forward_change: every interface follows, whatever was set for it
        for key in self.sysctls:
            if key == FORWARDING or (key.startswith("net/ipv4/conf/") and key.endswith("/forwarding")):
                self.sysctls[key] = value
        self.sysctls["net/ipv4/conf/all/accept_redirects"] = "0" if value == "1" else "1"

    # as text and as data

    def dump(self) -> Iterator[str]:
        """Everything, one line each, in an order that does not depend on how it came about."""
        yield from self.dump_links()
        for path, value in sorted(self.sysctls.items()):
            yield f"sysctl {path} = {value}"

    def dump_links(self) -> Iterator[str]:
        """The links, and below each its addresses."""
        for link in sorted(self.links.values(), key=lambda link: link.name):
            parent = self.links[link.parent].name if link.parent is not None else None
            words = [
                f"link {link.name}",
                f"@{parent}" if parent else "",
                link.kind or "",
                f"id {link.vlan}" if link.vlan is not None else "",
                f"mtu {link.mtu}",
                "up" if link.up else "down",
                f"alias {link.alias!r}" if link.alias else "",
            ]
            yield " ".join(word for word in words if word)
            for address in sorted(self.addresses, key=lambda a: a.interface):
                if address.link == link.index:
                    yield f"  address {address.interface} proto {address.protocol:#x}"

    def to_json(self) -> dict[str, Any]:
        """For `from_json`."""
        return {
            "links": [vars(link) for link in self.links.values()],
            "addresses": [vars(a) | {"interface": str(a.interface)} for a in self.addresses],
            "sysctls": self.sysctls,
            "last_index": self.last_index,
            "kinds": sorted(self.kinds),
            "address_protocol": self.address_protocol,
        }

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Kernel:
        """What `to_json` gave."""
        return cls(
            {link["index"]: Link(**link) for link in data["links"]},
            [Address(**(a | {"interface": IPv4Interface(a["interface"])})) for a in data["addresses"]],
            data["sysctls"],
            data["last_index"],
            frozenset(data["kinds"]),
            data["address_protocol"],
        )
