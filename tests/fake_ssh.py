"""`ssh HOST docker system dial-stdio` of docker's clients, for hosts in memory.

`install` makes a program `ssh` that speaks for the daemon in a host's file (`hosts.fake.file`): Pulumi's
provider finds the very Docker there that the program's own sessions see. One process is one connection; it
ends with its client. It starts often, so it loads only what it needs.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any, BinaryIO

from hosts.fake.docker import API, Docker
from hosts.fake.file import opened
from hosts.fake.kernel import Kernel

FAKE_HOSTS = "MACVLAN_FABRIC_FAKE_HOSTS"  # as `resources.session` has it
PROGRAM = """#!{python} -IS
import sys
sys.path.insert(0, {root!r})
from tests.fake_ssh import main
sys.exit(main(sys.argv[1:]))
"""


def install(folder: Path) -> None:
    """Put the program into a folder, which is to be the first of the PATH."""
    root = Path(__file__).parent.parent
    folder.mkdir(parents=True, exist_ok=True)
    program = folder / "ssh"
    program.write_text(PROGRAM.format(python=sys.executable, root=str(root)))
    program.chmod(0o755)


def main(argv: list[str]) -> int:
    """As ssh: its exit status."""
    *_, separator, address, command = argv
    machine = Path(os.environ[FAKE_HOSTS]) / f"{address}.json"
    if separator != "--" or command != "docker system dial-stdio":
        return _complain(f"this fake ssh does not know {argv}", 255)
    if not machine.exists():
        return _complain(f"ssh: Could not resolve hostname {address}: Name or service not known", 255)
    with opened(machine) as data:
        if data["docker"] is None or "docker" in data["missing"]:
            return _complain("sh: 1: docker: not found", 127)
        if not data["docker"]["running"]:
            return _complain("Cannot connect to the Docker daemon at unix:///var/run/docker.sock.", 1)
    while request := _request(sys.stdin.buffer):
        _say(sys.stdout.buffer, request[0], *_answer(machine, *request))
    return 0


def _complain(words: str, status: int) -> int:
    print(words, file=sys.stderr)
    return status


def _request(client: BinaryIO) -> tuple[str, str, Any] | None:
    """Method, path and body of the next request; None at the end of the connection."""
    first = client.readline().decode().split()
    if not first:
        return None
    headers = {}
    while line := client.readline().strip().decode():
        name, _, value = line.partition(":")
        headers[name.lower()] = value.strip()
    body = client.read(int(headers.get("content-length", "0")))
    return first[0], first[1], json.loads(body) if body else None


def _answer(machine: Path, method: str, path: str, wish: Any) -> tuple[int, Any]:
    with opened(machine) as data:
        docker, kernel = Docker(**data["docker"]), Kernel.from_json(data["kernel"])
        try:
            answer = docker.answer(method, path, wish, kernel)
        except AssertionError as unknown:
            answer = 501, {"message": str(unknown)}
        data["docker"], data["kernel"] = vars(docker), kernel.to_json()
    return answer


def _say(client: BinaryIO, method: str, status: int, answer: Any) -> None:
    said = (
        b"" if answer is None else answer.encode() if isinstance(answer, str) else json.dumps(answer).encode()
    )
    kind = "text/plain" if isinstance(answer, str) else "application/json"
    head = [f"HTTP/1.1 {status} Fake", f"Api-Version: {API}", "Ostype: linux", f"Content-Type: {kind}"]
    if status not in (204, 304):
        head.append(f"Content-Length: {len(said)}")
    client.write("\r\n".join([*head, "", ""]).encode() + (b"" if method == "HEAD" else said))
    client.flush()
