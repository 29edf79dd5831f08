"""Mains signalling voltage: the rms of a ripple control's carrier in 10/12-cycle windows.

Source: IEC 61000-4-30:2015, 5.10 (four nearest bins; from memory of the standard).
"""

from typing import Final

import numpy as np

from opq_measure.harmonics.spectrum import Spectrum
from opq_measure.signal import FloatArray

NEAREST_BINS: Final = 4
"""Bins that are taken together; the carrier may lie anywhere between them."""


def signal_voltage(spectrum: Spectrum, carrier_hz: float) -> FloatArray:
    """(w,) rms of the bins next to the carrier, in the signal's unit; NaN above the usable band.

    Bins of harmonics are left out, so that the signal is not taken for a harmonic 10 Hz beside it.
    Error: 0 for a carrier on a bin, -4 % a third of a bin beside it, -5.1 % in the middle of two
    (test_measure_signalling.py).
    Raises:
        ValueError: the carrier is not above 0.
    """
    if not carrier_hz > 0:
        raise ValueError(f"carrier of {carrier_hz} Hz, want more than 0")
    found = np.full(len(spectrum), np.nan)
    for row, bin_hz in enumerate(spectrum.bin_hz.tolist()):
        place = carrier_hz / bin_hz
        near = range(max(1, int(place) - NEAREST_BINS), int(place) + NEAREST_BINS + 2)
        bins = [each for each in near if each % spectrum.cycles]
        bins.sort(key=lambda each: abs(each - place))
        chosen = bins[:NEAREST_BINS]
        if max(chosen) < spectrum.power.shape[1]:
            found[row] = np.sqrt(spectrum.power[row, chosen].sum())
    return found
