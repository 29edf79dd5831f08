"""Where a signal leaves the steady wave before it: the first sample of a disturbance.

The wave of the cycles before is fitted and extrapolated; what is left is noise until the disturbance begins,
and more from then on. The instant is where both parts together are likeliest. It does not need a model of the
disturbance, because a step, a ringing, a pulse of inrush, a tone and a switched harmonic all have a first
sample.

Source: maximum likelihood of a change of variance whose value before is known (Basseville and Nikiforov,
Detection of Abrupt Changes, 1993, 2.2 and 2.4).
"""

import math

import numpy as np

from opq_measure.signal import FloatArray
from opq_measure.waveform.steady import steady_wave

FIT_CYCLES = 4
"""Cycles to which the wave is fitted."""
CLEAR_CYCLES = 1.0
"""Fewest quiet cycles before the search."""
AFTER_CYCLES = 1.5
"""Fewest cycles after a change."""
MOST_ORDERS = 25
"""Orders that are fitted."""
FEW_ORDERS = 7
"""Orders of a fit from which only the frequency is used."""
WIDE_CYCLES = 3.0
"""In a longer span the change is first found among half cycles, against the cycle before."""
FIRST_SHARE = 0.1
"""The first half cycle with this share of the largest difference's power holds the change."""
QUIETEST_SHARE = 0.1
"""Share of the half cycles that are quiet even if a tone fills most of the span."""
MIN_HALF_CYCLES = 4
SEARCH_ROUNDS = 3
DEPARTURE_OVER_NOISE = 4.0
"""Least rms of the disturbance, over the noise, in the half cycle after the change."""
ABRUPT_SHARE = 0.5
"""Least share of the largest rms of any half cycle that the first one has; a slow change has less."""


def departure_in(
    volts: FloatArray,
    rate_hz: float,
    hz: float,
    first: float,
    last: float,
    most_rest: float = math.inf,
    abrupt: float = ABRUPT_SHARE,
) -> float | None:
    """Position, between two samples, at which the signal leaves its wave between `first` and `last`.

    Args:
        volts: (n,) float64.
        hz: frequency before, accurate to 1 %.
        most_rest: largest rms of what the wave leaves before.
        abrupt: least share of the largest rms of a half cycle that the first one has.
    Returns:
        None where nothing abrupt stands out of the noise, or too little signal is before it.

    Error: 0.1 ms for what is 20 times the noise; late by the time in which the disturbance is below three
    times the noise (test_measure_departure.py).
    """
    cycle = rate_hz / hz
    low, high = round(first), round(last)
    if high - low > WIDE_CYCLES * cycle:
        narrow = _half_cycle_of_change(volts, rate_hz, hz, low, high)
        if narrow is None:
            return None
        low, high = narrow
    begin = low - round(CLEAR_CYCLES * cycle)
    stop = min(len(volts), high + round(AFTER_CYCLES * cycle))
    fitted = begin - round(FIT_CYCLES * cycle)
    if fitted < 0 or stop - high < cycle:
        return None
    wave = steady_wave(volts, rate_hz, fitted, begin, hz, MOST_ORDERS)
    left = np.asarray(volts[begin:stop], dtype=np.float64) - wave.volts(begin, stop)
    half = round(cycle / 2)
    square = left * left
    noise2 = max(wave.rest**2, float(np.mean(square[:half])))
    if not 0 < noise2 <= most_rest**2:
        return None
    total = np.concatenate(([0.0], np.cumsum(square)))
    count = len(left) - np.arange(len(left))
    inside = slice(low - begin, high - begin + 1)
    for _ in range(SEARCH_ROUNDS):
        after2 = np.maximum((total[-1] - total[:-1]) / count, noise2)
        cost = total[:-1] / noise2 + count * (1 + np.log(after2 / noise2))
        at = low - begin + int(np.argmin(cost[inside]))
        if at in (low - begin, high - begin) or at + 2 * half > len(left):
            return None
        drifts2 = float(np.mean(square[at - half : at]))
        if drifts2 <= noise2:
            break
        noise2 = drifts2  # the frequency wanders, so that the wave leaves more the further it is extrapolated
    powers = (total[at + half :] - total[at:-half]) / half
    if powers[0] < DEPARTURE_OVER_NOISE**2 * noise2 or powers[0] < abrupt**2 * powers.max():
        return None
    return begin + at - 0.5


def _half_cycle_of_change(
    volts: FloatArray, rate_hz: float, hz: float, low: int, high: int
) -> tuple[int, int] | None:
    """The cycle that holds the first large difference from the cycle before; None where none is large."""
    fitted = round(FIT_CYCLES * rate_hz / hz)
    if low < fitted:
        return None
    cycle = rate_hz / steady_wave(volts, rate_hz, low - fitted, low, hz, FEW_ORDERS).hz
    half, whole = round(cycle / 2), int(cycle)
    part = cycle - whole
    stop = min(high + whole, len(volts))
    blocks = (stop - low) // half
    if blocks < MIN_HALF_CYCLES:
        return None
    stop = low + blocks * half
    before = (1 - part) * volts[low - whole : stop - whole] + part * volts[low - whole - 1 : stop - whole - 1]
    powers = np.mean(((volts[low:stop] - before) ** 2).reshape(blocks, half), axis=1)
    quiet = float(np.sort(powers)[int(QUIETEST_SHARE * blocks)])
    large = np.flatnonzero(powers >= max(FIRST_SHARE * powers.max(), DEPARTURE_OVER_NOISE**2 * quiet / 2))
    if not len(large):
        return None
    at = low + int(large[0]) * half
    return max(low, at - half), min(high, at + half)
