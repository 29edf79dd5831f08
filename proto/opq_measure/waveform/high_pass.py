"""The fast part of the voltage: a high pass, and the peak after it.

The original Box reports as `trans` the largest magnitude after a 125-tap FIR high pass of 400 Hz at
12 kS/s; this is the same with different taps. Fundamental and third harmonic are down by 60 dB.
"""

from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from opq_measure.resampling import ComplexArray, fast_count
from opq_measure.signal import FloatArray, IndexArray, SignalArray, like_rate_hz

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
    """The signal above `cutoff_hz`, with linear phase, only where the whole filter has samples.

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


def cycle_peaks_v(volts: Sequence[SignalArray], edges: FloatArray, rate_hz: float) -> FloatArray:
    """The largest magnitude above 400 Hz in each cycle of some windows, in the unit of `volts`.

    This is the filter of `high_pass` by FFT, in a third of the time; the results agree to 1e-14 of the
    largest sample. The filter is the one for `like_rate_hz`, the same for all Boxes of a kind. The result of
    a window does not depend on the other windows, to the last bit.

    Args:
        volts: samples of each window, with half a filter of context on both sides where available.
        edges: (w, c + 1) rising, fractional positions of the cycles' edges in them.
    Returns:
        (w, c) float64; NaN for a window that is shorter than the filter. Where two cycles coincide at
        the ends of a short run, each cycle of the window has the largest magnitude of the whole window.
    """
    rate_hz = like_rate_hz(rate_hz)
    taps = tap_count(rate_hz)
    near = (edges + 0.5).astype(np.int64)
    lows = np.maximum(near[:, 0] - taps // 2, 0)
    highs = near[:, -1] + taps // 2
    parts = [each[low:high] for each, low, high in zip(volts, lows.tolist(), highs.tolist(), strict=True)]
    found = np.full((len(parts), edges.shape[1] - 1), np.nan)
    alike: dict[int, list[int]] = {}
    for at, part in enumerate(parts):
        if len(part) >= taps:
            alike.setdefault(fast_count(len(part) + 1), []).append(at)
    for size, places in alike.items():
        starts = near[places, :-1] - lows[places, np.newaxis] + taps // 2
        found[places] = _peaks_v([parts[at] for at in places], starts, size, rate_hz)
    return found


def transient_peak_v(volts: SignalArray, rate_hz: float) -> float | None:
    """Largest magnitude above 400 Hz, in the unit of `volts`; None when shorter than the filter."""
    fast = high_pass(volts, rate_hz)
    return float(np.abs(fast).max()) if len(fast) else None


def _peaks_v(parts: list[SignalArray], starts: IndexArray, size: int, rate_hz: float) -> FloatArray:
    """(w, c) peaks of windows that share an FFT of `size` points, which is longer than any of them.

    `starts` (w, c): where the cycles begin in the filter's output. The first `tap_count - 1` values of the
    output are left out: the end of the part is mixed into them.
    """
    rows = np.zeros((len(parts), size))
    for row, part in zip(rows, parts, strict=True):
        row[: len(part)] = part
    lines = np.fft.rfft(rows, axis=1)
    lines *= _response(rate_hz, size)
    fast = np.fft.irfft(lines, size, axis=1)
    np.abs(fast, out=fast)
    first = tap_count(rate_hz) - 1
    ends = np.array([[len(part)] for part in parts])
    borders = np.concatenate((np.minimum(np.maximum(starts, first), ends - 1), ends), axis=1)
    places = borders + size * np.arange(len(parts))[:, np.newaxis]
    found: FloatArray = np.maximum.reduceat(fast.ravel(), places.ravel()).reshape(borders.shape)[:, :-1]
    for at in np.flatnonzero((borders[:, 1:] <= borders[:, :-1]).any(axis=1)).tolist():
        found[at] = fast[at, first : len(parts[at])].max()
    return found


@lru_cache(maxsize=16)
def _response(rate_hz: float, size: int) -> ComplexArray:
    """(size // 2 + 1,) frequency response of the filter."""
    found: ComplexArray = np.fft.rfft(_taps(rate_hz, CUTOFF_HZ), size)
    return found


@lru_cache(maxsize=16)
def _taps(rate_hz: float, cutoff_hz: float) -> FloatArray:
    count = tap_count(rate_hz)
    offsets = np.arange(count) - count // 2
    low = np.sinc(2 * cutoff_hz / rate_hz * offsets) * np.kaiser(count, KAISER_BETA)
    high: FloatArray = -low / low.sum()  # the low pass has a gain of exactly 1 at DC, so this has 0
    high[count // 2] += 1.0
    return high
