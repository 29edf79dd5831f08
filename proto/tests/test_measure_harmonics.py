"""Harmonics, THD and the high pass against signals whose answer is known."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from opq_measure.harmonics.spectrum import SpectrumWindow, spectrum, spectrum_of, thd_ratio, window_thd
from opq_measure.resampling import lines_of
from opq_measure.timebase.windows import windows_of
from opq_measure.waveform.high_pass import high_pass, tap_count, transient_peak_v

RATE_HZ = 12_000.0
BRIEF = {3: 0.02, 5: 0.02, 7: 0.0088, 9: 0.005}
"""3 % in all."""
Floats = NDArray[np.float64]
Phases = dict[int, float]


def mains(length_s: float, hz: float, harmonics: dict[int, float], phase: float = 0.3) -> Floats:
    """120 V and harmonics as shares of it."""
    turn = 2 * np.pi * hz * np.arange(round(length_s * RATE_HZ)) / RATE_HZ + phase
    wave = np.sin(turn)
    for order, share in harmonics.items():
        wave = wave + share * np.sin(order * turn + 1.3 * order)
    return 120.0 * math.sqrt(2) * wave


def drifting(
    hz: float, shares: dict[int, float], hz_per_s: float = 0.0, rate_hz: float = RATE_HZ, seed: int = 0
) -> tuple[Floats, Phases]:
    """0.6 s, a fundamental of rms 1 that rises through zero at sample 0, harmonics and their phases."""
    t = np.arange(round(0.6 * rate_hz)) / rate_hz
    turn = 2 * np.pi * (hz * t + hz_per_s * t * t / 2)
    phases = dict(zip(shares, np.random.default_rng(seed).uniform(-np.pi, np.pi, len(shares)), strict=True))
    wave = np.sin(turn) + sum(share * np.sin(order * turn + phases[order]) for order, share in shares.items())
    return math.sqrt(2) * wave, phases


def true_edges(
    hz: float, cycles: int, hz_per_s: float = 0.0, rate_hz: float = RATE_HZ, first: int = 3
) -> Floats:
    """Where `drifting` passes whole cycles: the root of hz t + hz_per_s t^2 / 2 = k."""
    turns = np.arange(first, first + cycles + 1)
    return rate_hz * 2 * turns / (hz + np.sqrt(hz * hz + 2 * hz_per_s * turns))


def as_orders(shares: dict[int, float]) -> Floats:
    return np.array([1.0] + [shares.get(order, 0.0) for order in range(2, 51)])


any_hz = st.floats(42.5, 69.0)
any_shares = st.dictionaries(st.integers(2, 50), st.floats(0.0, 0.05), max_size=6)


@settings(max_examples=40, deadline=None)
@given(
    nominal=st.sampled_from([50.0, 60.0]),
    off=st.floats(-0.15, 0.15),
    shares=any_shares,
    phase=st.floats(0.0, 2 * math.pi),
)
def test_tracked_thd_is_right_to_0_005_percent(
    nominal: float, off: float, shares: dict[int, float], phase: float
) -> None:
    """Within the measuring range of IEC 61000-4-30, 5.1: 42.5 to 57.5 Hz, 51 to 69 Hz."""
    volts = mains(1.0, nominal * (1 + off), shares, phase)
    true_percent = 100 * math.sqrt(sum(share**2 for share in shares.values()))
    found = 100 * window_thd(volts, RATE_HZ, nominal)
    assert len(found) >= 3
    assert np.abs(found - true_percent).max() < 0.005


@pytest.mark.parametrize("hz_per_s", [0.0, 1.0, -1.0])
@settings(max_examples=40, deadline=None)
@given(hz=any_hz, cycles=st.sampled_from([10, 12]), shares=any_shares, seed=st.integers(0, 99))
def test_every_order_is_right_during_a_drift(
    hz_per_s: float, hz: float, cycles: int, shares: dict[int, float], seed: int
) -> None:
    """Every order is right to a few parts in a hundred thousand also while the frequency drifts."""
    volts, _ = drifting(hz, shares, hz_per_s, seed=seed)
    found = spectrum_of([SpectrumWindow(volts, true_edges(hz, cycles, hz_per_s), RATE_HZ)], cycles)
    for orders in (found.harmonics(), found.subgroups(), found.groups()):
        assert np.abs(orders[0] - as_orders(shares)).max() < 7e-5
    assert found.thd()[0] == pytest.approx(math.sqrt(sum(s**2 for s in shares.values())), abs=3e-5)


def test_order_fifty_survives_a_drift() -> None:
    """Cut to whole samples and not bent with the drift, its bin lost a third."""
    volts, _ = drifting(69.0, {50: 0.05}, 1.0)
    found = spectrum_of([SpectrumWindow(volts, true_edges(69.0, 12, 1.0), RATE_HZ)], 12).harmonics()[0]
    assert found[49] == pytest.approx(0.05, rel=1e-3)
    assert np.delete(found, [0, 49]).max() < 2e-5


@pytest.mark.parametrize(
    ("hz_per_s", "swing_hz", "at_hz"), [(10.0, 0.0, 1.0), (-5.0, 0.0, 1.0), (0.0, 0.5, 0.5), (0.0, 0.2, 2.0)]
)
def test_a_tracked_wander_smears_no_order(hz_per_s: float, swing_hz: float, at_hz: float) -> None:
    t = np.arange(24_000) / RATE_HZ
    turn = 2 * np.pi * (60 * t + hz_per_s * t * t / 2) + swing_hz / at_hz * np.sin(2 * np.pi * at_hz * t)
    shares = dict.fromkeys(range(2, 51), 0.01)
    volts = math.sqrt(2) * (np.sin(turn) + sum(0.01 * np.sin(order * turn + order) for order in shares))
    found = spectrum(volts, RATE_HZ, 60.0)
    assert np.abs(found.subgroups() - as_orders(shares))[1:-1].max() < 3e-5
    assert np.abs(found.thd() - 0.07)[1:-1].max() < 5e-5


def test_a_changing_rate_of_change_is_followed() -> None:
    """Half a hertz up and down twice a second: from -5 to 6 Hz/s within the window."""
    speed, at = 2 * np.pi * 2.0, np.arange(3, 16) / 60
    for _ in range(30):  # Newton: where the phase is whole
        turns = 60 * at + 0.5 / speed * (np.cos(speed * at) - 1)
        at = at - (turns - np.arange(3, 16)) / (60 - 0.5 * np.sin(speed * at))
    t = np.arange(7200) / RATE_HZ
    turn = 2 * np.pi * (60 * t + 0.5 / speed * (np.cos(speed * t) - 1))
    volts = np.sin(turn) + sum(0.01 * np.sin(order * turn + order) for order in (2, 25, 50))
    found = spectrum_of([SpectrumWindow(math.sqrt(2) * volts, at * RATE_HZ, RATE_HZ)], 12)
    assert found.harmonics()[0, [1, 24, 49]] == pytest.approx(0.01, abs=3e-5)


@pytest.mark.parametrize("points", [2048, 4096])
@pytest.mark.parametrize("length", [1999.3, 2003.2, 2007.1])
def test_the_splines_response_is_removed(points: int, length: float) -> None:
    """A line of rms 1 comes attenuated by sinc(f / rate)^6, which all lines in one row show at once."""
    orders = np.arange(1, 601)
    spikes = np.zeros((1, points))
    spikes[0, 0] = points / math.sqrt(2)  # a spike is all lines alike, of rms 1 each
    found = lines_of(spikes, [length], 601)[0, 1:]
    assert np.abs(found * np.sinc(orders / length) ** 6 - 1).max() < 1e-6


@pytest.mark.parametrize("rate_hz", [6000.0, 8000.0, 10_000.0, 12_000.7, 24_000.0, 48_000.0])
@pytest.mark.parametrize(("hz", "cycles"), [(60.17, 12), (49.83, 10), (42.5, 12), (69.0, 10), (16.66, 3)])
def test_the_rate_need_be_no_multiple_of_anything(rate_hz: float, hz: float, cycles: int) -> None:
    shares = {order: 0.01 for order in range(2, 51) if order * hz < 0.45 * rate_hz}
    volts, _ = drifting(hz, shares, rate_hz=rate_hz)
    found = spectrum_of([SpectrumWindow(volts, true_edges(hz, cycles, rate_hz=rate_hz), rate_hz)], cycles)
    known = len(shares) + 1
    assert np.abs(found.subgroups()[0, :known] - as_orders(shares)[:known]).max() < 1e-4
    assert found.bin_hz[0] == pytest.approx(hz / cycles)


def test_phases_are_reported_against_the_fundamental() -> None:
    shares = {2: 0.003, 3: 0.02, 5: 0.02, 11: 0.01, 25: 0.01, 50: 0.01}
    for first in (1, 4):  # the same, whichever window
        volts, phases = drifting(57.3, shares)
        edges = true_edges(57.3, 12, first=first)
        found = spectrum_of([SpectrumWindow(volts, edges, RATE_HZ)], 12).phase_rad()[0]
        assert found[0] == 0.0 and len(found) == 50
        for order, phase in phases.items():
            assert found[order - 1] == pytest.approx(phase, abs=1e-3)


def test_at_60_db_the_window_is_optimal() -> None:
    """A bin's part along a harmonic has the rms noise times sqrt(1 / samples): 0.002 % of the fundamental."""
    random = np.random.default_rng(1)
    bound = 1e-3 / math.sqrt(RATE_HZ * 0.2)
    errors, thds = [], []
    for hz in np.linspace(57.0, 63.0, 12):
        volts = mains(1.0, float(hz), BRIEF) / 120.0
        volts = volts + random.normal(0.0, 1e-3, len(volts))
        found = spectrum(volts, RATE_HZ, 60.0)
        errors.append((found.harmonics() - as_orders(BRIEF))[:, [0, 2, 4, 6, 8]])
        thds.append(found.thd() - math.sqrt(sum(share**2 for share in BRIEF.values())))
    assert np.sqrt(np.mean(np.concatenate(errors) ** 2)) < 1.15 * bound
    assert np.abs(np.concatenate(errors)).max() < 1e-4
    assert np.sqrt(np.mean(np.concatenate(thds) ** 2)) < 1.3 * bound
    assert abs(np.mean(np.concatenate(thds))) < 1e-5


def test_one_call_for_many_boxes_is_identical() -> None:
    windows = [
        SpectrumWindow(drifting(hz, BRIEF, rate_hz=rate)[0], true_edges(hz, 12, rate_hz=rate), rate)
        for hz, rate in [(60.0, 12e3), (60.1, 12e3), (50.3, 12e3), (59.9, 12e3), (60.0, 10e3), (60.2, 12e3)]
        * 2
    ]
    together = spectrum_of(windows, 12)
    assert len(together) == 12
    for at, window in enumerate(windows):
        alone = spectrum_of([window], 12)
        assert np.array_equal(alone.lines[0], together.lines[at])
        assert alone.bin_hz[0] == together.bin_hz[at]


def test_time_base_windows_are_taken_unchanged() -> None:
    volts = np.round(mains(1.0, 59.7, BRIEF, phase=0.0) / 0.01).astype(np.int16)
    found = spectrum_of(list(windows_of(volts, RATE_HZ, 60.0)), 12)
    assert len(found) >= 4
    assert found.thd() == pytest.approx(math.sqrt(sum(share**2 for share in BRIEF.values())), abs=2e-5)


def test_a_group_has_half_the_middle_bin() -> None:
    """Equation 8 by hand: 5 % of the bin in the middle between orders 3 and 4 goes half to each."""
    t = np.arange(9000) / RATE_HZ
    volts = math.sqrt(2) * (np.sin(2 * np.pi * 60 * t) + 0.05 * np.sin(2 * np.pi * 210 * t))
    found = spectrum_of([SpectrumWindow(volts, true_edges(60.0, 12), RATE_HZ)], 12)
    assert found.groups()[0, 2:4] == pytest.approx(0.05 / math.sqrt(2), rel=1e-4)
    assert found.subgroups()[0, 2:4] == pytest.approx(0.0, abs=1e-6)
    assert found.thd_of_groups()[0] == pytest.approx(0.05, rel=1e-4)
    assert found.thd_of_harmonics()[0] == pytest.approx(0.0, abs=1e-6)


def test_a_modulated_harmonic_is_whole_in_its_subgroup() -> None:
    """Side bands of 5 Hz and half the size each: equation 9 adds their squares."""
    t = np.arange(9000) / RATE_HZ
    fifth = 0.04 * (1 + np.cos(2 * np.pi * 5 * t)) * np.sin(2 * np.pi * 300 * t)
    volts = math.sqrt(2) * (np.sin(2 * np.pi * 60 * t) + fifth)
    found = spectrum_of([SpectrumWindow(volts, true_edges(60.0, 12), RATE_HZ)], 12)
    assert found.harmonics()[0, 4] == pytest.approx(0.04, rel=1e-4)
    assert found.subgroups()[0, 4] == pytest.approx(0.04 * math.sqrt(1.5), rel=1e-4)


def test_pwhd_weighs_each_order_by_its_number() -> None:
    shares = {5: 0.05, 13: 0.03, 14: 0.01, 25: 0.02, 40: 0.01, 41: 0.03}
    volts, _ = drifting(50.4, shares)
    found = spectrum_of([SpectrumWindow(volts, true_edges(50.4, 10), RATE_HZ)], 10)
    assert found.pwhd()[0] == pytest.approx(math.sqrt(14 * 0.01**2 + 25 * 0.02**2 + 40 * 0.01**2), rel=1e-3)
    assert found.pwhd(2, 13)[0] == pytest.approx(math.sqrt(5 * 0.05**2 + 13 * 0.03**2), rel=1e-3)
    with pytest.raises(ValueError, match="orders 1"):
        found.pwhd(1, 40)


def test_wild_edges_leave_finite_numbers() -> None:
    volts, _ = drifting(60.0, BRIEF)
    wild = true_edges(60.0, 12)
    wild[1:-1] += np.linspace(0, 150, 11)  # still rising
    found = spectrum_of([SpectrumWindow(volts, wild, RATE_HZ)], 12)
    assert found.thd()[0] == pytest.approx(0.03, abs=1e-3)  # such edges are not bent with


@pytest.mark.parametrize(
    ("edges", "said"),
    [
        ([0.0, 100.0, 200.0], "has 3 edges, want 2 or 13"),
        ([300.0, 200.0], "do not rise"),
        ([-30.0, 2000.0], "leave the signal"),
        ([10.0, 8000.0], "leave the signal"),
        ([math.nan, 2000.0], "do not rise"),
    ],
)
def test_edges_that_make_no_window_are_refused(edges: list[float], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        spectrum_of([SpectrumWindow(np.zeros(7200), np.array(edges), RATE_HZ)], 12)


def test_a_window_may_span_all_samples() -> None:
    """The spline needs two samples more, which are then the signal mirrored."""
    volts, _ = drifting(60.0, BRIEF)
    found = spectrum_of([SpectrumWindow(volts[:2400], np.array([0.0, 2400.0]), RATE_HZ)], 12)
    assert np.abs(found.subgroups()[0] - as_orders(BRIEF)).max() < 2e-5


def test_a_pure_sine_has_no_thd() -> None:
    for hz in (42.5, 47.31, 59.93, 60.0, 66.61, 69.0):
        assert window_thd(mains(1.0, hz, {}), RATE_HZ, 60.0).max() < 1e-6


def test_an_interharmonic_is_in_the_group_only() -> None:
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
def test_the_high_pass_stops_the_mains(hz: float, gain: float, within: float) -> None:
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
