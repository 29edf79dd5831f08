"""Source and uncertainty of this machine's system clock, as the kernel reports them.

The kernel (Linux `adjtimex`, read only) reports whether a time daemon disciplines the clock, and the largest
error of the clock. On other systems, or if the call fails, the clock counts as FREE with an unknown
uncertainty.
"""

import ctypes
import sys
from dataclasses import dataclass

from opq_proto.messages import UNKNOWN_UNCERTAINTY_NS, TimeSource

TIME_ERROR = 5  # <sys/timex.h>: clock not synchronised
STA_UNSYNC = 0x0040  # <sys/timex.h>


class _Timex(ctypes.Structure):
    """The fields of `struct timex` (<sys/timex.h>) that are read here, with room for the rest."""

    _fields_ = (
        ("modes", ctypes.c_uint),
        ("offset", ctypes.c_long),
        ("freq", ctypes.c_long),
        ("maxerror", ctypes.c_long),
        ("esterror", ctypes.c_long),
        ("status", ctypes.c_int),
        ("reserved", ctypes.c_char * 256),
    )


@dataclass(frozen=True, slots=True)
class ClockState:
    """Source and uncertainty of the system clock at one moment."""

    source: TimeSource
    uncertainty_ns: int
    """Bound of the error; UNKNOWN_UNCERTAINTY_NS where it is unknown or larger."""


def system_clock() -> ClockState:
    """Returns NTP with the kernel's maximum error if the kernel reports a synchronised clock, else FREE."""
    if not sys.platform.startswith("linux"):
        return ClockState(TimeSource.FREE, UNKNOWN_UNCERTAINTY_NS)
    timex = _Timex()  # modes = 0: only reads, needs no privilege
    try:
        state = ctypes.CDLL(None, use_errno=True).adjtimex(ctypes.byref(timex))
    except (OSError, AttributeError):
        return ClockState(TimeSource.FREE, UNKNOWN_UNCERTAINTY_NS)
    return from_kernel(state, timex.status, timex.maxerror)


def from_kernel(state: int, status: int, maxerror_us: int) -> ClockState:
    """Reads the kernel's answer: return value, status bits and maximum error in microseconds."""
    if state < 0 or state == TIME_ERROR or status & STA_UNSYNC:
        return ClockState(TimeSource.FREE, UNKNOWN_UNCERTAINTY_NS)
    return ClockState(TimeSource.NTP, min(max(0, maxerror_us) * 1000, UNKNOWN_UNCERTAINTY_NS))
