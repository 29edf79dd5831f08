"""The standard's smoothing of harmonics from window to window: a first-order low pass of 1.5 s.

Source: IEC 61000-4-7:2002+A1:2008, 5.5.1 and figure 3: a time constant of 1.5 s, which for windows of
0.2 s is alpha = 8.012, beta = 7.012 (from memory of the standard; the formula gives 8.011).
"""

import math
from typing import Final

import numpy as np

from opq_measure.signal import FloatArray

TIME_CONSTANT_S: Final = 1.5


class Smoothing:
    """Smooths one or many values, window after window; the blocks may be of any size."""

    def __init__(self, time_constant_s: float = TIME_CONSTANT_S) -> None:
        if not time_constant_s > 0:
            raise ValueError(f"time_constant_s is {time_constant_s:g}, want a positive number")
        self._time_constant_s = time_constant_s
        self._held: FloatArray | None = None

    def push_values(self, values: FloatArray, step_s: float = 0.2) -> FloatArray:
        """Smooths the next values.

        Args:
            values: (w,) or (w, m), one row per window.
            step_s: time from window to window.
        Returns:
            The shape of `values`. Smoothing begins with the first known value; NaN stays NaN and is skipped.
        Raises:
            ValueError: `step_s` is not positive.
        """
        if not step_s > 0:
            raise ValueError(f"step_s is {step_s:g}, want a positive number")
        share = 1 - math.exp(-step_s / self._time_constant_s)
        smoothed = np.empty(values.shape)
        held = np.full(values.shape[1:], np.nan) if self._held is None else self._held
        for row, value in enumerate(values):
            moved = np.where(np.isnan(held), value, held + share * (value - held))
            smoothed[row] = moved
            held = np.where(np.isnan(moved), held, moved)
        self._held = held
        return smoothed
