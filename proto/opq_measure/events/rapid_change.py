"""Rapid voltage changes: from one steady rms to another, too small for a dip or swell.

The voltage is steady while each of the last 100/120 Urms(1/2) (one second) lies within the threshold of their
mean. When one no longer does, a change begins; when the voltage is steady again, by the threshold minus the
hysteresis, the change is over. A change during which a dip or swell occurs is not reported.

Source: IEC 61000-4-30:2015, 5.11 (from memory: threshold 1 to 6 % of Udin, hysteresis half of it).
"""

import math
from dataclasses import dataclass

import numpy as np

from opq_measure.signal import BoolArray, FloatArray


@dataclass(frozen=True, slots=True)
class RapidLimits:
    """Threshold and hysteresis in percent of Udin; 5.11 leaves them to the user; EN 50160's tables have 5 %.

    Raises:
        ValueError: the threshold is not positive, or the hysteresis not below it.
    """

    threshold_percent: float = 5.0
    hysteresis_percent: float = 2.5

    def __post_init__(self) -> None:
        if not (math.isfinite(self.threshold_percent) and self.threshold_percent > 0):
            raise ValueError(f"threshold_percent is {self.threshold_percent}, want a positive number")
        if not 0 <= self.hysteresis_percent < self.threshold_percent:
            raise ValueError(
                f"hysteresis_percent is {self.hysteresis_percent}, want from 0 to below the threshold, "
                f"{self.threshold_percent:g}"
            )


@dataclass(frozen=True, slots=True)
class RapidChange:
    """One rapid voltage change; positions are samples of the run, accurate to a half cycle.

    `steady_change_percent` is dUss, the new steady mean minus the old one; `largest_change_percent` is dUmax,
    the Urms(1/2) during the change that lies furthest from the old mean, minus that mean. Both are in percent
    of Udin, with sign.
    """

    start_sample: float
    end_sample: float
    steady_change_percent: float
    largest_change_percent: float


class RapidChanges:
    """Follows Urms(1/2) and reports each rapid voltage change when it is over, a second later.

    A change that is under way when the run ends is not reported: neither of its figures is known.
    """

    def __init__(self, limits: RapidLimits, nominal_hz: float) -> None:
        self._limits = limits
        self._count = max(2, round(2 * nominal_hz))
        self._values: FloatArray = np.empty(0)
        self._positions: FloatArray = np.empty(0)
        self._steady = False
        self._mean: float | None = None  # of the last steady second; None before the first
        self._start = 0.0
        self._largest = 0.0
        self._age = 0  # values since the change began
        self._spoilt = False

    def push_percent(
        self, percent: FloatArray, positions: FloatArray, beyond: BoolArray
    ) -> list[RapidChange]:
        """Accepts the next Urms(1/2) and returns the changes that are over.

        Args:
            percent: (n,) percent of Udin.
            positions: (n,) the middle of each, in samples of the run.
            beyond: (n,) whether a dip or swell is under way.
        """
        values = np.concatenate((self._values, percent))
        places = np.concatenate((self._positions, positions))
        keep = self._count - 1
        self._values, self._positions = values[-keep:].copy(), places[-keep:].copy()
        if len(values) < self._count:
            return []
        if self._steady and values.max() - values.min() <= self._limits.threshold_percent:
            self._mean = float(values[-self._count :].mean())
            return []
        seconds = np.lib.stride_tricks.sliding_window_view(values, self._count)
        means = np.ascontiguousarray(seconds).mean(axis=1)
        spread = np.maximum(seconds.max(axis=1) - means, means - seconds.min(axis=1))
        return self._follow(values, places, means, spread, beyond[-len(means) :])

    def _follow(
        self, values: FloatArray, places: FloatArray, means: FloatArray, spread: FloatArray, spoilt: BoolArray
    ) -> list[RapidChange]:
        """Entry i of `means`, `spread`, `spoilt` is for the second that ends with values[i + count - 1]."""
        within = self._limits.threshold_percent
        back = within - self._limits.hysteresis_percent
        found = []
        at = 0
        while at < len(means):
            if self._steady:
                outside = np.flatnonzero(spread[at:] > within)
                if len(outside) == 0:
                    self._mean = float(means[-1])
                    break
                at += int(outside[0])
                if at > 0:
                    self._mean = float(means[at - 1])
                self._begin(float(places[at + self._count - 1]))
                self._far(float(values[at + self._count - 1]))
            if self._mean is not None:
                self._age += 1
                self._spoilt |= bool(spoilt[at])
                if self._age >= self._count:  # the second's oldest value lies after the beginning
                    self._far(float(values[at]))
            if spread[at] <= (back if self._mean is not None else within):
                if self._mean is not None and not self._spoilt:
                    found.append(self._ended(float(places[at]), float(means[at])))
                self._steady, self._mean = True, float(means[at])
            at += 1
        return found

    def _begin(self, start: float) -> None:
        self._steady, self._start = False, start
        self._largest, self._age, self._spoilt = 0.0, 0, False

    def _far(self, value: float) -> None:
        assert self._mean is not None
        if abs(value - self._mean) > abs(self._largest):
            self._largest = value - self._mean

    def _ended(self, end: float, mean: float) -> RapidChange:
        assert self._mean is not None
        return RapidChange(self._start, max(self._start, end), mean - self._mean, self._largest)
