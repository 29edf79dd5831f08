"""Intervals and disturbances of class A, as stores and reports hold them: columns over time of one Box.

The names of quantities are those of the gateway's ledger and carry their unit: `rms_v`, `rms_min_v`,
`rms_max_v`, `urms_min_v`, `urms_max_v`, `f_hz`, `f_min_hz`, `f_max_hz`, `thd_ratio`, `thd_max_ratio`,
`under_ratio`, `over_ratio`, `pst`, `plt`, `harmonics_v` (orders 1 .. 50) and `interharmonics_v` (0 .. 49).
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

LENGTHS_MS = (3_000, 10_000, 600_000, 7_200_000)
"""Lengths of intervals: 150/180 cycles, 10 s of frequency, 10 minutes, 2 hours (IEC 61000-4-30, 4.4)."""


@dataclass(frozen=True, slots=True)
class Interval:
    """One interval of class A, as a Measurement without metrics carries it; that has its Box and times."""

    length_ms: int
    """One of LENGTHS_MS."""
    flagged: bool
    coverage: float | None
    """Share of its time that was measured, 0 .. 1; None: unknown, as for flicker, which says it by `pst`."""
    values: Mapping[str, float | tuple[float, ...]]
    """Quantity -> value, or one for each order; unknown ones are absent."""


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


@dataclass(frozen=True, slots=True)
class Disturbance:
    """A dip, swell or interruption at one Box (IEC 61000-4-30, 5.4 and 5.5)."""

    box_id: str
    kind: str
    """One of dip, swell and interruption."""
    start_ns: int
    end_ns: int | None
    """None: it has not ended, or its end is unknown."""
    uncertainty_ns: int
    residual_v: float
    """Least Urms(1/2) of a dip or interruption, most of a swell."""
    polyphase_group: int = 0
    """Number of the polyphase disturbance to which it belongs; 0: none."""
