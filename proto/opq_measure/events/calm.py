"""Calm windows: those in which no Urms(1/2) can lie beyond a threshold, told from what was measured anyhow.

Urms(1/2) for events takes the usual length of a cycle, that of a window the distance of its own edges. The
two spans begin alike and differ by d samples, which can change the length by d at most, and the energy by d
times the square of the largest sample. While that leaves every value inside of the thresholds, nothing is to
be looked at.
"""

import math
from dataclasses import dataclass

import numpy as np

from opq_measure.events.limits import Limits
from opq_measure.timebase.windows import Window

_least, _most = np.minimum.reduce, np.maximum.reduce
MARGIN = 1e-3
"""Of the value: interpolation at both ends (1e-5, see `one_cycle` and `rms`), with room."""


@dataclass(frozen=True, slots=True)
class Calm:
    """A window's shortest and longest cycle, samples, and by how much they may differ from the usual one."""

    shortest: float
    longest: float
    room: float

    def beside(self, other: "Calm") -> bool:
        """Whether the two stay calm by cycles as long as those of either."""
        apart = max(self.longest, other.longest) - min(self.shortest, other.shortest)
        return apart <= min(self.room, other.room)


def calm(window: Window, urms_v: tuple[float, float], limits: Limits, nominal_v: float) -> Calm | None:
    """None where a value is, or might be, beyond a threshold; `urms_v` the least and the most."""
    low_v, high_v = urms_v
    sag_v = limits.sag_percent / 100 * nominal_v
    swell_v = limits.swell_percent / 100 * nominal_v
    if not (low_v * (1 - MARGIN) > sag_v and high_v * (1 + MARGIN) < swell_v):
        return None
    lengths = window.half_edges[2:] - window.half_edges[:-2]
    shortest, longest = float(_least(lengths)), float(_most(lengths))
    most_v = max(float(_most(window.volts)), -float(_least(window.volts)))
    below = 1 - (sag_v / (low_v * (1 - MARGIN))) ** 2
    above = (swell_v / (high_v * (1 + MARGIN))) ** 2 - 1
    least = min(below * low_v**2, above * high_v**2) * shortest
    room = least / (most_v**2 + swell_v**2)
    return Calm(shortest, longest, room) if math.isfinite(room) else None
