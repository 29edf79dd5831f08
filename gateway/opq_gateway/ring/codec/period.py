"""Period: how many samples a cycle of mains has, for the encoder only."""

import numpy as np
from numpy.typing import NDArray

_LOOKED_AT = 1 << 14
_NEAR_BEST = 0.9
"""Two and three periods are as good as one, within noise: the first that comes near the best is it."""
_LEAST_ALIKE = 0.2
"""Correlation below which the past tells nothing worth its noise."""


def period_samples(values: NDArray[np.int64], least: float, most: float) -> float | None:
    """Samples per period, to about 0.01; None where nothing repeats (too short, noise, constant)."""
    part = values[:_LOOKED_AT].astype(np.float64)
    part -= part.mean() if len(part) else 0.0
    top = min(int(most), len(part) // 2)
    if top <= least:
        return None
    size = 1 << (2 * len(part) - 1).bit_length()
    spectrum = np.fft.rfft(part, size)
    alike = np.fft.irfft(spectrum.real**2 + spectrum.imag**2, size)[: len(part)]
    alike /= np.arange(len(part), 0, -1)
    if alike[0] <= 0:
        return None
    below = np.flatnonzero(alike[:top] < 0)
    first = max(int(least), int(below[0]) if len(below) else top)
    if first >= top:
        return None
    most_alike = float(alike[first:top].max())
    if most_alike < _LEAST_ALIKE * alike[0]:
        return None
    best = first + int(np.flatnonzero(alike[first:top] >= _NEAR_BEST * most_alike)[0])
    while best + 1 < top and alike[best + 1] > alike[best]:
        best += 1
    period = _peak(alike, best)
    for cycles in (2, 4, 8):
        if round(period * cycles) + 3 < len(part) * 3 // 4:
            period = _peak(alike, round(period * cycles)) / cycles
    return period if least <= period <= most else None


def _peak(alike: NDArray[np.float64], near: int) -> float:
    """Where the parabola through the highest of five neighbours has its top."""
    at = near - 2 + int(np.argmax(alike[near - 2 : near + 3]))
    left, middle, right = alike[at - 1 : at + 2].tolist()
    bend = left - 2 * middle + right
    return at + (max(-1.0, min(1.0, 0.5 * (left - right) / bend)) if bend < 0 else 0.0)
