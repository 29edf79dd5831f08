"""Single cycles, with harmonics carried over, against signals of closed form and the bound."""

import math

import numpy as np
import pytest
from numpy.typing import NDArray

from opq_measure.frequency.bound import bound_hz
from opq_measure.frequency.cycle import CycleFrequencies, CycleFrequency
from opq_measure.timebase.windows import windows_of

RATE_HZ = 12_000.0
HARMONICS = {3: 0.02, 5: 0.02, 7: 0.0088, 9: 0.005}
Floats = NDArray[np.float64]


def mains(
    random: np.random.Generator,
    turns: Floats,
    decibels: float | None,
    harmonics: dict[int, float] | None = None,
) -> Floats:
    """A sine of 170 V with harmonics at random phases, DC and noise."""
    wave = np.cos(2 * np.pi * turns + random.uniform(0, 2 * np.pi)) + 0.01
    for order, share in (HARMONICS if harmonics is None else harmonics).items():
        wave = wave + share * np.cos(2 * np.pi * order * turns + random.uniform(0, 2 * np.pi))
    if decibels is not None:
        wave = wave + random.normal(scale=10 ** (-decibels / 20) / math.sqrt(2), size=len(turns))
    return 170.0 * wave


def steady(hz: float, length_s: float) -> Floats:
    return hz * np.arange(round(length_s * RATE_HZ)) / RATE_HZ


def followed(volts: Floats) -> list[CycleFrequencies]:
    estimator = CycleFrequency()
    return [estimator.push_window(window) for window in windows_of(volts, RATE_HZ, 60.0)]


@pytest.mark.parametrize(("decibels", "most_hz"), [(60.0, 3.3e-3), (78.0, 0.4e-3)])
def test_carried_harmonics_reach_the_bound(decibels: float, most_hz: float) -> None:
    random = np.random.default_rng(11)
    errors, bounds = [], []
    for _ in range(10):
        hz = float(random.uniform(42.5, 69.0))
        found = followed(mains(random, steady(hz, 2.0), decibels))[1:]
        assert all(each.carried.all() for each in found)
        errors.append(np.concatenate([each.hz for each in found]) - hz)
        length = round(RATE_HZ / hz)
        bounds += [bound_hz(length, RATE_HZ, hz, decibels, phase, known_dc=True) for phase in (0.0, 1.5)]
    every = np.concatenate(errors)
    assert np.std(every) < most_hz
    assert np.std(every) < 1.15 * np.sqrt(np.mean(np.square(bounds)))
    assert abs(np.mean(every)) < most_hz / 15


def test_without_noise_a_cycle_is_exact() -> None:
    found = followed(mains(np.random.default_rng(1), steady(59.3, 1.5), None))
    assert max(np.abs(each.hz - 59.3).max() for each in found[1:]) < 1e-5


def test_one_and_a_half_cycles_start_the_carrying() -> None:
    first = followed(mains(np.random.default_rng(1), steady(60.2, 0.6), 60.0))[0]
    assert not first.carried.any()
    assert np.nanstd(first.hz) < 3e-3
    assert np.count_nonzero(np.isnan(first.hz)) <= 1  # the first has no quarter cycle before it


def test_changed_harmonics_are_soon_carried_again() -> None:
    random = np.random.default_rng(4)
    t = steady(60.0, 4.0)
    volts = mains(random, t, 60.0, {3: 0.02})
    volts += np.where(t >= 120.0, 170.0 * 0.015 * np.cos(2 * np.pi * 5 * t + 1.0), 0.0)
    found = followed(volts)
    errors = np.concatenate([each.hz for each in found]) - 60.0
    carried = np.concatenate([each.carried for each in found])
    begins = np.flatnonzero(~carried[12:])[0] + 12
    assert 115 < begins < 122
    assert np.count_nonzero(~carried[12:]) <= 24
    quiet = np.abs(np.arange(len(errors)) - 120) > 3
    assert np.nanmax(np.abs(errors[quiet])) < 12e-3  # carried on regardless: 60 mHz


def test_small_harmonic_changes_show_in_the_mean() -> None:
    t = steady(60.0, 4.0)
    volts = np.cos(2 * np.pi * t - 0.5) + np.random.default_rng(8).normal(scale=0.004, size=len(t))
    volts += np.where(t >= 120.0, 0.004 * np.cos(2 * np.pi * 2 * t), 0.0)
    means = [float(np.mean(each.hz[1:])) for each in followed(volts)]
    assert np.abs(np.array(means) - 60.0).max() < 25e-3  # carried on regardless: 77 mHz


def test_a_dip_leaves_its_cycles_frequency() -> None:
    t = steady(60.0, 3.0)
    volts = mains(np.random.default_rng(2), t, 70.0, {})
    volts[(t >= 60.3) & (t < 70.3)] *= 0.4
    hz = np.concatenate([each.hz for each in followed(volts)])
    told = ~np.isnan(hz)
    assert np.count_nonzero(~told) <= 6
    assert np.abs(hz[told] - 60.0).max() < 0.05


def test_a_wandering_frequency_is_followed_cycle_by_cycle() -> None:
    t = np.arange(36_000) / RATE_HZ
    turns = 60.0 * t + 0.2 / (2 * np.pi * 0.5) * (1 - np.cos(2 * np.pi * 0.5 * t))  # +- 0.2 Hz at 0.5 Hz
    volts = mains(np.random.default_rng(3), turns, 78.0)
    estimator = CycleFrequency()
    worst = 0.0
    for window in list(windows_of(volts, RATE_HZ, 60.0))[1:]:
        middle = (window.edges[:-1] + window.edges[1:]) / 2 + window.first_sample
        true = 60.0 + 0.2 * np.sin(2 * np.pi * 0.5 * middle / RATE_HZ)
        worst = max(worst, float(np.max(np.abs(estimator.push_window(window).hz - true))))
    assert worst < 3e-3


def test_where_there_is_no_fundamental_nothing_is_said() -> None:
    found = followed(np.random.default_rng(9).normal(size=12_000))
    assert all(np.isnan(each.hz).all() and not each.carried.any() for each in found)
