"""Unbalance against phasors drawn by hand."""

import cmath
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from opq_measure.aggregation.unbalance import (
    Group,
    PhaseWindow,
    Unbalance,
    fundamental,
    line_unbalance_percent,
    magnitude_unbalance_percent,
    symmetrical_components,
    unbalance,
)
from opq_measure.timebase.windows import windows_of

NS = 10**9
THIRD = 2 * np.pi / 3
Floats = NDArray[np.float64]


def phases(a: complex, b: complex, c: complex) -> NDArray[np.complex128]:
    return np.array([a, b * cmath.exp(-1j * THIRD), c * cmath.exp(1j * THIRD)])


def test_three_equal_phases_have_no_unbalance() -> None:
    found = unbalance(phases(120, 120, 120))
    assert found.rotation == "abc" and found.positive_v == pytest.approx(120)
    assert found.u2_percent < 1e-12 and found.u0_percent < 1e-12


@pytest.mark.parametrize(
    ("magnitudes", "percent"),
    [((73, 80, 87), 5.05), ((152, 140, 128), 4.95), ((100, 100, 100), 0.0)],
)
def test_magnitudes_at_120_degrees_give_u2_and_u0(
    magnitudes: tuple[float, float, float], percent: float
) -> None:
    """Testing states 2 and 3 of 4-30's influence quantities (percent of Udin): both are near 5 %."""
    a, b, c = magnitudes
    by_hand = math.sqrt(a * a + b * b + c * c - a * b - b * c - c * a) / (a + b + c) * 100
    found = unbalance(phases(a, b, c))
    assert found.u2_percent == pytest.approx(by_hand, abs=1e-9) == pytest.approx(percent, abs=0.01)
    assert found.u0_percent == pytest.approx(by_hand, abs=1e-9)


@given(st.floats(0, 0.1), st.floats(0, 2 * math.pi), st.booleans())
def test_magnitudes_alone_show_most_of_one_sequence(size: float, angle: float, negative: bool) -> None:
    other = cmath.rect(size, angle)
    turned = (cmath.exp(1j * THIRD), cmath.exp(-1j * THIRD)) if negative else (1.0, 1.0)
    phasors = phases(1, 1, 1) + other * np.array([1, *turned])
    shown = float(magnitude_unbalance_percent(np.abs(phasors)))
    assert 86.6 * size - 300 * size**2 - 1e-9 <= shown <= 100 * size + 300 * size**2 + 1e-9


def test_magnitudes_of_nothing_are_unknown() -> None:
    assert np.isnan(magnitude_unbalance_percent(np.zeros((2, 3)))).all()
    assert magnitude_unbalance_percent(np.array([109.0, 120.0, 120.0])) == pytest.approx(100 * 22 / 349)


def test_swapped_phases_are_reported() -> None:
    right, wrong = unbalance(phases(110, 120, 125)), unbalance(phases(110, 120, 125)[[0, 2, 1]])
    assert (right.rotation, wrong.rotation) == ("abc", "acb")
    assert wrong.u2_percent == pytest.approx(right.u2_percent)
    assert wrong.u0_percent == pytest.approx(right.u0_percent)


def test_three_boxes_on_one_phase_rotate_nowhere() -> None:
    found = unbalance(np.full(3, 120.0 + 0j))
    assert found.rotation is None and math.isnan(found.u2_percent) and found.zero_v == pytest.approx(120)
    assert unbalance(np.zeros(3, complex)).rotation is None
    unknown = unbalance(np.array([120, complex(math.nan, math.nan), 120]))
    assert unknown.rotation is None and math.isnan(unknown.u2_percent)


@settings(max_examples=50, deadline=None)
@given(
    negative=st.floats(0.0, 0.5),
    zero=st.floats(0.0, 0.5),
    turns=st.tuples(st.floats(0, 6.3), st.floats(0, 6.3), st.floats(0, 6.3)),
)
def test_components_come_out_unchanged(
    negative: float, zero: float, turns: tuple[float, float, float]
) -> None:
    sequence = [
        zero * cmath.exp(1j * turns[0]),
        cmath.exp(1j * turns[1]),
        negative * cmath.exp(1j * turns[2]),
    ]
    turn = cmath.exp(1j * THIRD)
    abc = np.array([sum(sequence), sequence[0] + turn**2 * sequence[1] + turn * sequence[2], 0])
    abc[2] = sequence[0] + turn * sequence[1] + turn**2 * sequence[2]
    assert np.allclose(symmetrical_components(abc), sequence, atol=1e-12)
    found = unbalance(abc)
    assert found.u2_percent == pytest.approx(100 * negative, abs=1e-9)
    assert found.u0_percent == pytest.approx(100 * zero, abs=1e-9)
    lines = np.abs(abc - np.roll(abc, -1))
    assert line_unbalance_percent(*lines.tolist()) == pytest.approx(100 * negative, abs=1e-4)


def test_lines_that_form_no_triangle_have_no_unbalance() -> None:
    assert math.isnan(line_unbalance_percent(100, 100, 250))
    assert math.isnan(line_unbalance_percent(0, 0, 0))
    assert line_unbalance_percent(208, 208, 208) == pytest.approx(0.0, abs=1e-5)
    assert line_unbalance_percent(100, 100, 200) == pytest.approx(100.0, abs=1e-3)  # one line, no rotation


def wave(rate_hz: float, hz: float, rms_v: float, angle: float, start_s: float, seconds: float) -> Floats:
    """Fundamental with cosine angle at t = 0, and 5 % harmonics of its own phase."""
    turn = 2 * np.pi * hz * (start_s + np.arange(round(seconds * rate_hz)) / rate_hz) + angle
    shape = (
        np.cos(turn) + 0.03 * np.cos(3 * turn + 1) + 0.035 * np.cos(5 * turn + 2) + 0.02 * np.cos(7 * turn)
    )
    return rms_v * math.sqrt(2) * shape + 0.5


def phase_windows(rate_hz: float, hz: float, rms_v: float, angle: float, start_s: float) -> list[PhaseWindow]:
    """12-cycle windows from the wave's own rising zero crossings, on a clock that counts from t = 0."""
    volts = wave(rate_hz, hz, rms_v, angle, start_s, 1.5)
    period = 12 / hz
    first = math.ceil(start_s * hz + (angle + np.pi / 2) / (2 * np.pi)) - (angle + np.pi / 2) / (2 * np.pi)
    found = []
    for k in range(5):
        begin_s = first / hz + k * period
        start, stop = (begin_s - start_s) * rate_hz, (begin_s + period - start_s) * rate_hz
        phasor = fundamental(volts, start, stop, 12)
        found.append(PhaseWindow(round(begin_s * NS), round((begin_s + period) * NS), hz, phasor))
    return found


@pytest.mark.parametrize("hz", [42.5, 50.0, 59.93, 60.0, 66.61, 69.0])
def test_three_sample_clocks_are_joined_to_one_unbalance(hz: float) -> None:
    given = [
        phase_windows(12_000.0, hz, 118.0, 0.4, 0.0),
        phase_windows(12_000.7, hz, 120.0, 0.4 - THIRD - 0.01, 0.000_031),
        phase_windows(11_998.9, hz, 121.0, 0.4 + THIRD, 0.000_057),
    ]
    truth = unbalance(np.array([118.0, 120.0 * cmath.exp(-1j * (THIRD + 0.01)), 121 * cmath.exp(1j * THIRD)]))
    group = Group()
    found: list[Unbalance] = []
    for trio in zip(*given, strict=True):
        for phase, window in enumerate(trio):
            found += group.push_window(phase, window)
    assert len(found) == 5 and group.unmatched == 0
    for each in found:
        assert each.rotation == "abc"
        assert each.u2_percent == pytest.approx(truth.u2_percent, abs=0.003)
        assert each.u0_percent == pytest.approx(truth.u0_percent, abs=0.003)


@pytest.mark.parametrize("hz", [42.5, 47.31, 50.0, 59.93, 60.0, 66.61, 69.0])
def test_a_fundamental_is_right_among_harmonics(hz: float) -> None:
    rate_hz = 12_000.0
    volts = wave(rate_hz, hz, 120.0, 0.0, 0.0, 0.5)
    for start in (0.0, 13.37, 500.9):
        stop = start + 12 / hz * rate_hz
        angle = 2 * np.pi * hz * (start + stop) / 2 / rate_hz
        assert abs(fundamental(volts, start, stop, 12) - 120.0 * cmath.exp(1j * angle)) < 120e-7


def test_windows_that_cannot_be_are_refused() -> None:
    with pytest.raises(ValueError, match="leaves the signal"):
        fundamental(np.zeros(100), -1.0, 50.0, 1)
    with pytest.raises(ValueError, match="at least 10"):
        fundamental(np.zeros(100), 0.0, 90.0, 12)
    group = Group()
    with pytest.raises(ValueError, match="want 0, 1 or 2"):
        group.push_window(3, PhaseWindow(0, 1, 60.0, 1 + 0j))


def a_window(k: int, shift_ns: int = 0, phasor: complex = 1 + 0j) -> PhaseWindow:
    return PhaseWindow(k * NS // 5 + shift_ns, (k + 1) * NS // 5 + shift_ns, 60.0, phasor)


def test_windows_join_whatever_the_order_between_the_boxes() -> None:
    group, found = Group(), []
    for phase in (2, 0, 1):
        for k in range(10):
            found += group.push_window(phase, a_window(k, 3_000_000 * phase))
    assert [each.start_ns for each in found] == [k * NS // 5 for k in range(10)]
    assert group.unmatched == 0


def test_one_boxs_loss_is_counted() -> None:
    group, found = Group(), []
    for k in range(10):
        for phase in range(3):
            if not (phase == 1 and k in (3, 4)):
                found += group.push_window(phase, a_window(k))
    assert len(found) == 8
    assert group.unmatched == 4


@settings(max_examples=60, deadline=None)
@given(
    shares=st.tuples(st.floats(0, 1), st.floats(0, 1), st.floats(0, 1)),
    order=st.permutations([0, 1, 2] * 10),
)
def test_offset_windows_join_with_the_nearest(shares: tuple[float, float, float], order: list[int]) -> None:
    """Before the first tick: three points on a circle never need more than two thirds of it."""
    group, found, count = Group(), [], [0, 0, 0]
    for phase in order:
        found += group.push_window(phase, a_window(count[phase], round(shares[phase] * NS / 5)))
        count[phase] += 1
    assert len(found) >= 9 and group.unmatched <= 2
    for each in found:
        assert each.end_ns - each.start_ns <= round((1 + 2 / 3 + 0.05) * NS / 5)


def test_a_silent_box_does_not_fill_memory() -> None:
    group = Group()
    for k in range(1000):
        assert group.push_window(0, a_window(k)) == []
    assert group.unmatched == 1000 - 256


def test_a_window_without_utc_joins_none() -> None:
    volts = wave(6000.0, 60.0, 120.0, 0.3, 0.0, 1.0)
    with pytest.raises(ValueError, match="has no UTC"):
        PhaseWindow.of(next(windows_of(volts, 6000.0, 60.0)))
    from_utc = PhaseWindow.of(next(windows_of(volts, 6000.0, 60.0, NS)))
    assert abs(from_utc.phasor) == pytest.approx(120.0, rel=1e-6)
    turn = 2 * np.pi * 60 * (from_utc.middle_ns - NS) / NS + 0.3
    assert cmath.phase(from_utc.phasor * cmath.exp(-1j * turn)) == pytest.approx(0.0, abs=1e-5)
    unknown = PhaseWindow.of(next(windows_of(np.zeros(6000), 6000.0, 60.0, NS)))
    assert math.isnan(unknown.phasor.real)


def test_a_clock_set_back_restarts_its_phase() -> None:
    group, found = Group(), []
    for k in (10, 11, 3, 4):
        found += group.push_window(0, a_window(k))
    for phase in (1, 2):
        for k in (3, 4):
            found += group.push_window(phase, a_window(k))
    assert [each.start_ns for each in found] == [3 * NS // 5, 4 * NS // 5]
    assert group.unmatched == 2


def test_a_late_clock_shows_as_unbalance() -> None:
    group, found = Group(), []
    late_s = 10e-6
    for phase, phasor in enumerate(phases(1, cmath.exp(2j * np.pi * 60 * late_s), 1)):
        told_ns = 10_000.0 if phase == 1 else 0.0
        found += group.push_window(phase, PhaseWindow(0, NS // 5, 60.0, complex(phasor), told_ns))
    by_hand = 100 / 3 * 2 * math.sin(np.pi * 60 * late_s)  # a third of the chord
    assert found[0].u2_percent == pytest.approx(by_hand, rel=1e-3)
    assert found[0].clock_percent == pytest.approx(by_hand, rel=1e-3) == pytest.approx(0.1257, abs=1e-4)
