"""Rms, frequency and THD per 200 samples, as the original cuts every waveform. Source:
docs/reference/opq-interop.md E.3."""

from typing import Final

import numpy as np

from opq_measure.signal import FloatArray

CYCLE_SAMPLES: Final = 200
"""The original's cycle at 12 kS/s, whatever the mains frequency is."""
FIT_STEPS: Final = 8
"""Gauss-Newton steps; a sine with 5 % of harmonics has converged after 4."""
FARTHEST_HZ = 20.0
MIN_PU = 0.05
"""Share of the median amplitude below which there is no sine to fit."""
LOWEST_HZ = 40.0
"""A fit below this is not the frequency of a mains of 50 or 60 Hz."""
HIGHEST_HZ = 70.0
"""A fit above this is not the frequency of a mains of 50 or 60 Hz."""
HIGHEST_ORDER: Final = 99


def window_rms_v(volts: FloatArray) -> FloatArray:
    """(ceil(n / 200),) float64, volts: rms of each 200 samples; the last entry is of the remaining ones."""
    starts = np.arange(0, len(volts), CYCLE_SAMPLES)
    sums = np.add.reduceat(volts * volts, starts) if len(starts) else np.zeros(0)
    lengths = np.diff(np.append(starts, len(volts)))
    return np.asarray(np.sqrt(sums / lengths), dtype=np.float64)


def fitted_cycles_hz(volts: FloatArray, rate_hz: float) -> FloatArray:
    """(n // 200,) float64, hertz: the frequency of the sine and constant that fit each 200 samples best.

    NaN where the amplitude is below MIN_PU of the median one, or the fit does not converge.
    Error: one cycle with noise of 30 dB has a standard deviation of 0.09 Hz (test_mauka_payloads.py).
    Source: docs/reference/opq-interop.md E.3, MakaiEvent; IEEE 1057-2017, 5.3 (four parameters).
    """
    count = len(volts) // CYCLE_SAMPLES
    if not count:
        return np.zeros(0)
    windows = volts[: count * CYCLE_SAMPLES].reshape(count, CYCLE_SAMPLES)
    at_s = (np.arange(CYCLE_SAMPLES) - (CYCLE_SAMPLES - 1) / 2) / rate_hz
    start_hz = _strongest_hz(volts, rate_hz)
    omega = np.full((count, 1), 2 * np.pi * start_hz)
    change = np.zeros_like(omega)
    amplitude, found = np.zeros(count), np.zeros((count, 3))
    for step in range(FIT_STEPS):
        cosine, sine = np.cos(omega * at_s), np.sin(omega * at_s)
        columns = [cosine, sine, np.ones_like(cosine)]
        if step:
            columns.append(at_s * (found[:, 1:2] * cosine - found[:, 0:1] * sine))
        design = np.stack(columns, axis=2)
        gram = np.swapaxes(design, 1, 2) @ design
        gram += np.eye(gram.shape[1]) * 1e-12 * np.trace(gram, axis1=1, axis2=2)[:, None, None]
        found = np.linalg.solve(gram, (np.swapaxes(design, 1, 2) @ windows[:, :, None]))[:, :, 0]
        amplitude = np.hypot(found[:, 0], found[:, 1])
        if step:
            change = np.clip(found[:, 3:4], -2 * np.pi * 5, 2 * np.pi * 5)
            omega = omega + change
    hz = omega[:, 0] / (2 * np.pi)
    settled = (np.abs(change[:, 0]) < 0.05) & (np.abs(hz - start_hz) < FARTHEST_HZ)
    there = amplitude > MIN_PU * np.median(amplitude)
    return np.where(settled & there, hz, np.nan)


def _strongest_hz(volts: FloatArray, rate_hz: float) -> float:
    """The strongest line of the whole piece at mains frequencies, to within a bin: the fits start there."""
    spectrum = np.abs(np.fft.rfft((volts - volts.mean()) * np.hanning(len(volts)), 4 * len(volts)))
    bins_hz = np.fft.rfftfreq(4 * len(volts), 1 / rate_hz)
    mains = (bins_hz >= LOWEST_HZ) & (bins_hz <= HIGHEST_HZ)
    return float(bins_hz[mains][np.argmax(spectrum[mains])]) if mains.any() else 60.0


def cycle_thd_percent(volts: FloatArray) -> FloatArray:
    """(n // 200,) float64: 100 sqrt(sum |X_k|^2, k = 2 .. 99) / |X_1| of the DFT of each 200 samples.

    NaN where there is no fundamental.
    """
    count = len(volts) // CYCLE_SAMPLES
    size = np.abs(np.fft.rfft(volts[: count * CYCLE_SAMPLES].reshape(count, CYCLE_SAMPLES), axis=1))
    rest = np.sqrt(np.sum(size[:, 2 : HIGHEST_ORDER + 1] ** 2, axis=1))
    found: FloatArray = np.divide(100 * rest, size[:, 1], out=np.full(count, np.nan), where=size[:, 1] > 0)
    return found
