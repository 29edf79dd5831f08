"""Each second counts once after a clock was set back; flagged Measurements widen no limits."""

from collections.abc import Iterable
from itertools import pairwise

import pytest

from opq_proto.measurement.continuity import FLAGGED
from opq_proto.measurement.flagged import flags_of, flags_of_trend, widens_limits
from opq_proto.messages import Measurement, Metric, TimeSource
from opq_proto.wire.counted_once import counted_once

S = 10**9
NOW_NS = 1_765_792_486 * S


def measured(
    sequence: int | None, end_s: float, source: TimeSource = TimeSource.NTP, length_s: float = 1.0
) -> Measurement:
    end_ns = NOW_NS + round(end_s * S)
    start_ns = end_ns - round(length_s * S)
    return Measurement(
        "1", end_ns // 10**6, {"rms": Metric(119.0, 121.0, 120.0)}, start_ns, end_ns, 0, source, sequence
    )


def counted(rows: Iterable[Measurement]) -> list[int | None]:
    return [row.sequence for row in counted_once(list(rows))]


def test_all_rows_of_one_clock_count() -> None:
    rows = [measured(number, number + 0.004 * (number % 3)) for number in range(70)]
    assert counted_once(rows) == rows


@pytest.mark.parametrize(
    ("old", "new", "wanted"),
    [
        (TimeSource.NTP, TimeSource.GPS, [*range(20), *range(30, 60)]),
        (TimeSource.FREE, TimeSource.FREE, [*range(20), *range(30, 60)]),
        (TimeSource.GPS, TimeSource.FREE, [*range(30), *range(40, 60)]),
        (TimeSource.HOLDOVER, TimeSource.NTP, [*range(30), *range(40, 60)]),
    ],
)
def test_repeated_seconds_keep_the_better_source(old: TimeSource, new: TimeSource, wanted: list[int]) -> None:
    """30 s, then the clock is set back by 10.3 s."""
    before = [measured(number, number, old) for number in range(30)]
    after = [measured(number, number - 10.3, new) for number in range(30, 60)]
    found = counted([*before, *after])
    assert found == wanted
    assert counted(sorted([*before, *after], key=lambda row: row.timestamp_ms)) == sorted(
        wanted, key=lambda number: number if number < 30 else number - 10.3
    ), "whatever the order in which they are read"


def test_without_numbers_each_second_counts_once_too() -> None:
    rows = [measured(None, at) for at in range(30)] + [measured(None, at - 0.3) for at in range(20, 50)]
    found = counted_once(sorted(rows, key=lambda row: row.timestamp_ms))
    assert len(found) in (49, 50)
    spans = sorted((row.start_ns or 0, row.end_ns or 0) for row in found)
    assert all(later[0] >= earlier[1] - S // 2 for earlier, later in pairwise(spans))


def test_a_half_repeated_idle_window_is_dropped() -> None:
    """A long window of idle mode is left out where half of it comes again."""
    old = measured(1, 60, length_s=60)
    assert counted([old, *(measured(number, number) for number in range(55, 60))]) == [1, *range(55, 60)]
    new = [measured(number, number, TimeSource.GPS) for number in range(25, 60)]
    assert counted([old, *new]) == list(range(25, 60))


def test_a_crossing_never_counts() -> None:
    crossing = Measurement("1", NOW_NS // 10**6, {"rms": Metric(1.0, 1.0, 1.0)}, sequence=9, crossing=True)
    assert counted([measured(1, 0), crossing]) == [1]


@pytest.mark.parametrize(
    ("flags", "widening"),
    [
        (0.0, {"f", "rms", "thd", "trans", "h5", "rocof", "pst", "unbalance", "supply_v", FLAGGED}),
        (1.0, {FLAGGED}),
        (2.0, {"rms", "trans", "supply_v", FLAGGED}),
        (3.0, {FLAGGED}),
        (float("nan"), {"f", "rms", "thd", "trans", "h5", "rocof", "pst", "unbalance", "supply_v", FLAGGED}),
        (7.5, {"f", "rms", "thd", "trans", "h5", "rocof", "pst", "unbalance", "supply_v", FLAGGED}),
    ],
)
def test_what_a_flagged_measurement_widens(flags: float, widening: set[str]) -> None:
    names = {"f", "rms", "thd", "trans", "h5", "rocof", "pst", "unbalance", "supply_v", FLAGGED}
    found = flags_of({FLAGGED: Metric(flags, flags, flags)})
    assert {name for name in names if widens_limits(found, name)} == widening
    assert flags_of_trend({FLAGGED: (1.0, flags, 1.0)}) == found
    assert flags_of({}) == flags_of_trend({}) == 0
