"""`python -m tests.faults`: whatever goes wrong, and whether the fabric is whole again after it.

Every fault of the matrix is played on the lab, as often as the matrix says, at moments that the seed decides.
One table shows what held. Exit status 0 if everything did.
"""

from __future__ import annotations

import argparse
import datetime
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from engine.recipe import cache_folder
from engine.shell import environment
from lab import Lab
from tests.faults.attempt import Attempt, schedule, try_out
from tests.faults.matrix import FAULTS
from tests.faults.record import Record
from tests.faults.report import document, table
from tests.faults.stage import Stage
from tests.project import ROOT


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("--only", action="append", help="faults with this in their name; may be repeated")
    parser.add_argument("--times", type=int, help="tries of each at most, if the matrix says more")
    parser.add_argument("--seed", type=int, default=1, help="of all that is random (1)")
    parser.add_argument("--document", type=Path, help="write the outcome to this file, too")
    parser.add_argument("--record", type=Path, help="keep the outcomes in this file, and make no try twice")
    parser.add_argument("--dir", type=Path, default=ROOT / ".lab" / "faults", help="the lab's folder")
    arguments = parser.parse_args(argv)
    only = arguments.only or [""]
    faults = [fault for fault in FAULTS if any(part in fault.name for part in only)]
    record = Record(arguments.record, arguments.seed)
    tries = schedule(
        faults, arguments.seed, lambda fault: min(arguments.times or fault.times, fault.times), record.has
    )
    try:
        if attempts := list(tries):
            _play(attempts, Lab(arguments.dir), record)
    finally:
        print(f"\n{table(faults, record.outcomes)}\nseed {arguments.seed}")
    if arguments.document:
        today = datetime.datetime.now(datetime.UTC).date().isoformat()
        arguments.document.write_text(
            document(faults, record.outcomes, date=today, seed=arguments.seed, versions=record.versions)
        )
    return 0 if all(outcome.holds for outcome in record.outcomes) else 1


def _play(attempts: Sequence[Attempt], lab: Lab, record: Record) -> None:
    """Make these tries, one after the other, on one lab."""
    try:
        with tempfile.TemporaryDirectory() as folder:
            state = Path(folder, "state")
            state.mkdir()
            settings = environment(cache_folder(), state, ROOT / ".venv").applied_to(os.environ)
            stage = Stage(lab, Path(folder), settings)
            stage.renew()
            record.tried_with(_versions(stage))
            try:
                for attempt in attempts:
                    started = time.monotonic()
                    outcome = try_out(stage, attempt)
                    record.add(outcome)
                    print(f"[{time.monotonic() - started:3.0f} s] {outcome}", flush=True)
            finally:
                stage.end()
    finally:
        lab.down(cut=True)


def _versions(stage: Stage) -> list[str]:
    """What it was tried with; all hosts are alike."""
    on_host = stage.on(
        "host1",
        ". /etc/os-release; echo $PRETTY_NAME, Linux $(uname -r); "
        "echo Docker $(docker version --format '{{.Server.Version}}'); iptables -V; python3 -V; ssh -V 2>&1",
    )
    pulumi = subprocess.run(
        ["pulumi", "version"], env=stage.project.environment, capture_output=True, text=True, check=True
    )
    return [*on_host.splitlines(), f"Pulumi {pulumi.stdout.strip()}"]


if __name__ == "__main__":
    sys.exit(main())
