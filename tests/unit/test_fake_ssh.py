"""The program `ssh` of the lifecycle tests: what docker's clients get from it."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

from hosts.fake import FakeHost
from tests.fake_ssh import FAKE_HOSTS, install

DIAL = "docker system dial-stdio"


def ssh(folder: Path, host: str, said: str, command: str = DIAL) -> subprocess.CompletedProcess[str]:
    install(folder / "bin")
    argv = [str(folder / "bin" / "ssh"), "-o", "BatchMode=yes", "-T", "--", host, command]
    environment = {FAKE_HOSTS: str(folder)}
    return subprocess.run(argv, input=said, capture_output=True, text=True, check=False, env=environment)


def request(method: str, path: str, wish: object = None) -> str:
    body = "" if wish is None else json.dumps(wish)
    return f"{method} {path} HTTP/1.1\r\nHost: docker\r\nContent-Length: {len(body)}\r\n\r\n{body}"


def test_one_connection_answers_several_requests_from_the_machine_that_sessions_see(tmp_path: Path) -> None:
    host = FakeHost("host1", path=tmp_path / "host1.json")
    with host.machine() as machine:
        machine.start_docker()
    wish = {"Name": "red", "Driver": "macvlan", "Options": {"parent": "eth2.7"}}
    requests = [request("HEAD", "/_ping"), request("POST", "/v1.51/networks/create", wish)]
    requests += [request("DELETE", "/v1.51/networks/bridge"), request("GET", "/v1.51/swarm")]
    done = ssh(tmp_path, "host1", "".join(requests))
    assert done.returncode == 0
    assert [line for line in done.stdout.splitlines() if "HTTP/1.1" in line] == [
        "HTTP/1.1 200 Fake",
        "HTTP/1.1 201 Fake",
        '{"Id": ' + done.stdout.partition('{"Id": ')[2].partition("}")[0] + "}HTTP/1.1 403 Fake",
        '{"message": "bridge is a pre-defined network and cannot be removed"}HTTP/1.1 501 Fake',
    ]
    with host.machine() as machine:
        assert machine.docker is not None
        assert machine.docker.networks[-1]["Options"] == {"parent": "eth2.7"}
        assert machine.kernel.link("eth2.7").vlan == 7


def test_what_is_wrong_is_said_as_ssh_and_docker_do(tmp_path: Path) -> None:
    gone = ssh(tmp_path, "nobody", "")
    assert (gone.returncode, "Could not resolve hostname nobody" in gone.stderr) == (255, True)
    host = FakeHost("host1", path=tmp_path / "host1.json")
    without = ssh(tmp_path, "host1", "")
    assert (without.returncode, "docker: not found" in without.stderr) == (127, True)
    with host.machine() as machine:
        machine.start_docker()
        assert machine.docker is not None
        machine.docker.running = False
    down = ssh(tmp_path, "host1", "")
    assert (down.returncode, "Cannot connect to the Docker daemon" in down.stderr) == (1, True)
    assert ssh(tmp_path, "host1", "", "true").returncode == 255
