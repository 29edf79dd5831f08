"""ROCOF against ramps of closed form and the Cramer-Rao bound of a chirp."""

import math

import numpy as np
import pytest
from numpy.typing import NDArray

from opq_measure.frequency.rocof import Rocof, rocof_hz_s
from opq_measure.timebase.cycles import track
from opq_measure.timebase.windows import windows_of

RATE_HZ = 12_000.0
Floats = NDArray[np.float64]


def chirp(hz: float, rocof: float, length_s: float, decibels: float | None, seed: int = 1) -> Floats:
    """A frequency that rises evenly from `hz` on, harmonics, noise."""
    random = np.random.default_rng(seed)
    t = np.arange(round(length_s * RATE_HZ)) / RATE_HZ
    phase = 2 * np.pi * (hz * t + rocof * t * t / 2) + random.uniform(0, 2 * np.pi)
    wave: Floats = np.cos(phase)
    for order, share in {3: 0.02, 5: 0.02, 7: 0.0088}.items():
        wave = wave + share * np.cos(order * phase + random.uniform(0, 2 * np.pi))
    if decibels is not None:
        wave = wave + random.normal(scale=10 ** (-decibels / 20) / math.sqrt(2), size=len(t))
    return wave


def bound_hz_s(hz: float, span_s: float, decibels: float) -> float:
    """Inverse Fisher matrix over amplitude, phase, frequency and ROCOF."""
    count = round(span_s * RATE_HZ)
    t = (np.arange(count) - (count - 1) / 2) / RATE_HZ
    cosine, sine = np.cos(2 * np.pi * hz * t), np.sin(2 * np.pi * hz * t)
    basis = np.column_stack((np.ones(count), cosine, sine, t * sine))
    unit, _ = np.linalg.qr(basis)
    slope = np.pi * t * t * sine
    free = slope - unit @ (unit.T @ slope)
    return float(10 ** (-decibels / 20) / math.sqrt(2) / np.linalg.norm(free))


def test_the_bound_is_that_of_the_text_book() -> None:
    closed = math.sqrt(180 / (1e6 * RATE_HZ * 0.5)) / (math.pi * 0.5**2)
    assert bound_hz_s(60.0, 0.5, 60.0) == pytest.approx(closed, rel=0.02)


@pytest.mark.parametrize("rocof", [-10.0, -1.0, 0.0, 0.5, 4.0])
def test_a_ramp_is_measured_as_it_is(rocof: float) -> None:
    tracked = track(chirp(60.0, rocof, 2.0, None), RATE_HZ, 60.0)
    for start, stop in ((2_000, 8_000), (6_000, 18_000)):
        assert rocof_hz_s(tracked, start, stop) == pytest.approx(rocof, abs=2e-3 + 1e-3 * abs(rocof))


@pytest.mark.parametrize("span_s", [0.5, 1.0])
def test_noise_leaves_little_more_than_the_bound(span_s: float) -> None:
    found = []
    for seed in range(120):
        hz = 57.0 + seed / 20
        tracked = track(chirp(hz, 0.2, span_s + 0.3, 60.0, seed), RATE_HZ, 60.0)
        found.append(rocof_hz_s(tracked, 1_800, 1_800 + span_s * RATE_HZ) - 0.2)
    bound = bound_hz_s(60.0, span_s, 60.0)
    assert np.std(found) < 1.25 * bound
    assert abs(np.mean(found)) < 0.35 * bound


def test_stream_windows_state_their_span() -> None:
    estimator = Rocof(0.5)
    told = [
        estimator.push_window(window) for window in windows_of(chirp(59.0, 0.8, 4.0, 70.0), RATE_HZ, 60.0)
    ]
    assert [math.isnan(each.hz_s) for each in told[:3]] == [True, True, False]
    assert [each.hz_s for each in told[3:]] == pytest.approx([0.8] * len(told[3:]), abs=0.02)


def test_an_interruption_is_no_change_of_frequency() -> None:
    volts = chirp(60.0, 0.0, 3.0, 70.0)
    volts[12_000:18_000] = 0.0
    assert math.isnan(rocof_hz_s(track(volts, RATE_HZ, 60.0), 11_000, 17_000))
    estimator = Rocof(0.5)
    told = [estimator.push_window(window).hz_s for window in windows_of(volts, RATE_HZ, 60.0)]
    assert any(math.isnan(hz_s) for hz_s in told[4:])
    assert abs(told[-1]) < 0.05


def test_a_span_of_a_few_cycles_is_refused() -> None:
    with pytest.raises(ValueError, match="span_s"):
        Rocof(0.05)


def test_a_shared_hop_counts_once() -> None:
    t = np.arange(36_000) / 12_000
    rocof = Rocof()
    found = [rocof.push_window(window).hz_s for window in windows_of(np.sin(2 * np.pi * 60 * t), 12_000.0)]
    assert max(abs(each) for each in found[2:]) < 1e-6
