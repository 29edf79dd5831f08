"""Interharmonics and the noise floor against lines whose place and size are known."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from opq_measure.harmonics.interharmonics import (
    interharmonic_groups,
    interharmonic_subgroups,
    noise_floor,
    strongest_interharmonic,
)
from opq_measure.harmonics.spectrum import Spectrum, SpectrumWindow, spectrum_of

RATE_HZ = 12_000.0
Floats = NDArray[np.float64]


def seen(
    hz: float, lines: dict[float, float], cycles: int = 12, noise: float = 0.0, windows: int = 1
) -> Spectrum:
    """A fundamental of rms 1 and 2 % of the fifth, with lines (Hz: rms), in windows of whole cycles."""
    t = np.arange(round(RATE_HZ * (cycles * windows + 2) / hz)) / RATE_HZ
    wave = np.sin(2 * np.pi * hz * t) + 0.02 * np.sin(10 * np.pi * hz * t + 1)
    wave = wave + sum(rms * np.sin(2 * np.pi * line_hz * t + line_hz) for line_hz, rms in lines.items())
    volts = math.sqrt(2) * wave + np.random.default_rng(3).normal(0.0, 1.0, len(t)) * noise
    edges = (1 + np.arange(cycles * windows + 1)) * RATE_HZ / hz
    starts = range(0, cycles * windows, cycles)
    return spectrum_of([SpectrumWindow(volts, edges[at : at + cycles + 1], RATE_HZ) for at in starts], cycles)


@pytest.mark.parametrize(("hz", "cycles"), [(60.0, 12), (50.0, 10)])
def test_bins_between_orders_form_groups(hz: float, cycles: int) -> None:
    """Equations A.1 to A.4 by hand: lines on the bins 1, 2 and N - 1 above the third."""
    lines = {3 * hz + 5: 0.01, 3 * hz + 10: 0.02, 4 * hz - 5: 0.03, 30.0: 0.04}
    found = seen(hz, lines, cycles)
    groups, subgroups = interharmonic_groups(found)[0], interharmonic_subgroups(found)[0]
    assert len(groups) == len(subgroups) == 50
    assert groups[3] == pytest.approx(math.sqrt(0.01**2 + 0.02**2 + 0.03**2), rel=1e-4)
    assert subgroups[3] == pytest.approx(0.02, rel=1e-4)
    assert groups[0] == pytest.approx(0.04, rel=1e-4)  # below the fundamental
    assert np.delete(groups, [0, 3]).max() < 1e-6 and np.delete(subgroups, [0, 3]).max() < 1e-6


def test_every_bin_is_in_one_subgroup() -> None:
    """Parseval: what the subgroups hold is what the bins from 2 to those beside order 50 hold."""
    found = seen(59.3, {77.7: 0.05, 431.0: 0.02, 1303.0: 0.01}, noise=0.01)
    between = np.delete(found.power[0, 2 : 12 * 50 + 2], 0)  # bin 2 is cut off below by nothing
    both = found.subgroups()[0] ** 2
    inner = interharmonic_subgroups(found)[0] ** 2
    assert both.sum() + inner.sum() == pytest.approx(between.sum() + found.power[0, 2], rel=1e-12)


@settings(max_examples=60, deadline=None)
@given(
    hz=st.floats(42.5, 69.0),
    order=st.integers(0, 40),
    place=st.floats(0.34, 0.66),
    cycles=st.sampled_from([10, 12]),
)
def test_the_strongest_line_is_right(hz: float, order: int, place: float, cycles: int) -> None:
    line_hz = (order + place) * hz
    found_hz, rms = strongest_interharmonic(seen(hz, {line_hz: 0.01, (order + 2.5) * hz: 0.002}, cycles))
    assert found_hz[0] == pytest.approx(line_hz, abs=0.02)  # 0.012 beside its own image
    assert rms[0] == pytest.approx(0.01, rel=1e-3)


def test_a_line_near_a_harmonic_is_found() -> None:
    """Two bins above or below a harmonic the bin between holds the harmonic's own skirt."""
    for line_hz in (189.0, 190.0, 191.0, 229.0, 230.0, 231.0, 71.0):
        found_hz, rms = strongest_interharmonic(seen(60.0, {line_hz: 0.01}))
        assert found_hz[0] == pytest.approx(line_hz, abs=0.5)
        assert rms[0] == pytest.approx(0.01, rel=0.1)


def test_an_interharmonic_on_a_bin_does_not_smear() -> None:
    found = seen(60.0, {205.0: 0.05})
    assert np.delete(found.harmonics()[0], [0, 4]).max() < 1e-6


@pytest.mark.parametrize("noise", [1e-3, 1e-2])
def test_white_noises_floor_is_reported(noise: float) -> None:
    """White noise of a given rms has 2 / samples of its power in each bin."""
    found = noise_floor(seen(60.3, {95.0: 0.01, 333.0: 0.02}, noise=noise, windows=20))
    true = noise * math.sqrt(2 * 60.3 / 12 / RATE_HZ)
    assert found.mean() == pytest.approx(true, rel=0.05)
    assert found == pytest.approx(true, rel=0.15)


def test_noise_makes_the_explained_thd() -> None:
    found = seen(60.0, {}, noise=1e-3, windows=20)
    clean = math.sqrt(0.02**2 + 147 * float(np.mean(noise_floor(found) ** 2)))
    assert found.thd().mean() == pytest.approx(clean, rel=2e-3)


def test_too_few_cycles_leave_nothing_between() -> None:
    found = seen(16.7, {}, cycles=3)
    assert np.isnan(interharmonic_subgroups(found)).all() and np.isnan(noise_floor(found)).all()
    assert all(np.isnan(values).all() for values in strongest_interharmonic(found))
    assert np.isfinite(interharmonic_groups(found)).all()


def test_silence_has_no_line() -> None:
    none = spectrum_of([], 12)
    assert interharmonic_groups(none).shape == (0, 50) and noise_floor(none).shape == (0,)
    assert strongest_interharmonic(none)[0].shape == (0,)
    silent = spectrum_of([SpectrumWindow(np.zeros(3000), np.array([100.0, 2500.0]), RATE_HZ)], 12)
    assert np.isnan(strongest_interharmonic(silent)[0]).all() and noise_floor(silent)[0] == 0.0
