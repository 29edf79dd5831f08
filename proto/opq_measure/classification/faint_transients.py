"""Transients that single samples do not show: damped ringing and impulses, found by their whole energy.

The residual after the mean cycle is weighed with what a transient would look like there: a decaying sine
of each frequency, or a decaying impulse, from each instant on (matched filters). A transient whose every
sample drowns in the noise may stand out as a whole: at 20 dB a ringing of 0.13 of the peak, where six sigma
of single samples need 0.42.

Source: matched filter for a known shape in white noise, Turin 1960; classes of IEEE 1159-2019, 4.2.
"""

import math
from dataclasses import dataclass

import numpy as np

from opq_measure.signal import BoolArray, FloatArray
from opq_measure.waveform.transients import CUTOFF_HZ

RING_DECAY_S = 0.0025
IMPULSE_DECAY_S = 0.0002
FRAME_S = 0.0105
STEP_S = 0.0007
"""From instant to instant: a ringing is weighed with a beginning that is off by half of it at most."""
CHANCE = 0.001
"""The chance that noise gives one in a whole signal."""
BELOW_HALF_HZ = 500.0
"""A ringing is sought so far below half the sampling rate: nearer, a line of noise meets its own image."""
IN_CACHE = 512
"""Frames that are transformed at once."""


@dataclass(frozen=True, slots=True)
class FaintTransient:
    """`start` in samples of the residual, `peak` in its unit, `sigmas` what it stands out by."""

    start: int
    stop: int
    peak: float
    frequency_hz: float
    """NaN for an impulse."""
    sigmas: float


def faint_transient(residual: FloatArray, usable: BoolArray, rate_hz: float) -> FaintTransient | None:
    """The one that stands out most, if any does.

    Args:
        residual: (n,) what the steady wave leaves.
        usable: (n,) where it is believed; dips, jumps and transients already found are not.
    """
    sigma = float(np.sqrt(np.mean(residual[usable] ** 2))) if usable.any() else 0.0
    if not sigma > 0:
        return None
    clean = np.where(usable, residual, 0.0) / sigma
    found = [each for each in (_ringing(clean, rate_hz), _impulse(clean, rate_hz)) if each is not None]
    if not found:
        return None
    best = max(found, key=lambda each: each.sigmas)
    return FaintTransient(best.start, best.stop, best.peak * sigma, best.frequency_hz, best.sigmas)


def _ringing(clean: FloatArray, rate_hz: float) -> FaintTransient | None:
    size, step = max(16, round(FRAME_S * rate_hz)), max(1, round(STEP_S * rate_hz))
    shape = np.exp(-np.arange(size) / (RING_DECAY_S * rate_hz))
    own = float(np.sum(shape * shape))
    hz = np.fft.rfftfreq(size, 1 / rate_hz)
    first, last = np.searchsorted(hz, (CUTOFF_HZ, rate_hz / 2 - BELOW_HALF_HZ)).tolist()
    if len(clean) < 2 * size or last <= first:
        return None
    frames = np.lib.stride_tricks.sliding_window_view(clean, size)[::step]
    power = np.empty((len(frames), last - first))
    for begin in range(0, len(frames), IN_CACHE):
        lines = np.fft.rfft(frames[begin : begin + IN_CACHE] * shape, axis=1)[:, first:last]
        power[begin : begin + IN_CACHE] = lines.real**2 + lines.imag**2
    tries = power.size * step / (RING_DECAY_S * rate_hz) * 4
    least = math.log(tries / CHANCE)
    columns = np.flatnonzero(power.max(axis=0) >= least * own)  # a noisy line weighs less, never more
    if len(columns) == 0:
        return None
    power = power[:, columns]
    power /= np.maximum(np.median(power, axis=0) / math.log(2), own)
    row, column = np.unravel_index(int(np.argmax(power)), power.shape)
    most = float(power[row, column])
    if most < least:
        return None
    line = first + int(columns[column])
    peak = 2 * float(np.abs(np.fft.rfft(frames[row] * shape)[line])) / own
    start = int(row) * step
    stop = min(len(clean), start + round(2.3 * RING_DECAY_S * rate_hz))
    return FaintTransient(start, stop, peak, float(hz[line]), math.sqrt(2 * most))


def _impulse(clean: FloatArray, rate_hz: float) -> FaintTransient | None:
    size = max(2, round(3 * IMPULSE_DECAY_S * rate_hz))
    shape = np.exp(-np.arange(size) / (IMPULSE_DECAY_S * rate_hz))
    weighed = np.correlate(clean, shape, "valid") / math.sqrt(float(np.sum(shape * shape)))
    at = int(np.argmax(np.abs(weighed)))
    most = abs(float(weighed[at])) / max(1.0, 1.4826 * float(np.median(np.abs(weighed))))
    if len(clean) * math.erfc(most / math.sqrt(2)) > CHANCE:
        return None
    peak = float(weighed[at]) / math.sqrt(float(np.sum(shape * shape)))
    return FaintTransient(at, at + size, peak, math.nan, most)
