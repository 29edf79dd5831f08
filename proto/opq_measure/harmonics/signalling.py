"""Mains signalling: the voltage of a ripple control carrier below 3 kHz, and telegrams above a threshold.

The carrier's level in a 10/12-cycle window is the one bin of the DFT nearest to it, or the root of the sum of
squares of the four nearest that are no harmonics. Off the middle of a bin, part of a steady carrier falls
outside of them (four bins: up to 5.1 %, 3.7 % at 316.67 Hz; one bin: up to 36 %). This part follows from
the carrier's frequency alone; `restored` corrects it. The standard's own value does not include it.

Source: IEC 61000-4-30:2015, 5.10 (single bin or four nearest bins, record of up to 120 s from the threshold;
class A: 5 % of levels from 3 to 15 % of Udin, 0.15 % of Udin from 1 to 3 %); clause from memory.
"""

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np

from opq_measure.harmonics.spectrum import Spectrum
from opq_measure.signal import FloatArray

Bins = Literal["single", "four"]
MAX_RECORD_S = 120.0
"""IEC 61000-4-30:2015, 5.10."""


def signalling_v(
    spectrum: Spectrum, carrier_hz: float, bins: Bins = "four", restored: bool = False
) -> FloatArray:
    """Level of a carrier in each of w windows, in the spectrum's unit.

    Args:
        carrier_hz: the operator's carrier frequency, not a multiple of the fundamental.
        restored: divide by the share of a steady carrier that falls into the bins.
    Returns:
        (w,) float64; NaN where the carrier's bins are beyond the last.
    Raises:
        ValueError: the carrier is not positive.

    Error: `restored` below 0.3 % of a steady carrier of 1 % of the fundamental or more, without it as
    stated above (test_measure_signalling.py).
    """
    if not (math.isfinite(carrier_hz) and carrier_hz > 0):
        raise ValueError(f"carrier_hz is {carrier_hz}, want a positive number")
    place = carrier_hz / spectrum.bin_hz
    near = np.floor(place).astype(np.int64)[:, None] + np.arange(-3, 5)
    distance = np.abs(near - place[:, None])
    usable = near > 0
    if bins == "four":  # a harmonic would drown the carrier
        usable &= near % spectrum.cycles != 0
    distance = np.where(usable, distance, np.inf)
    chosen = np.argsort(distance, axis=1, kind="stable")[:, : 4 if bins == "four" else 1]
    index = np.take_along_axis(near, chosen, axis=1)
    seen = index.max(axis=1) < spectrum.power.shape[1]
    power = np.take_along_axis(spectrum.power, np.clip(index, 0, spectrum.power.shape[1] - 1), axis=1).sum(
        axis=1
    )
    if restored:
        power = power / (np.sinc(np.take_along_axis(distance, chosen, axis=1)) ** 2).sum(axis=1)
    found: FloatArray = np.where(seen, np.sqrt(power), np.nan)
    return found


@dataclass(frozen=True, slots=True)
class Telegram:
    """A record that begins with the first window above the threshold.

    `levels` (k,) has one value per window, NaN where unknown. `complete` is False when the signal ended, or
    its clock was set back, before the record was complete.
    """

    start_ns: int
    end_ns: int
    levels: FloatArray
    complete: bool

    @property
    def max(self) -> float:
        return float(np.nanmax(self.levels))


class Telegrams:
    """Makes records from levels: each begins above `threshold` and lasts `record_s`.

    Raises:
        ValueError: a threshold that is not positive, or a record not in 0 .. 120 s.
    """

    def __init__(self, threshold: float, record_s: float = MAX_RECORD_S) -> None:
        if not (math.isfinite(threshold) and threshold > 0):
            raise ValueError(f"threshold is {threshold}, want a positive number")
        if not 0 < record_s <= MAX_RECORD_S:
            raise ValueError(f"record_s is {record_s}, want above 0 and to {MAX_RECORD_S:g}")
        self.threshold = threshold
        self._record_ns = round(record_s * 1e9)
        self._levels: list[float] = []
        self._start_ns = self._end_ns = 0

    def push_level(self, start_ns: int, end_ns: int, level: float) -> list[Telegram]:
        """Accepts the next level; returns the record that it completes, or that a clock set back ends."""
        found = self._close(False) if self._levels and end_ns <= self._end_ns else []
        if not self._levels and not level > self.threshold:  # also NaN
            return found
        if not self._levels:
            self._start_ns = start_ns
        self._levels.append(level)
        self._end_ns = end_ns
        return found + (self._close(True) if end_ns - self._start_ns >= self._record_ns else [])

    def end(self) -> list[Telegram]:
        """Ends the run and returns the record under way."""
        return self._close(False) if self._levels else []

    def _close(self, complete: bool) -> list[Telegram]:
        levels, self._levels = np.array(self._levels), []
        return [Telegram(self._start_ns, self._end_ns, levels, complete)]
