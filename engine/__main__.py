"""Command line: `python3 -m engine build` and `python3 -m engine env --state DIR [--venv DIR]`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from engine import EngineError
from engine.build import build
from engine.recipe import cache_folder
from engine.shell import environment, official_pulumi


def main() -> int:
    """Exit status 0, 1 after an error that the user can act on, 130 when interrupted."""
    arguments = parser().parse_args()
    try:
        if arguments.command == "build":
            print(build_engine(cache_folder()))
        else:
            lines = environment(cache_folder(), arguments.state, arguments.venv).exports()
            arguments.state.mkdir(parents=True, exist_ok=True)
            print("\n".join(lines))
    except EngineError as error:
        print(f"engine: {error}", file=sys.stderr)
        return 1
    except OSError as error:
        print(f"engine: {error.filename}: {error.strerror}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nengine: interrupted; the next run goes on with what is missing", file=sys.stderr)
        return 130
    return 0


def build_engine(cache: Path) -> str:
    """Make sure that there is an engine, and say which."""
    official = official_pulumi(cache)
    if official:
        return f"engine: using {official}, nothing to build"
    return f"engine: ready in {build(cache).folder}"


def parser() -> argparse.ArgumentParser:
    about = "The Pulumi engine, compiled from the Go module proxy where no official pulumi is on PATH."
    main = argparse.ArgumentParser(prog="python3 -m engine", description=about)
    commands = main.add_subparsers(dest="command", required=True)
    commands.add_parser("build", help="make what is missing of it")
    env = commands.add_parser("env", help="print lines for a POSIX shell to evaluate")
    env.add_argument(
        "--state", type=Path, required=True, help="folder for the state of the stacks, made if missing"
    )
    env.add_argument("--venv", type=Path, help="virtual environment to put first on PATH")
    return main


if __name__ == "__main__":
    sys.exit(main())
