"""The lag between two recordings of one grid, cut at places that are known."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from opq_measure.waveform.alignment import _correlation, lag_between

RATE_HZ = 12_000.0
Floats = NDArray[np.float64]


def grid(
    first: float,
    samples: int,
    hz: float,
    depth: float,
    cycles: float,
    seed: int,
    degrees: float = 0.0,
    noise_v: float = 0.12,
) -> Floats:
    """Samples of one place from a fractional position on; a dip from 0.8 s on that the whole grid sees."""
    t = (first + np.arange(samples)) / RATE_HZ
    wander = 0.02 * np.sin(2 * np.pi * 0.3 * t) / (2 * np.pi * 0.3)
    turn = 2 * np.pi * (hz * t + wander) + math.radians(degrees)
    share = np.where((t >= 0.8) & (t < 0.8 + cycles / hz), 1 - depth, 1.0)
    noise = np.random.default_rng(seed).normal(scale=noise_v, size=samples)
    return share * 170.0 * (np.sin(turn) + 0.02 * np.sin(3 * turn + seed) + 0.015 * np.sin(5 * turn)) + noise


@settings(max_examples=10)
@given(
    lag=st.floats(-2400.0, 2400.0),
    hz=st.sampled_from([49.97, 60.02]),
    depth=st.floats(0.05, 0.9),
    other=st.floats(0.3, 1.0),
    cycles=st.floats(1.0, 20.0),
)
def test_the_lag_is_right_to_a_tenth_sample(
    lag: float, hz: float, depth: float, other: float, cycles: float
) -> None:
    nominal = round(hz, -1)
    one = grid(3000.0, 16_000, hz, depth, cycles, seed=1)
    two = 1.02 * grid(3000.0 + lag, 15_000, hz, depth * other, cycles, seed=2)
    found = lag_between(one, two, RATE_HZ, nominal)
    assert found.samples == pytest.approx(lag, abs=0.1)
    assert found.seconds == found.samples / RATE_HZ
    assert found.similarity > found.next_best
    assert 0.1 < found.uncertainty_samples < 0.5


def test_at_30_db_pairs_are_within_20_us() -> None:
    rng = np.random.default_rng(20_261)
    off_us = []
    for pair in range(8):
        lag, depth, hz = rng.uniform(-2400, 2400), rng.uniform(0.15, 0.9), (49.97, 60.02)[pair % 2]
        cycles, nominal = rng.uniform(2, 20), round(hz, -1)
        noise_v = 120 * 10 ** (-30 / 20)
        one = grid(3000.0, 20_000, hz, depth, cycles, 2 * pair, noise_v=noise_v)
        two = grid(3000.0 + lag, 20_000, hz, 0.7 * depth, cycles, 2 * pair + 1, noise_v=noise_v)
        found = lag_between(one, two, RATE_HZ, nominal)
        off_us.append(1e6 * (found.samples - lag) / RATE_HZ)
        assert abs(found.samples - lag) < 3 * found.uncertainty_samples
    assert math.sqrt(sum(each**2 for each in off_us) / len(off_us)) < 20


def test_swapped_the_lag_has_the_other_sign() -> None:
    one, two = (grid(first, 12_000, 60.0, 0.3, 6, seed) for seed, first in enumerate((4000.0, 4321.7)))
    there, back = lag_between(one, two, RATE_HZ), lag_between(two, one, RATE_HZ)
    assert there.samples == pytest.approx(321.7, abs=0.05)
    assert back.samples == pytest.approx(-there.samples, abs=0.02)
    assert there.before == pytest.approx(there.after, abs=0.05)


def test_an_angle_between_places_is_within_uncertainty() -> None:
    one = grid(4000.0, 12_000, 60.0, 0.3, 6, 1)
    two = grid(4100.0, 12_000, 60.0, 0.2, 6, 2, degrees=0.4)
    found = lag_between(one, two, RATE_HZ)
    assert found.samples == pytest.approx(100.0 + 0.4 / 360 * 200, abs=0.05)
    assert abs(found.samples - 100.0) < 2 * found.uncertainty_samples


def test_without_a_common_event_no_cycle_is_chosen() -> None:
    steady = grid(0.0, 8000, 60.0, 0.3, 6, 1)  # the dip begins at 9600
    with pytest.raises(ValueError, match="nothing in common"):
        lag_between(steady, grid(4000.0, 12_000, 60.0, 0.3, 6, 2), RATE_HZ)
    with pytest.raises(ValueError, match="10 cycles"):
        lag_between(steady[:1000], steady, RATE_HZ)


@pytest.mark.parametrize(("n", "m"), [(1, 1), (5, 1), (1, 7), (16, 16), (997, 1201), (12_001, 15_000)])
def test_the_correlation_is_that_of_scipy(n: int, m: int) -> None:
    from scipy.signal import correlate  # half a second of CPU, not for each process that collects tests

    random = np.random.default_rng(n)
    one, two = random.normal(size=n), random.normal(size=m)
    power = math.sqrt(float(one @ one) * float(two @ two))
    wanted = correlate(one, two, method="direct")
    assert np.abs(_correlation(one, two) - wanted).max() < 1e-14 * power * math.sqrt(n)
