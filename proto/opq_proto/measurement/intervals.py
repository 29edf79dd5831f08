"""Intervals and disturbances of class A, as stores and reports hold them: columns over time of one Box.

The names of quantities are those of the gateway's ledger and carry their unit: `rms_v`, `rms_min_v`,
`rms_max_v`, `urms_min_v`, `urms_max_v`, `f_hz`, `f_min_hz`, `f_max_hz`, `thd_ratio`, `thd_max_ratio`,
`signalling_v`, `signalling_max_v`, `under_ratio`, `over_ratio`, `pst`, `plt`, `harmonics_v` (orders 1 .. 50),
`interharmonics_v` (0 .. 49), and at instants of UTC `angles_deg` and `phasors_v`.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from opq_proto.messages import AT_INSTANTS as AT_INSTANTS
from opq_proto.messages import Disturbance as Disturbance
from opq_proto.messages import Interval as Interval
from opq_proto.time_units import DAY_MS as DAY_MS
from opq_proto.time_units import DAY_NS as DAY_NS

THREE_SECONDS_MS, TEN_SECONDS_MS, TEN_MINUTES_MS, TWO_HOURS_MS = 3_000, 10_000, 600_000, 7_200_000
TEN_MINUTES_NS = TEN_MINUTES_MS * 10**6
LENGTHS_MS = (THREE_SECONDS_MS, TEN_SECONDS_MS, TEN_MINUTES_MS, TWO_HOURS_MS)
"""Lengths of intervals: 150/180 cycles, 10 s of frequency, 10 minutes, 2 hours (IEC 61000-4-30, 4.4)."""
LENGTH_NAMES = {
    "3s": THREE_SECONDS_MS,
    "10s": TEN_SECONDS_MS,
    "10min": TEN_MINUTES_MS,
    "2h": TWO_HOURS_MS,
}
"""Length as options, addresses and the gateway's ledger name it -> ms."""
INTERVAL_WORDS = {
    THREE_SECONDS_MS: "3 s",
    TEN_SECONDS_MS: "10 s",
    TEN_MINUTES_MS: "10 min",
    TWO_HOURS_MS: "2 h",
}
_LOST_WORDS = {
    "window": ("window", "windows"),
    "half": ("half cycle", "half cycles"),
    "3s": ("value of 3 s", "values of 3 s"),
    "10s": ("value of 10 s", "values of 10 s"),
    "10min": ("value of ten minutes", "values of ten minutes"),
    "2h": ("value of two hours", "values of two hours"),
}
"""Kind of the gateway's ledger -> one and several of its rows."""


def lost_words(kind: str, rows: int, start_s: float, end_s: float) -> str:
    """Says what was lost between two Unix times: `1 value of 10 s from 2026-11-28 19:59:10 to … UTC`."""
    one, several = _LOST_WORDS.get(kind, (kind or "value", f"{kind or 'value'}s"))
    first, last = (time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(at_s)) for at_s in (start_s, end_s))
    return f"{rows} {one if rows == 1 else several} from {first} to {last} UTC"


@dataclass(frozen=True, slots=True)
class IntervalColumns:
    """The intervals of one length of one Box, in time order, each once."""

    box_id: str
    length_ms: int
    """One of LENGTHS_MS."""
    start_ns: NDArray[np.int64]
    """(n,) UTC."""
    end_ns: NDArray[np.int64]
    """(n,) UTC."""
    flagged: NDArray[np.bool_]
    """(n,) whether a dip, swell, interruption or gap touches it (IEC 61000-4-30, 4.7)."""
    coverage: NDArray[np.float32]
    """(n,) share of its time that was measured, 0 .. 1; NaN: unknown."""
    values: Mapping[str, NDArray[np.float32]]
    """Quantity -> (n,) values, or (n, orders); NaN: unknown."""
    sequences: NDArray[np.int64] | None = None
    """(n, 2) the numbers under which the windows' part and the flicker's were sent, -1: not known; None: not
    read, or not known of any."""
