"""Real Debian hosts on one machine, on a management network and a VLAN trunk: the lab.

`Lab` is all a program needs; `python3 -m lab --help` is the same for people.
"""

from .capture import Capture, Frame
from .errors import LabError
from .lab import DEFAULT_HOSTS, HostState, Lab
from .progress import Progress, to_stderr

__all__ = ["DEFAULT_HOSTS", "Capture", "Frame", "HostState", "Lab", "LabError", "Progress", "to_stderr"]
