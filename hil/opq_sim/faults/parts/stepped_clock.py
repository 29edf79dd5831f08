"""Clocks of a process that another process may step.

A clock is a file of two numbers (int64, little endian): nanoseconds that are added to whatever `time.time`
and `time.time_ns` read in the process, and the state that a time daemon reports for this clock
(`put_step_ns`).
The system's own clock belongs to all programs on the machine. Our programs read Python's clocks; a library in
C and child processes see the true one.
"""

import mmap
import struct
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Final

from opq_proto.kit import clock, time_daemons
from opq_proto.kit.clock import ClockState
from opq_proto.messages import UNKNOWN_UNCERTAINTY_NS, TimeSource

MACHINES_STATE: Final = -1
"""The clock's state is that of this machine's clock."""
NOT_SYNCHRONISED: Final = -2
_CLOCK = struct.Struct("<qq")
_STEPS: list[mmap.mmap] = []


def put_step_ns(path: Path, step_ns: int, bound_ns: int = MACHINES_STATE) -> None:
    """Steps the clock of the processes that run on `path`, now.

    `bound_ns`: a time daemon synchronises it within this bound; or one of the two constants above.
    """
    with path.open("r+b" if path.exists() else "w+b") as file:
        file.write(_CLOCK.pack(step_ns, bound_ns))


def make_clocks_steppable() -> None:
    """Replaces Python's clocks by ones that are true until `step_clocks`; modules loaded later get them."""
    time.time_ns, time.time = _stepped_ns, _stepped_s
    clock.system_clock = partial(_stated, clock.system_clock)
    time_daemons.read_clock_state = partial(_stated, time_daemons.read_clock_state)


def step_clocks(path: Path) -> None:
    """Offsets the clocks of this process from now on by the file's value."""
    with path.open("rb") as file:
        _STEPS.append(mmap.mmap(file.fileno(), _CLOCK.size, access=mmap.ACCESS_READ))


def _stepped_ns(true_ns: Callable[[], int] = time.time_ns) -> int:
    return true_ns() + int(_CLOCK.unpack_from(_STEPS[-1])[0]) if _STEPS else true_ns()


def _stepped_s() -> float:
    return _stepped_ns() / 1e9


def _stated(machines: Callable[[], ClockState]) -> ClockState:
    bound_ns = int(_CLOCK.unpack_from(_STEPS[-1])[1]) if _STEPS else MACHINES_STATE
    if bound_ns == MACHINES_STATE:
        return machines()
    if bound_ns == NOT_SYNCHRONISED:
        return ClockState(TimeSource.FREE, UNKNOWN_UNCERTAINTY_NS)
    return ClockState(TimeSource.NTP, bound_ns)
