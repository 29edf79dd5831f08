"""Calm windows: those in which no Urms(1/2) can lie beyond a threshold, known from what was measured anyhow.

Urms(1/2) for events takes the usual length of a cycle, that of a window the distance of its own edges. The
two spans begin alike and differ by d samples, which can change the length by d at most, and the energy by d
times the square of the largest sample. While that leaves every value inside of the thresholds, nothing is to
be looked at.
"""

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from opq_measure.events.limits import Limits
from opq_measure.signal import FloatArray

MARGIN = 1e-3
"""A share of the value: interpolation at both ends (1e-5, see `one_cycle` and `rms`), with room."""


class Extent(NamedTuple):
    """What a window stays within: its Urms(1/2) and the last of them, its samples, its cycles."""

    least_v: float
    most_v: float
    last_v: float
    peak_v: float
    """Over all samples, context and all."""
    shortest: float
    longest: float
    """Cycle from any half edge on, samples."""


@dataclass(slots=True)
class Calm:
    """A window's shortest and longest cycle, samples, and by how much they may differ from the usual one."""

    shortest: float
    longest: float
    room: float

    def agrees_with(self, other: "Calm") -> bool:
        """Whether the two stay calm by cycles as long as those of either."""
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


def calm(extent: Extent, limits: Limits, nominal_v: float) -> Calm | None:
    """None where a value of the window is, or might be, beyond a threshold."""
    low_v, high_v = extent.least_v * (1 - MARGIN), extent.most_v * (1 + MARGIN)
    sag_v = limits.sag_percent / 100 * nominal_v
    swell_v = limits.swell_percent / 100 * nominal_v
    if not (low_v > sag_v and high_v < swell_v):
        return None
    below = 1 - (sag_v / low_v) ** 2
    above = (swell_v / high_v) ** 2 - 1
    least = min(below * extent.least_v**2, above * extent.most_v**2) * extent.shortest
    room = least / (extent.peak_v**2 + swell_v**2)
    return Calm(extent.shortest, extent.longest, room) if math.isfinite(room) else None
