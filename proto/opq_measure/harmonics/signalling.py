"""Mains signalling: the voltage of a ripple control carrier below 3 kHz.

The carrier's level in a 10/12-cycle window is the one bin of the DFT nearest to it, or the root of the sum of
squares of the four nearest that are no harmonics. Off the middle of a bin part of a steady carrier falls
outside of them (four bins: up to 5.1 %, 3.7 % at 316.67 Hz; one bin: up to 36 %); how much follows from
the carrier's frequency alone, and is put back with `restored`. The standard's own value has it not.

Source: IEC 61000-4-30:2015, 5.10 (single bin or four nearest bins;
class A: 5 % of levels from 3 to 15 % of Udin, 0.15 % of Udin from 1 to 3 %); clause from memory.
"""

import math
from typing import Literal

import numpy as np

from opq_measure.harmonics.spectrum import Spectrum
from opq_measure.signal import FloatArray

Bins = Literal["single", "four"]


def signalling_v(
    spectrum: Spectrum, carrier_hz: float, bins: Bins = "four", restored: bool = False
) -> FloatArray:
    """Level of a carrier in each of w windows, in the spectrum's unit.

    Args:
        carrier_hz: as the operator has it; one that is no multiple of the fundamental.
        restored: divide by the share of a steady carrier that falls into the bins.
    Returns:
        (w,) float64; NaN where the carrier's bins are beyond the last.
    Raises:
        ValueError: the carrier is not positive.

    Error: `restored` below 0.3 % of a steady carrier of 1 % of the fundamental or more, without it as
    stated above (test_measure_signalling.py).
    """
    if not (math.isfinite(carrier_hz) and carrier_hz > 0):
        raise ValueError(f"carrier_hz is {carrier_hz}, want a positive number")
    place = carrier_hz / spectrum.bin_hz
    near = np.floor(place).astype(np.int64)[:, None] + np.arange(-3, 5)
    distance = np.abs(near - place[:, None])
    usable = near > 0
    if bins == "four":  # a harmonic would drown the carrier
        usable &= near % spectrum.cycles != 0
    distance = np.where(usable, distance, np.inf)
    chosen = np.argsort(distance, axis=1, kind="stable")[:, : 4 if bins == "four" else 1]
    index = np.take_along_axis(near, chosen, axis=1)
    seen = index.max(axis=1) < spectrum.power.shape[1]
    power = np.take_along_axis(spectrum.power, np.clip(index, 0, spectrum.power.shape[1] - 1), axis=1).sum(
        axis=1
    )
    if restored:
        power = power / (np.sinc(np.take_along_axis(distance, chosen, axis=1)) ** 2).sum(axis=1)
    found: FloatArray = np.where(seen, np.sqrt(power), np.nan)
    return found
