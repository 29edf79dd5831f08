"""What is fast in the voltage: a high pass, and its peak.

The original Box reports as `trans` the largest magnitude behind a 125-tap FIR high pass of 400 Hz at
12 kS/s; this is the same with taps of our own. Fundamental and third harmonic are down by 60 dB.
"""

from functools import lru_cache

import numpy as np

from opq_measure.signal import FloatArray, SignalArray

CUTOFF_HZ = 400.0
"""The original Box's `trans` filter."""
FILTER_S = 125 / 12_000.0
"""Length of the filter, the original's 125 taps at 12 kS/s."""
KAISER_BETA = 5.65
"""60 dB in the stop band: beta = 0.1102 (A - 8.7), Kaiser 1974."""


def tap_count(rate_hz: float) -> int:
    """Taps of the filter, an odd number; `high_pass` gives `tap_count - 1` samples fewer than it takes."""
    return 2 * round(FILTER_S * rate_hz / 2) + 1


def high_pass(volts: SignalArray, rate_hz: float, cutoff_hz: float = CUTOFF_HZ) -> FloatArray:
    """What is above `cutoff_hz`, linear phase, only where the whole filter has samples.

    Returns:
        (max(0, n - tap_count(rate_hz) + 1),) float64; entry k belongs to sample k + tap_count // 2.
    Raises:
        ValueError: `cutoff_hz` is not between 0 and half the rate.
    """
    if not 0 < cutoff_hz < rate_hz / 2:
        raise ValueError(f"cutoff_hz is {cutoff_hz:g}, want between 0 and {rate_hz / 2:g}")
    if len(volts) < tap_count(rate_hz):
        return np.empty(0)
    return np.convolve(np.asarray(volts, dtype=np.float64), _taps(rate_hz, cutoff_hz), mode="valid")


def transient_peak_v(volts: SignalArray, rate_hz: float) -> float | None:
    """Largest magnitude above 400 Hz, in the unit of `volts`; None when shorter than the filter."""
    fast = high_pass(volts, rate_hz)
    return float(np.abs(fast).max()) if len(fast) else None


@lru_cache(maxsize=16)
def _taps(rate_hz: float, cutoff_hz: float) -> FloatArray:
    count = tap_count(rate_hz)
    offsets = np.arange(count) - count // 2
    low = np.sinc(2 * cutoff_hz / rate_hz * offsets) * np.kaiser(count, KAISER_BETA)
    high: FloatArray = -low / low.sum()  # DC passes the low pass with exactly 1, hence here with 0
    high[count // 2] += 1.0
    return high
