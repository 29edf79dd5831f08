"""A minute that comes in parts: cut by an outage, or twice, because the Box's clock was set back."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from in_thread import in_thread
from judged_triggers import batch

from opq_cloud.core.service import ServiceCounters
from opq_cloud.core.settings.makai_settings import TriggeringServiceSection as Config
from opq_cloud.makai.measurements import measurement_writer, trends
from opq_cloud.makai.measurements.measurement_writer import MeasurementWriter
from opq_cloud.store import CloudStore, open_store
from opq_cloud.store.trends.availability import covered_by_trend, measured_share
from opq_cloud.store.trends.pyramid import merged
from opq_proto.errors import StoreError
from opq_proto.kit import log
from opq_proto.measurement.continuity import CLOCK_SET, CONTINUITY_METRICS, FLAGGED
from opq_proto.measurement.flagged import flags_of_trend
from opq_proto.messages import TREND_MS, Measurement, Metric, TimeSource, Trend

MINUTE_MS = 7_200_000


@pytest.fixture
def store(tmp_path: Path) -> Iterator[CloudStore]:
    opened = open_store(None, tmp_path)
    yield opened
    opened.close()


def measured(second: int, volts: float, backfilled: bool) -> Measurement:
    metrics = {"rms": Metric(volts - 1, volts + 1, volts)}
    return Measurement("1", 60_000 + 1000 * second, metrics, sequence=second, backfilled=backfilled)


def test_a_backfilled_minute_has_the_whole_mean(
    makai: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trends, "SILENT_S", 0.0)
    store = open_store(None, tmp_path)
    store.append_measurements([measured(second, 120.0, False) for second in range(40)])
    store.put_trends([Trend("1", 60_000, {"rms": (119.0, 121.0, 120.0)})])
    counters = ServiceCounters()
    config = Config(batch_ms=20, ack_interval_s=0.1)
    writer = MeasurementWriter(store, config, counters, log.get(), lambda box_id, text: None)
    with in_thread(writer.run):
        for second in range(40, 60):
            writer.accept(batch(measured(second, 90.0, True)))
        makai.wait_for(lambda: counters.total("measurements_stored") == 20)
        makai.wait_for(lambda: counters.total("trends_corrected") > 0)
    (trend,) = store.trends("1", 0, 200_000)
    store.close()
    assert trend.metrics["rms"] == (89.0, 121.0, pytest.approx(110.0))


def test_a_refused_trend_is_made_again_later(
    makai: Any, store: CloudStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its Measurements are stored and acknowledged, so no Box sends them again."""
    refused = [StoreError("the disk is full")] * 3
    put_trends = store.put_trends

    def full_disk(rows: Sequence[Trend]) -> set[tuple[str, int]]:
        if refused:
            raise refused.pop()
        return put_trends(rows)

    monkeypatch.setattr(store, "put_trends", full_disk)
    monkeypatch.setattr(trends, "SILENT_S", 0.0)
    counters = ServiceCounters()
    config = Config(batch_ms=20, ack_interval_s=0.1)
    writer = MeasurementWriter(store, config, counters, log.get(), lambda box_id, text: None)
    with in_thread(writer.run):
        writer.accept(batch(measured(0, 120.0, False)))
        makai.wait_for(lambda: counters.total("trends_refused") == 3)
        makai.wait_for(lambda: bool(store.trends("1", 0, 200_000)))
    (trend,) = store.trends("1", 0, 200_000)
    assert trend.metrics["rms"] == (119.0, 121.0, pytest.approx(120.0))


def seconds(
    first: int, ends_s: list[float], volts: float, source: TimeSource, flagged: float = 0.0
) -> list[Measurement]:
    """Measurements of one second each, which end so long after the minute began; numbers from `first` on."""
    metrics = {"rms": Metric(volts - 1, volts + 1, volts), "f": Metric(59.0, 61.0, 60.0)}
    if flagged:
        metrics |= {FLAGGED: Metric(flagged, flagged, flagged)}
    found = []
    for sequence, end_s in enumerate(ends_s, first):
        end_ns = MINUTE_MS * 10**6 + round(end_s * 10**9)
        times = end_ns - 10**9, end_ns, 100, source, sequence, 0
        found.append(Measurement("1", end_ns // 10**6, metrics, *times))
    return found


def minute_of(
    makai: Any, store: CloudStore, parts: list[list[Measurement]], wanted: Trend, apart: bool = False
) -> None:
    """Stores the parts, `apart` each after the minute of the one before was closed; waits for the trend."""
    counters = ServiceCounters()
    config = Config(batch_ms=20, ack_interval_s=0.1)
    writer = MeasurementWriter(store, config, counters, log.get(), lambda box_id, text: None)
    with in_thread(writer.run):
        sent = 0
        for rows in parts:
            for row in rows:
                writer.accept(batch(row))
            sent += len(rows)
            makai.wait_for(partial(lambda total: counters.total("measurements_stored") == total, sent))
            makai.wait_for(lambda: not apart or bool(store.trends("1", MINUTE_MS, MINUTE_MS + 60_000)))
        makai.wait_for(lambda: store.trends("1", MINUTE_MS, MINUTE_MS + 60_000) == [wanted])


@pytest.mark.parametrize("apart", [False, True], ids=["at once", "the first part is stored"])
@pytest.mark.parametrize(
    ("old", "new", "rms"),
    [
        (TimeSource.NTP, TimeSource.GPS, (99.0, 121.0, (20 * 100 + 40 * 120) / 60)),
        (TimeSource.FREE, TimeSource.FREE, (99.0, 121.0, (20 * 100 + 40 * 120) / 60)),
        (TimeSource.GPS, TimeSource.NTP, (99.0, 121.0, (30 * 100 + 30 * 120) / 60)),
    ],
)
def test_repeated_seconds_count_once(
    makai: Any,
    store: CloudStore,
    monkeypatch: pytest.MonkeyPatch,
    apart: bool,
    old: TimeSource,
    new: TimeSource,
    rms: tuple[float, float, float],
) -> None:
    """30 s, then the clock is set back by 10.3 s: the better source counts, of equals the later one."""
    if apart:
        monkeypatch.setattr(trends, "SILENT_S", 0.0)
    monkeypatch.setattr(trends, "LATE_S", 0.0)
    before = seconds(0, [1.0 + n for n in range(30)], 100.0, old)
    after = seconds(30, [20.7 + n for n in range(40)], 120.0, new)
    beyond = seconds(70, [60.7], 120.0, new)  # the next minute begins, so this one is over
    minute = Trend("1", MINUTE_MS, {"rms": rms, "f": (59.0, 61.0, 60.0)}, covered_ms=60_000)
    minute_of(makai, store, [before, [*after, *beyond]], minute, apart)


def test_a_repeated_minute_replaces_the_first(
    makai: Any, store: CloudStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The clock was an hour ahead for 30 s; the minute has nothing of them, not even their limits."""
    monkeypatch.setattr(trends, "SILENT_S", 0.0)
    monkeypatch.setattr(trends, "LATE_S", 0.0)
    before = seconds(0, [1.0 + n for n in range(30)], 100.0, TimeSource.NTP)
    between = seconds(30, [-3570.3 + n for n in range(30)], 120.0, TimeSource.GPS)
    after = seconds(60, [0.7 + n for n in range(61)], 120.0, TimeSource.GPS)
    metrics = {"rms": (119.0, 121.0, 120.0), "f": (59.0, 61.0, 60.0)}
    minute_of(makai, store, [before, between, after], Trend("1", MINUTE_MS, metrics, covered_ms=60_000), True)


@pytest.mark.parametrize(("flagged", "low_v"), [(1.0, 119.0), (2.0, 59.0), (3.0, 119.0)])
def test_a_flagged_measurement_widens_no_limits(flagged: float, low_v: float) -> None:
    """A dip (flag 2) widens the limits of rms, a Measurement beside a gap (1) widens none. The trend has the
    highest number."""
    well = [
        replace(row, metrics={**row.metrics, "f": Metric(59.5, 60.5, 60.0)})
        for row in seconds(0, [1.0 + n for n in range(45)], 120.0, TimeSource.GPS)
    ]
    spoilt = seconds(45, [46.0 + n for n in range(14)], 60.0, TimeSource.GPS, flagged)
    open_minutes = trends.Trends()
    for row in (*well[:20], *spoilt, *well[20:]):
        open_minutes.add(batch(row), 0.0)
    (trend,) = open_minutes.due(1e3)
    assert trend.metrics["rms"] == (low_v, 121.0, pytest.approx((45 * 120 + 14 * 60) / 59))
    assert trend.metrics["f"] == (59.5, 60.5, 60.0)
    assert flags_of_trend(trend.metrics) == flagged
    whole = merged("1", 0, 600_000, [trend, replace(trend, metrics={"rms": (1.0, 2.0, 1.5)})])
    assert flags_of_trend(whole.metrics) == flagged


def test_an_all_flagged_minute_has_means_as_limits() -> None:
    open_minutes = trends.Trends()
    for row in seconds(0, [1.0 + n for n in range(20)], 60.0, TimeSource.GPS, 1.0):
        open_minutes.add(batch(row), 0.0)
    (trend,) = open_minutes.due(1e3)
    means = {"rms": (60.0, 60.0, 60.0), "f": (60.0, 60.0, 60.0), FLAGGED: (1.0, 1.0, 1.0)}
    assert trend == Trend("1", MINUTE_MS, means, covered_ms=20_000)


@pytest.mark.parametrize("flagged", [1.0, 2.0, 3.0])
def test_an_all_flagged_minute_widens_no_hour(flagged: float) -> None:
    """Its frequency is a phase jump's; a dip's voltage (flag 2) stays the lowest of the hour."""
    minutes = []
    for number in range(60):
        is_flagged = number == 7
        times = [1.0 + n for n in range(50)]
        rows = seconds(
            0, times, 60.0 if is_flagged else 120.0, TimeSource.GPS, flagged if is_flagged else 0.0
        )
        if is_flagged:
            rows = [replace(row, metrics=row.metrics | {"f": Metric(49.0, 49.4, 49.2)}) for row in rows]
        open_minutes = trends.Trends()
        for row in rows:
            open_minutes.add(batch(row), 0.0)
        (minute,) = open_minutes.due(1e3)
        minutes.append(replace(minute, start_ms=60_000 * number))
    tens = [merged("1", 600_000 * ten, 600_000, minutes[10 * ten : 10 * ten + 10]) for ten in range(6)]
    for row in (tens[0], merged("1", 0, 3_600_000, tens)):
        assert row.metrics["f"][:2] == (59.0, 61.0) and row.metrics["f"][2] < 60.0
        assert row.metrics["rms"][0] == (59.0 if flagged == 2.0 else 119.0)
        assert row.metrics[FLAGGED][:2] == (0.0, flagged)
    alone = merged("1", 0, 600_000, [minutes[7]])
    assert alone.metrics["f"] == pytest.approx((49.2, 49.2, 49.2))
    assert alone.metrics[FLAGGED][:2] == (flagged, flagged)


def test_past_losses_are_not_trend_quantities() -> None:
    """They describe the time before a Measurement."""
    row, *_ = seconds(0, [1.0], 120.0, TimeSource.GPS)
    rare = dict.fromkeys([*CONTINUITY_METRICS, "restart_cause", "missing_s"], Metric(1.0, 1.0, 1.0))
    open_minutes = trends.Trends()
    open_minutes.add(batch(replace(row, metrics={**row.metrics, **rare})), 0.0)
    (trend,) = open_minutes.due(1e3)
    assert set(trend.metrics) == {"rms", "f", FLAGGED, CLOCK_SET}, (
        "the time that was jumped over is not a hole"
    )


def test_a_minutes_time_is_never_longer() -> None:
    """In idle mode a window of a minute ends a second after a Measurement that was sent alone."""
    open_minutes = trends.Trends()
    alone, *_ = seconds(0, [1.0], 120.0, TimeSource.GPS)
    open_minutes.add(batch(alone), 0.0)
    start_ns = (MINUTE_MS - 1000) * 10**6
    minute = replace(alone, timestamp_ms=MINUTE_MS + 59_000, start_ns=start_ns, end_ns=start_ns + 60 * 10**9)
    open_minutes.add(batch(minute), 0.0)
    ((trend, again),) = open_minutes.over(1e3)
    assert trend.covered_ms == 60_000
    assert again, "it is made again of the stored ones"


def test_a_clock_jump_is_not_a_hole() -> None:
    """Half an hour forward: a Box that went on measuring measured all of the hour."""
    zero_ms, rows = 1_700_000_040_000 // TREND_MS * TREND_MS, list[Measurement]()
    for second in (*range(0, 600), *range(2400, 3600)):
        start_ns = (zero_ms + 1000 * second) * 1_000_000
        step = {"clock_set_s": Metric(1800.0, 1800.0, 1800.0)} if second == 2400 else {}
        metrics = {"rms": Metric(230.0, 230.0, 230.0), **step}
        end_ms = zero_ms + 1000 * (second + 1)
        rows.append(Measurement("1", end_ms, metrics, start_ns, start_ns + 10**9))
    minutes: dict[int, list[Measurement]] = {}
    for row in rows:
        minutes.setdefault(row.timestamp_ms // TREND_MS * TREND_MS, []).append(row)
    spans = [covered_by_trend(trends.trend_of("1", start_ms, own)[0]) for start_ms, own in minutes.items()]
    share = measured_share(spans, zero_ms, zero_ms + 3_600_000, zero_ms)
    assert share is not None and share >= 0.99


def test_an_open_minute_gets_its_trend_after_restart(
    makai: Any, store: CloudStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also one of an hour ago that was backfilled, and one of a Box that has been silent since."""
    monkeypatch.setattr(trends, "LATE_S", 0.0)
    monkeypatch.setattr(measurement_writer, "SILENT_S", 0.0)
    stored = seconds(30, [1.0 + n for n in range(50)], 100.0, TimeSource.NTP)
    late = seconds(0, [-3530.0 + n for n in range(30)], 90.0, TimeSource.NTP)
    store.append_measurements([*stored, *late, *(replace(row, box_id="2") for row in stored)])
    store.put_trends([Trend("1", MINUTE_MS - 60_000, {"rms": (99.0, 101.0, 100.0)}, covered_ms=60_000)])
    counters = ServiceCounters()
    config = Config(batch_ms=20, ack_interval_s=0.1)
    writer = MeasurementWriter(store, config, counters, log.get(), lambda box_id, text: None)
    found: dict[str, list[tuple[int, int, float]]] = {}

    def missing() -> bool:
        for box_id in ("1", "2"):
            rows = store.trends(box_id, 0, MINUTE_MS + 60_000)
            found[box_id] = [(row.start_ms, row.time_ms, row.metrics["rms"][2]) for row in rows]
        return [len(found[box_id]) for box_id in ("1", "2")] != [3, 1]

    with in_thread(writer.run):
        writer.accept(batch(*seconds(80, [130.0, 131.0], 120.0, TimeSource.NTP)))
        makai.wait_for(lambda: not missing())
    an_hour_ago = (MINUTE_MS - 3540_000, 30_000, 90.0)
    assert found["1"][0] == an_hour_ago and found["1"][2] == (MINUTE_MS, 50_000, 100.0)
    assert found["2"] == [(MINUTE_MS, 50_000, 100.0)]
