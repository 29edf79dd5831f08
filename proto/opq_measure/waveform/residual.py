"""The residual: a signal without its fundamental, or without all of its steady wave.

There are two ways. Subtracting the tracked fundamental, whose amplitude and phase follow the mains, leaves
harmonics and all disturbances. Subtracting a steady wave that is extrapolated from before
(`waveform.steady`) removes harmonics and DC, too, and leaves the disturbance and the noise.
"""

import math

import numpy as np

from opq_measure.signal import FloatArray, SignalArray
from opq_measure.timebase.cycles import Track
from opq_measure.waveform.steady import Steady, steady_wave


def fundamental_v(tracked: Track, first: int, stop: int) -> FloatArray:
    """(stop - first,) the tracked fundamental at samples `first` .. `stop` - 1, in the signal's unit.

    Zeros where nothing was tracked at all. At the ends of the signal the last amplitude is held.
    Error: 1e-4 of the amplitude for a steady sine (test_measure_residual.py); within a cycle of a step
    the track is smeared over its window of two cycles; subtract a `wave_before` there.
    """
    if len(tracked.positions) == 0:
        return np.zeros(stop - first)
    at = np.arange(first, stop, dtype=np.float64)
    amplitude = np.interp(at, tracked.positions, np.where(tracked.known, tracked.amplitude, 0.0))
    found: FloatArray = amplitude * np.sin(phases_rad(tracked, at))
    return found


def phases_rad(tracked: Track, at: FloatArray) -> FloatArray:
    """Phase of the tracked fundamental at many positions, extrapolated beyond the ends of the track."""
    positions, phase_rad = tracked.positions, tracked.phase_rad
    nominal = 2 * np.pi * tracked.nominal_hz / tracked.rate_hz
    if len(positions) == 0:
        return nominal * at
    found = np.interp(at, positions, phase_rad)
    reach = min(len(positions) - 1, 16)
    if reach == 0:
        first = last = nominal
    else:
        first = (phase_rad[reach] - phase_rad[0]) / (positions[reach] - positions[0])
        last = (phase_rad[-1] - phase_rad[-1 - reach]) / (positions[-1] - positions[-1 - reach])
    found += first * np.minimum(at - positions[0], 0.0) + last * np.maximum(at - positions[-1], 0.0)
    return found


def residual_v(volts: SignalArray, tracked: Track, first: int = 0, stop: int | None = None) -> FloatArray:
    """(stop - first,) samples `first` .. `stop` - 1 minus the tracked fundamental; DC and harmonics stay."""
    stop = len(volts) if stop is None else stop
    return np.asarray(volts[first:stop], dtype=np.float64) - fundamental_v(tracked, first, stop)


def wave_before(volts: SignalArray, tracked: Track, position: float, cycles: float = 6.0) -> Steady | None:
    """The steady wave of the `cycles` cycles that end at a position; None with less than 1.5 cycles there."""
    period = tracked.rate_hz / tracked.nominal_hz
    stop = min(math.floor(position), len(volts))
    start = max(0, math.ceil(stop - cycles * period))
    return _wave(volts, tracked, start, stop)


def wave_after(volts: SignalArray, tracked: Track, position: float, cycles: float = 6.0) -> Steady | None:
    """The steady wave of the `cycles` cycles from a position on; None with less than 1.5 cycles there."""
    start = max(0, math.ceil(position))
    stop = min(math.floor(start + cycles * tracked.rate_hz / tracked.nominal_hz), len(volts))
    return _wave(volts, tracked, start, stop)


def _wave(volts: SignalArray, tracked: Track, start: int, stop: int) -> Steady | None:
    hz = tracked.frequency_hz(start, stop)
    if not math.isfinite(hz):
        hz = tracked.nominal_hz
    if (stop - start) * hz < 1.5 * tracked.rate_hz:
        return None
    return steady_wave(volts, tracked.rate_hz, start, stop, hz)
