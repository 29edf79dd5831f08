"""Frequency over 10 s of UTC against counted cycles."""

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from opq_measure.frequency.ten_seconds import TenSecondFrequency, TenSeconds, ten_seconds_of
from opq_measure.signal import SignalPiece
from opq_measure.timebase.windows import Windows
from opq_sim.mains import mains
from opq_sim.mains.profiles import Ramp
from opq_sim.mains.rms_events import Interruption

NS = 10**9
TICK_NS = 1_800_000_000 * NS  # also a tick of ten minutes
RATE_HZ = 6250.0  # 160 us, a whole number of ns


def streamed(pieces: list[SignalPiece], nominal_hz: float = 60.0) -> list[TenSeconds]:
    cutter, meter, found = Windows(nominal_hz), TenSecondFrequency(), []
    for piece in pieces:
        for window in cutter.push_samples(piece):
            found += meter.push_window(window)
    for window in cutter.end():
        found += meter.push_window(window)
    return found + meter.end()


@pytest.mark.parametrize(("hz", "nominal_hz"), [(42.5, 50.0), (50.0, 50.0), (59.93, 60.0), (69.0, 60.0)])
def test_ten_second_frequency_counts_whole_cycles(hz: float, nominal_hz: float) -> None:
    volts, _ = mains(31.0, RATE_HZ, frequency_hz=hz, phase_deg=200.0, harmonics={3: 5.0, 5: 6.0})
    found = list(ten_seconds_of(volts, RATE_HZ, nominal_hz, TICK_NS - 13 * NS))
    assert [(each.start_ns - TICK_NS) // NS for each in found] == [-20, -10, 0, 10]
    for each in found:
        assert each.frequency_hz == pytest.approx(hz, abs=2e-5) and each.utc and not each.flagged
    for each in found[1:3]:
        assert each.cycles in (math.floor(10 * hz), math.floor(10 * hz) - 1)
        assert each.coverage == pytest.approx(each.cycles / hz / 10, rel=1e-6)


def test_a_border_edge_belongs_to_both_sides() -> None:
    """50 Hz with an edge at every 10 s: no cycle runs over the border."""
    volts, _ = mains(21.0, RATE_HZ, frequency_hz=50.0)
    first, second, _ = ten_seconds_of(volts, RATE_HZ, 50.0, TICK_NS)
    assert (first.cycles, second.cycles) == (500, 500)
    assert first.coverage == second.coverage == 1.0


def test_on_a_ramp_frequency_is_count_over_duration() -> None:
    """On a ramp it is the count over the duration of the true cycles."""
    volts, truth = mains(11.0, RATE_HZ, frequency_hz=59.5, profiles=[Ramp(0.1)])
    (found, _) = ten_seconds_of(volts, RATE_HZ, 60.0, TICK_NS)
    edges_s = truth.edges(1) / RATE_HZ
    inside = edges_s[edges_s <= 10.0]
    assert found.cycles in (len(inside) - 1, len(inside) - 2)
    assert found.frequency_hz == pytest.approx((len(inside) - 1) / (inside[-1] - inside[0]), abs=2e-4)


def test_shared_cycles_at_a_tick_count_once() -> None:
    volts, _ = mains(20.0, RATE_HZ, frequency_hz=60.37)
    found = list(ten_seconds_of(volts, RATE_HZ, 60.0, TICK_NS - 9 * NS))
    assert [each.cycles for each in found[:2]] == [pytest.approx(count, abs=2) for count in (543, 603)]
    assert 48 <= found[2].cycles <= 60  # the last window is not whole
    assert all(each.frequency_hz == pytest.approx(60.37, abs=1e-5) for each in found)


def test_a_gap_counts_in_neither_part() -> None:
    """An empty interval is not reported."""
    volts, _ = mains(60.0, RATE_HZ, frequency_hz=59.8)
    ns = round(NS / RATE_HZ)
    pieces = [
        SignalPiece(volts[a:b], a, RATE_HZ, TICK_NS + a * ns)
        for a, b in ((0, 20_000), (30_000, 70_000), (250_000, 300_000))
    ]
    found = streamed(pieces)
    assert [(each.start_ns - TICK_NS) // NS for each in found] == [0, 10, 40]
    assert all(each.frequency_hz == pytest.approx(59.8, abs=1e-4) for each in found)
    assert found[0].coverage == pytest.approx((20_000 + 32_500) / 62_500, abs=0.06)


def test_where_no_fundamental_is_seen_nothing_is_counted() -> None:
    volts, _ = mains(20.0, RATE_HZ, disturbances=[Interruption(start_s=4.0, seconds=15.0)])
    first, second = ten_seconds_of(volts, RATE_HZ, 60.0, TICK_NS)
    assert first.coverage == pytest.approx(0.4, abs=0.03)
    assert first.frequency_hz == pytest.approx(60.0, abs=2e-3)
    assert second.coverage < 0.12


@pytest.mark.parametrize("missing_s", [0.05, 0.15, 0.3])
def test_interrupted_cycles_are_left_out(missing_s: float) -> None:
    interruption = Interruption(start_s=4.05, seconds=missing_s)
    volts, _ = mains(11.0, RATE_HZ, frequency_hz=59.73, disturbances=[interruption], noise_db=60)
    found = next(ten_seconds_of(volts, RATE_HZ, 60.0, TICK_NS))
    assert found.cycles == pytest.approx(596 - missing_s * 59.73, abs=1.5)  # 596 and two parts in ten seconds
    assert found.frequency_hz == pytest.approx(59.73, abs=1e-5)


def test_a_flag_and_missing_utc_are_kept() -> None:
    volts, _ = mains(21.0, RATE_HZ)
    cutter, meter, found = Windows(60.0), TenSecondFrequency(), []
    for window in [*cutter.push_samples(SignalPiece(volts, 0, RATE_HZ)), *cutter.end()]:
        found += meter.push_window(window, flagged=window.index == 60)
    found += meter.end()
    assert [each.flagged for each in found] == [False, True, False]
    assert [each.utc for each in found] == [False] * 3
    assert found[0].frequency_hz == pytest.approx(60.0, abs=1e-6)


def test_a_clock_that_is_set_back_starts_again() -> None:
    volts, _ = mains(30.0, RATE_HZ)
    pieces = [
        SignalPiece(volts[:93_750], 0, RATE_HZ, TICK_NS),
        SignalPiece(volts[93_750:], 100_000, RATE_HZ, TICK_NS - 100 * NS),
    ]
    found = streamed(pieces)
    assert [(each.start_ns - TICK_NS) // NS for each in found] == [0, 10, -100, -90]


def test_a_leap_second_makes_ten_seconds_of_eleven() -> None:
    volts, _ = mains(12.0, RATE_HZ, frequency_hz=60.1)
    cut = 60_000
    late_ns = TICK_NS - NS + round(cut * NS / RATE_HZ)
    pieces = [SignalPiece(volts[:cut], 0, RATE_HZ, TICK_NS), SignalPiece(volts[cut:], cut, RATE_HZ, late_ns)]
    first, _ = streamed(pieces)
    assert first.cycles == pytest.approx(11 * 60.1, abs=13)  # at most a window's cycles by neither clock
    assert first.frequency_hz == pytest.approx(60.1, abs=1e-5) and first.coverage == 1.0


@settings(max_examples=5, deadline=None)
@given(st.lists(st.integers(1, 40_000), min_size=1, max_size=8), st.floats(55.0, 65.0))
def test_any_blocks_give_the_same_frequencies(sizes: list[int], hz: float) -> None:
    volts, _ = mains(12.0, RATE_HZ, frequency_hz=hz, noise_db=60)
    cuts = np.unique(np.minimum(np.cumsum(sizes), len(volts)))
    bounds = [0, *cuts.tolist(), len(volts)]
    begin_ns, ns = TICK_NS - 5 * NS, round(NS / RATE_HZ)
    pieces = [SignalPiece(volts[a:b], a, RATE_HZ, begin_ns + a * ns) for a, b in pairwise(bounds)]
    assert streamed(pieces) == streamed([SignalPiece(volts, 0, RATE_HZ, begin_ns)])
