"""Nothing that comes from a topology is ever text for a shell, whatever it holds."""

from __future__ import annotations

import subprocess
from ipaddress import IPv4Interface
from pathlib import Path
from tempfile import TemporaryDirectory

from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from hosts import ifupdown
from hosts.boot import PROGRAM_TEXT
from hosts.links import boot_content
from model.fabric import SubInterface

# What a shell would act on, around the name of a program that leaves a mark when it runs.
_PIECES = (
    *("$(canary)", "`canary`", ";canary;", "|canary", "&canary&", ">canary", "&&canary", "${IFS}canary"),
    *("'", '"', "\\", " ", "\t", "*", "?", "~", "#", "-", "=", "!", "%s", "é", "eth1", "canary"),
)
hostile = (
    st.lists(st.sampled_from(_PIECES), min_size=1, max_size=5)
    .map(lambda pieces: "".join(pieces).strip())
    .filter(bool)
)

# Each writes down the words it was called with; iptables fails, so that the jump is looked for and put in.
_RECORDER = """#!/bin/sh
for word in "${0##*/}" "$@"; do printf '%s\\0' "$word"; done >>"$RECORD"
printf '\\n\\0' >>"$RECORD"
"""
_PROGRAMS = {"ip": 0, "iptables": 1, "iptables-restore": 0, "sleep": 0, "canary": 0}


def replayed(folder: Path, stacks: dict[str, bytes], present: str) -> list[list[str]]:
    """What `replay.sh` runs for these files on a machine that has the interface `present`, in words."""
    programs, net, stack = folder / "bin", folder / "net", folder / "etc" / "tutorial+dev"
    for made in (programs, net / present, stack, folder / "sys/net/ipv4", folder / "cwd"):
        made.mkdir(parents=True)
    (net / present / "ifindex").write_text("2\n")
    (folder / "sys/net/ipv4/ip_forward").write_text("0\n")
    for program, status in _PROGRAMS.items():
        (programs / program).write_text(f"{_RECORDER}exit {status}\n")
        (programs / program).chmod(0o700)
    (programs / "cat").symlink_to("/bin/cat")
    for name, content in stacks.items():
        (stack / name).write_bytes(content)
    text = PROGRAM_TEXT
    for there, here in (
        ("root=/etc/macvlan-fabric\n", f"root={folder}/etc\n"),
        ("net=/sys/class/net\n", f"net={net}\n"),
        ("patience=60 ", "patience=0 "),
        ("/proc/sys/", f"{folder}/sys/"),
    ):
        assert there in text
        text = text.replace(there, here)
    (folder / "replay").write_text(text)
    record = folder / "record"
    record.touch()
    for argument in ("links", "forwarding"):
        subprocess.run(
            ["/bin/sh", str(folder / "replay"), argument],
            env={"PATH": str(programs), "RECORD": str(record)},
            cwd=folder / "cwd",
            capture_output=True,
            timeout=60,
            check=False,  # what is hostile may well be refused
        )
    assert not list((folder / "cwd").iterdir())  # nor was anything redirected to a file
    calls = record.read_bytes().decode().split("\0\n\0")
    return [call.split("\0") for call in calls if call]


@settings(max_examples=40)
@given(hostile, hostile, hostile, hostile)
@example("$(canary)", "`canary`", ";canary;", "'$(canary)'")
@example("-x", "'", "*", '"')
def test_the_boot_program_runs_nothing_that_comes_from_a_value(
    name: str, parent: str, value: str, comment: str
) -> None:
    assume(name != parent)
    link = boot_content(SubInterface(name, parent, 10, 1500, (), (("rp_filter", value),)), "tutorial/dev")
    firewall = f"*filter\nCOMMIT\n# jump filter FORWARD MVF-1 {comment}\n"
    with TemporaryDirectory() as folder:
        calls = replayed(
            Path(folder),
            {
                "x.link": link + f"address {value}\n".encode(),
                "firewall": firewall.encode(),
                "sysctls": f"net/ipv4/ip_forward {value}\n".encode(),
            },
            parent,
        )
    assert {call[0] for call in calls} <= {"ip", "iptables", "iptables-restore"}, calls
    assert ["ip", "link", "add", "link", parent, "name", name, "type", "vlan", "id", "10"] in calls
    jump = ["FORWARD", "-m", "comment", "--comment", comment, "-j", "MVF-1"]
    assert ["iptables", "--wait", "60", "-t", "filter", "-I", *jump] in calls


@settings(max_examples=40)
@given(hostile, hostile, hostile, hostile)
@example("$(canary)", "`canary`", ";canary;", "'$(canary)'")
def test_a_stanza_runs_nothing_that_comes_from_a_value(
    name: str, parent: str, value: str, owner: str
) -> None:
    """Every option of it is a line for a shell (interfaces(5))."""
    want = SubInterface(name, parent, 10, 1500, (IPv4Interface("10.0.0.1/8"),), (("rp_filter", value),))
    stanza = ifupdown.stanza(want, owner).decode()
    commands = [line.split(maxsplit=1)[1] for line in stanza.splitlines() if line.startswith("    ")]
    with TemporaryDirectory() as folder:
        programs, record, here = (Path(folder, part) for part in ("bin", "record", "cwd"))
        programs.mkdir()
        here.mkdir()
        record.touch()
        for program in ("ip", "test", "canary"):
            (programs / program).write_text(f"{_RECORDER}exit 0\n")
            (programs / program).chmod(0o700)
        for command in commands:
            subprocess.run(
                ["/bin/sh", "-c", command.replace("/proc/sys", f"{folder}/nowhere")],
                env={"PATH": str(programs), "RECORD": str(record)},
                cwd=here,
                capture_output=True,
                timeout=60,
                check=False,
            )
        calls = [call.split("\0") for call in record.read_bytes().decode().split("\0\n\0") if call]
        assert not list(here.iterdir())
    assert {call[0] for call in calls} <= {"ip"}, calls
    assert ["ip", "link", "set", "dev", name, "alias", f"macvlan-fabric:{owner}"] in calls
    assert ["ip", "link", "set", "dev", parent, "up"] in calls
