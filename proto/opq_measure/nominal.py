"""The nominal voltage and frequency of a recording that does not state them, estimated from its samples.
Pure.

A supply is nearly always within 8 % of its nominal voltage (EN 50160: 10 % for 95 % of a week), so the
standard voltage nearest to the median rms is a good guess, but only a guess: 225 V is one of 220, 230 or
240 V. Far from every standard voltage the nominal voltage is unknown, and nothing may be judged by it.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from opq_measure.signal import MAX_V, FloatArray

VOLTS = (
    57.7,
    63.5,
    100.0,
    110.0,
    115.0,
    120.0,
    127.0,
    200.0,
    208.0,
    220.0,
    230.0,
    240.0,
    277.0,
    347.0,
    380.0,
    400.0,
    415.0,
    440.0,
    480.0,
    600.0,
    690.0,
    1_000.0,
    2_400.0,
    3_300.0,
    4_160.0,
    6_000.0,
    6_350.0,
    6_600.0,
    7_200.0,
    7_620.0,
    10_000.0,
    11_000.0,
    12_470.0,
    13_200.0,
    13_800.0,
    15_000.0,
    20_000.0,
    22_000.0,
    25_000.0,
    33_000.0,
    34_500.0,
    66_000.0,
    69_000.0,
    110_000.0,
    115_000.0,
    132_000.0,
    138_000.0,
    150_000.0,
    220_000.0,
    230_000.0,
    275_000.0,
    345_000.0,
    380_000.0,
    400_000.0,
    500_000.0,
    765_000.0,
)
"""Low voltages, secondary voltages of transformers, common levels between phases (IEC 60038, ANSI C84.1)."""
VOLTAGE_RARITY = {380.0: 0.3, 415.0: 0.5, 440.0: 0.3, 115.0: 0.5, 200.0: 0.3}
"""Rarity of some standard voltages, relative to the others."""
RARITY_BY_HERTZ = {
    50.0: {120.0: 0.1, 208.0: 0.1, 277.0: 0.1, 347.0: 0.1, 480.0: 0.1, 230.0: 4.0, 400.0: 2.0},
    60.0: {230.0: 0.3, 400.0: 0.3, 690.0: 0.3, 120.0: 4.0, 240.0: 2.0, 480.0: 2.0},
}
"""Some voltages belong to one frequency, as 120 V and 480 V to 60 Hz; 230 V is by far the most common at 50
Hz."""
NEAR_SHARE = 0.08
"""Largest distance of the median from a standard voltage, as a share of it."""
SIGMA_SHARE = 0.025
"""Usual distance of the median from a standard voltage, as a share of it."""
HERTZ = (50.0 / 3, 50.0, 60.0, 400.0)
NEAR_HZ_RATIO = 1.15
LEAST_SHARE = 0.5
"""Least share of the power within the strongest line of a supply; white noise has a small share."""
WANDERS_HZ = 0.2
"""Movement of a grid's frequency within some minutes, which is the width of its line in a long stretch."""
LOWEST_HZ = 12.0
"""Lowest frequency of the search; the slowest supply of HERTZ has 16.7 Hz."""
HIGHEST_HZ = 500.0
"""Highest frequency of the search; the fastest supply of HERTZ has 400 Hz."""
LONGEST_SAMPLES = 1 << 17
FEWEST_CYCLES = 2.0
"""Fewest cycles in which a line can be recognised."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """A nominal value, None where unknown; `sureness` from 0 to 1."""

    value: float | None
    sureness: float


def estimated_hz(volts: FloatArray, rate_hz: float) -> Estimate:
    """The standard frequency next to the strongest line of some consecutive samples (n,)."""
    volts = volts[:LONGEST_SAMPLES]
    if len(volts) < FEWEST_CYCLES * rate_hz / HERTZ[-1] or not (np.abs(volts) <= MAX_V).all():
        return Estimate(None, 0.0)
    wave = volts - volts.mean()
    window = np.hanning(len(wave) + 2)[1:-1]
    padded = 1 << max(12, (4 * len(wave) - 1).bit_length())
    power = np.abs(np.fft.rfft(wave * window, padded)) ** 2
    hertz = np.fft.rfftfreq(padded, 1 / rate_hz)
    inside = (hertz >= LOWEST_HZ) & (hertz <= HIGHEST_HZ)
    total = float(power.sum())
    if not inside.any() or total <= 0:
        return Estimate(None, 0.0)
    peak = int(np.argmax(np.where(inside, power, 0.0)))
    width = max(2 * rate_hz / len(wave), WANDERS_HZ)  # half of the main lobe of a Hann window
    share = float(power[np.abs(hertz - hertz[peak]) <= width].sum()) / total
    nearest = min(HERTZ, key=lambda one: abs(math.log(hertz[peak] / one)))
    ratio = max(hertz[peak] / nearest, nearest / hertz[peak])
    if share < LEAST_SHARE or ratio > NEAR_HZ_RATIO or len(wave) < FEWEST_CYCLES * rate_hz / nearest:
        return Estimate(None, 0.0)
    return Estimate(nearest, round(min(1.0, share) * (1 - (ratio - 1) / NEAR_HZ_RATIO), 3))


def estimated_volts(rms_v: FloatArray, nominal_hz: float | None = None) -> Estimate:
    """The standard voltage next to the median of the rms of cycles (n,); None far from all of them.

    It is as sure as the voltage is single, and as the share of cycles that are near the median.
    """
    known = rms_v[rms_v <= MAX_V]
    if not len(known):
        return Estimate(None, 0.0)
    middle_v = float(np.median(known))
    if middle_v <= 0:
        return Estimate(None, 0.0)
    usual = RARITY_BY_HERTZ.get(nominal_hz or 0.0, {})
    weights = {
        each: VOLTAGE_RARITY.get(each, 1.0)
        * usual.get(each, 1.0)
        * math.exp(-(((middle_v / each - 1) / SIGMA_SHARE) ** 2) / 2)
        for each in VOLTS
        if abs(middle_v / each - 1) <= NEAR_SHARE
    }
    if not weights:
        return Estimate(None, 0.0)
    best = max(weights, key=lambda each: weights[each])
    near = float(np.mean(np.abs(known / middle_v - 1) <= NEAR_SHARE))
    return Estimate(best, round(near * weights[best] / sum(weights.values()), 3))


def cycle_rms_v(pieces: Iterable[FloatArray], rate_hz: float, hz: float) -> FloatArray:
    """(n,) the rms of consecutive nominal cycles of pieces without gaps, offset included."""
    cycle = max(2, round(rate_hz / hz))
    found = []
    for volts in pieces:
        whole = len(volts) // cycle * cycle
        if whole:
            part = np.asarray(volts[:whole], dtype=np.float64).reshape(-1, cycle)
            found.append(np.sqrt(np.einsum("ij,ij->i", part, part) / cycle))
    return np.concatenate(found) if found else np.empty(0)
