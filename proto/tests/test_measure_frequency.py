"""Frequency estimators against the Cramer-Rao bound, computed from the Fisher matrix alone."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from opq_measure.frequency.bound import bound_hz
from opq_measure.frequency.harmonic_fit import fit_harmonics, gram_of
from opq_measure.frequency.one_second import MISFIT_SHARE, ORDERS, coarse_hz, one_second_hz
from opq_measure.frequency.short import short_hz, short_span

RATE_HZ = 12_000.0
HARMONICS = {3: 0.02, 5: 0.02, 7: 0.0088, 9: 0.005}
"""3 % in all."""
Floats = NDArray[np.float64]


def mains(
    random: np.random.Generator, hz: float, length_s: float, decibels: float | None, rate_hz: float = RATE_HZ
) -> tuple[Floats, float]:
    """A unit cosine with harmonics at random phases and noise; and its phase in the middle."""
    samples = round(length_s * rate_hz)
    t = (np.arange(samples) - (samples - 1) / 2) / rate_hz
    phase = float(random.uniform(0, 2 * np.pi))
    wave = np.cos(2 * np.pi * hz * t + phase) + 0.01
    for order, share in HARMONICS.items():
        wave += share * np.cos(2 * np.pi * order * hz * t + random.uniform(0, 2 * np.pi))
    if decibels is not None:
        wave += random.normal(scale=10 ** (-decibels / 20) / math.sqrt(2), size=samples)
    return wave, phase


def test_the_long_bound_is_the_textbooks() -> None:
    eta = 10**6.0  # 60 dB: A^2 / (2 sigma^2)
    closed = math.sqrt(12 / (eta * 12_000 * (12_000.0**2 - 1))) * RATE_HZ / (2 * np.pi)
    assert bound_hz(12_000, RATE_HZ, 60.0, 60.0, 0.3) == pytest.approx(closed, rel=0.01)
    assert closed == pytest.approx(5.03e-6, rel=0.01)


@settings(max_examples=40, deadline=None)
@given(samples=st.integers(20, 3000), orders=st.integers(1, 20), turn=st.floats(0.01, 0.14))
def test_the_closed_products_are_the_sums(samples: int, orders: int, turn: float) -> None:
    u = np.arange(samples) - (samples - 1) / 2
    order = np.arange(orders + 1)
    even, odd = np.cos(turn * np.outer(u, order)), np.sin(turn * np.outer(u, order[1:]))
    gram = gram_of(samples, turn, orders)
    slope_even, slope_odd = u * np.sin(turn * u), u * np.cos(turn * u)
    for found, true in (
        (gram.even, even.T @ even),
        (gram.odd, odd.T @ odd),
        (gram.slope_even, even.T @ slope_even),
        (gram.slope_odd, odd.T @ slope_odd),
        (gram.square_even, slope_even @ slope_even),
        (gram.square_odd, slope_odd @ slope_odd),
    ):
        assert np.max(np.abs(found - true)) < 1e-8 * max(1.0, np.max(np.abs(true)))


def one_second_ratio(low: float, high: float, decibels: float, runs: int) -> tuple[float, float]:
    """Root mean square error over the bound; bias in Hz."""
    random = np.random.default_rng(7)
    errors, bounds = [], []
    for _ in range(runs):
        hz = float(random.uniform(low, high))
        volts, phase = mains(random, hz, 1.0, decibels)
        errors.append(one_second_hz(volts, RATE_HZ) - hz)
        bounds.append(bound_hz(12_000, RATE_HZ, hz, decibels, phase))
    return float(np.sqrt(np.mean(np.square(np.divide(errors, bounds))))), float(np.mean(errors))


@pytest.mark.parametrize(("low", "high", "most"), [(57.0, 63.0, 1.1), (42.5, 69.0, 1.2)])
@pytest.mark.parametrize("decibels", [60.0, 78.0])
def test_a_seconds_frequency_is_at_the_bound(low: float, high: float, most: float, decibels: float) -> None:
    ratio, bias = one_second_ratio(low, high, decibels, 150)
    assert ratio < most  # standard error 0.06
    assert abs(bias) < 1.3e-6  # three standard errors of 150 runs; the soak says 0.5


@pytest.mark.soak
@pytest.mark.timeout(600)
@pytest.mark.parametrize(("low", "high", "most"), [(57.0, 63.0, 1.1), (42.5, 69.0, 1.2)])
@pytest.mark.parametrize("decibels", [60.0, 78.0])
def test_a_seconds_bias_is_below_half_microhertz(
    low: float, high: float, most: float, decibels: float
) -> None:
    ratio, bias = one_second_ratio(low, high, decibels, 2000)
    assert ratio < most
    assert abs(bias) < 0.5e-6


@settings(max_examples=60, deadline=None)
@given(
    hz=st.floats(42.5, 69.0),
    seed=st.integers(0, 2**31),
    rate_hz=st.sampled_from([6_000.0, 12_000.0, 48_000.0]),
)
def test_without_noise_a_second_is_exact(hz: float, seed: int, rate_hz: float) -> None:
    volts, phase = mains(np.random.default_rng(seed), hz, 1.0, None, rate_hz)
    for nominal_hz in (50.0, 60.0):
        assert one_second_hz(volts, rate_hz, nominal_hz) == pytest.approx(hz, abs=1e-9)
    found = fit_harmonics(volts, rate_hz, hz + 0.05, 9)
    assert found.frequency_hz == pytest.approx(hz, abs=1e-9)
    assert abs(found.phasors[0] - np.exp(1j * phase)) < 1e-8
    assert np.abs(found.phasors[[2, 4, 6, 8]]) == pytest.approx([0.02, 0.02, 0.0088, 0.005], abs=1e-9)
    assert found.dc == pytest.approx(0.01, abs=1e-9)
    assert found.residual < 1e-7


def test_the_coarse_search_suffices_for_the_fit() -> None:
    random = np.random.default_rng(1)
    for hz in np.linspace(42.5, 69.0, 60):
        for length_s in (0.2, 1.0):
            volts, _ = mains(random, float(hz), length_s, 40.0)
            assert abs(coarse_hz(volts, RATE_HZ, 60.0) - hz) * length_s < 0.1


@pytest.mark.parametrize(("decibels", "most_hz"), [(60.0, 1.5e-3), (78.0, 0.19e-3)])
def test_one_and_a_half_cycles_reach_the_bound(decibels: float, most_hz: float) -> None:
    random = np.random.default_rng(3)
    errors, bounds = [], []
    for _ in range(400):
        hz = float(random.uniform(42.5, 69.0))
        volts, phase = mains(random, hz, 1.5 / hz, decibels)
        errors.append(short_hz(volts, RATE_HZ, hz + float(random.uniform(-1.0, 1.0))) - hz)
        bounds.append(bound_hz(len(volts), RATE_HZ, hz, decibels, phase, 9))
    assert np.std(errors) < most_hz
    assert np.sqrt(np.mean(np.square(np.divide(errors, bounds)))) < 1.15
    assert abs(np.mean(errors)) < most_hz / 5


def test_a_wandering_frequency_is_its_parabolic_mean() -> None:
    u = (np.arange(12_000) + 0.5) / 12_000
    deviation = 0.02 * np.cos(np.pi * u)  # from +20 to -20 mHz: odd about the middle, mean zero
    turns = np.cumsum(60.0 + deviation + 0.01 * (u > 0.75)) / RATE_HZ
    share = float(np.sum(6 * u * (1 - u) * (u > 0.75)) / 12_000)  # 5/32, not a quarter
    assert share == pytest.approx(5 / 32, abs=1e-4)
    assert one_second_hz(np.sin(2 * np.pi * turns), RATE_HZ) == pytest.approx(60.0 + 0.01 * share, abs=5e-5)


@pytest.mark.parametrize(
    ("change", "most_hz"),
    [("dip", 5e-6), ("interruption", 5e-6), ("modulation", 2e-5), ("ramp", 3e-4), ("interharmonic", 3e-5)],
)
def test_disturbances_move_a_seconds_frequency_little(change: str, most_hz: float) -> None:
    t = (np.arange(12_000) - 5_999.5) / RATE_HZ
    turns = 60.1 * t + (0.5 * t * t if change == "ramp" else 0.0)
    volts = np.cos(2 * np.pi * turns + 0.3) + 0.02 * np.cos(6 * np.pi * turns)
    if change in ("dip", "interruption"):
        volts[3_000:5_000] *= 0.4 if change == "dip" else 0.0
    elif change == "modulation":
        volts *= 1 + 0.1 * np.cos(2 * np.pi * 2 * t + 1)
    elif change == "interharmonic":
        volts += 0.01 * np.cos(2 * np.pi * 3.5 * 60.1 * t + 1)
    assert one_second_hz(volts, RATE_HZ) == pytest.approx(60.1, abs=most_hz)


def test_what_is_no_mains_is_unknown() -> None:
    random = np.random.default_rng(2)
    assert math.isnan(one_second_hz(random.normal(size=12_000), RATE_HZ))
    assert math.isnan(one_second_hz(np.zeros(12_000), RATE_HZ))
    assert math.isnan(one_second_hz(np.full(12_000, 7.0), RATE_HZ))
    assert math.isnan(short_hz(np.zeros(300), RATE_HZ, 60.0))
    volts = mains(random, 60.0, 0.05, None)[0]
    span = short_span(300.0, 60.0, RATE_HZ, len(volts))
    assert short_span(100.0, 60.0, RATE_HZ, len(volts)) is None and span is not None
    assert short_hz(volts[span], RATE_HZ, 60.0) == pytest.approx(60.0, abs=1e-6)


def test_too_little_signal_is_refused_with_the_reason() -> None:
    with pytest.raises(ValueError, match="four cycles"):
        one_second_hz(np.zeros(700), RATE_HZ)
    with pytest.raises(ValueError, match=r"1\.2 cycles"):
        short_hz(np.zeros(200), RATE_HZ, 60.0)
    for near_hz in (math.nan, math.inf, 0.0):
        with pytest.raises(ValueError, match=r"1\.2 cycles"):
            short_hz(np.ones(300), RATE_HZ, near_hz)
    with pytest.raises(ValueError, match="sample 7 is not a finite number"):
        short_hz(np.where(np.arange(300) == 7, math.nan, 1.0), RATE_HZ, 60.0)
    with pytest.raises(ValueError, match="near_hz"):
        fit_harmonics(np.zeros(200), RATE_HZ, 0.0)


@pytest.mark.parametrize(("decibels", "fits"), [(32.0, True), (30.0, False)])
def test_a_sine_no_longer_fits_at_31_db(decibels: float, fits: bool) -> None:
    volts = np.sqrt(2) * np.sin(2 * np.pi * 60 * np.arange(12_000) / RATE_HZ)
    volts += np.random.default_rng(3).normal(0, 10 ** (-decibels / 20), len(volts))
    fit = fit_harmonics(volts, RATE_HZ, 60.0, ORDERS)
    assert (fit.residual < MISFIT_SHARE * abs(fit.phasors[0])) == fits
