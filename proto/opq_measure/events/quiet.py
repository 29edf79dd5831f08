"""Quiet windows: those in which no Urms(1/2) can lie beyond a threshold, known from what is measured anyway.

Urms(1/2) for events spans a cycle of the usual length, Urms(1/2) of a window the distance of its own edges.
The two spans begin at the same sample and differ by d samples, which can change the length by d at most, and
the energy by d times the square of the largest sample. While every value stays within the thresholds in
spite of that, Urms(1/2) for events need not be computed.
"""

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from opq_measure.events.limits import Limits
from opq_measure.signal import FloatArray

MARGIN_SHARE = 1e-3
"""Margin as a share of the value, above the interpolation error at both ends (1e-5, see `one_cycle_rms`,
`rms`)."""


class Extent(NamedTuple):
    """Limits within which a window stays: of its Urms(1/2) (with the last one), its samples, its cycles."""

    least_v: float
    most_v: float
    last_v: float
    peak_v: float
    """Largest magnitude of all samples, context included."""
    shortest: float
    longest: float
    """Longest cycle from any half edge on, samples; `shortest` likewise."""


@dataclass(slots=True)
class Quiet:
    """A window's shortest and longest cycle, and by how much they may differ from the usual one; samples."""

    shortest: float
    longest: float
    room: float

    def agrees_with(self, other: "Quiet") -> bool:
        """Whether both windows stay quiet with the cycle lengths of either."""
        apart = max(self.longest, other.longest) - min(self.shortest, other.shortest)
        return apart <= min(self.room, other.room)


def extents_of(urms_v: FloatArray, peaks_v: FloatArray, half_edges: FloatArray) -> list[Extent]:
    """Extents of some windows.

    Args:
        urms_v: (w, n) `rms.half_cycle_rms_v` of their half edges; NaN is unknown.
        peaks_v: (w,) the largest magnitude of their samples.
        half_edges: (w, m), m at least 3.
    """
    lengths = half_edges[:, 2:] - half_edges[:, :-2]
    columns = (
        np.fmin.reduce(urms_v, axis=1),
        np.fmax.reduce(urms_v, axis=1),
        urms_v[:, -1],
        peaks_v,
        np.minimum.reduce(lengths, axis=1),
        np.maximum.reduce(lengths, axis=1),
    )
    return [Extent(*row) for row in np.stack(columns, axis=1).tolist()]


def quiet(extent: Extent, limits: Limits, nominal_v: float) -> Quiet | None:
    """The Quiet of a window; None where one of its values is or may be beyond a threshold."""
    low_v, high_v = extent.least_v * (1 - MARGIN_SHARE), extent.most_v * (1 + MARGIN_SHARE)
    sag_v = limits.sag_percent / 100 * nominal_v
    swell_v = limits.swell_percent / 100 * nominal_v
    if not (low_v > sag_v and high_v < swell_v):
        return None
    below = 1 - (sag_v / low_v) ** 2
    above = (swell_v / high_v) ** 2 - 1
    least = min(below * extent.least_v**2, above * extent.most_v**2) * extent.shortest
    room = least / (extent.peak_v**2 + swell_v**2)
    return Quiet(extent.shortest, extent.longest, room) if math.isfinite(room) else None
