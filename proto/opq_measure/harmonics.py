"""Harmonics and THD in 10/12-cycle windows that are locked to the fundamental.

A window begins and ends on a zero crossing of the fundamental; its DFT bins are about 5 Hz apart and every
10th (12th) is a harmonic. A window is a whole number of samples and so up to half a sample off the
true length, which would smear the fundamental over the small bins beside it; therefore the
fundamental is fitted at its known frequency and taken out before the DFT.

Source: IEC 61000-4-7:2002+A1:2008, 3.2 (groups, subgroups, THD), 4.4.1 and 5.6.
"""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from opq_measure.cycles import cycle_edges
from opq_measure.frequency import cycles_per_window
from opq_measure.signal import FloatArray, SignalArray

ORDERS = 50
"""Highest order; IEC 61000-4-30:2015, 5.8 asks for 50 (class A)."""


@dataclass(frozen=True, slots=True)
class Spectrum:
    """The bins of 10/12-cycle windows: `rms` (w, bins), in the signal's unit, bin k at k / window length.

    Bin `cycles` is the fundamental as fitted, bin 0 is DC. `bounds` (w + 1,) in samples.
    """

    cycles: int
    bounds: FloatArray
    rms: FloatArray

    def orders(self) -> int:
        """Highest order whose group lies below half the rate, at most 50."""
        return int(min(ORDERS, (self.rms.shape[1] - 1 - self.cycles // 2) // self.cycles))

    def subgroups(self) -> FloatArray:
        """(w, 50) rms of order 1 .. 50 with the bins beside; NaN above half the rate. 4-7, equation 9."""
        return self._around(1, 1.0)

    def groups(self) -> FloatArray:
        """(w, 50) as `subgroups`, with all bins half way to the next order, the last halved; equation 8."""
        return self._around(self.cycles // 2, 0.5)

    def thd(self) -> FloatArray:
        """(w,) THDS: subgroups 2 .. 50 against the first, a ratio; NaN without a fundamental. 4-7: 3.3.3."""
        return _distortion(self.subgroups())

    def thd_of_groups(self) -> FloatArray:
        """(w,) THDG: groups 2 .. 50 against the first, a ratio; NaN without a fundamental. 4-7: 3.3.2."""
        return _distortion(self.groups())

    def _around(self, reach: int, outermost: float) -> FloatArray:
        power = self.rms**2
        found = np.full((len(power), ORDERS), np.nan)
        middles = self.cycles * np.arange(1, self.orders() + 1)
        total = power[:, middles].copy()
        for offset in range(1, reach + 1):
            share = outermost if offset == reach else 1.0
            total += share * (power[:, middles - offset] + power[:, middles + offset])
        found[:, : self.orders()] = np.sqrt(total)
        return found


def spectrum(
    volts: SignalArray, rate_hz: float, nominal_hz: float = 60.0, edges: FloatArray | None = None
) -> Spectrum:
    """The DFT of each whole 10/12-cycle window from the first cycle on.

    Args:
        edges: `cycle_edges` of the signal where the caller has them already.
    Returns:
        No windows for a signal shorter than one.
    Raises:
        ValueError: see `signal.check_signal`.

    Error: THD below 0.02 percentage points, 42.5 to 69 Hz at 12 kS/s (test_measure_harmonics.py).
    """
    cycles = cycles_per_window(nominal_hz)
    edges = cycle_edges(volts, rate_hz, nominal_hz) if edges is None else edges
    return spectrum_between(volts, edges[::cycles], cycles)


def spectrum_between(volts: SignalArray, bounds: FloatArray, cycles: int) -> Spectrum:
    """The DFT of each window `bounds[i] .. bounds[i + 1]` (samples), each of `cycles` cycles."""
    bins = cycles * ORDERS + cycles // 2 + 1
    rows = [_bins(volts, start, stop, cycles, bins) for start, stop in pairwise(bounds)]
    width = min((len(row) for row in rows), default=bins)
    return Spectrum(cycles, bounds, np.array([row[:width] for row in rows]).reshape(len(rows), width))


def thd_ratio(volts: SignalArray, start: float, stop: float, cycles: int) -> float:
    """`Spectrum.thd` of one window of `cycles` cycles, `start` .. `stop` in samples."""
    return float(spectrum_between(volts, np.array((start, stop)), cycles).thd()[0])


def window_thd(volts: SignalArray, rate_hz: float, nominal_hz: float = 60.0) -> FloatArray:
    """(w,) THD of each whole 10/12-cycle window, a ratio (0.05 = 5 %); `Spectrum.thd`."""
    return spectrum(volts, rate_hz, nominal_hz).thd()


def _bins(volts: SignalArray, start: float, stop: float, cycles: int, bins: int) -> FloatArray:
    size = round(stop - start)
    first = min(round(start), len(volts) - size)
    window = np.asarray(volts[first : first + size], dtype=np.float64)
    angle = 2 * np.pi * cycles / (stop - start) * (np.arange(size) + (first - start))
    wave = np.column_stack((np.ones(size), np.cos(angle), np.sin(angle)))
    fitted = np.linalg.solve(wave.T @ wave, wave.T @ window)
    lines: FloatArray = np.abs(np.fft.rfft(window - wave @ fitted)[:bins]) * (np.sqrt(2) / size)
    lines[0] = abs(fitted[0])
    lines[cycles] = np.hypot(fitted[1], fitted[2]) / np.sqrt(2)
    return lines


def _distortion(orders: FloatArray) -> FloatArray:
    if orders.shape[0] == 0:
        return np.empty(0)
    harmonic = np.sqrt(np.nansum(orders[:, 1:] ** 2, axis=1))
    fundamental = orders[:, 0]
    ratio = np.full(len(orders), np.nan)
    np.divide(harmonic, fundamental, out=ratio, where=fundamental > 0)
    return ratio
