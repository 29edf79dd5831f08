"""Aggregation against sums that are known by hand."""

import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from opq_measure.aggregation.aggregate import Aggregate, Quantity
from opq_measure.aggregation.aggregator import Aggregator
from opq_measure.rms import cycle_rms_v
from opq_measure.signal import SignalPiece
from opq_measure.timebase.window import WindowTime
from opq_measure.timebase.windows import Window, Windows, windows_of

NS = 10**9
TICK_NS = 1_800_000_000 * NS  # an even hour and a tick of ten minutes
QUANTITIES = (Quantity("rms_v"), Quantity("frequency_hz", mean="arithmetic"))
Timed = list[tuple[WindowTime, float]]


def windows(start_ns: int, count: int, hz: float = 60.0, utc: bool = True, rms_v: float = 120.0) -> Timed:
    """Windows of 12 cycles, resynchronised at ticks as 4-30 has it; an edge lies at `start_ns`."""
    found: Timed = []
    cycle_ns = NS / hz
    edge = 0
    fresh = True
    for _ in range(count):
        start = start_ns + round(edge * cycle_ns)
        end = start_ns + round((edge + 12) * cycle_ns)
        next_tick = (start // (600 * NS) + 1) * 600 * NS
        over = utc and end > next_tick
        tick = utc and (start % (600 * NS) == 0 or (bool(found) and found[-1][0].overlap and not fresh))
        found.append((WindowTime(start, end, tick, over, utc), rms_v))
        fresh = False
        edge += 12
        if over:
            edge = math.ceil((next_tick - start_ns) / cycle_ns)
    return found


def aggregate(given: Timed, flags: frozenset[int] = frozenset(), end: bool = True) -> list[Aggregate]:
    aggregator = Aggregator(QUANTITIES)
    found = []
    for k, (span, rms_v) in enumerate(given):
        found += aggregator.push_values(span, {"rms_v": rms_v, "frequency_hz": 60.0}, flagged=k in flags)
    return found + (aggregator.end() if end else [])


def of(kind: str, found: list[Aggregate]) -> list[Aggregate]:
    return [each for each in found if each.kind == kind]


def test_fifteen_windows_are_180_cycles() -> None:
    """By the square root of the mean of squares."""
    given = [(span, 100.0 + k) for k, (span, _) in enumerate(windows(TICK_NS, 15))]
    (found,) = of("180_cycles", aggregate(given))
    rms = found.values()["rms_v"]
    assert rms.mean == pytest.approx(math.sqrt(sum((100.0 + k) ** 2 for k in range(15)) / 15), rel=1e-14)
    assert (rms.min, rms.max) == (100.0, 114.0)
    assert (found.start_ns, found.end_ns, found.count) == (TICK_NS, TICK_NS + 3 * NS, 15)
    assert found.coverage == 1.0 and not found.flagged and found.utc


def test_frequency_has_an_arithmetic_mean() -> None:
    aggregator = Aggregator(QUANTITIES)
    found = []
    for k, (span, _) in enumerate(windows(TICK_NS, 15)):
        found += aggregator.push_values(span, {"frequency_hz": 50.0 + k})
    assert found[0].values()["frequency_hz"].mean == pytest.approx(57.0, rel=1e-14)
    assert math.isnan(float(found[0].values()["rms_v"].mean))


def test_at_50_hz_it_is_150_cycles() -> None:
    aggregator = Aggregator(QUANTITIES, nominal_hz=50.0)
    spans = [WindowTime(k * NS // 5, (k + 1) * NS // 5) for k in range(15)]
    assert [each.kind for span in spans for each in aggregator.push_values(span, {})] == ["150_cycles"]


def test_ten_minutes_carry_their_end() -> None:
    given = [(span, 100.0 if k % 2 else 140.0) for k, (span, _) in enumerate(windows(TICK_NS, 3001))]
    found = of("10_min", aggregate(given, end=False))
    assert [(each.start_ns, each.end_ns) for each in found] == [(TICK_NS, TICK_NS + 600 * NS)]
    assert found[0].count == 3000 and found[0].coverage == 1.0
    assert found[0].values()["rms_v"].mean == pytest.approx(math.sqrt((100.0**2 + 140.0**2) / 2), rel=1e-14)


def test_a_window_over_a_tick_belongs_before_it() -> None:
    given = windows(TICK_NS, 3020, hz=60.013)
    over = next(k for k, (span, _) in enumerate(given) if span.overlap)
    given[over] = (given[over][0], 180.0)
    first, second = of("10_min", aggregate(given))
    assert first.values()["rms_v"].max == 180.0
    assert second.values()["rms_v"].max == 120.0
    assert first.count == over + 1
    assert first.coverage == 1.0 and second.coverage == pytest.approx((3020 - over - 1) / 3000, rel=2e-3)


def test_180_cycles_at_a_tick_are_completed() -> None:
    """They overlap the new ones."""
    given = windows(TICK_NS, 3060, hz=59.9)
    tick = next(k for k, (span, _) in enumerate(given) if k and span.tick)
    assert tick % 15  # some are under way
    found = of("180_cycles", aggregate(given))
    begun = [each.start_ns for each in found]
    pending = given[tick - tick % 15][0].start_ns
    assert pending in begun and given[tick][0].start_ns in begun
    old = found[begun.index(pending)]
    new = found[begun.index(given[tick][0].start_ns)]
    assert old.start_ns < new.start_ns < old.end_ns < new.end_ns
    assert all(each.count == 15 for each in found)
    assert new.start_ns - (TICK_NS + 600 * NS) in range(NS // 59)


def test_two_hours_are_twelve_ten_minutes() -> None:
    slow = [
        (WindowTime(TICK_NS + k * NS // 5, TICK_NS + (k + 1) * NS // 5), 100.0 + k // 3000)
        for k in range(36_001)
    ]
    found = aggregate(slow, frozenset({17_000}), end=False)
    tens, (two,) = of("10_min", found), of("2_h", found)
    assert (two.start_ns, two.end_ns) == (TICK_NS, TICK_NS + 7200 * NS)
    assert two.count == 36_000 and two.coverage == 1.0
    assert two.values()["rms_v"].mean == pytest.approx(
        math.sqrt(sum((100.0 + k) ** 2 for k in range(12)) / 12), rel=1e-12
    )
    assert (two.values()["rms_v"].min, two.values()["rms_v"].max) == (100.0, 111.0)
    assert [each.flagged for each in tens] == [k == 5 for k in range(12)]
    assert two.flagged and two.known.tolist() == [36_000, 36_000]


def test_a_flag_reaches_every_aggregate() -> None:
    given = [(span, 0.0 if k == 20 else 120.0) for k, (span, _) in enumerate(windows(TICK_NS, 60))]
    found = aggregate(given, frozenset({20}))
    assert [each.flagged for each in of("180_cycles", found)] == [False, True, False, False]
    assert of("180_cycles", found)[1].values()["rms_v"].mean == pytest.approx(120 * math.sqrt(14 / 15))
    assert [each.flagged for each in of("10_min", found)] == [True]
    assert [each.flagged for each in of("2_h", found)] == [True]


def test_a_gap_breaks_180_cycles() -> None:
    given = windows(TICK_NS, 20) + windows(TICK_NS + 60 * NS, 2700)
    found = aggregate(given)
    begun = [each.start_ns for each in of("180_cycles", found)]
    assert begun[:2] == [TICK_NS, TICK_NS + 60 * NS]  # not the five windows before the gap
    ten = of("10_min", found)[0]
    assert ten.count == 2720
    assert ten.coverage == pytest.approx((4 + 540) / 600)
    assert of("2_h", found)[0].coverage == pytest.approx(ten.coverage / 12)


def test_a_gap_after_a_tick_breaks_180_cycles() -> None:
    over = windows(TICK_NS - NS, 8)  # five before the tick
    found = of("180_cycles", aggregate(over + windows(TICK_NS + 10 * NS, 20)))
    assert [each.start_ns - TICK_NS for each in found] == [10 * NS]


def test_sparse_ten_minutes_weigh_little() -> None:
    given = windows(TICK_NS + 540 * NS, 300, rms_v=60.0) + windows(TICK_NS + 600 * NS, 3000, rms_v=120.0)
    (two,) = of("2_h", aggregate(given))
    assert two.values()["rms_v"].mean == pytest.approx(math.sqrt((0.1 * 60**2 + 120**2) / 1.1))


def test_without_utc_intervals_count_from_the_start() -> None:
    spans = [WindowTime((7 + k) * NS // 5, (8 + k) * NS // 5, utc=False) for k in range(3001)]
    found = of("10_min", aggregate([(span, 120.0) for span in spans], end=False))
    assert [(each.start_ns, each.utc, each.coverage) for each in found] == [(7 * NS // 5, False, 1.0)]


def test_without_utc_ten_minutes_are_whole() -> None:
    tens = of("10_min", aggregate(windows(7 * NS, 6020, hz=59.9, utc=False)))
    assert [each.coverage for each in tens[:2]] == [1.0, 1.0]
    assert sum(each.count for each in tens) == 6020


def test_a_clock_that_appears_ends_open_intervals() -> None:
    loose: Timed = [(WindowTime(k * NS // 5, (k + 1) * NS // 5, utc=False), 120.0) for k in range(20)]
    known = windows(TICK_NS, 20)
    assert [each.utc for each in of("10_min", aggregate(known + loose))] == [True, False]
    found = of("10_min", aggregate(loose + known))
    assert [(each.utc, each.count) for each in found] == [(False, 20), (True, 20)]


def test_unknown_values_are_left_out() -> None:
    aggregator = Aggregator((Quantity("thd"), Quantity("harmonics_v", 3)))
    found = []
    for k, (span, _) in enumerate(windows(TICK_NS, 15)):
        row = {"thd": math.nan if k else 0.05, "harmonics_v": np.array([1.0, math.nan, k])}
        found += aggregator.push_values(span, row)
    values = found[0].values()
    assert values["thd"] == (0.05, 0.05, 0.05)
    mean, least, most = values["harmonics_v"]
    assert np.allclose(mean, [1.0, np.nan, math.sqrt(sum(k * k for k in range(15)) / 15)], equal_nan=True)
    assert np.array_equal(least, [1.0, np.nan, 0.0], equal_nan=True)
    assert np.array_equal(most, [1.0, np.nan, 14.0], equal_nan=True)
    assert found[0].known.tolist() == [1, 15, 0, 15]


def test_what_cannot_be_aggregated_is_refused() -> None:
    with pytest.raises(ValueError, match="each once"):
        Aggregator((Quantity("thd"), Quantity("thd")))
    with pytest.raises(ValueError, match="at least one"):
        Aggregator(())
    aggregator = Aggregator((Quantity("harmonics_v", 50),))
    with pytest.raises(ValueError, match="has 49 values, want 50"):
        aggregator.push_values(WindowTime(0, 5), {"harmonics_v": np.zeros(49)})
    with pytest.raises(ValueError, match="has 1 values, want 50"):
        aggregator.push_values(WindowTime(0, 5), {"harmonics_v": 5.0})
    with pytest.raises(ValueError, match="ends before it begins"):
        aggregator.push_values(WindowTime(10, 10), {})


def test_a_clock_set_back_ends_open_intervals() -> None:
    found = aggregate(windows(TICK_NS, 30) + windows(TICK_NS - 7200 * NS, 30))
    assert [(each.start_ns - TICK_NS, each.count) for each in of("10_min", found)] == [
        (0, 30),
        (-7200 * NS, 30),
    ]
    assert [each.count for each in of("2_h", found)] == [30, 30]
    assert len(of("180_cycles", found)) == 4


@pytest.mark.parametrize("cut", [23_500, 24_000, 24_001])
@pytest.mark.parametrize("step_s", [1.0, 0.1, -1.0, -0.1, -3600.0, 500.0])
def test_a_clock_set_within_a_window_loses_nothing(cut: int, step_s: float) -> None:
    """Eight seconds of samples without a gap, 100 s behind a tick; a leap second is a step of -1 s."""
    rate_hz, start_ns = 6000.0, TICK_NS + 100 * NS
    volts = np.sin(2 * np.pi * 60 * np.arange(48_000) / rate_hz)
    set_ns = start_ns + round(cut * NS / rate_hz) + round(step_s * NS)
    cutter, aggregator, found = Windows(60.0), Aggregator(QUANTITIES), []
    pieces = [SignalPiece(volts[:cut], 0, rate_hz, start_ns), SignalPiece(volts[cut:], cut, rate_hz, set_ns)]
    windows = [window for piece in pieces for window in cutter.push_samples(piece)] + cutter.end()
    for window in windows:
        time = WindowTime.of(window)
        assert time.end_ns - time.start_ns == pytest.approx(NS / 5, rel=1e-3)
        found += aggregator.push_values(time, {"rms_v": 1.0})
    found += aggregator.end()
    tens = of("10_min", found)
    assert sum(each.count for each in tens) == len(windows) == 40
    assert sum(each.coverage for each in tens) == pytest.approx(8 / 600, rel=1e-3)
    assert len(tens) == (1 if abs(step_s) <= 1 else 2)
    assert all(each.start_ns < each.end_ns for each in found)


def test_a_leap_second_leaves_one_ten_minutes() -> None:
    """UTC's 23:59:59 comes twice: 601 s."""
    last = windows(TICK_NS, 3000)
    found = of("10_min", aggregate(last + windows(TICK_NS + 599 * NS, 5) + windows(TICK_NS + 600 * NS, 5)))
    assert [(each.start_ns - TICK_NS, each.count) for each in found] == [(0, 3005), (600 * NS, 5)]
    assert found[0].coverage == 1.0


def test_a_window_on_a_tick_belongs_after_it() -> None:
    """Also if its time is rounded to before the tick."""
    tick_ns = TICK_NS + 600 * NS
    before = WindowTime(tick_ns - NS // 5, tick_ns - 700)
    aggregator = Aggregator(QUANTITIES)
    aggregator.push_values(before, {"rms_v": 100.0})
    (ten, *_) = aggregator.push_values(
        WindowTime(tick_ns - 700, tick_ns + NS // 5, tick=True), {"rms_v": 200.0}
    )
    assert (ten.kind, ten.end_ns, ten.count) == ("10_min", tick_ns, 1)


@pytest.mark.parametrize(("late_s", "whole"), [(0.016, True), (0.05, False)])
def test_ten_minutes_that_begin_late_are_not_whole(late_s: float, whole: bool) -> None:
    """Within a cycle of the tick there was no edge before."""
    given = windows(TICK_NS + round(late_s * NS), 3005)
    (ten, _) = of("10_min", aggregate(given))
    assert (ten.coverage == 1.0) == whole and ten.coverage > 0.9999


@pytest.mark.parametrize("lost_cycles", [0, 1, 2])
def test_a_gap_of_one_cycle_counts(lost_cycles: int) -> None:
    given = windows(TICK_NS, 1500)
    given += windows(given[-1][0].end_ns + round(lost_cycles * NS / 60), 1500)
    ten = of("10_min", aggregate(given))[0]
    assert (ten.coverage == 1.0) == (lost_cycles == 0)
    assert len(of("180_cycles", aggregate(given))) == 200


def test_as_json_unknown_is_null() -> None:
    aggregator = Aggregator((Quantity("thd"), Quantity("harmonics_v", 2)))
    for time, _ in windows(TICK_NS, 14):
        aggregator.push_values(time, {"harmonics_v": np.array([1.0, math.nan])})
    (found,) = aggregator.push_values(windows(TICK_NS, 15)[-1][0], {"harmonics_v": np.array([1.0, math.nan])})
    assert json.loads(json.dumps(found.entry(), allow_nan=False)) == {
        "kind": "180_cycles",
        "start_ns": TICK_NS,
        "end_ns": TICK_NS + 3 * NS,
        "utc": True,
        "count": 15,
        "coverage": 1.0,
        "flagged": False,
        "values": {
            "thd": {"mean": None, "min": None, "max": None},
            "harmonics_v": {"mean": [1.0, None], "min": [1.0, None], "max": [1.0, None]},
        },
    }


def test_aggregates_do_not_depend_on_blocks() -> None:
    """20 s of 59.7 Hz over a tick, with a gap: the whole way from samples."""
    rate_hz = 6250.0  # 160 us: every sample's time is a whole ns, so that blocks cannot round it otherwise
    volts = 170.0 * np.sin(2 * np.pi * 59.7 * np.arange(125_000) / rate_hz)
    begin_ns = TICK_NS - 10 * NS - 123_456_789

    def from_blocks(size: int) -> list[Aggregate]:
        cutter, aggregator, found = Windows(60.0), Aggregator(QUANTITIES), []
        for run in ((0, 104_000), (105_000, 125_000)):
            for first in range(*run, size):
                part = volts[first : min(first + size, run[1])]
                start_ns = begin_ns + round(first * NS / rate_hz)
                for window in cutter.push_samples(SignalPiece(part, first, rate_hz, start_ns)):
                    found += into(aggregator, window)
        for window in cutter.end():
            found += into(aggregator, window)
        return found + aggregator.end()

    def into(aggregator: Aggregator, window: Window) -> list[Aggregate]:
        rms_v = float(cycle_rms_v(window.volts, window.edges[[0, -1]])[0])
        return aggregator.push_values(
            WindowTime.of(window), {"rms_v": rms_v, "frequency_hz": window.frequency_hz}
        )

    once, pieces = from_blocks(200_000), from_blocks(997)
    assert [each.values() for each in once] == [each.values() for each in pieces]
    assert [(each.kind, each.start_ns, each.count) for each in once] == [
        (each.kind, each.start_ns, each.count) for each in pieces
    ]
    tens = of("10_min", once)
    assert [(each.start_ns - TICK_NS) // NS for each in tens] == [-600, 0]
    assert tens[0].coverage == pytest.approx(10.1 / 600, rel=0.03)
    assert len(of("180_cycles", once)) == 7  # 3 before the tick, 1 over it, 2 before the gap, 1 behind
    for each in once:
        assert float(each.values()["rms_v"].mean) == pytest.approx(170 / math.sqrt(2), rel=1e-4)
        assert float(each.values()["frequency_hz"].mean) == pytest.approx(59.7, abs=1e-4)


def test_ten_minutes_of_samples_from_tick_to_tick() -> None:
    rate_hz, hz = 1250.0, 59.93
    t_s = np.arange(round(611.0 * rate_hz)) / rate_hz
    volts = np.where(t_s < 308.0, 100.0, 140.0) * math.sqrt(2) * np.sin(2 * np.pi * hz * t_s + 0.7)
    aggregator, found = Aggregator(QUANTITIES), []
    for window in windows_of(volts, rate_hz, 60.0, TICK_NS - 8 * NS):
        rms_v = float(cycle_rms_v(window.volts, window.edges[[0, -1]])[0])
        values = {"rms_v": rms_v, "frequency_hz": window.frequency_hz}
        found += aggregator.push_values(WindowTime.of(window), values)
    before, whole, behind = of("10_min", found + aggregator.end())
    assert (whole.start_ns, whole.end_ns, whole.coverage) == (TICK_NS, TICK_NS + 600 * NS, 1.0)
    assert whole.count == math.ceil(600 * hz / 12)  # the window over the tick is its last
    mean_v = math.sqrt((100.0**2 + 140.0**2) / 2)  # the step is in its middle
    assert float(whole.values()["rms_v"].mean) == pytest.approx(mean_v, rel=3e-4)
    assert float(whole.values()["frequency_hz"].mean) == pytest.approx(hz, abs=1e-4)
    assert float(before.values()["rms_v"].mean) == pytest.approx(100.0, rel=2e-4)
    assert float(behind.values()["rms_v"].mean) == pytest.approx(140.0, rel=2e-4)


def test_without_utc_the_window_counts_from_sample_0() -> None:
    volts = np.sin(2 * np.pi * 60 * np.arange(6000) / 6000.0)
    window = next(windows_of(volts, 6000.0, 60.0))
    time = WindowTime.of(window)
    assert not time.utc and time.start_ns == pytest.approx(0, abs=2e6)
    assert time.end_ns - time.start_ns == pytest.approx(NS / 5, rel=1e-5)


@settings(max_examples=20, deadline=None)
@given(
    hz=st.floats(57.0, 63.0),
    begin_s=st.integers(0, 7199),
    count=st.integers(1, 6500),
    seed=st.integers(0, 1000),
)
def test_no_window_is_lost_or_counted_twice(hz: float, begin_s: int, count: int, seed: int) -> None:
    given = windows(TICK_NS + begin_s * NS, count, hz)
    rms = np.random.default_rng(seed).uniform(100.0, 140.0, count)
    found = aggregate([(span, float(value)) for (span, _), value in zip(given, rms, strict=True)])
    tens = of("10_min", found)
    assert sum(each.count for each in tens) == count
    energy = sum(each.count * float(each.values()["rms_v"].mean) ** 2 for each in tens)
    assert energy == pytest.approx(float(rms @ rms), rel=1e-12)
    assert sum(each.count for each in of("2_h", found)) == count
    assert all(each.coverage == 1.0 for each in tens[1:-1])
    for each in tens:
        assert 0 < each.coverage <= 1
        inside = [k for k, (span, _) in enumerate(given) if each.start_ns <= span.start_ns < each.end_ns]
        assert each.count == len(inside)
