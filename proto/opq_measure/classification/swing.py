"""A swing of the amplitude in a stretch that is too short for lines of the envelope: one sine explains it.

Three swings in a row of some percent are a fluctuation, whatever follows (61000-4-15 weighs how visible). A
step, a ramp or a dip is not explained by a sine.
"""

import math
from dataclasses import dataclass

import numpy as np

from opq_measure.least_squares import solved
from opq_measure.signal import FloatArray

VALUES_PER_CYCLE = 4
"""Values of the course per cycle."""
MIN_SWINGS = 2.4
"""Least number of swings in a piece; one cycle of it is lost to the mean over a cycle."""
SLOWEST_HZ = 4.0
"""Lowest frequency that is tried."""
FASTEST_SHARE = 0.6
"""Highest frequency that is tried, as a share of the mains frequency."""
TRIED_PER_SWING = 8
"""Number of frequencies that are tried for each swing that fits into the record."""
EXPLAINED_SHARE = 0.75
"""Least share of the course's variance that the sine explains."""
LEAST_SIZE_SHARE = 0.005
"""Least amplitude of a swing, as a share of the mean."""
MOST_SIZE_SHARE = 0.4
"""Largest amplitude of a swing, as a share of the mean; a larger one is a level."""
MIN_VALUES = 6
"""Fewest values that show a swing."""


@dataclass(frozen=True, slots=True)
class Swing:
    """1 + the real part of `size` e^(2 pi i hz t), t from sample 0."""

    hz: float
    size: complex
    explained: float
    swings: float

    def values(self, at: FloatArray, rate_hz: float) -> FloatArray:
        """(n,) at these samples."""
        return np.asarray(1 + (self.size * np.exp(2j * math.pi * self.hz / rate_hz * at)).real)


def amplitude_course(
    volts: FloatArray, first: int, stop: int, step_rad: float
) -> tuple[FloatArray, FloatArray]:
    """Places and amplitudes of the fundamental, each over one cycle, four times a cycle.

    A mean over a cycle contains no harmonics, and hardly any ringing.
    """
    cycle = 2 * math.pi / step_rad
    turned = volts[first:stop] * np.exp(-1j * step_rad * np.arange(first, stop))
    total = np.concatenate(([0.0], np.cumsum(turned)))
    begins = np.arange(0.0, stop - first - cycle, cycle / VALUES_PER_CYCLE)
    if len(begins) < 2 * VALUES_PER_CYCLE:
        return np.empty(0), np.empty(0)
    marks = np.arange(len(total))

    def over_cycle(values: FloatArray) -> FloatArray:
        ends = np.interp(begins + cycle, marks, values) - np.interp(begins, marks, values)
        return np.asarray(ends * 2 / cycle)

    cosine, sine = over_cycle(total.real), over_cycle(total.imag)
    angle = math.atan2(float(sine.sum()), float(cosine.sum()))
    return first + begins + cycle / 2, cosine * math.cos(angle) + sine * math.sin(angle)


def swing_in(course: tuple[FloatArray, FloatArray], mains_hz: float, rate_hz: float) -> Swing | None:
    """The sine that explains the course, or None."""
    at, level = course
    if not len(at):
        return None
    seconds = (at[-1] - at[0]) / rate_hz + 1 / mains_hz
    lowest = max(SLOWEST_HZ, MIN_SWINGS / seconds)
    if lowest >= FASTEST_SHARE * mains_hz or not level.mean() > 0:
        return None
    count = math.ceil(TRIED_PER_SWING * (FASTEST_SHARE * mains_hz - lowest) * seconds)
    tried_hz = np.linspace(lowest, FASTEST_SHARE * mains_hz, count + 1)
    best = _fitted(
        float(tried_hz[np.argmax(_explained(tried_hz, course, rate_hz))]), course, mains_hz, rate_hz
    )
    return (
        best
        if best.explained >= EXPLAINED_SHARE and LEAST_SIZE_SHARE <= abs(best.size) <= MOST_SIZE_SHARE
        else None
    )


def swing_at(
    hz: float, course: tuple[FloatArray, FloatArray], mains_hz: float, rate_hz: float
) -> Swing | None:
    """A swing of this frequency in a stretch too short to show its frequency."""
    if len(course[0]) < MIN_VALUES or not course[1].mean() > 0:
        return None
    found = _fitted(hz, course, mains_hz, rate_hz)
    return found if found.explained >= EXPLAINED_SHARE and abs(found.size) <= MOST_SIZE_SHARE else None


def _explained(tried_hz: FloatArray, course: tuple[FloatArray, FloatArray], rate_hz: float) -> FloatArray:
    """(h,) the energy that a sine of each frequency and a mean explain; 0 where they cannot be told apart."""
    at, level = course
    share = level / level.mean() - 1
    angle = np.outer(2 * math.pi / rate_hz * tried_hz, at)
    basis = np.stack((np.ones_like(angle), np.cos(angle), np.sin(angle)), axis=1)
    wanted = basis @ share
    sizes = solved(basis @ basis.transpose(0, 2, 1), wanted[:, :, np.newaxis])[:, :, 0]
    return np.asarray(np.nan_to_num(np.sum(sizes * wanted, axis=1)))


def _fitted(hz: float, course: tuple[FloatArray, FloatArray], mains_hz: float, rate_hz: float) -> Swing:
    at, level = course
    share = level / level.mean() - 1
    angle = 2 * math.pi * hz / rate_hz * at
    basis = np.column_stack((np.ones(len(at)), np.cos(angle), np.sin(angle)))
    sizes = np.linalg.lstsq(basis, share, rcond=None)[0]
    left = share - basis @ sizes
    explained = 1 - float(left @ left) / max(float(share @ share), 1e-300)
    size = complex(sizes[1], -sizes[2]) / (1 + sizes[0]) / float(np.sinc(hz / mains_hz))  # a mean of a cycle
    seconds = (at[-1] - at[0]) / rate_hz + 1 / mains_hz
    return Swing(float(hz), size, explained, float(hz * seconds))
