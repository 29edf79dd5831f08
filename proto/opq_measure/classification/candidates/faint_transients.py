"""Transients that single samples do not show: damped ringing and impulses, found by their whole energy.

The residual after the mean cycle is weighed with what a transient would look like there: a decaying sine
of each frequency, or a decaying impulse, from each instant on (matched filters). A transient whose every
sample drowns in the noise may stand out as a whole: at 20 dB a ringing of 0.13 of the peak, where six sigma
of single samples need 0.42.

Source: matched filter for a known shape in white noise, Turin 1960; classes of IEEE 1159-2019, 4.2.
"""

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from opq_measure.classification.by_chance import CHANCE, LEVEL_SIGMAS, posterior
from opq_measure.signal import BoolArray, FloatArray
from opq_measure.waveform.transients import CUTOFF_HZ

ComplexArray = NDArray[np.complexfloating[Any, Any]]

RING_DECAY_S = 0.0025
"""Decay of the ringing that is searched."""
IMPULSE_DECAY_S = 0.0002
"""Decay of the impulse that is searched."""
FRAME_S = 0.0105
"""Length of the searched frame: the ringing has decayed to a hundredth."""
STEP_S = 0.0007
"""Time between the tried beginnings; the beginning of a ringing is off by at most half of it."""
FINE_CELLS = 8
"""Number of the best cells of the coarse search that are searched again."""
FINE_SAMPLES = 2
"""Samples between the beginnings that are tried then."""
FINE_STEPS_PER_BIN = 4
"""Frequencies per bin that are tried then."""
FINE_DECAYS_S = (0.0016, 0.0036)
"""Decays that are tried when the strongest cells of the coarse grid are searched again."""
COARSE_LOSS = 1.5
"""The best ringing of the fine search has up to this many times the energy of its cell."""
TRIES_PER_CELL = 0.8
"""Independent ringings that the search tries per sample and bin, at 16 times the mean power."""
BELOW_HALF_HZ = 500.0
"""Ringing is searched up to this far below half the sampling rate; nearer to it, a line of noise meets its
image."""
FRAMES_AT_ONCE = 512
"""Number of frames that are transformed at once."""


@dataclass(frozen=True, slots=True)
class FaintTransient:
    """`start` in samples of the residual, `peak` in its unit, `sigmas` by which it stands out."""

    start: int
    stop: int
    peak: float
    frequency_hz: float
    """NaN for an impulse."""
    sigmas: float
    log_chance: float
    """Logarithm of the chance that noise has one like it anywhere."""

    def posterior(self, odds: float) -> float:
        """See `by_chance.posterior`."""
        return posterior(self.sigmas, math.exp(self.log_chance), odds)


def faint_transient(
    residual: FloatArray, usable: BoolArray, rate_hz: float, sigma: float = math.nan
) -> FaintTransient | None:
    """The transient that is least likely by chance, if any stands out.

    Args:
        residual: (n,) what the steady wave leaves.
        usable: (n,) where it is valid: outside of dips, jumps and transients already found.
        sigma: the noise, where most of the residual may be the transient; else from the usable part.
    """
    is_known = math.isfinite(sigma)
    if not is_known:
        sigma = float(np.sqrt(np.mean(residual[usable] ** 2))) if usable.any() else 0.0
    if not sigma > 0:
        return None
    clean = np.where(usable, residual, 0.0) / sigma
    found = [
        each
        for each in (_ringing(clean, rate_hz, is_known), _impulse(clean, rate_hz, is_known))
        if each is not None
    ]
    if not found:
        return None
    best = min(found, key=lambda each: each.log_chance)
    return replace(best, peak=best.peak * sigma)


@dataclass(frozen=True, slots=True)
class RingingTest:
    """Energy of a decaying sine of each frequency and any phase in a line, in that of the noise.

    With less than some turns before it has decayed its sine and cosine are not equals: the power of the line
    alone would count what an impulse has of one of them twice.
    """

    of_real: FloatArray
    of_both: FloatArray
    of_imaginary: FloatArray

    @staticmethod
    def of(shape: FloatArray) -> "RingingTest":
        """For the lines of a transform of frames times `shape` (s,)."""
        own = float(shape @ shape)
        twice = np.fft.fft(shape * shape)[(2 * np.arange(len(shape) // 2 + 1)) % len(shape)]
        scale = 1 / np.maximum(own * own - np.abs(twice) ** 2, 1e-9 * own * own)
        return RingingTest((own - twice.real) * scale, -2 * twice.imag * scale, (own + twice.real) * scale)

    def energy(self, lines: ComplexArray, columns: slice) -> FloatArray:
        """(..., c) of the lines in these columns: half of it is that of white noise in the mean, 1."""
        part = lines[..., columns]
        return np.asarray(
            self.of_real[columns] * part.real**2
            + self.of_both[columns] * part.real * part.imag
            + self.of_imaginary[columns] * part.imag**2
        )


def _ringing(clean: FloatArray, rate_hz: float, is_white: bool) -> FaintTransient | None:
    """The most likely ringing: of a coarse grid, then of a fine one."""
    size, step = max(16, round(FRAME_S * rate_hz)), max(1, round(STEP_S * rate_hz))
    shape = np.exp(-np.arange(size) / (RING_DECAY_S * rate_hz))
    hz = np.fft.rfftfreq(size, 1 / rate_hz)
    first, last = np.searchsorted(hz, (CUTOFF_HZ, rate_hz / 2 - BELOW_HALF_HZ)).tolist()
    if len(clean) < 2 * size or last <= first:
        return None
    frames = np.lib.stride_tricks.sliding_window_view(clean, size)
    coarse = frames[::step]
    test = RingingTest.of(shape)
    power = np.empty((len(coarse), last - first))
    for begin in range(0, len(coarse), FRAMES_AT_ONCE):
        lines = np.fft.rfft(coarse[begin : begin + FRAMES_AT_ONCE] * shape, axis=1)
        power[begin : begin + FRAMES_AT_ONCE] = test.energy(lines, slice(first, last))
    tries = len(clean) * (last - first) * TRIES_PER_CELL
    least = math.log(tries / CHANCE)
    columns = np.flatnonzero(power.max(axis=0) >= least / COARSE_LOSS)  # a noisy line weighs less, never more
    if len(columns) == 0:
        return None
    power = power[:, columns]
    usual = np.ones(len(columns))
    if not is_white:
        scatter = 1 / (math.log(2) * math.sqrt(len(clean) / (RING_DECAY_S * rate_hz)))
        median = np.median(power, axis=0) / math.log(2)
        usual = np.where(median > 1 + LEVEL_SIGMAS * scatter, median, 1.0)
    power /= usual
    best = np.argpartition(power, -min(FINE_CELLS, power.size), axis=None)[-FINE_CELLS:]
    found: FaintTransient | None = None
    most = 0.0
    for row, column in zip(*np.unravel_index(best, power.shape), strict=True):
        begin = max(0, int(row) * step - step)
        near = frames[begin : int(row) * step + step + 1 : FINE_SAMPLES]
        fine, energy = _best_of(near, float(hz[first + columns[column]]), rate_hz)
        if energy / usual[column] > most:
            most = energy / float(usual[column])
            start = begin + fine.start
            stop = min(len(clean), start + fine.stop - fine.start)
            found = replace(fine, start=start, stop=stop, sigmas=math.sqrt(2 * most))
    if found is None or most < least:
        return None
    return replace(found, log_chance=math.log(tries) - most)


def _best_of(frames: FloatArray, near_hz: float, rate_hz: float) -> tuple[FaintTransient, float]:
    """The strongest ringing near a frequency at the beginning of one of `frames` (f, s), with its energy.

    Its `start` counts from the first frame, in samples; frames are `FINE_SAMPLES` apart.
    """
    size, count = frames.shape[1], FINE_STEPS_PER_BIN * frames.shape[1]
    hz = np.fft.rfftfreq(count, 1 / rate_hz)
    beside = rate_hz / size
    columns = slice(*np.searchsorted(hz, (max(CUTOFF_HZ, near_hz - beside), near_hz + beside)).tolist())
    best, most = FaintTransient(0, 0, 0.0, math.nan, 0.0, 0.0), -1.0
    for decay_s in FINE_DECAYS_S:
        shape = np.exp(-np.arange(size) / (decay_s * rate_hz))
        lines = np.fft.rfft(frames * shape, count, axis=1)
        energy = RingingTest.of(np.append(shape, np.zeros(count - size))).energy(lines, columns)
        row, column = np.unravel_index(int(np.argmax(energy)), energy.shape)
        if energy[row, column] > most:
            most, line = float(energy[row, column]), columns.start + int(column)
            peak = 2 * float(np.abs(lines[row, line])) / float(shape @ shape)
            start = int(row) * FINE_SAMPLES
            stop = start + round(2.3 * decay_s * rate_hz)
            best = FaintTransient(start, stop, peak, float(hz[line]), math.sqrt(2 * most), 0.0)
    return best, most


def _impulse(clean: FloatArray, rate_hz: float, is_white: bool) -> FaintTransient | None:
    """The most likely impulse."""
    size = max(2, round(3 * IMPULSE_DECAY_S * rate_hz))
    shape = np.exp(-np.arange(size) / (IMPULSE_DECAY_S * rate_hz))
    weighed = np.correlate(clean, shape, "valid") / math.sqrt(float(np.sum(shape * shape)))
    at = int(np.argmax(np.abs(weighed)))
    usual = 1.0 if is_white else max(1.0, 1.4826 * float(np.median(np.abs(weighed))))
    most = abs(float(weighed[at])) / usual
    if len(clean) * math.erfc(most / math.sqrt(2)) > CHANCE:
        return None
    peak = float(weighed[at]) / math.sqrt(float(np.sum(shape * shape)))
    log_chance = math.log(len(clean)) + log_erfc(most / math.sqrt(2))
    return FaintTransient(at, at + size, peak, math.nan, most, log_chance)


def log_erfc(value: float) -> float:
    """The logarithm of erfc, also where that is too small for a double: Abramowitz and Stegun 7.1.23."""
    if value < 5.0:
        return math.log(math.erfc(value))
    return -value * value - math.log(value * math.sqrt(math.pi)) - 1 / (2 * value * value)
