"""Two events over one another: the zero crossing that aligns them, and the difference of their values."""

import math

import numpy as np

from opq_measure.signal import FloatArray

AT_ONCE_CYCLES = 0.001
"""A crossing so soon after a moment is that of the moment."""


def last_rising_crossing(at: float, phase_deg: float, period: float) -> float:
    """The last rising zero crossing up to 0 of a steady wave.

    Args:
        at: where its phase is known, in any unit of time.
        phase_deg: there; 0 is a rising crossing.
        period: of the wave, in the same unit.
    """
    crossed = at - phase_deg / 360 * period
    return crossed + math.floor(AT_ONCE_CYCLES - crossed / period) * period


def difference(
    at: FloatArray, values: FloatArray, other_at: FloatArray, others: FloatArray, apart: float
) -> tuple[FloatArray, FloatArray]:
    """Values minus others, where the others have a value within `apart`; between two of them along a line.

    Args:
        at, values: (n,); at rises.
        other_at, others: (m,); other_at rises.
    Returns:
        (k,) the places, (k,) the differences there; k is 0 where one of both is empty.
    """
    if not len(at) or not len(other_at):
        return np.empty(0), np.empty(0)
    after = np.clip(np.searchsorted(other_at, at), 1, max(1, len(other_at) - 1))
    beside = other_at[after - 1], other_at[np.minimum(after, len(other_at) - 1)]
    known = np.minimum(*(np.abs(at - each) for each in beside)) <= apart
    return at[known], (values - np.interp(at, other_at, others))[known]
