"""What the charts draw; expected values are closed form."""

import math
from dataclasses import replace
from typing import cast

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from opq_cloud.store.store import CloudStore
from opq_cloud.view.pages.drawing import charts
from opq_cloud.view.pages.drawing.charts import BucketCache
from opq_proto.measurement.continuity import FLAGGED
from opq_proto.messages import Measurement, Metric, TimeSource, Waveform

START_NS = 1_795_164_307_000_000_000


def _sine(rms_v: float = 120.0, seconds: float = 1.0) -> Waveform:
    t_s = np.arange(round(12_000 * seconds)) / 12_000
    counts = np.round(rms_v * math.sqrt(2) * np.sin(2 * np.pi * 60 * t_s) / 0.01).astype(np.int16)
    return Waveform("1", START_NS, 1000, TimeSource.GPS, 12_000_000, 0.01, 500, counts)


@given(
    st.lists(st.floats(-1e3, 1e3), min_size=1, max_size=700),
    st.integers(2, 300),
)
@settings(max_examples=60, deadline=None)
def test_a_reduced_line_keeps_order_and_both_extremes(values: list[float], points: int) -> None:
    data = np.array(values)
    line = charts.reduce_min_max(np.arange(len(data), dtype=float), data, points)
    assert (np.diff(line.t_ms) > 0).all()
    assert len(line.values) <= max(points + 4, 4) or len(line.values) == len(data)
    assert line.values.min() == data.min()
    assert line.values.max() == data.max()
    assert (data[line.t_ms.astype(int)] == line.values).all()


def _measurement(t_ms: int, rms: tuple[float, float, float] | None) -> Measurement:
    metrics = {} if rms is None else {"rms": Metric(min=rms[0], average=rms[1], max=rms[2])}
    return Measurement("1", t_ms, metrics)


def test_buckets_hold_lowest_mean_and_highest() -> None:
    """Buckets hold lowest mean and highest and none for what was not measured."""
    rows = [
        _measurement(60_000, (110.0, 119.0, 121.0)),
        _measurement(61_000, (118.0, 121.0, 125.0)),
        _measurement(130_000, None),
    ]
    first, second = charts.buckets(rows, 60_000)
    assert (first.start_ms, first.windows, first.values["rms_v"]) == (60_000, 2, (110.0, 120.0, 125.0))
    assert (second.start_ms, second.values["rms_v"], second.values["f_hz"]) == (120_000, None, None)


def test_a_crossing_is_not_counted_beside_its_window() -> None:
    crossing = replace(_measurement(61_000, (100.0, 100.0, 100.0)), crossing=True)
    (bucket,) = charts.buckets([_measurement(60_500, (99.0, 119.0, 121.0)), crossing], 10_000)
    assert (bucket.windows, bucket.values["rms_v"]) == (1, (99.0, 119.0, 121.0))


def test_flagged_measurements_widen_no_bucket() -> None:
    """A gap (1) counts in the mean alone, a dip (2) also in the limits of rms."""

    def flagged(at_ms: int, three: tuple[float, float, float], flags: float) -> Measurement:
        metrics = {"rms": Metric(*three), "f": Metric(*three)}
        flag = {FLAGGED: Metric(flags, flags, flags)} if flags else {}
        return Measurement("1", at_ms, {**metrics, **flag})

    rows = [flagged(1000 * n, (119.0, 121.0, 120.0), 0.0) for n in (1, 2, 3, 4)]
    gap, dip = flagged(5000, (0.0, 500.0, 100.0), 1.0), flagged(6000, (60.0, 120.0, 90.0), 2.0)
    (bucket,) = charts.buckets([*rows, gap, dip], 10_000)
    assert bucket.values["rms_v"] == (60.0, pytest.approx((4 * 120 + 100 + 90) / 6), 121.0)
    assert bucket.values["f_hz"] == (119.0, pytest.approx((4 * 120 + 100 + 90) / 6), 121.0)
    assert bucket.flagged == 2
    (alone,) = charts.buckets([gap], 10_000)
    assert alone.values["rms_v"] == (100.0, 100.0, 100.0) and alone.flagged == 1
    again = [replace(row, source=TimeSource.GPS) for row in rows[1:3]]
    (once,) = charts.buckets([*rows, *again], 10_000)
    assert once.windows == 4 and once.flagged == 0


def test_a_minute_long_measurement_weighs_its_length() -> None:
    """A minute in one measurement fills what it covers and weighs as long."""
    long = replace(_measurement(64_000, (119.0, 120.0, 121.0)), start_ns=5 * 10**9, end_ns=64 * 10**9)
    second = replace(_measurement(65_000, (60.0, 70.0, 80.0)), start_ns=64 * 10**9, end_ns=65 * 10**9)
    found = charts.buckets([long, second], 10_000)
    assert [bucket.start_ms for bucket in found] == [k * 10_000 for k in range(7)]
    assert [bucket.values["rms_v"] for bucket in found[:6]] == [(119.0, 120.0, 121.0)] * 6
    assert found[6].values["rms_v"] == (60.0, pytest.approx((4 * 120 + 70) / 5), 121.0)


def test_many_viewers_chart_is_read_once() -> None:
    asked: list[tuple[int, int]] = []
    rows = [_measurement(k * 1000, (119.0, 120.0, 121.0)) for k in range(1, 7200)]

    class Store:
        def measurements(self, box_id: str, start_ms: int, end_ms: int) -> list[Measurement]:
            asked.append((start_ms, end_ms))
            return [row for row in rows if start_ms <= row.timestamp_ms < end_ms]

    clock_s = [0.0]
    cache = BucketCache(cast(CloudStore, Store()), lambda: clock_s[0])
    for now_ms in (3_600_000, 3_600_000, 3_630_000, 3_700_000):
        start_ms = now_ms - 3_600_000
        seen = cache.read("1", 10_000, start_ms, now_ms)
        assert seen == charts.buckets(
            [row for row in rows if start_ms // 10_000 * 10_000 <= row.timestamp_ms < now_ms], 10_000
        )
    assert asked == [(0, 3_600_000), (3_540_000, 3_630_000), (3_570_000, 3_700_000)]
    rows[1800] = replace(rows[1800], metrics={"rms": Metric(60.0, 60.0, 60.0)})  # it comes late
    clock_s[0] = 301.0
    found = [each.values["rms_v"] for each in cache.read("1", 10_000, 100_000, 3_700_000)]
    assert min(spread[0] for spread in found if spread) == 60.0


def test_windows_that_meet_leave_nothing_unmeasured() -> None:
    """A window of 1.2 s counts where it ends; what it covers lies in two stretches."""
    zero_ms, windows = 1_700_000_000_000, list[Measurement]()
    for end_ms in range(zero_ms + 1200, zero_ms + 70_000, 1200):
        times = (end_ms - 1200) * 1_000_000, end_ms * 1_000_000
        windows.append(Measurement("1", end_ms, {"rms": Metric(120.0, 120.0, 120.0)}, *times))
    shares = [each.coverage for each in charts.buckets(windows, 10_000)]
    assert len(shares) == 7 and shares[:-1] == [1.0] * 6
    missing = [row for row in windows if not 20_000 < row.timestamp_ms - zero_ms < 24_000]
    shares = [each.coverage for each in charts.buckets(missing, 10_000)]
    assert sum(1 - share for share in shares[:-1]) == pytest.approx(0.36, abs=0.001)
