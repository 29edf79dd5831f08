"""Clocks of a process that another process may step.

A clock is a file of three numbers (int64, little endian): nanoseconds that are added to whatever `time.time`
and `time.time_ns` read in the process, the state that a time daemon reports for this clock, and nanoseconds
that are added to the monotonic clock (`put_step_ns`). The last one is read at a process's start, because a
monotonic clock is never set; so a pause between two starts may be longer by the clocks than it took.
Where a file of the clock's name and `MACHINE` exists, it holds the number of the machine's start.
The system's own clock belongs to all programs on the machine. Our programs read Python's clocks; a library in
C and child processes see the true one.
"""

import mmap
import struct
import sys
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
MACHINE: Final = ".machine"
_CLOCK = struct.Struct("<qqq")
_STEPS: list[mmap.mmap] = []
_MONOTONIC_NS: list[int] = [0]


def put_step_ns(path: Path, step_ns: int, bound_ns: int = MACHINES_STATE, monotonic_ns: int = 0) -> None:
    """Steps the clock of the processes that run on `path`, now.

    Args:
        bound_ns: a time daemon synchronises it within this bound; or one of the two constants above.
        monotonic_ns: added to the monotonic clock of processes that start from now on.
    """
    with path.open("r+b" if path.exists() else "w+b") as file:
        file.write(_CLOCK.pack(step_ns, bound_ns, monotonic_ns))


def make_clocks_steppable() -> None:
    """Replaces Python's clocks by ones that are true until `step_clocks`; modules loaded later get them."""
    time.time_ns, time.time = _stepped_ns, _stepped_s
    time.monotonic_ns, time.monotonic = _monotonic_ns, _monotonic_s
    clock.system_clock = partial(_stated, clock.system_clock)
    time_daemons.read_clock_state = partial(_stated, time_daemons.read_clock_state)


def step_clocks(path: Path) -> None:
    """Offsets the clocks of this process from now on by the file's value."""
    with path.open("rb") as file:
        _STEPS.append(mmap.mmap(file.fileno(), _CLOCK.size, access=mmap.ACCESS_READ))
    _MONOTONIC_NS.append(int(_CLOCK.unpack_from(_STEPS[-1])[2]))
    gateway = sys.modules.get("opq_gateway.serial_side.last_heard")  # not imported: it binds clocks
    if gateway is not None and (machine := path.with_suffix(MACHINE)).exists():
        gateway.MACHINES_START = machine  # type: ignore[attr-defined]


def _stepped_ns(true_ns: Callable[[], int] = time.time_ns) -> int:
    return true_ns() + int(_CLOCK.unpack_from(_STEPS[-1])[0]) if _STEPS else true_ns()


def _stepped_s() -> float:
    return _stepped_ns() / 1e9


def _monotonic_ns(true_ns: Callable[[], int] = time.monotonic_ns) -> int:
    return true_ns() + _MONOTONIC_NS[-1]


def _monotonic_s(true_s: Callable[[], float] = time.monotonic) -> float:
    return true_s() + _MONOTONIC_NS[-1] / 1e9


def _stated(machines: Callable[[], ClockState]) -> ClockState:
    bound_ns = int(_CLOCK.unpack_from(_STEPS[-1])[1]) if _STEPS else MACHINES_STATE
    if bound_ns == MACHINES_STATE:
        return machines()
    if bound_ns == NOT_SYNCHRONISED:
        return ClockState(TimeSource.FREE, UNKNOWN_UNCERTAINTY_NS)
    return ClockState(TimeSource.NTP, bound_ns)
