"""What this machine's system clock rests on, as the kernel says.

The kernel's own word is asked (Linux `adjtimex`, read only): it says whether some time daemon
disciplines the clock, and how far off the clock may be. Elsewhere, or when the call fails, the
clock counts as FREE with an unknown uncertainty.
"""

import ctypes
import sys
from dataclasses import dataclass

from opq_proto.messages import UNKNOWN_UNCERTAINTY_NS, TimeSource

TIME_ERROR = 5  # <sys/timex.h>: clock not synchronised
STA_UNSYNC = 0x0040  # <sys/timex.h>


class _Timex(ctypes.Structure):
    """`struct timex` of <sys/timex.h>, as far as it is read here, with room for the rest."""

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
    """Bound of the error; UNKNOWN_UNCERTAINTY_NS when nobody knows (saturates there)."""


def system_clock() -> ClockState:
    """NTP with the kernel's maximum error when the kernel says synchronised, else FREE."""
    if not sys.platform.startswith("linux"):
        return ClockState(TimeSource.FREE, UNKNOWN_UNCERTAINTY_NS)
    timex = _Timex()  # modes = 0: only reads, needs no privilege
    try:
        state = ctypes.CDLL(None, use_errno=True).adjtimex(ctypes.byref(timex))
    except (OSError, AttributeError):
        return ClockState(TimeSource.FREE, UNKNOWN_UNCERTAINTY_NS)
    return from_kernel(state, timex.status, timex.maxerror)


def from_kernel(state: int, status: int, maxerror_us: int) -> ClockState:
    """Read the kernel's answer: return value, status bits and maximum error in microseconds."""
    if state < 0 or state == TIME_ERROR or status & STA_UNSYNC:
        return ClockState(TimeSource.FREE, UNKNOWN_UNCERTAINTY_NS)
    return ClockState(TimeSource.NTP, min(max(0, maxerror_us) * 1000, UNKNOWN_UNCERTAINTY_NS))
