"""Signals of which the classifier's tests say what they are: sines with noise, and spans of them."""

import math

import numpy as np
from numpy.typing import NDArray

RATE_HZ = 12_000.0
PEAK_V = 120 * math.sqrt(2)
Floats = NDArray[np.float64]


def at_s(seconds: float) -> Floats:
    return np.arange(round(seconds * RATE_HZ)) / RATE_HZ


def mains(seconds: float, hz: float = 60.0, noise_db: float = 40.0, seed: int = 1) -> Floats:
    noise = np.random.default_rng(seed).normal(0, 120 * 10 ** (-noise_db / 20), round(seconds * RATE_HZ))
    return PEAK_V * np.sin(2 * np.pi * hz * at_s(seconds) + 0.7) + noise


def during(seconds: float, start_s: float, stop_s: float) -> NDArray[np.bool_]:
    return (at_s(seconds) >= start_s) & (at_s(seconds) < stop_s)


def noisy(seconds: float, seed: int, hz: float = 60.0) -> Floats:
    return mains(seconds, hz, 20.0, seed)
