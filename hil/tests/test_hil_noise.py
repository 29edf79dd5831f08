"""Noise by index: statistics, independence, and the density of 1/f."""

import math

import numpy as np
import pytest

from opq_sim.mains.sampling import CHUNK, pink, white


def density(values: np.ndarray, low: float, high: float) -> float:
    """Mean power per cycle per sample between two frequencies."""
    power = np.abs(np.fft.rfft(values)) ** 2 / len(values)
    lines = np.fft.rfftfreq(len(values))
    return float(power[(lines >= low) & (lines < high)].mean())


def test_white_noise_is_gaussian_and_flat() -> None:
    values = white(7, 0, 200_000)
    assert values.mean() == pytest.approx(0.0, abs=0.01)
    assert values.std() == pytest.approx(1.0, abs=0.01)
    assert np.mean(np.abs(values) < 1) == pytest.approx(math.erf(1 / math.sqrt(2)), abs=0.005)
    assert density(values, 0.001, 0.01) == pytest.approx(density(values, 0.2, 0.4), rel=0.1)
    assert np.array_equal(white(7, CHUNK - 3, 8), values[CHUNK - 3 : CHUNK + 5])


def test_streams_and_seeds_are_independent() -> None:
    one = white(1, 0, 50_000)
    for other in (white(2, 0, 50_000), white(1, 0, 50_000, stream=1)):
        assert abs(np.corrcoef(one, other)[0, 1]) < 4 / math.sqrt(50_000)


def test_pink_noise_falls_with_frequency() -> None:
    values = np.concatenate([pink(seed, 0, 1 << 18) for seed in range(4)])
    assert values.std() == pytest.approx(1.0, rel=0.1)
    bands = [(low, low * 2) for low in 0.05 / 2.0 ** np.arange(9)]
    level_db = [10 * math.log10(density(values, low, high) * low) for low, high in bands]
    assert np.ptp(level_db) < 2.0
    assert np.array_equal(pink(1, 1000, 500), pink(1, 0, 2000)[1000:1500])
