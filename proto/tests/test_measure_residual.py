"""Steady waves, residuals and clipping against signals of closed form."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from opq_measure.timebase.cycles import track
from opq_measure.waveform.clipping import clipping_in
from opq_measure.waveform.residual import (
    fundamental_v,
    residual_v,
    wave_after,
    wave_before,
)
from opq_measure.waveform.steady import steady_wave

RATE_HZ = 12_000.0
PEAK_V = 120.0 * math.sqrt(2)
HARMONICS = {3: 0.02, 5: 0.02, 7: 0.0088, 9: 0.005}
Floats = NDArray[np.float64]


def mains(samples: int, hz: float, phase: float = 0.3, rate_hz: float = RATE_HZ) -> Floats:
    turn = 2 * np.pi * hz * np.arange(samples) / rate_hz + phase
    wave = np.sin(turn)
    for order, share in HARMONICS.items():
        wave = wave + share * np.sin(order * turn + 0.7 * order)
    return PEAK_V * wave


def noise(samples: int, decibels: float, seed: int = 1) -> Floats:
    return np.random.default_rng(seed).normal(scale=120.0 * 10 ** (-decibels / 20), size=samples)


def bound_hz(samples: int, decibels: float) -> float:
    """Cramer-Rao bound of a real sinusoid with unknown DC, amplitude and phase."""
    eta = 10 ** (decibels / 10)
    return math.sqrt(12 / (eta * samples * (samples**2 - 1))) * RATE_HZ / (2 * math.pi)


@settings(max_examples=30)
@given(
    hz=st.floats(42.5, 69.0), cycles=st.floats(1.5, 12.0), phase=st.floats(0, 6.28), off=st.floats(-0.1, 0.1)
)
def test_a_wave_without_noise_is_found_exactly(hz: float, cycles: float, phase: float, off: float) -> None:
    volts = 2.5 + mains(round(cycles * RATE_HZ / hz), hz, phase)
    wave = steady_wave(volts, RATE_HZ, 0, len(volts), hz + off, orders=12)
    assert wave.hz == pytest.approx(hz, abs=1e-7)
    assert wave.amplitude == pytest.approx(PEAK_V, rel=1e-8)
    assert wave.lines[0].real == pytest.approx(2.5, abs=1e-6)
    assert wave.thd == pytest.approx(math.hypot(*HARMONICS.values()), abs=1e-8)
    assert math.remainder(wave.phase_rad(0.0) - phase, 2 * math.pi) == pytest.approx(0.0, abs=1e-6)
    assert np.abs(volts - wave.volts(0, len(volts))).max() < 1e-5


@pytest.mark.parametrize(("cycles", "orders"), [(1.5, 10), (6, 50)])
def test_a_stretchs_frequency_is_at_the_bound(cycles: float, orders: int) -> None:
    samples = round(cycles * RATE_HZ / 60.0)
    errors = []
    for seed in range(60):
        hz = 57.0 + 6.0 * seed / 59
        volts = mains(samples, hz, seed) + noise(samples, 60.0, seed)
        errors.append(steady_wave(volts, RATE_HZ, 0, samples, hz + 0.03, orders).hz - hz)
    assert float(np.std(errors)) < 1.35 * bound_hz(samples, 60.0)  # of 60 draws; of many, 1.1 with 50 orders


def test_the_rest_of_a_fit_is_the_noise() -> None:
    volts = mains(1200, 60.2) + noise(1200, 40.0)
    assert steady_wave(volts, RATE_HZ, 0, 1200, 60.0).rest == pytest.approx(1.2, rel=0.06)


def test_a_carried_wave_leaves_the_disturbance() -> None:
    volts = mains(4000, 59.3)
    pulse = np.zeros(4000)
    pulse[2500:2520] = 30.0
    wave = wave_before(volts + pulse, track(volts, RATE_HZ), 2400.0)
    assert wave is not None
    assert np.abs(volts[2400:3600] - wave.volts(2400, 3600)).max() < 1e-3


def test_a_scaled_wave_has_the_dips_depth() -> None:
    """A wave scaled to half a cycle of a dip has its depth and angle."""
    volts = mains(2400, 60.0)
    wave = steady_wave(volts, RATE_HZ, 0, 1200, 60.0)
    scaled = wave.scaled(0.4 * volts, 1500, 1600)
    assert scaled.amplitude == pytest.approx(0.4 * PEAK_V, rel=1e-6)
    assert math.remainder(scaled.phase_rad(1550) - wave.phase_rad(1550), 2 * math.pi) == pytest.approx(
        0, abs=1e-6
    )


def test_without_fundamental_harmonics_and_dc_remain() -> None:
    samples = 12_000
    t = np.arange(samples) / RATE_HZ
    amplitude = PEAK_V * (1 + 0.01 * np.sin(2 * np.pi * 0.5 * t))  # slow change of amplitude: followed
    rest = 0.03 * PEAK_V * np.sin(2 * np.pi * 5 * 60.4 * t + 1.0) + 4.0
    volts = amplitude * np.sin(2 * np.pi * 60.4 * t) + rest
    tracked = track(volts, RATE_HZ)
    inside = slice(600, -600)
    assert np.abs(residual_v(volts, tracked) - rest)[inside].max() < 2e-3 * PEAK_V
    assert len(residual_v(volts, tracked, 100, 300)) == len(fundamental_v(tracked, 100, 300)) == 200


def test_the_waves_of_nothing_are_unknown() -> None:
    nothing = np.zeros(100)
    tracked = track(nothing, RATE_HZ)
    assert wave_after(nothing, tracked, 0.0) is None
    assert not fundamental_v(tracked, 0, 100).any()


@pytest.mark.parametrize("level", [0.6, 0.9, 0.97])
def test_clipped_tops_are_reported_with_level(level: float) -> None:
    volts = np.clip(mains(12_000, 60.0) / PEAK_V, -1.1 * level, level) * PEAK_V
    found = clipping_in(volts, RATE_HZ, 60.0)
    assert found.high == pytest.approx(level * PEAK_V)
    assert found.tops >= 59


def test_flat_tops_and_few_bits_are_not_clipped() -> None:
    t = np.arange(12_000) / RATE_HZ
    flat = (
        np.sin(2 * np.pi * 60 * t) + 0.06 * np.sin(2 * np.pi * 180 * t) + 0.02 * np.sin(2 * np.pi * 300 * t)
    )
    for volts in (
        PEAK_V * flat,
        mains(12_000, 60.0),
        np.floor(mains(12_000, 59.98) / 1.74) * 1.74,
        np.zeros(99),
    ):
        assert clipping_in(volts, RATE_HZ, 60.0).tops == 0


def test_what_is_no_stretch_is_refused() -> None:
    volts = mains(600, 60.0)
    with pytest.raises(ValueError, match="leave"):
        steady_wave(volts, RATE_HZ, 100, 700, 60.0)
    with pytest.raises(ValueError, match="want at least"):
        steady_wave(volts, RATE_HZ, 0, 190, 60.0)
