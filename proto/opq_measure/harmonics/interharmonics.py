"""The spectrum between the harmonics: interharmonic groups, the strongest line, and the noise floor.

The interharmonic of order h lies between the harmonics h and h + 1; order 0 lies below the fundamental. Its
centred subgroup leaves out the bins next to the two harmonics. They belong to the harmonics' own
subgroups, so that the modulation of a harmonic is not counted twice.

Source: IEC 61000-4-7:2002+A1:2008, annex A, equations A.1 to A.4 (from memory of the standard).
"""

import math
from typing import Final

import numpy as np

from opq_measure.harmonics.spectrum import ORDERS, Spectrum
from opq_measure.resampling import ComplexArray
from opq_measure.signal import BoolArray, FloatArray

MEDIAN_OF_POWER: Final = math.log(2)
"""Median over mean of an exponential variable: the power of a bin that holds white noise."""
HANN_POWER: Final = 3 / 8
"""Mean of the square of a Hann window."""


def interharmonic_groups(spectrum: Spectrum) -> FloatArray:
    """(w, 50) rms of all bins between orders h and h + 1, h = 0 .. 49; NaN above the usable band."""
    return _between(spectrum, 1)


def interharmonic_subgroups(spectrum: Spectrum) -> FloatArray:
    """(w, 50) as `interharmonic_groups`, centred: without the bins next to the harmonics.

    NaN for windows of fewer than four cycles, which have no bin left.
    """
    return _between(spectrum, 2)


def strongest_interharmonic(spectrum: Spectrum) -> tuple[FloatArray, FloatArray]:
    """The strongest line of each window that is not a harmonic.

    Returns:
        (w,) Hz and (w,) rms. In a window of noise alone it is the largest bin of the noise:
        compare with `noise_floor`. NaN for windows of fewer than five cycles, and of zeros.

    The ratio of two neighbouring bins gives the frequency and the size of the line; they are under a Hann
    window, so that other lines do not leak into them.
    Error: 0.01 Hz (0.012 below the fundamental) and 0.1 % of the line without noise, 1 % of the fundamental,
    in the middle third between two harmonics, also next to another line of a fifth of it
    (test_measure_interharmonics.py).
    Source: V. K. Jain et al., IEEE Trans. Instrum. Meas. 28 (1979), and T. Grandke, ibid. 32 (1983).
    """
    inner = _inner(spectrum)
    if np.count_nonzero(inner) < 2 * ORDERS or not len(spectrum):
        return np.full(len(spectrum), np.nan), np.full(len(spectrum), np.nan)
    rows = np.arange(len(spectrum))
    size = np.where(inner, np.abs(_under_hann(spectrum)), -1.0)
    size[np.isnan(size)] = -1.0
    peak = size.argmax(axis=1)
    side = np.where(size[rows, peak + 1] > size[rows, peak - 1], 1, -1)
    middle, beside = size[rows, peak], np.maximum(size[rows, peak + side], 0.0)
    ratio = np.divide(beside, middle, out=np.full(len(size), np.nan), where=middle > 0)
    off = (2 * ratio - 1) / (ratio + 1)
    return (peak + side * off) * spectrum.bin_hz, 2 * middle * (1 - off**2) / np.sinc(off)


def noise_floor(spectrum: Spectrum) -> FloatArray:
    """(w,) rms of white noise in one bin, from the median of the bins between harmonics.

    The bins are under a Hann window, so that a few interharmonics hardly change the median. THD includes
    sqrt(147) times this value in quadrature (49 subgroups of three bins), a group sqrt(10) (50 Hz) or
    sqrt(12) times. Over a band of B Hz the noise is this times sqrt(B / bin_hz). NaN for windows of fewer
    than four cycles.

    Error: 5 % rms of itself, one window; 3 % too high next to lines 500 times as strong
    (test_measure_interharmonics.py).
    """
    inner = np.flatnonzero(_inner(spectrum)[: spectrum.cycles * ORDERS])
    if not len(inner):
        return np.full(len(spectrum), np.nan)
    lines = _under_hann(spectrum)[:, inner]
    power = lines.real**2 + lines.imag**2
    finite = np.isfinite(power).all()
    # nanmedian is 10 times slower
    middle = np.median(power, axis=1) if finite else np.nanmedian(power, axis=1)
    found: FloatArray = np.sqrt(middle / (MEDIAN_OF_POWER * HANN_POWER))
    return found


def _under_hann(spectrum: Spectrum) -> ComplexArray:
    """(w, bins) the lines as if the window had been a Hann window; the first two and the last are 0."""
    lines: ComplexArray = np.zeros_like(spectrum.lines)
    raw = spectrum.lines
    lines[:, 2:-1] = raw[:, 2:-1] / 2 - (raw[:, 1:-2] + raw[:, 3:]) / 4
    return lines


def _between(spectrum: Spectrum, beside: int) -> FloatArray:
    cycles = spectrum.cycles
    if cycles < 2 * beside:
        return np.full((len(spectrum), ORDERS), np.nan)
    bins = spectrum.power[:, : ORDERS * cycles].reshape(len(spectrum), ORDERS, cycles)
    found: FloatArray = np.sqrt(bins[:, :, beside : cycles - beside + 1].sum(axis=2))
    return found


def _inner(spectrum: Spectrum) -> BoolArray:
    """(bins,) whether a bin belongs to a centred subgroup."""
    within = np.arange(spectrum.power.shape[1]) % spectrum.cycles
    inner: BoolArray = (within >= 2) & (within <= spectrum.cycles - 2)
    inner[-1] = False  # it has no upper neighbour
    return inner
