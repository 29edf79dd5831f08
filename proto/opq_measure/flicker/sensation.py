"""Pinst: how strongly the eye perceives the flicker of a lamp on this voltage, at every moment.

Blocks 1 to 4 of the flickermeter, streaming. The voltage without its DC is squared (block 2), decimated to
about 4 kHz and low-passed (35 or 42 Hz, of block 3), divided by the square of its own rms of 27.3 s (block
1), weighted by lamp and eye (block 3), squared and smoothed with 300 ms (block 4). The division comes after
the low pass because the rms has no ripple of the mains there, at any mains frequency; the divisor changes so
slowly that the order does not matter. All filters keep their state, and always the same two seconds of the
run are computed together, so that pieces of any size give the same numbers as one call, bit for bit.

Source: IEC 61000-4-15:2010, 5.3 to 5.6.
"""

import math
from functools import lru_cache

import numpy as np

from opq_measure.flicker.lamps import FEELING_HZ, FILTER_ORDER, LOW_CORNER_HZ, SMOOTH_S, Lamp
from opq_measure.flicker.recursive import Recursive, bilinear, high_pass_sections, low_pass_sections
from opq_measure.signal import FloatArray, SignalArray, check_signal

WORK_HZ = 4000.0
"""Filters run near this rate: the bilinear filters are within 0.04 % of the analogue ones up to 33 Hz."""
TAPS_PER_STEP = 6
"""Taps of the low pass before decimation, per sample kept: 80 dB where mains would alias to 0 .. 50 Hz."""
KAISER_BETA = 7.9
"""80 dB; Kaiser 1974."""
MEAN_S = 27.3
"""Time constant of the normalising rms, 1 min from 10 to 90 %; IEC 61000-4-15:2010, 5.3."""
RMS_S = 0.1
"""The mean of the rms is updated in steps of this length."""
STEPS_TOGETHER = 20
"""Steps of RMS_S that are computed together, two seconds; with one second, calls would take a third of the
time."""
INTERRUPTED_SHARE = 0.1
"""Below this share of its mean the voltage is interrupted and the mean is not updated: a lamp that is off
shows nothing of the supply, and the voltage that returns would be divided by a mean of almost zero."""
FADE_S = 0.5
"""The ripple at the doubled mains frequency is faded in over this time, so that the filters do not ring; it
is over before SETTLE_S."""
SETTLE_S = 2.0
"""Time that the filters need from rest; Pinst is not valid before."""


class Sensation:
    """Pinst of one uninterrupted run of samples.

    Half of all people just perceive Pinst = 1. Its rate is `work_hz`; value k is for the time up to sample
    `group * (k + 1)`, about 2 ms later than with the analogue filters. The level of the signal does not
    matter; its first two seconds give the first mean.

    Raises:
        ValueError: from `push_volts`, see `signal.check_signal`.

    Error: against the analogue filters below 0.1 % of Pinst for fluctuations of 0.5 to 33 Hz at 12 kS/s;
    tables 1 and 2 within 1 %, four lamps (test_measure_flicker.py). Off nominal the low pass passes
    some of the doubled mains frequency, as the standard's does: Pinst 0.0002 at 50 Hz, 0.002 at 42.5 Hz with
    35 Hz; 0.009 (120 V) and 0.024 (230 V) at 42.5 Hz with 42 Hz.
    Source: IEC 61000-4-15:2010, 5.3 to 5.6.
    """

    def __init__(self, rate_hz: float, lamp: Lamp) -> None:
        check_signal(np.empty(0), rate_hz, lamp.nominal_hz)
        self.lamp = lamp
        self.rate_hz = rate_hz
        self.group = max(1, round(rate_hz / WORK_HZ))
        self.work_hz = rate_hz / self.group
        self._taps = _taps(self.group)
        self._low, self._weigh, self._smooth = _filters(lamp, self.work_hz)
        self._scale = lamp.scale()
        self._step = round(RMS_S * self.work_hz)
        self._chunk = STEPS_TOGETHER * self._step * self.group
        self._waiting: list[FloatArray] = []
        self._samples_waiting = 0
        self._hann = _hann(self._chunk)
        self._offset: float | None = None
        self._past = np.empty(0)
        self._level = 0.0
        self._done = 0

    def push_volts(self, volts: SignalArray) -> FloatArray:
        """(k,) Pinst of each complete chunk of some two seconds; `volts` (n,) are the next samples."""
        check_signal(volts, self.rate_hz, self.lamp.nominal_hz)
        found = []
        while len(volts):
            part = volts[: self._chunk - self._samples_waiting]
            volts = volts[len(part) :]
            self._waiting.append(np.array(part, dtype=np.float64))
            self._samples_waiting += len(part)
            if self._samples_waiting == self._chunk:
                found.append(self._pinst(self._taken()))
        return np.concatenate(found) if found else np.empty(0)

    def end(self) -> FloatArray:
        """(k,) Pinst of the rest, when the run is over."""
        rest = self._taken()
        whole = len(rest) - len(rest) % self.group
        return self._pinst(rest[:whole]) if whole else np.empty(0)

    def _taken(self) -> FloatArray:
        volts = np.concatenate(self._waiting) if self._waiting else np.empty(0)
        self._waiting, self._samples_waiting = [], 0
        return volts

    def _pinst(self, volts: FloatArray) -> FloatArray:
        """Pinst of `volts`, which it overwrites: each further array of two seconds takes 0.2 MB."""
        self._remove_offset(volts)
        square = self._faded_in(self._thinned(np.square(volts, out=volts)))
        self._done += len(square)
        low = self._low.run(square)
        eye = self._weigh.run(low / self._mean_square(low) - 1.0)
        pinst = self._smooth.run(self._scale * (eye * eye))
        found: FloatArray = np.maximum(pinst, 0.0)
        return found

    def _remove_offset(self, volts: FloatArray) -> None:
        """Removes DC in place, as a transformer would: squared, it is a fluctuation at the mains frequency. A
        Hann-weighted mean over the chunk contains nothing of the mains, at any mains frequency."""
        if len(volts) == self._chunk:
            offset = float(self._hann @ volts)
        else:  # the last of the run
            offset = float(volts.mean()) if self._offset is None else self._offset
        volts -= np.linspace(offset if self._offset is None else self._offset, offset, len(volts))
        self._offset = offset

    def _thinned(self, square: FloatArray) -> FloatArray:
        """Low-passed, one value for each `group` of samples."""
        if self.group == 1:
            return square
        reach = len(self._taps) - self.group  # ends with the tap right before what is new
        if len(self._past) == 0:
            self._past = np.full(reach, square.mean())
        held = np.concatenate((self._past, square)).reshape(-1, self.group)
        self._past = held.reshape(-1)[-reach:].copy()  # a view would hold all of it
        parts = held @ self._taps.reshape(-1, self.group).T
        found: FloatArray = parts[: len(square) // self.group, 0].copy()
        for at in range(1, parts.shape[1]):
            found += parts[at : at + len(found), at]
        return found

    def _faded_in(self, square: FloatArray) -> FloatArray:
        """Starts at the mean and fades in the ripple of the doubled mains: the filters do not ring."""
        fading = round(FADE_S * self.work_hz)
        if self._done >= fading:
            return square
        if self._done == 0:
            mean = float(np.average(square, weights=np.hanning(len(square) + 2)[1:-1]))
            self._low.set_steady(mean)
            self._level = float(np.sqrt(mean))
        mean = self._level**2
        at = np.arange(self._done, self._done + len(square))
        return mean + (square - mean) * (0.5 - 0.5 * np.cos(np.pi * np.minimum(at / fading, 1.0)))

    def _mean_square(self, low: FloatArray) -> FloatArray:
        """Block 1: the square of the first-order mean of the rms, linear over steps of 0.1 s; never 0."""
        starts = np.arange(0, len(low), self._step)
        sizes = np.minimum(self._step, len(low) - starts)
        rms = np.add.reduceat(np.sqrt(np.maximum(low, 0.0)), starts) / sizes
        levels = [self._level]
        for value, size in zip(rms.tolist(), sizes.tolist(), strict=True):
            share = 1.0 - math.exp(-size / (self.work_hz * MEAN_S))
            kept = value < INTERRUPTED_SHARE * levels[-1]
            levels.append(levels[-1] if kept else levels[-1] + share * (value - levels[-1]))
        self._level = levels[-1]
        level = np.array(levels)
        ramp = np.arange(1, self._step + 1) / self._step  # the last step may be cut short
        series = (level[:-1, None] + np.diff(level)[:, None] * ramp).ravel()[: len(low)]
        return np.maximum(series * series, 1e-30)


def instantaneous(volts: SignalArray, rate_hz: float, lamp: Lamp) -> tuple[FloatArray, float]:
    """Pinst of a whole signal, (k,) and its rate in Hz; `Sensation` in one call."""
    sensation = Sensation(rate_hz, lamp)
    return np.concatenate((sensation.push_volts(volts), sensation.end())), sensation.work_hz


@lru_cache(maxsize=4)
def _hann(samples: int) -> FloatArray:
    """Weights of a mean; shared by all Boxes of one rate, because they take 0.2 MB."""
    weights: FloatArray = np.hanning(samples + 2)[1:-1] * (2.0 / (samples + 1))
    return weights


def _taps(group: int) -> FloatArray:
    """Low pass of unit gain at 0 Hz for decimation by `group`; a multiple of `group` long."""
    if group == 1:
        return np.ones(1)
    at = np.arange(TAPS_PER_STEP * group) - (TAPS_PER_STEP * group - 1) / 2
    shape = np.sinc(0.9 / group * at) * np.kaiser(len(at), KAISER_BETA)
    taps: FloatArray = shape / shape.sum()
    return taps


def _filters(lamp: Lamp, work_hz: float) -> tuple[Recursive, Recursive, Recursive]:
    """The low pass, the rest of block 3, and the smoothing of block 4.

    Bilinear, each filter exact at the frequency where it matters: the low pass at its corner, the
    weighting where a fluctuation is felt most.
    """
    weigh = high_pass_sections(LOW_CORNER_HZ, work_hz) + bilinear(*lamp.weighting(), FEELING_HZ, work_hz)
    smooth = low_pass_sections(1, 1 / (2 * np.pi * SMOOTH_S), work_hz)
    cascades = (low_pass_sections(FILTER_ORDER, lamp.high_corner_hz, work_hz), weigh, smooth)
    low, weighing, smoothing = (Recursive(sections, STEPS_TOGETHER) for sections in cascades)
    return low, weighing, smoothing
