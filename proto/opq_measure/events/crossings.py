"""Urms(1/2) beyond the thresholds of dips and swells, value by value.

A dip begins with a value below its threshold and ends before the first at the threshold plus the
hysteresis; a swell the other way round. So at most one crossing is open at a time.

Source: IEC 61000-4-30:2015, 5.4.2 to 5.4.4.
"""

import math
from dataclasses import dataclass

import numpy as np

from opq_measure.events.curves import LINE_PERCENT
from opq_measure.events.ends import SHORT_WINDOWS
from opq_measure.events.limits import Limits, SlidingReference
from opq_measure.signal import BoolArray, FloatArray
from opq_measure.timebase.cycles import cycles_per_window


@dataclass(slots=True)
class ThresholdCrossing:
    """Values beyond a threshold, `first` .. `stop` (half open); `sign` is -1 for a dip, +1 for a swell."""

    number: int
    sign: int
    reference_v: float
    """The voltage that its percentages refer to; fixed when it begins."""
    first: int
    first_percent: float
    worst_percent: float
    stop: int | None = None
    start_sample: float | None = None
    """Found later, with finer resolution than the values."""
    cycle: float = 0.0
    """Samples per cycle before it; if it is open at the start of the run, in it."""

    def short(self) -> bool:
        """Whether it may be too short to contain a whole cycle next to each of its ends."""
        return self.stop is not None and self.stop - self.first <= SHORT_WINDOWS


class Crossings:
    """Follows Urms(1/2) through the thresholds, which refer to Udin or to the sliding reference."""

    def __init__(self, limits: Limits, nominal_v: float, nominal_hz: float, sliding: bool) -> None:
        self._limits = limits
        self._reference = SlidingReference(nominal_v)
        self._group = 2 * cycles_per_window(nominal_hz) if sliding else 0
        self._count = 0
        self.begin_run()

    def begin_run(self) -> None:
        """Discards an open crossing; the reference and the numbering continue."""
        self._open: ThresholdCrossing | None = None
        self._group_rms: list[float] = []
        self._touched = False

    @property
    def sliding(self) -> bool:
        """Whether thresholds follow the voltage."""
        return self._group > 0

    @property
    def is_open(self) -> bool:
        """Whether a dip or swell is under way."""
        return self._open is not None

    @property
    def reference_v(self) -> float:
        """Udin, or the sliding reference as it is now."""
        return self._reference.volts

    def push_rms(self, rms_v: FloatArray, first: int) -> tuple[list[ThresholdCrossing], BoolArray]:
        """The crossings that begin in the next values, and (n,) whether each value lies in one.

        `first` is the index of rms_v[0]. When a crossing ends, its `stop` is set.
        """
        beyond = np.zeros(len(rms_v), dtype=np.bool_)
        if not self._group:
            return self._follow(rms_v, first, beyond), beyond
        begun = []
        at = 0
        while at < len(rms_v):
            stop = min(len(rms_v), at + self._group - (first + at) % self._group)
            begun += self._follow(rms_v[at:stop], first + at, beyond[at:stop])
            self._renew_reference(rms_v[at:stop], first + at, bool(beyond[at:stop].any()))
            at = stop
        return begun, beyond

    def _follow(self, rms_v: FloatArray, first: int, beyond: BoolArray) -> list[ThresholdCrossing]:
        """The crossings that begin in values with one reference; sets `beyond`."""
        percent = rms_v * (100 / self._reference.volts)
        sag = self._limits.sag_percent - LINE_PERCENT  # a value on the line is inside
        swell = self._limits.swell_percent + LINE_PERCENT
        hysteresis = self._limits.hysteresis_percent
        begun = []
        at = 0
        while at < len(percent):
            if self._open is None:
                outside = (percent[at:] < sag) | (percent[at:] > swell)
                if not outside.any():
                    break
                at += int(outside.argmax())
                self._open = self._begin(first + at, float(percent[at]), -1 if percent[at] < sag else 1)
                begun.append(self._open)
            low = self._open.sign < 0
            back = percent[at:] >= sag + hysteresis if low else percent[at:] <= swell - hysteresis
            over = bool(back.any())
            stop = at + int(back.argmax()) if over else len(percent)
            if stop > at:
                beyond[at:stop] = True
                worst = float(percent[at:stop].min() if low else percent[at:stop].max())
                self._open.worst_percent = (min if low else max)(self._open.worst_percent, worst)
            if over:
                self._open.stop = first + stop
                self._open = None
            at = stop
        return begun

    def _begin(self, first: int, percent: float, sign: int) -> ThresholdCrossing:
        self._count += 1
        return ThresholdCrossing(self._count - 1, sign, self._reference.volts, first, percent, percent)

    def _renew_reference(self, rms_v: FloatArray, first: int, flagged: bool) -> None:
        """Updates Usr by the rms of 10/12 cycles: from every second value, because a value spans a cycle."""
        self._group_rms += rms_v[first % 2 :: 2].tolist()
        self._touched |= flagged
        if (first + len(rms_v)) % self._group == 0:
            mean = math.fsum(value * value for value in self._group_rms) / len(self._group_rms)
            self._reference.push_window_rms(math.sqrt(mean), self._touched)
            self._group_rms, self._touched = [], False
