"""The fundamental at instants of UTC: against phasors drawn by hand, and the windows of a group joined."""

import cmath
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_measure_unbalance import phases, wave

from opq_measure.aggregation.aggregator import TEN_MINUTES_NS
from opq_measure.aggregation.instants import (
    INSTANTS_PER_INTERVAL,
    MOST_CLOCK_PERCENT,
    STEP_NS,
    is_good_clock,
    phasor_at,
    place_of_instant,
    together,
)
from opq_measure.aggregation.unbalance import Group, PhaseWindow, Unbalance, unbalance
from opq_measure.timebase.window import Window
from opq_measure.timebase.windows import windows_of

NS = 10**9
TEN_NS = 1_800_000_000 * NS
AT_NS = TEN_NS + 4 * STEP_NS + STEP_NS // 2
"""The fifth instant."""


def windows_round(hz: float, rms_v: float, angle: float, rate_hz: float, early_s: float) -> list[Window]:
    """Windows of a wave with this cosine angle at AT_NS, from `early_s` before it on."""
    begin_ns = AT_NS - round(early_s * NS)
    volts = wave(rate_hz, hz, rms_v, angle, (begin_ns - AT_NS) / NS, early_s + 1.3)
    return list(windows_of(volts, rate_hz, 50.0 if hz < 55 else 60.0, begin_ns))


def at_instant(windows: list[Window]) -> complex:
    (window,) = [each for each in windows if place_of_instant(each) is not None]
    assert place_of_instant(window) == (TEN_NS, 4, AT_NS)
    return phasor_at(window, AT_NS)


@settings(max_examples=25, deadline=None)
@given(st.floats(42.5, 69.0), st.floats(-3.1, 3.1), st.floats(1.2, 1.6))
def test_an_instants_phasor_is_the_waves(hz: float, angle: float, early_s: float) -> None:
    """The convention: angle 0 where the maximum of the cosine is at the whole second."""
    found = at_instant(windows_round(hz, 118.0, angle, 12_000.0, early_s))
    assert abs(found) == pytest.approx(118.0, rel=2e-5)
    assert abs(math.degrees(cmath.phase(found * cmath.exp(-1j * angle)))) < 0.002


@settings(max_examples=15, deadline=None)
@given(
    hz=st.one_of(st.floats(49.5, 50.5), st.floats(59.5, 60.5)),
    levels=st.tuples(*[st.floats(0.9, 1.1)] * 3),
    turns=st.tuples(*[st.floats(-0.05, 0.05)] * 3),
    starts_s=st.tuples(*[st.floats(1.2, 1.6)] * 3),
)
def test_u2_of_an_instant_is_the_groups(
    hz: float, levels: tuple[float, ...], turns: tuple[float, ...], starts_s: tuple[float, ...]
) -> None:
    """Three Boxes that began apart, each with its own sample clock."""
    given_ = phases(
        *(118.0 * level * cmath.exp(1j * turn) for level, turn in zip(levels, turns, strict=True))
    )
    cut = [
        windows_round(hz, abs(each), cmath.phase(each), rate_hz, early_s)
        for each, rate_hz, early_s in zip(given_, (12_000.0, 12_000.7, 11_998.9), starts_s, strict=True)
    ]
    group, joined = Group(), list[Unbalance]()
    for phase, windows in enumerate(cut):
        for window in windows:
            joined += group.push_window(phase, PhaseWindow.of(window))
    (of_group,) = [each for each in joined if each.start_ns <= AT_NS < each.end_ns][:1]
    own = unbalance(np.array([at_instant(windows) for windows in cut]))
    truth = unbalance(given_)
    assert own.u2_percent == pytest.approx(of_group.u2_percent, abs=0.003)
    assert own.u0_percent == pytest.approx(of_group.u0_percent, abs=0.003)
    assert own.u2_percent == pytest.approx(truth.u2_percent, abs=0.003)


def test_each_minute_has_one_instant() -> None:
    volts = wave(2_000.0, 50.0, 230.0, 0.0, 0.0, 130.0)
    windows = list(windows_of(volts, 2_000.0, 50.0, TEN_NS + 9 * 60 * NS))
    found = [place for each in windows if (place := place_of_instant(each)) is not None]
    later = TEN_NS + TEN_MINUTES_NS
    assert [each[:2] for each in found] == [(TEN_NS, INSTANTS_PER_INTERVAL - 1), (later, 0)]
    assert [at_ns % (60 * NS) for _, _, at_ns in found] == [30 * NS] * 2
    assert place_of_instant(next(windows_of(volts[:4000], 2_000.0, 50.0))) is None


def given_instants(count: int, seed: int) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """(count, INSTANTS_PER_INTERVAL) angles and rms of three phases, with holes, turning off nominal."""
    dice = np.random.default_rng(seed)
    common = dice.uniform(-180, 180, (count, INSTANTS_PER_INTERVAL))
    angles = [
        common + turned + dice.normal(0, 2, (count, INSTANTS_PER_INTERVAL)) for turned in (0.0, -120.0, 120.0)
    ]
    volts = [230 + dice.normal(0, 3, (count, INSTANTS_PER_INTERVAL)) for _ in range(3)]
    for each in volts:
        each[dice.random((count, INSTANTS_PER_INTERVAL)) < 0.15] = math.nan
    return [(each + 180) % 360 - 180 for each in angles], volts


def test_ten_minutes_are_the_mean_of_their_instants() -> None:
    angles, volts = given_instants(20, 7)
    volts[1][3] = math.nan  # one phase has none in these ten minutes
    found = together(angles, volts, [np.full(20, 1000.0)] * 3, np.full(20, 50.02))
    for row in range(20):
        every = []
        for at in range(INSTANTS_PER_INTERVAL):
            trio = [cmath.rect(volts[k][row, at], math.radians(angles[k][row, at])) for k in range(3)]
            each = unbalance(np.array(trio))
            if each.rotation is not None:
                every.append((each, cmath.phase(trio[1] / trio[0]), cmath.phase(trio[2] / trio[0])))
        assert found.coverage[row] == pytest.approx(len(every) / INSTANTS_PER_INTERVAL)
        if not every:
            assert row == 3 and math.isnan(found.u2_ratio[row]) and math.isnan(found.angle_b_deg[row])
            continue
        u2 = math.sqrt(sum(each.u2_percent**2 for each, _, _ in every) / len(every)) / 100
        u0 = math.sqrt(sum(each.u0_percent**2 for each, _, _ in every) / len(every)) / 100
        assert (found.u2_ratio[row], found.u0_ratio[row]) == pytest.approx((u2, u0), rel=1e-9)
        for place, angle_deg in ((1, found.angle_b_deg[row]), (2, found.angle_c_deg[row])):
            direction = sum(cmath.rect(1, each[place]) for each in every)
            assert angle_deg == pytest.approx(math.degrees(cmath.phase(direction)), abs=1e-9)


def test_poor_clocks_give_their_share_alone() -> None:
    angles, volts = given_instants(3, 8)
    found = together(
        angles, volts, [np.array([1000.0, 15_000.0, math.nan])] * 3, np.array([60.0, 60.0, 60.0])
    )
    assert found.clock_ratio[0] == pytest.approx(2 * np.pi * 60 * 3**0.5 * 1e-6 / 3)
    assert math.isfinite(found.u2_ratio[0]) and math.isnan(found.clock_ratio[2])
    assert 100 * found.clock_ratio[1] == pytest.approx(0.3265, abs=1e-3) and MOST_CLOCK_PERCENT < 0.3265
    for values in (found.u2_ratio, found.u0_ratio, found.positive_v, found.angle_b_deg, found.angle_c_deg):
        assert np.isnan(values[1:]).all()
    assert is_good_clock(60.0, 19_800) and not is_good_clock(60.0, 20_000)
