"""Emissions from 2 to 9 kHz, in bands of 200 Hz.

The bins of about 5 Hz of a 10/12-cycle window are joined to bands with centres 2.1, 2.3 .. 8.9 kHz;
a band includes its upper edge, but not its lower one. A signal of 12 kS/s has bands to 5.7 kHz (0.49 of the
rate; how much of the last one passes the converter's own filter depends on the device), one of 24 kS/s or
more has all.

Source: IEC 61000-4-7:2002+A1:2008, annex B (informative; equation B.1: b - 95 Hz to b + 100 Hz) and
IEC 61000-4-30:2015, annex C, from memory of both. Annex C's other methods (CISPR 16, 8 % coverage)
are not here.
"""

from collections.abc import Sequence
from typing import Final

import numpy as np

from opq_measure.harmonics.spectrum import Locked, Spectrum, spectrum_of
from opq_measure.signal import FloatArray

BAND_HZ: Final = 200.0
LOWEST_HZ: Final = 2000.0
TOP_HZ: Final = 9000.0
CENTRES_HZ: Final = np.arange(LOWEST_HZ + BAND_HZ / 2, TOP_HZ, BAND_HZ)
"""(35,) middle of each band."""
EDGE_BIN_SHARE: Final = 1e-6
"""A share of a bin: a bin this close to a band's edge is on it; the difference is rounding."""


def bands_of(windows: Sequence[Locked], cycles: int) -> FloatArray:
    """(w, 35) rms per band of windows as `harmonics.spectrum_of` takes them; NaN above the usable rate."""
    return bands(spectrum_of(windows, cycles, TOP_HZ))


def bands(spectrum: Spectrum) -> FloatArray:
    """(w, 35) rms per band, in the signal's unit, of a spectrum made with `top_hz=TOP_HZ`.

    Raises:
        ValueError: the spectrum ends below 9 kHz.

    Error: below 0.1 % of a line more than 20 Hz inside a band, 12 and 48 kS/s; nearer to the edge, the line
    leaks into the neighbouring band, as with the standard's rectangular window (test_measure_bands.py).
    """
    bins = spectrum.power.shape[1]
    if len(spectrum) and (bins - 1) * spectrum.bin_hz.min() < TOP_HZ * (1 - EDGE_BIN_SHARE):
        raise ValueError(f"the spectrum ends at {(bins - 1) * spectrum.bin_hz.min():g} Hz, want {TOP_HZ:g}")
    edges_hz = np.append(CENTRES_HZ - BAND_HZ / 2, TOP_HZ)
    found = np.empty((len(spectrum), len(CENTRES_HZ)))
    for row, power, bin_hz in zip(found, spectrum.power, spectrum.bin_hz, strict=True):
        first = np.floor(edges_hz / bin_hz + EDGE_BIN_SHARE).astype(np.intp) + 1
        row[:] = np.add.reduceat(power[: first[-1]], first[:-1])
    return np.sqrt(found)
