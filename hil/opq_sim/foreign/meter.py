"""The measurements of an original Box in windows of 200 samples, and when its first value comes:
docs/reference/opq-interop.md G.4.

The reference gives the method and the lengths of the filters, not their coefficients: those here are
windowed sines (Hamming) of the same length and purpose, so values agree within noise, not to the bit.
"""

import numpy as np
from numpy.typing import NDArray

from opq_sim.foreign.window_buffer import WINDOW, WindowBuffer
from opq_sim.mains.profiles import FloatArray

RATE_HZ = 12_000.0
THD_WINDOWS = 6
FIRST_FREQUENCY_WINDOW = 262
"""The first value of `f` and `trans` comes with this window and covers 6."""
FREQUENCY_WINDOWS = 7
"""Later values come every so many windows and cover as many."""
DECIMATION = 10
LOW_TAPS = 128
"""Length of the low-pass filter before the frequency."""
FUNDAMENTAL_TAPS = 64
"""Length of the filter for the fundamental."""
HIGH_TAPS = 125
"""Length of the high-pass filter for transients."""
LOW_CUT_HZ = 300.0
"""Corner of the low-pass filter."""
FUNDAMENTAL_CUT_HZ = 90.0
"""Corner of the filter for the fundamental."""
HIGH_CUT_HZ = 400.0
"""Corner of the high-pass filter."""


def _low_pass(taps: int, cut_hz: float, rate_hz: float) -> FloatArray:
    at = np.arange(taps) - (taps - 1) / 2
    made = np.sinc(2 * cut_hz / rate_hz * at) * np.hamming(taps)
    return np.asarray(made / made.sum())


def _high_pass(taps: int, cut_hz: float, rate_hz: float) -> FloatArray:
    made = -_low_pass(taps, cut_hz, rate_hz)
    made[taps // 2] += 1.0
    return made


_LOW = _low_pass(LOW_TAPS, LOW_CUT_HZ, RATE_HZ)
_FUNDAMENTAL = _low_pass(FUNDAMENTAL_TAPS, FUNDAMENTAL_CUT_HZ, RATE_HZ / DECIMATION)
_HIGH = _high_pass(HIGH_TAPS, HIGH_CUT_HZ, RATE_HZ)
HISTORY = LOW_TAPS - 1 + DECIMATION * FUNDAMENTAL_TAPS
"""Earlier samples that the filters of a value need; rounded up to a whole output."""


class ForeignMeter:
    """The four values of the original, by window number from 1.

    Args:
        calibration: counts per volt.
    """

    def __init__(self, calibration: float) -> None:
        self._calibration = calibration

    def values(self, windows: WindowBuffer) -> dict[str, float]:
        """The values that are due with the newest window of `windows`."""
        number = windows.newest
        last = windows.counts(1)[0] / self._calibration
        found = {"rms": float(np.sqrt(np.mean(last * last)))}
        if number % THD_WINDOWS == 0:
            found["thd"] = thd(windows.counts(THD_WINDOWS).ravel() / self._calibration)
        late = number - FIRST_FREQUENCY_WINDOW
        if late >= 0 and late % FREQUENCY_WINDOWS == 0:
            covered = FREQUENCY_WINDOWS if late else FREQUENCY_WINDOWS - 1
            reach = -(-HISTORY // WINDOW)
            volts = windows.counts(covered + reach).ravel() / self._calibration
            frequency = frequency_hz(volts, covered * WINDOW)
            if frequency is not None:
                found["f"] = frequency
            found["trans"] = transient_v(volts, covered * WINDOW)
        return found


def thd(volts: FloatArray) -> float:
    """A ratio: 1200-point FFT, bins 12, 18 .. 594 against bin 6; 0 where there is no fundamental."""
    lines = np.abs(np.fft.rfft(volts))
    return float(np.sqrt(np.sum(lines[12:595:6] ** 2)) / lines[6]) if lines[6] > 0 else 0.0


def frequency_hz(volts: FloatArray, count: int) -> float | None:
    """600 over the mean distance of zero crossings, in samples of 1,200 per second, in the last `count`.

    `volts` begin at least HISTORY before those. None: fewer than two crossings.
    """
    slow = _filtered(volts, _LOW)[::-1][::DECIMATION][::-1]
    smooth = _filtered(slow, _FUNDAMENTAL)[-(count // DECIMATION) :]
    before, after = smooth[:-1], smooth[1:]
    at = np.flatnonzero((before < 0) != (after < 0))
    if len(at) < 2:
        return None
    crossings = at + before[at] / (before[at] - after[at])
    return float(600.0 / np.mean(np.diff(crossings)))


def transient_v(volts: FloatArray, count: int) -> float:
    """The largest absolute high-passed voltage (125 taps, 400 Hz) in the last `count`."""
    return float(np.max(np.abs(_filtered(volts[-(count + HIGH_TAPS - 1) :], _HIGH)[-count:])))


def _filtered(values: FloatArray, taps: NDArray[np.float64]) -> FloatArray:
    """(n - taps + 1,) values for which the filter lies completely within `values`."""
    return np.convolve(values, taps, mode="valid")
