"""Kernel parameters that a gateway needs, and what they were before.

A parameter belongs to the whole host, so several stacks may want the same one. The first that changes
it writes down its value; the last that lets go of it puts that back, unless somebody has set another
value meanwhile, or others need it as it is (`hosts.forwarding`).

`net.ipv4.ip_forward` is special: writing it resets every interface's own `forwarding` and
`accept_redirects` for all (Linux, inet_forward_change), and even more so when it changes nothing for
the host as a whole. So nothing is ever written that is right already, and what a change would wipe out
is written down and put back with it.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable, Mapping
from typing import Any

from hosts.boot import owners, read_object, remove_object, write_object
from hosts.change import Change
from hosts.errors import ConflictError, Unsupported, VerificationError
from hosts.forwarding import who_needs_forwarding
from hosts.host import Host
from hosts.ownership import LOCK, PREVIOUS, ROOT, file_name, folder

FORWARDING = "net/ipv4/ip_forward"
OBJECT = "sysctls"  # the file that brings them back at boot

_CONF = "net/ipv4/conf"
_ALL_REDIRECTS = f"{_CONF}/all/accept_redirects"


def path_of(key: str) -> str:
    """Where below /proc/sys a key is: `net.ipv4.ip_forward`, or with slashes.

    As sysctl(8) has it, the first separator decides which one it is, and the other stands for itself:
    `net.ipv4.conf.eth2/10.rp_filter`. The dotted name of an interface parameter needs no such care.
    """
    dot, slash = key.find("."), key.find("/")
    if slash >= 0 and (dot < 0 or slash < dot):
        return key
    parts = key.split(".")
    if parts[:1] == ["net"] and parts[2:3] in (["conf"], ["neigh"]) and len(parts) > 4:
        parts[3:-1] = [".".join(parts[3:-1])]
    return "/".join(part.replace("/", ".") for part in parts)


async def read_sysctls(host: Host, keys: Iterable[str]) -> dict[str, str | None]:
    """The present value of each key; None where the kernel has no such key."""
    keys = list(keys)
    values = await asyncio.gather(*(_read(host, path_of(key)) for key in keys))
    return dict(zip(keys, values, strict=True))


async def read_boot_sysctls(host: Host, owner: str) -> dict[str, str]:
    """What the next boot sets for that owner, by path below /proc/sys."""
    return _parse(await read_object(host, owner, OBJECT))


async def sysctl_differences(host: Host, wanted: Mapping[str, str], owner: str) -> tuple[str, ...]:
    """In which parameters the host is not as the owner wants it, now or after a reboot; a clause each."""
    present, at_boot = await asyncio.gather(read_sysctls(host, wanted), read_boot_sysctls(host, owner))
    return (
        *(
            f"{key} is {present[key]} instead of {value}"
            for key, value in wanted.items()
            if present[key] != value
        ),
        *(
            f"{key} would not be {value} after a reboot"
            for key, value in wanted.items()
            if at_boot.get(path_of(key)) != value
        ),
    )


async def ensure_sysctls(host: Host, wanted: Mapping[str, str], owner: str) -> Change:
    """Make these the owner's parameters: set what differs, restore what it no longer wants.

    Raises ConflictError if another stack wants another value, and Unsupported if there is no such key.
    """
    values = {path_of(key): _words(value) for key, value in wanted.items()}
    async with host.lock(LOCK):
        present = await read_sysctls(host, values)
        for path, value in present.items():
            if value is None:
                raise Unsupported(host.name, f"the kernel has no parameter {path}", "is its module loaded?")
        claims = await _claims(host)
        own = claims.get(owner, {})
        _refuse_contradiction(host, values, {other: c for other, c in claims.items() if other != owner})

        done = []
        claims[owner] = {path: value for path, value in own.items() if path in values}
        if claims[owner] != own:
            await _write_claim(host, owner, claims[owner])
        done += await _restore_unclaimed(
            host, {*values, *(path for claim in claims.values() for path in claim)}
        )
        for path in sorted(values, key=_forwarding_first):
            await _remember(host, path, values[path])
            now = await _read(host, path)
            if now != values[path]:
                await _set(host, path, values[path])
                done.append(f"set {path} to {values[path]}, was {now}")
            await _settle(host, path, values[path])
        if await _write_claim(host, owner, values):
            done.append(f"wrote its boot file in {folder(owner)}")
        return Change(tuple(done))


async def remove_sysctls(host: Host, owner: str) -> Change:
    """Let go of the owner's parameters: restore what nobody else needs."""
    async with host.lock(LOCK):
        done = []
        if await _write_claim(host, owner, {}):
            done.append(f"removed its boot file in {folder(owner)}")
        claims = await _claims(host)
        done += await _restore_unclaimed(host, {path for claim in claims.values() for path in claim})
        return Change(tuple(done))


def boot_content(values: Mapping[str, str], owner: str) -> bytes:
    """Paths and values as `replay.sh` reads them, ip_forward first."""
    lines = [f"# kernel parameters of {owner}, set at boot; written by macvlan-fabric"]
    lines += [f"{path} {values[path]}" for path in sorted(values, key=_forwarding_first)]
    return "".join(f"{line}\n" for line in lines).encode()


def _forwarding_first(path: str) -> tuple[bool, str]:
    """What ip_forward resets comes after it."""
    return (path != FORWARDING, path)


def _parse(content: bytes | None) -> dict[str, str]:
    lines = (content or b"").decode(errors="replace").splitlines()
    pairs = (line.partition(" ") for line in lines if line and not line.startswith("#"))
    return {path: value for path, _, value in pairs}


async def _claims(host: Host) -> dict[str, dict[str, str]]:
    """Who wants what, by owner and path."""
    everyone = await owners(host)
    files = await asyncio.gather(*(read_object(host, owner, OBJECT) for owner in everyone))
    return {owner: _parse(file) for owner, file in zip(everyone, files, strict=True) if file is not None}


async def _write_claim(host: Host, owner: str, values: Mapping[str, str]) -> bool:
    """Write down what the owner wants; False if it says so already."""
    if values:
        return await write_object(host, owner, OBJECT, boot_content(values, owner))
    return await remove_object(host, owner, OBJECT)


def _refuse_contradiction(
    host: Host, values: Mapping[str, str], others: Mapping[str, Mapping[str, str]]
) -> None:
    for other, claim in others.items():
        for path, value in values.items():
            if claim.get(path, value) != value:
                raise ConflictError(
                    host.name,
                    f"{path} must be {value}, but the stack {other} needs it to be {claim[path]}",
                    "the two stacks cannot share this host",
                )


# What a parameter was before us: {"path": ..., "value": ..., "ours": [values we set], "lost": {path: value}}.
# Written before it is changed. One that nobody claims any more, or not yet because an operation was cut
# off, is put back by whoever comes next.


def _record(path: str) -> str:
    return f"{PREVIOUS}/{file_name(path.replace('/', ','))}.sysctl"


async def _remember(host: Host, path: str, ours: str) -> None:
    """Before a value is set, write down what it is about to overwrite, and that it is one of ours."""
    content = await host.read(_record(path))
    record = json.loads(content) if content is not None else await _present_state(host, path)
    if ours not in record["ours"]:
        record["ours"].append(ours)
        await host.write(_record(path), f"{json.dumps(record)}\n".encode())


async def _settle(host: Host, path: str, ours: str) -> None:
    """After a value is set, forget those that we set earlier."""
    record = json.loads(await host.read(_record(path)) or b"{}")
    if record and record["ours"] != [ours]:
        if record["value"] == ours:
            await _put_back_lost(host, record)
        await host.write(_record(path), f"{json.dumps(record | {'ours': [ours]})}\n".encode())


async def _put_back_lost(host: Host, record: dict[str, Any]) -> None:
    for path, value in record["lost"].items():
        if await _read(host, path) not in (None, value):
            await _set(host, path, value)


async def _present_state(host: Host, path: str) -> dict[str, Any]:
    value = await _read(host, path)
    lost: dict[str, str | None] = {}
    if path == FORWARDING:
        names = await host.entries(f"/proc/sys/{_CONF}")
        paths = [f"{_CONF}/{name}/forwarding" for name in names if name != "all"]
        values = await asyncio.gather(*(_read(host, one) for one in paths))
        lost = {one: own for one, own in zip(paths, values, strict=True) if own not in (None, value)}
        redirects = await _read(host, _ALL_REDIRECTS)
        if redirects == value:  # the kernel sets it to the opposite of ip_forward
            lost[_ALL_REDIRECTS] = redirects
    return {"path": path, "value": value, "ours": [], "lost": lost}


async def _restore_unclaimed(host: Host, claimed: set[str]) -> list[str]:
    """Put back every parameter that one of us changed and nobody claims, unless others need it as it is."""
    done = []
    for name in await host.entries(PREVIOUS):
        content = await host.read(f"{PREVIOUS}/{name}") if name.endswith(".sysctl") else None
        if content is None:
            continue
        record = json.loads(content)
        path = record["path"]
        if path in claimed:
            continue
        present = await _read(host, path)
        if present in record["ours"] and present != record["value"]:
            needed = await _needed_by_others(host, record)
            if needed:
                done.append(f"left net.ipv4.ip_forward on: {needed}")
            else:
                await _set(host, path, record["value"])
                present = record["value"]
                done.append(f"restored {path} to {present}")
        if present == record["value"]:
            await _put_back_lost(host, record)
        await host.remove(f"{PREVIOUS}/{name}")
    if await host.remove(PREVIOUS):
        await host.remove(ROOT)
    return done


async def _needed_by_others(host: Host, record: dict[str, Any]) -> str:
    """Who relies on what is about to be put back, in words; "" if nobody does.

    Most switch forwarding on only when they start.
    """
    off = record["path"] == FORWARDING and record["value"] == "0"
    return await who_needs_forwarding(host) if off else ""


async def _read(host: Host, path: str) -> str | None:
    content = await host.read(f"/proc/sys/{path}")
    return None if content is None else _words(content.decode())


async def _set(host: Host, path: str, value: str) -> None:
    await host.write(f"/proc/sys/{path}", f"{value}\n".encode())
    now = await _read(host, path)
    if now != value:
        raise VerificationError(
            host.name,
            f"{path} was set to {value}, but is {now}",
            "something on the host sets it, too: see /etc/sysctl.d and its firewall service",
        )


def _words(value: str) -> str:
    """The kernel separates with tabs what people write with spaces."""
    return " ".join(value.split())
