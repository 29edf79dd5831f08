"""Quality of data and time in the terms of C37.118.2: STAT of a PMU and the time quality of a frame.

Source: IEEE C37.118.2-2011, tables 3 to 5 (time quality) and 6 to 8 (STAT).
"""

import math
from dataclasses import dataclass
from enum import IntEnum

from opq_proto.messages import UNKNOWN_UNCERTAINTY_NS, TimeSource

CLOCK_FAILED = 0xF
"""Time quality: not reliable, or not known."""
WORST_CODE = 0xB
"""Time quality: within 10 s."""
BELIEVED_TVE = 0.01
"""C37.118.1: a time whose error alone causes this total vector error is out of sync."""
_BOUNDS_NS = (100, 1_000, 10_000, 100_000, 1_000_000, 10_000_000)
_UNLOCKED_S = (10.0, 100.0, 1000.0)


class PhasorTrigger(IntEnum):
    """Why a PMU reports a disturbance; bits 3-0 of STAT."""

    MANUAL = 0
    MAGNITUDE_LOW = 1
    MAGNITUDE_HIGH = 2


@dataclass(frozen=True, slots=True)
class PmuStatus:
    """The contents of one PMU's STAT."""

    there: bool
    """Whether there is data; otherwise the numbers are placeholders."""
    in_sync: bool
    uncertainty_ns: int
    unlocked_s: float
    """Seconds since its time was in sync; infinite if it was never in sync."""
    trigger: PhasorTrigger | None = None
    configuration_changed: bool = False
    """Whether the configuration changed within the last minute."""


def stat(standing: PmuStatus) -> int:
    """The 16 bits of STAT.

    15-14 data error (00 good, 10 fill), 13 not in sync, 12 sorted by arrival (never), 11 trigger,
    10 configuration changed, 9 modified (never), 8-6 time quality, 5-4 unlocked time, 3-0 trigger reason.
    """
    word = 0 if standing.there else 0b10 << 14
    word |= (not standing.in_sync) << 13
    word |= standing.configuration_changed << 10
    word |= data_quality(standing.uncertainty_ns) << 6
    word |= sum(standing.unlocked_s >= bound_s for bound_s in _UNLOCKED_S) << 4
    if standing.trigger is not None:
        word |= 1 << 11 | standing.trigger
    return word


def data_quality(uncertainty_ns: int) -> int:
    """Bits 8-6 of STAT: 1 below 100 ns, 2 below 1 us ... 6 below 10 ms, 7 above or not known."""
    if uncertainty_ns >= UNKNOWN_UNCERTAINTY_NS:
        return 7
    return 1 + sum(uncertainty_ns >= bound_ns for bound_ns in _BOUNDS_NS)


def message_quality(in_sync: bool, uncertainty_ns: int) -> int:
    """Bits 3-0 of FRACSEC's first byte: 0 in sync, n within 10**(n - 10) s, 15 not known.

    Bits 6-4 announce leap seconds and stay 0: the gateway gets no such announcement.
    """
    if in_sync:
        return 0
    if uncertainty_ns >= UNKNOWN_UNCERTAINTY_NS:
        return CLOCK_FAILED
    return min(max(1, 1 + math.ceil(math.log10(max(1, uncertainty_ns)))), WORST_CODE)


def in_sync(source: TimeSource, uncertainty_ns: int, nominal_hz: float) -> bool:
    """Whether the time is traceable to UTC and good enough for 1 % TVE: 26 us at 60 Hz, 31 us at 50."""
    return source is not TimeSource.FREE and uncertainty_ns <= BELIEVED_TVE / (2 * math.pi * nominal_hz) * 1e9
