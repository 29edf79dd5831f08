"""Frequency over a second, at the bound: sine, harmonics and DC fitted together.

While the frequency wanders, the result is its mean over the stretch, weighted by the parabola
`6 u (1 - u)` (u from 0 to 1 over the stretch), as in every least squares fit of a phase. Where a sine of
one frequency and amplitude does not fit, the tracked phase is used, which follows changes of both.
"""

import numpy as np

from opq_measure.frequency.harmonic_fit import fit_harmonics
from opq_measure.least_squares import FITTED_RATE_SHARE
from opq_measure.signal import FloatArray, SignalArray, check_signal
from opq_measure.timebase.cycles import track

ORDERS = 50
"""The harmonics that IEC 61000-4-7 counts; each that is left out leaks into the fundamental."""
MISFIT_SHARE = 0.02
"""Rest of the fit over the fundamental from which the frequency is that of the tracked phase: while amplitude
or frequency change, a step, interharmonics. Noise of 31 dB is as much."""
LOWEST_SHARE = 0.65
"""Lowest searched frequency, as a share of nominal: 42.5 Hz from either nominal."""
HIGHEST_SHARE = 1.45
"""Highest searched frequency, as a share of nominal: 69 Hz from either nominal."""


def one_second_hz(volts: SignalArray, rate_hz: float, nominal_hz: float = 60.0) -> float:
    """Frequency of the fundamental over the whole of `volts`, meant for about a second of it.

    Args:
        volts: (n,) counts or volts, at least four nominal cycles.
    Returns:
        Hz; NaN where the fundamental is less than a quarter of the alternating power.
    Raises:
        ValueError: see `signal.check_signal`; or fewer than four nominal cycles.

    Error: sigma 1.00 +- 0.04 of the bound (5.0 uHz at 60 dB, 0.60 uHz at 78 dB), bias below 0.5 uHz,
    42.5 to 69 Hz with harmonics of 3 %; 1.5 ms of CPU per second (test_measure_frequency.py).
    """
    check_signal(volts, rate_hz, nominal_hz)
    if len(volts) * nominal_hz < 4 * rate_hz:
        raise ValueError(f"{len(volts)} samples, want at least four cycles of {nominal_hz:g} Hz")
    near_hz = coarse_hz(np.asarray(volts, dtype=np.float64), rate_hz, nominal_hz)
    fit = fit_harmonics(volts, rate_hz, near_hz, ORDERS)
    if np.isfinite(fit.frequency_hz) and fit.residual < MISFIT_SHARE * abs(fit.phasors[0]):
        return fit.frequency_hz
    return track(volts, rate_hz, nominal_hz).frequency_hz(0.0, float(len(volts)))


def coarse_hz(volts: FloatArray, rate_hz: float, nominal_hz: float) -> float:
    """Peak of the Hann spectrum between LOWEST_SHARE and HIGHEST_SHARE of nominal, interpolated from two
    lines.

    Error: 0.05 / duration.
    Source: T. Grandke, IEEE Trans. Instrum. Meas. 32-2 (1983) 350.
    """
    samples = len(volts)
    lines = np.abs(np.fft.rfft(np.hanning(samples) * (volts - volts.mean())))
    resolution_hz = rate_hz / samples
    first = max(1, int(LOWEST_SHARE * nominal_hz / resolution_hz))
    last = min(
        len(lines) - 2,
        int(np.ceil(min(HIGHEST_SHARE * nominal_hz, FITTED_RATE_SHARE * rate_hz) / resolution_hz)),
    )
    peak = first + int(np.argmax(lines[first : last + 1]))
    side = 1 if lines[peak + 1] > lines[peak - 1] else -1
    ratio = lines[peak + side] / lines[peak] if lines[peak] > 0 else 0.5
    return float((peak + side * (2 * ratio - 1) / (1 + ratio)) * resolution_hz)
