"""The environment in which plain `pulumi` commands work, for shells and for programs."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from shlex import quote
from typing import Dict, List, Mapping, Optional, Tuple
from urllib.parse import quote as percent_encode

from engine import EngineError
from engine.build import complete

# Of the committed stack, so that it opens for everybody; protects nothing. It comes before what the user may
# have set for other projects; who has secrets to keep sets PULUMI_CONFIG_PASSPHRASE after reading `.lab/env`.
LAB_PASSPHRASE = "macvlan-fabric"  # noqa: S105


@dataclass(frozen=True)
class Environment:
    """What to put in front of PATH, what to set, and what to set only where the user has not."""

    path: Tuple[Path, ...]
    settings: Dict[str, str]
    defaults: Dict[str, str]

    def applied_to(self, base: Mapping[str, str]) -> Dict[str, str]:
        """A copy of the environment `base` with all of it applied, for starting programs."""
        path = os.pathsep.join([*map(str, self.path), base.get("PATH", os.defpath)])
        return {**self.defaults, **base, **self.settings, "PATH": path}

    def exports(self) -> List[str]:
        """The same as lines for a POSIX shell, which decides when it reads them what is already set."""
        path = ":".join(quote(str(folder)) for folder in self.path)
        return [
            *([f'export PATH={path}:"$PATH"'] if path else []),
            *(f"export {name}={quote(value)}" for name, value in self.settings.items()),
            *(f'export {name}="${{{name}-{value}}}"' for name, value in self.defaults.items()),
        ]


def environment(cache: Path, state: Path, venv: Optional[Path] = None) -> Environment:
    """The environment for stacks with their state in the folder `state`, which must exist when they are used.

    Raises EngineError if there is neither an official pulumi nor one of ours.
    """
    path = [venv.absolute() / "bin"] if venv else []
    settings = {
        # Else the backend writes another file beside each of its own, and not in one step: an engine that is
        # killed meanwhile leaves an empty one, and then no command can read the state any more ("EOF").
        "PULUMI_BACKEND_URL": f"file://{percent_encode(str(state.absolute()))}?metadata=skip",
        "PULUMI_CONFIG_PASSPHRASE": LAB_PASSPHRASE,
        "PULUMI_SKIP_UPDATE_CHECK": "true",  # else every command asks api.pulumi.com for newer versions
    }
    if not official_pulumi(cache):
        engine = complete(cache)
        if not engine:
            raise EngineError("the Pulumi engine is not built yet\nhint: run `python3 -m engine build` first")
        path.append(engine.programs)
        settings["PULUMI_HOME"] = str(engine.home)
        settings["PULUMI_DISABLE_AUTOMATIC_PLUGIN_ACQUISITION"] = "true"  # not reachable
    defaults = {
        "PULUMI_CONTINUE_ON_ERROR": "true",  # a host that is down does not keep the others from converging
        "PULUMI_PARALLEL_DIFF": "true",
    }
    return Environment(tuple(path), settings, defaults)


def official_pulumi(cache: Path) -> Optional[Path]:
    """The `pulumi` on PATH that is not one of ours, if any."""
    ours = cache / "engine"
    folders = [folder for folder in os.environ.get("PATH", os.defpath).split(os.pathsep) if folder]
    theirs = [folder for folder in folders if ours not in Path(folder).absolute().parents]
    found = shutil.which("pulumi", path=os.pathsep.join(theirs))
    return Path(found) if found else None
