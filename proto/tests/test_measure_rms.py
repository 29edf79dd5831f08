"""Rms of half cycles, cycles and windows against the integral of the squared Fourier series."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from opq_measure.rms import cycle_rms_v, energies, energies_together, half_cycle_rms_v
from opq_measure.timebase.cycles import track

Floats = NDArray[np.float64]
Series = list[tuple[int, float, float]]
"""Order, peak, phase."""
PEER = {3: 0.02, 5: 0.02, 7: 0.0088, 9: 0.005}  # 3 % in all


def series(shares: dict[int, float], seed: int, peak: float = 170.0) -> Series:
    random = np.random.default_rng(seed)
    return [
        (order, peak * share, random.uniform(0, 2 * math.pi)) for order, share in {1: 1.0, **shares}.items()
    ]


def sampled(wave: Series, hz: float, rate_hz: float, seconds: float = 1.0) -> Floats:
    turns = hz * np.arange(round(seconds * rate_hz)) / rate_hz
    return sum((peak * np.sin(2 * np.pi * order * turns + phase) for order, peak, phase in wave), 0 * turns)


def mean_square(wave: Series, starts: Floats, stops: Floats) -> Floats:
    """Mean square of the series between two places, in turns of the fundamental, by integration."""
    total = 0.0 * starts
    for m, a, p in wave:
        for n, b, q in wave:
            less, more = 2 * np.pi * (m - n), 2 * np.pi * (m + n)
            if m == n:
                total += a * b / 2 * math.cos(p - q) * (stops - starts)
            else:
                total += a * b / 2 / less * (np.sin(less * stops + p - q) - np.sin(less * starts + p - q))
            total -= a * b / 2 / more * (np.sin(more * stops + p + q) - np.sin(more * starts + p + q))
    return total / (stops - starts)


def true_halves(wave: Series, hz: float, rate_hz: float) -> tuple[Floats, Floats]:
    """Half-cycle edges of the fundamental within a second, in samples and in turns; three off its ends."""
    phase = wave[0][2] / (2 * math.pi)
    turns = np.arange(math.ceil(2 * phase) + 3, math.floor(2 * (phase + hz)) - 3) / 2 - phase
    return turns * rate_hz / hz, turns


@settings(max_examples=60, deadline=None)
@given(hz=st.floats(42.5, 69.0), seed=st.integers(0, 2**31))
def test_exact_half_cycles_are_right_to_1e_9(hz: float, seed: int) -> None:
    wave = series(PEER, seed)
    edges, turns = true_halves(wave, hz, 12_000.0)
    volts = sampled(wave, hz, 12_000.0)
    exact = np.sqrt(mean_square(wave, turns[:-1], turns[1:]))
    assert np.abs(cycle_rms_v(volts, edges) / exact - 1).max() < 1e-9  # 1e-11; the trapezoid: 3e-6


@settings(max_examples=40, deadline=None)
@given(
    hz=st.floats(42.5, 69.0),
    seed=st.integers(0, 2**31),
    rate_hz=st.sampled_from([6000.0, 9600.0, 12_000.0, 48_000.0]),
)
def test_tracked_cycles_are_right_to_1e_5(hz: float, seed: int, rate_hz: float) -> None:
    """Half cycles cycles and windows between tracked edges are exact to a hundred thousandth."""
    wave = series(PEER, seed)
    volts = sampled(wave, hz, rate_hz)
    tracked = track(volts, rate_hz, 60.0)
    halves = tracked.edges(2)
    turns = np.arange(round(wave[0][2] / math.pi + 2 * halves[0] * hz / rate_hz), 10**6)[: len(halves)] / 2
    turns = turns - wave[0][2] / (2 * math.pi)
    single = np.sqrt(mean_square(wave, turns[:-1], turns[1:]))
    whole = math.sqrt(sum(peak**2 for _, peak, _ in wave) / 2)
    assert np.abs(cycle_rms_v(volts, halves) / single - 1)[1:-1].max() < 1e-5
    assert np.abs(half_cycle_rms_v(volts, halves) / whole - 1).max() < 1e-5
    cycles = tracked.edges(1)
    assert np.abs(cycle_rms_v(volts, cycles) / whole - 1).max() < 1e-5
    assert np.abs(cycle_rms_v(volts, cycles[::12]) / whole - 1).max() < 1e-6


@settings(max_examples=30, deadline=None)
@given(hz=st.floats(42.5, 60.0), seed=st.integers(0, 2**31))
def test_high_orders_leave_half_cycles_at_1e_5(hz: float, seed: int) -> None:
    """One percent of orders 30 to 50 leaves half cycles exact to a hundred thousandth."""
    wave = series({30: 0.01, 40: 0.01, 50: 0.01}, seed)  # to 3 kHz, a quarter of the rate
    edges, turns = true_halves(wave, hz, 12_000.0)
    exact = np.sqrt(mean_square(wave, turns[:-1], turns[1:]))
    assert np.abs(cycle_rms_v(sampled(wave, hz, 12_000.0), edges) / exact - 1).max() < 1e-5


@pytest.mark.parametrize("decibels", [60, 78])
def test_noise_moves_rms_by_its_share(decibels: int) -> None:
    wave = series(PEER, 3)
    hz, rate_hz, sigma = 60.3, 12_000.0, 170.0 / math.sqrt(2) * 10 ** (-decibels / 20)
    volts = sampled(wave, hz, rate_hz, 20.0)
    volts += np.random.default_rng(3).normal(scale=sigma, size=len(volts))
    whole = math.hypot(math.sqrt(sum(peak**2 for _, peak, _ in wave) / 2), sigma)
    halves = track(volts, rate_hz, 60.0).edges(2)
    # of v * noise, averaged over n samples: sigma / sqrt(n) of the rms; single half cycles sqrt(2) more
    expected = sigma / whole * math.sqrt(hz / rate_hz)
    assert np.std(half_cycle_rms_v(volts, halves) / whole) == pytest.approx(expected, rel=0.1)
    assert half_cycle_rms_v(volts, halves).mean() == pytest.approx(whole, rel=3e-6 + expected / 20)


def test_a_parabola_is_integrated_exactly_between_samples() -> None:
    volts = np.sqrt(1.0 + np.arange(40.0) ** 2)  # the square is a polynomial
    positions = np.array([5.0, 5.25, 7.9, 20.5, 33.0])
    exact = positions + positions**3 / 3
    assert energies(volts, positions) == pytest.approx(np.diff(exact), rel=1e-12)


def test_spans_at_the_ends_are_integrated() -> None:
    volts = np.full(12, 3.0)
    edges = np.array([0.0, 0.2, 0.7, 5.0, 5.5, 11.0, 11.5, 12.0])
    assert energies(volts, edges) == pytest.approx(9.0 * np.diff(edges), rel=1e-12)
    assert cycle_rms_v(volts[:1], np.array([0.0, 0.5, 1.0])) == pytest.approx([3.0, 3.0])


def test_many_blocks_have_one_blocks_energies(monkeypatch: pytest.MonkeyPatch) -> None:
    volts = sampled(series(PEER, 1), 60.0, 12_000.0, 3.0)
    edges = np.concatenate((np.arange(0.3, 20_000, 99.7), [31_234.5, 36_000.0]))
    whole = energies(volts, edges)
    monkeypatch.setattr("opq_measure.rms.BLOCK_SAMPLES", 1000)
    assert energies(volts, edges) == pytest.approx(whole, rel=1e-13)


def test_counts_have_their_volts_rms() -> None:
    volts = sampled(series(PEER, 2), 60.0, 12_000.0)
    counts = np.rint(volts / 0.0068).astype(np.int16)
    edges = track(counts, 12_000.0).edges(1)
    assert cycle_rms_v(counts, edges) * 0.0068 == pytest.approx(cycle_rms_v(volts, edges), rel=1e-5)


def test_windows_together_have_the_energies_of_each_alone() -> None:
    random = np.random.default_rng(3)
    volts = [random.normal(0, 100, length) for length in (2500, 3100, 2401)]
    edges = np.array([np.linspace(random.uniform(0, 9), 2399 + random.uniform(0, 1), 25) for _ in volts])
    edges[2, -1] = 2401.0
    together, peaks = energies_together(volts, edges)
    assert peaks == pytest.approx([np.abs(each).max() for each in volts], rel=1e-15)
    for row, part, at in zip(together, volts, edges, strict=True):
        assert row.tobytes() == energies(part, at).tobytes()
    with pytest.raises(ValueError, match="leave the signal"):
        energies_together(volts, edges + 200)
