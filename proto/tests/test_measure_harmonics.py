"""Harmonics, THD and the high pass against signals whose answer is known."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from opq_measure.harmonics import spectrum, thd_ratio, window_thd
from opq_measure.transient import high_pass, tap_count, transient_peak_v

RATE_HZ = 12_000.0
Floats = NDArray[np.float64]


def mains(length_s: float, hz: float, harmonics: dict[int, float], phase: float = 0.3) -> Floats:
    """120 V and harmonics as shares of it."""
    turn = 2 * np.pi * hz * np.arange(round(length_s * RATE_HZ)) / RATE_HZ + phase
    wave = np.sin(turn)
    for order, share in harmonics.items():
        wave = wave + share * np.sin(order * turn + 1.3 * order)
    return 120.0 * math.sqrt(2) * wave


@settings(max_examples=60)
@given(
    nominal=st.sampled_from([50.0, 60.0]),
    deviation=st.floats(0.85, 1.15),
    shares=st.dictionaries(st.integers(2, 50), st.floats(0.0, 0.05), max_size=6),
    phase=st.floats(0.0, 2 * math.pi),
)
def test_thd_is_right_to_a_twentieth_of_a_percent(
    nominal: float, deviation: float, shares: dict[int, float], phase: float
) -> None:
    volts = mains(1.0, nominal * deviation, shares, phase)
    true_percent = 100 * math.sqrt(sum(share**2 for share in shares.values()))
    found = 100 * window_thd(volts, RATE_HZ, nominal)
    assert len(found) >= 3
    assert np.abs(found - true_percent).max() < 0.05


@pytest.mark.parametrize(("nominal", "hz"), [(50.0, 47.3), (50.0, 50.0), (60.0, 60.0), (60.0, 63.37)])
def test_each_order_stands_where_it_belongs(nominal: float, hz: float) -> None:
    shares = {2: 0.01, 3: 0.03, 5: 0.04, 7: 0.02, 11: 0.01, 25: 0.005, 49: 0.004}
    orders = spectrum(mains(1.0, hz, shares), RATE_HZ, nominal).subgroups()
    ratios = (orders / orders[:, :1]).mean(axis=0)
    assert ratios[0] == 1.0 and len(ratios) == 50
    assert orders[0, 0] == pytest.approx(120.0, rel=2e-4)
    for order in range(2, 51):
        assert ratios[order - 1] == pytest.approx(shares.get(order, 0.0), abs=2e-4)


def test_a_pure_sine_has_no_thd_at_any_frequency() -> None:
    for hz in (42.5, 47.31, 59.93, 60.0, 66.61, 69.0):
        assert window_thd(mains(1.0, hz, {}), RATE_HZ, 60.0).max() < 1e-6


def test_an_interharmonic_is_in_the_group_and_not_in_the_subgroup() -> None:
    turn = 2 * np.pi * np.arange(24_000) / RATE_HZ
    volts = 170.0 * (np.sin(60 * turn) + 0.05 * np.sin((180 + 15) * turn))  # 3 bins above the third
    found = spectrum(volts, RATE_HZ, 60.0)
    assert found.subgroups()[1:-1, 2].max() / 120.2 < 1e-3
    assert found.groups()[1:-1, 2] / found.groups()[1:-1, 0] == pytest.approx(0.05, rel=1e-3)
    assert found.thd_of_groups()[1] > 10 * found.thd()[1]


def test_dc_is_no_harmonic() -> None:
    found = spectrum(mains(1.0, 60.0, {3: 0.02}) + 10.0, RATE_HZ, 60.0)
    assert found.thd() == pytest.approx(0.02, rel=1e-6)
    assert found.rms[:, 0] == pytest.approx(10.0)


def test_orders_above_half_the_rate_are_unknown() -> None:
    t = np.arange(3000) / 1500.0
    found = spectrum(np.sin(2 * np.pi * 60 * t), 1500.0, 60.0).subgroups()
    assert np.isfinite(found[:, :12]).all() and np.isnan(found[:, 12:]).all()


@pytest.mark.parametrize("nominal", [10.0, 16.7, 400.0])
def test_railways_and_aircraft_have_harmonics_too(nominal: float) -> None:
    t = np.arange(round(40 * RATE_HZ / nominal)) / RATE_HZ
    volts = np.sin(2 * np.pi * nominal * t) + 0.05 * np.sin(6 * np.pi * nominal * t)
    assert window_thd(volts, RATE_HZ, nominal) == pytest.approx(0.05, abs=1e-3)


def test_a_signal_without_a_fundamental_has_no_thd() -> None:
    assert np.isnan(window_thd(np.zeros(12_000), RATE_HZ, 60.0)).all()
    assert len(window_thd(mains(0.15, 60.0, {}), RATE_HZ, 60.0)) == 0


def test_a_window_of_the_callers_own_choice() -> None:
    volts = mains(1.0, 60.0, {5: 0.03}, phase=0.0)
    assert thd_ratio(volts, 400.0, 2800.0, 12) == pytest.approx(0.03, rel=1e-6)


@pytest.mark.parametrize(
    ("hz", "gain", "within"), [(60, 0, 2e-3), (180, 0, 2e-3), (1000, 1, 2e-3), (3000, 1, 2e-3)]
)
def test_the_high_pass_stops_the_mains_and_passes_what_is_fast(hz: float, gain: float, within: float) -> None:
    tone = np.cos(2 * np.pi * hz * np.arange(6000) / RATE_HZ)
    assert np.abs(high_pass(tone, RATE_HZ)).max() == pytest.approx(gain, abs=within)


def test_the_high_pass_says_which_samples_it_has() -> None:
    volts = np.zeros(1000)
    volts[500] = 1.0
    found = high_pass(volts, RATE_HZ)
    assert len(found) == 1000 - tap_count(RATE_HZ) + 1
    assert int(np.argmax(np.abs(found))) + tap_count(RATE_HZ) // 2 == 500
    assert transient_peak_v(volts, RATE_HZ) == pytest.approx(1 - 2 * 400 / RATE_HZ, abs=0.01)
    assert transient_peak_v(np.zeros(50), RATE_HZ) is None
    with pytest.raises(ValueError, match="cutoff_hz"):
        high_pass(volts, RATE_HZ, 7000.0)
