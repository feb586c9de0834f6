"""python3 -m lab: the lab from the command line."""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import signal
import sys
from functools import partial
from pathlib import Path
from typing import Dict, List, Optional, Sequence

from . import Frame, Lab, LabError, to_stderr
from .command import run_in_foreground
from .image import RELEASES
from .lab import DEFAULT_HOSTS, HostState
from .packages import install
from .switch import all_switches

CHECKOUT = Path(__file__).resolve().parent.parent
DESCRIPTION = """\
Real Debian hosts with Docker on this machine: router, host1, host2, on a management network (eth1) and a VLAN trunk
(eth2). They are User Mode Linux processes in a network namespace of their own: nothing of their traffic leaves it.
"""
EPILOG = """\
The lab lives in one folder: --dir, else $LAB_DIR, else .lab in the checkout. Another folder is another lab, side by
side with it. Kernel and disk images are built once, into $MACVLAN_FABRIC_CACHE, else ~/.cache/macvlan-fabric.

  python3 -m lab up                       boot what is not running (builds what is missing, once)
  python3 -m lab ssh host1 docker ps      or: ssh -F .lab/ssh_config host1 docker ps
  python3 -m lab kill host1               cut its power; `start` switches it on again
  python3 -m lab capture --vlan 10        what hosts send on VLAN 10
  python3 -m lab reset                    three bare hosts again
"""


def arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python3 -m lab",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--dir", help="the lab's folder")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)

    def command(name: str, help: str, *hosts: str) -> argparse.ArgumentParser:
        sub = commands.add_parser(name, help=help, description=help[0].upper() + help[1:] + ".")
        for count in hosts:
            text = "all, if none is given" if count == "*" else None
            sub.add_argument("hosts", nargs=count, metavar="HOST", help=text)
        return sub

    def with_release(sub: argparse.ArgumentParser) -> None:
        sub.add_argument(
            "--release",
            action="append",
            default=[],
            metavar="HOST=RELEASE",
            help=f"Debian release of a host's new disk: {', '.join(f'{k} ({v.what})' for k, v in RELEASES.items())}",
        )

    command("packages", "install what the lab needs of this machine (by apt, as root or through sudo)")
    with_release(
        command("build", "build kernel and disk images into the cache, as far as they are not there")
    )
    with_release(
        command("up", "boot the hosts that are not running; returns when sshd and Docker are ready", "*")
    )
    sub = command("down", "power all hosts off and leave nothing behind but their disks")
    sub.add_argument("--cut", action="store_true", help="do not ask them, cut their power")
    sub = command("status", "show the hosts")
    sub.add_argument("--all", action="store_true", help="every lab on this machine")
    sub.add_argument("--json", action="store_true", help="for programs")
    with_release(
        command("reset", "make bare hosts of them: fresh disk, cables in, every VLAN; boots them", "*")
    )
    command("start", "switch hosts on", "+")
    command("kill", "cut the power of hosts", "+")
    command("reboot", "reboot hosts properly; returns when they are ready again", "+")

    sub = command("ssh", "log in on a host, or run a command there (as ssh does)")
    sub.add_argument(
        "-l", metavar="USER", default="root", help="root, or fabric: no root, but sudo and docker"
    )
    sub.add_argument("host", metavar="HOST")
    sub.add_argument("words", nargs=argparse.REMAINDER, metavar="COMMAND")
    sub = command("exec", "run a command of this machine inside the lab's network namespace")
    sub.add_argument("words", nargs=argparse.REMAINDER, metavar="COMMAND")

    sub = command("cable", "plug a host's cable in, or pull it out (the host keeps its carrier)")
    sub.add_argument("host", metavar="HOST")
    sub.add_argument("state", choices=["in", "out"])
    sub.add_argument("--mgmt", action="store_true", help="the management cable instead of the trunk's")
    sub = command("vlan-filter", "let a host's switch port drop a VLAN, or pass it again")
    sub.add_argument("host", metavar="HOST")
    sub.add_argument("vlan", metavar="VLAN", type=int, help="1..4094")
    sub.add_argument("action", choices=["drop", "pass"])
    sub = command("capture", "show the frames that hosts send on the trunk, until Ctrl-C")
    sub.add_argument("--vlan", type=int, help="only frames with this tag")
    sub.add_argument("--mgmt", action="store_true", help="the management network instead of the trunk")
    sub.add_argument("-c", type=int, metavar="N", help="stop after so many frames")
    return parser


def directory(given: Optional[str]) -> Path:
    return Path(given or os.environ.get("LAB_DIR") or CHECKOUT / ".lab")


def releases(pairs: Sequence[str]) -> Dict[str, str]:
    for pair in pairs:
        if "=" not in pair:
            raise LabError(f"--release {pair!r}: say HOST=RELEASE", "for example --release host2=forky")
    return dict(pair.split("=", 1) for pair in pairs)


def table(states: Sequence[HostState]) -> str:
    """The hosts for people."""
    rows = [("host", "address", "release", "state", "notes")]
    for state in states:
        notes = [f"{name} cable out" for name, plugged in state.cables.items() if not plugged and state.pid]
        notes += [f"VLAN {vlan} dropped" for vlan in state.missing_vlans]
        rows.append((state.name, state.address, state.release or "-", state.state, ", ".join(notes)))
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in rows
    )


def status(lab: Lab, every: bool, as_json: bool) -> None:
    labs = [lab]
    if every:
        labs = [Lab(switch.owner) for switch in all_switches()]
    if as_json:
        print(
            json.dumps(
                {
                    str(each.directory): [dataclasses.asdict(state) for state in each.status()]
                    for each in labs
                },
                indent=2,
            )
        )
        return
    for each in labs:
        gone = "" if each.directory.is_dir() or not every else " (the folder is gone)"
        print(f"{each.directory}{gone}", table(each.status()), sep="\n")
    if not labs:
        print("no lab is up")


def _more_than(count: int, frames: Sequence[Frame]) -> bool:
    return len(frames) > count


def capture(lab: Lab, vlan: Optional[int], management: bool, count: Optional[int]) -> None:
    with lab.capture(vlan=vlan, management=management) as recording:
        shown = 0
        try:
            while count is None or shown < count:
                frames = recording.frames[shown:][: None if count is None else count - shown]
                for frame in frames:
                    print(frame, flush=True)
                shown += len(frames)
                if not frames:
                    recording.wait_for(partial(_more_than, shown), timeout=3600)
        except KeyboardInterrupt:
            pass


def run(options: argparse.Namespace) -> int:
    if options.command == "packages":
        install(to_stderr())
        return 0
    release = releases(getattr(options, "release", []))
    lab = Lab(directory(options.dir), DEFAULT_HOSTS, release, to_stderr())
    if options.command == "build":
        lab.build()
    elif options.command == "down":
        lab.down(cut=options.cut)
    elif options.command in ("up", "reset", "start", "kill", "reboot"):
        getattr(lab, options.command)(*options.hosts)
    elif options.command == "status":
        status(lab, options.all, options.json)
    elif options.command == "ssh":
        return run_in_foreground(lab.ssh_argv(options.host, options.l, *options.words))
    elif options.command == "exec":
        return run_in_foreground(lab.inside(*(options.words or [os.environ.get("SHELL", "/bin/sh")])))
    elif options.command == "cable":
        lab.cable(options.host, options.state, management=options.mgmt)
    elif options.command == "vlan-filter":
        lab.vlan_filter(options.host, options.vlan, options.action)
    elif options.command == "capture":
        capture(lab, options.vlan, options.mgmt, options.c)
    return 0


def main(argv: Optional[List[str]] = None) -> int:
    options = arguments().parse_args(argv)
    try:
        return run(options)
    except LabError as error:
        print(f"lab: {error}", file=sys.stderr)
        if error.hint:
            print(f"  hint: {error.hint}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("lab: interrupted; the same command goes on from here", file=sys.stderr)
        return 128 + signal.SIGINT
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


if __name__ == "__main__":
    sys.exit(main())
