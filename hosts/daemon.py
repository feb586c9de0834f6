"""The conversation with a host's docker daemon: its own interface (the Engine API), over its socket.

Docker's client would take twenty times as long to start as the daemon to answer. Paths are without a
version, so each daemon speaks the newest that it knows; what we use of it is the same from Docker 20.10 on.

Everything here raises Unsupported without docker, or if its daemon does not run.
"""

from __future__ import annotations

import http.client
import io
import json
from typing import Any, cast
from urllib.parse import urlencode

from hosts.errors import DeadlineExceeded, HostError, Unsupported
from hosts.host import DEADLINE, Host

SOCKET = "/var/run/docker.sock"
PATIENCE = 60.0  # seconds that a change may take


async def ask(host: Host, path: str) -> Any:
    """What the daemon says of an object, or of all of a kind; None if there is no such object."""
    status, answer = await _call(host, "GET", path, None, DEADLINE)
    if status == http.client.NOT_FOUND:
        return None
    if status != http.client.OK:
        raise HostError(host.name, f"Docker does not say what it has ({path}): {_words(status, answer)}")
    return answer


async def list_containers(host: Host, key: str, *values: str) -> list[str]:
    """The ids of the containers, running or not, that one of the values of a filter lets pass."""
    query = urlencode({"all": "true", "filters": json.dumps({key: values})})
    return [each["Id"] for each in await ask(host, f"/containers/json?{query}") or ()]


async def change(
    host: Host, what: str, method: str, path: str, wish: object = None, *, deadline: float = PATIENCE
) -> None:
    """Have the daemon do something; `what` is that in words: "stop web".

    That an object which is to go is not there is fine. HostError with the daemon's words if it refuses.
    """
    try:
        status, answer = await _call(host, method, path, wish, deadline)
    except DeadlineExceeded:
        raise DeadlineExceeded(
            host.name,
            f"Docker was to {what} and has not answered within {deadline:g} s",
            "it may still do it; look at the daemon: journalctl -u docker",
        ) from None
    gone = status == http.client.NOT_FOUND and wish is None
    if status >= http.client.BAD_REQUEST and not gone:
        raise HostError(host.name, f"Docker refuses to {what}: {_words(status, answer)}")


async def has_client(host: Host) -> bool:
    """Whether docker's client is there, which its provider needs at the far end of ssh."""
    return (await host.run(["sh", "-c", "command -v docker"])).status == 0


def without_client(host: Host) -> Unsupported:
    """The error for a host without it."""
    return Unsupported(
        host.name,
        "there is no program docker, which its networks and containers need",
        "install Docker on the host, with its command line",
    )


async def _call(host: Host, method: str, path: str, wish: object, deadline: float) -> tuple[int, Any]:
    """HTTP status and decoded answer of one request."""
    body = b"" if wish is None else json.dumps(wish).encode()
    head = [f"{method} {path} HTTP/1.0", "Host: docker", "Content-Type: application/json"]
    request = "\r\n".join([*head, f"Content-Length: {len(body)}", "", ""]).encode() + body
    heard = await host.exchange(SOCKET, request, deadline=deadline)
    if heard is None:
        raise await _nobody(host)
    try:
        response = http.client.HTTPResponse(cast("Any", _Received(heard)), method=method)
        response.begin()
        content = response.read()
        return response.status, json.loads(content) if content else None
    except (http.client.HTTPException, ValueError) as error:
        raise HostError(
            host.name, f"Docker's answer to {method} {path} makes no sense ({error!r}): {heard[:200]!r}"
        ) from None


class _Received:
    """What `http.client` wants of a socket, for an answer that is here already."""

    def __init__(self, content: bytes) -> None:
        self._content = content

    def makefile(self, _mode: str) -> io.BytesIO:
        return io.BytesIO(self._content)


async def _nobody(host: Host) -> Unsupported:
    """Why nobody listens on the daemon's socket."""
    if not await has_client(host):
        return without_client(host)
    return Unsupported(
        host.name,
        f"Docker's daemon does not run: nobody listens on {SOCKET}",
        "start it on the host: systemctl start docker",
    )


def _words(status: int, answer: Any) -> str:
    said = answer.get("message") if isinstance(answer, dict) else None
    return str(said or f"status {status}").strip()
