"""How long noise can hide the beginning of a disturbance, for which an order of arrival has to allow.

Whatever comes is found once it is about four times the noise. A step at a zero crossing of the voltage grows
to its peak in a quarter of a cycle, so that it is hidden for

    asin(4 noise / peak) / (2 pi f)

and nothing is known more finely than a sample. `peak` is the largest difference from the wave before,
extrapolated, in the half cycle after the beginning; noise is what that wave leaves before it.

Source: ours. Of 2,389 beginnings of dips, jumps, impulses and ringings at 30 to 60 dB 99.1 % lie within it;
of dips of 15 % at 30 dB 88 % (2026-11-25; test_measure_hidden_onset.py has a part of them).
"""

import math

import numpy as np

from opq_measure.signal import SignalArray
from opq_measure.waveform.steady import steady_wave

FIT_CYCLES = 4
"""Cycles to which the wave is fitted."""
GUARD_CYCLES = 0.5
"""Cycles between these and the beginning."""
AFTER_CYCLES = 0.5
"""Cycles after the beginning that show the peak."""
ORDERS = 25
ONSET_OVER_NOISE = 4.0


def hidden_onset_s(volts: SignalArray, rate_hz: float, hz: float, start_sample: float) -> float | None:
    """The time in s by which a beginning may be off; a sample at least, a quarter of a cycle more at most.

    Args:
        volts: (n,) volts or counts.
        hz: frequency before, accurate to 1 %.
        start_sample: position of the beginning.
    Returns:
        None with less than four and a half cycles before it, or less than half a cycle after it.
    """
    cycle = rate_hz / hz
    at = math.floor(start_sample)
    stop = at - round(GUARD_CYCLES * cycle)
    first, last = stop - round(FIT_CYCLES * cycle), at + round(AFTER_CYCLES * cycle)
    if first < 0 or last > len(volts):
        return None
    wave = steady_wave(volts, rate_hz, first, stop, hz, ORDERS)
    left = np.abs(np.asarray(volts[stop:last], dtype=np.float64) - wave.volts(stop, last))
    before, after = left[: at - stop], left[at - stop :]
    noise = max(wave.rest, float(np.sqrt(np.mean(before**2))))
    share = min(1.0, ONSET_OVER_NOISE * noise / max(float(after.max()), 1e-300))
    return 1 / rate_hz + math.asin(share) / (2 * math.pi * hz)
