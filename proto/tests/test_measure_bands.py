"""2 to 9 kHz in bands of 200 Hz."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from opq_measure.harmonics.bands import CENTRES_HZ, bands, bands_of
from opq_measure.harmonics.spectrum import Spectrum, SpectrumWindow, spectrum_of

Floats = NDArray[np.float64]


def emitting(hz: float, lines: dict[float, float], rate_hz: float, cycles: int = 12) -> SpectrumWindow:
    """A fundamental of rms 1, 5 % of the fifth and of the 25th, with lines (Hz: rms)."""
    t = np.arange(round(rate_hz * (cycles + 2) / hz)) / rate_hz
    wave = (
        np.sin(2 * np.pi * hz * t) + 0.05 * np.sin(10 * np.pi * hz * t) + 0.05 * np.sin(50 * np.pi * hz * t)
    )
    wave = wave + sum(rms * np.sin(2 * np.pi * line_hz * t + line_hz) for line_hz, rms in lines.items())
    return SpectrumWindow(math.sqrt(2) * wave, (1 + np.arange(cycles + 1)) * rate_hz / hz, rate_hz)


def test_35_bands_cover_2_to_9_khz() -> None:
    assert CENTRES_HZ[0] == 2100.0 and CENTRES_HZ[-1] == 8900.0 and len(CENTRES_HZ) == 35


@pytest.mark.parametrize(("rate_hz", "known"), [(12_000.0, 19), (24_000.0, 35), (48_000.0, 35), (6000.0, 4)])
def test_the_rate_decides_how_many_bands_are_known(rate_hz: float, known: int) -> None:
    found = bands_of([emitting(60.0, {2550.0: 0.01}, rate_hz)], 12)[0]
    assert np.isfinite(found[:known]).all() and np.isnan(found[known:]).all()
    assert found[2] == pytest.approx(0.01, rel=1e-3)
    assert np.delete(found[:known], 2).max() < 1e-4


@settings(max_examples=60, deadline=None)
@given(
    rate_hz=st.sampled_from([12_000.0, 48_000.0]),
    hz=st.floats(42.5, 69.0),
    band=st.integers(0, 18),
    place=st.floats(-75.0, 75.0),
)
def test_a_line_is_in_its_band(rate_hz: float, hz: float, band: int, place: float) -> None:
    found = bands_of([emitting(hz, {float(CENTRES_HZ[band]) + place: 0.01}, rate_hz)], 12)[0]
    assert found[band] == pytest.approx(0.01, rel=0.02)
    assert np.nanmax(np.delete(found, band)) < 0.0015


def test_a_bin_on_the_joint_belongs_below() -> None:
    """Equation B.1: b - 95 Hz to b + 100 Hz."""
    found = bands_of([emitting(50.0, {2200.0: 0.01, 2405.0: 0.02}, 24_000.0, 10)], 10)[0]
    assert found[:3] == pytest.approx([0.01, 0.0, 0.02], abs=1e-4)


@pytest.mark.parametrize("rounding", [-1e-10, 0.0, 1e-10])
def test_rounding_does_not_move_a_joint_bin(rounding: float) -> None:
    power = np.zeros((1, 1802))
    power[0, [400, 440, 1800]] = 1.0  # 2.0, 2.2 and 9 kHz
    found = bands(Spectrum(10, np.array([5.0 * (1 + rounding)]), np.sqrt(power) + 0j, power))[0]
    assert np.flatnonzero(found).tolist() == [0, 34] and found[0] == found[34] == 1.0


def test_bands_share_the_harmonics_spectrum() -> None:
    window = emitting(60.7, {2550.0: 0.01, 3400.0: 0.02}, 12_000.0)
    both = spectrum_of([window], 12, top_hz=9000.0)
    assert np.array_equal(bands(both), bands_of([window], 12), equal_nan=True)
    assert both.subgroups()[0] == pytest.approx(spectrum_of([window], 12).subgroups()[0], abs=2e-5)
    with pytest.raises(ValueError, match="the spectrum ends at 30"):
        bands(spectrum_of([window], 12))


def test_one_call_gives_the_same_bits_per_box() -> None:
    """Boxes of any rate have their bands in one call with the same bits."""
    windows = [
        emitting(hz, {2550.0: 0.01}, rate)
        for hz, rate in [(60.0, 12e3), (59.7, 29e3), (42.5, 48e3), (61.0, 12e3)]
    ]
    together = bands_of(windows, 12)
    for row, window in zip(together, windows, strict=True):
        assert np.array_equal(bands_of([window], 12)[0], row, equal_nan=True)


def test_no_window_has_no_bands() -> None:
    assert bands_of([], 12).shape == (0, 35)
