"""The embedded store: cost of a Measurement, and of a span of one Box compared with reading its raw trends.

CPU is this process's, of the store's calls alone; bytes are all that it wrote: log and checkpoint. The
baseline is the longest span by reading one-minute trends, as every chart would have to without levels.
Then the same of class A intervals and of a fleet's indices over a year.
"""

import random
import sqlite3
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
from anyio.from_thread import start_blocking_portal

from bench.harness.result import Baseline, BenchCase, BenchResult, case, named
from bench.harness.store_filling import NOW_MS, drawn_metrics, filled
from bench.harness.store_spans import cost_ms, past_page, span_cost
from opq_cloud.makai.measurements.trends import Trends
from opq_cloud.reports.indices import fleet_indices
from opq_cloud.reports.place_reading import PlaceChoice
from opq_cloud.reports.stating_boxes import FREQUENCY_BOXES
from opq_cloud.reports.week import span_of
from opq_cloud.store.box_record import BoxRecord
from opq_cloud.store.embedded.embedded_store import EmbeddedStore
from opq_proto.decision import Nominal
from opq_proto.measurement.batch import Measurements
from opq_proto.measurement.intervals import DAY_MS, DAY_NS, TEN_MINUTES_MS, TEN_MINUTES_NS
from opq_proto.measurement.wire import batches_of
from opq_proto.messages import TREND_MS, Disturbance, Interval, Measurement, TimeSource, Trend

BOXES = 300
INTERVALS = "class A: "
"""Beginning of the rows of intervals."""
PARCEL_BOXES = 1000
"""Boxes whose Measurements are stored as columns."""
COMMITS_PER_S = 5
"""Commits per second of a live cloud."""
TREND_BOXES = 50
METRIC_MIDDLES = np.array([60.0, 120.0, 0.02, 1.0])
"""Means of METRIC_NAMES."""
METRIC_SPREADS = np.array([0.005, 0.3, 0.001, 0.2])
"""Standard deviations of METRIC_NAMES."""
SPANS = {"6 h": 0.25, "24 h": 1.0, "7 d": 7.0, "30 d": 30.0, "90 d": 90.0, "365 d": 365.0}
"""Span -> days; `--quick` has those up to 30."""


def run(quick: bool) -> BenchResult:
    days = {name: length for name, length in SPANS.items() if length <= (30 if quick else 365)}
    with tempfile.TemporaryDirectory() as folder, start_blocking_portal() as loop:
        rows = measurement_cost(Path(folder) / "measured.db", 2 if quick else 10)
        rows += parcel_cost(Path(folder) / "parcels.db", 1 if quick else 10)
        rows += trend_size(Path(folder) / "trends.db", 4 if quick else 24)
        store = EmbeddedStore(Path(folder) / "year.db")
        rows += filled(store, round(max(days.values())))
        for name, length in days.items():
            rows += span_cost(store, loop, name, length)
        (longest, length) = list(days.items())[-1]
        start_ms = NOW_MS - round(length * DAY_MS)
        raw_ms, raw_rows = cost_ms(lambda: len(store.trends("1", start_ms, NOW_MS)), 1)
        store.close()
    mine = next(each for each in rows if each.case == f"{longest}: CPU of the chart's rows")
    rows.append(case(f"{longest}: trends read without levels", "rows", [raw_rows]))
    rows += [named(f"{INTERVALS}{row.case}", row) for row in interval_rows(quick)]
    baseline = Baseline(f"{longest}: CPU of reading raw trends", raw_ms[0], "ms")
    return BenchResult(tuple(rows), baseline, mine.value / raw_ms[0])


def measurement_cost(path: Path, minutes: int) -> list[BenchCase]:
    """Cost of append, trends of each minute and their levels, for BOXES Boxes at one Measurement a second."""
    draw = random.Random(1)
    pool = [drawn_metrics(draw) for _ in range(500)]
    store, trends = EmbeddedStore(path), Trends()
    began_s, bytes_before, count = time.process_time(), _written(), 0
    making_s = 0.0
    for second in range(minutes * 60):
        making = time.process_time()
        at_ms = NOW_MS + second * 1000
        batch = [
            Measurement(
                str(box),
                at_ms,
                pool[(box * 7 + second) % 500],
                (at_ms - 1000) * 10**6,
                at_ms * 10**6,
                1000,
                TimeSource.NTP,
                second + 1,
                1,
                clock_id=77,
            )
            for box in range(1, BOXES + 1)
        ]
        making_s += time.process_time() - making
        store.append_measurements(batch)
        count += len(batch)
        for each in batches_of(batch, lambda *_: Nominal(120.0, 60.0)):
            trends.add(each, float(second))
        if second % 5 == 0:
            store.put_trends(trends.due(float(second)))
        while second % 60 == 59 and store.roll_up(at_ms):
            pass
    store.put_trends(trends.due(float(minutes * 60), everything=True))
    while store.roll_up(NOW_MS + 2 * DAY_MS):
        pass
    store.close()
    each_us = (time.process_time() - began_s - making_s) / count * 1e6
    return [
        case(f"a Measurement of {BOXES} Boxes with its trends and levels: CPU", "us", [each_us]),
        case("the same: written", "bytes", [(_written() - bytes_before) / count]),
    ]


def parcel_cost(path: Path, minutes: int) -> list[BenchCase]:
    """Cost of PARCEL_BOXES Boxes at one a second, as Makai stores them: columns of 200 ms, with noise.

    Each Box has its own clock, as if on its own gateway: the most expensive case.
    """
    draw = np.random.default_rng(1)
    boxes, nominals = tuple(map(str, range(PARCEL_BOXES))), (Nominal(120.0, 60.0),) * PARCEL_BOXES
    clocks, phase_ns = draw.integers(1, 1 << 62, PARCEL_BOXES), draw.integers(0, 10**9, PARCEL_BOXES)
    at_once = [np.sort(each) for each in np.array_split(np.argsort(phase_ns), COMMITS_PER_S)]
    store, making_s = EmbeddedStore(path), 0.0
    began_s, bytes_before = time.process_time(), _written()
    for second in range(minutes * 60):
        for which in at_once:
            making = time.process_time()
            end_ns = (NOW_MS + second * 1000) * 10**6 + phase_ns[which]
            mean = METRIC_MIDDLES + METRIC_SPREADS * draw.normal(size=(len(which), 4))
            swing = np.abs(METRIC_SPREADS * draw.normal(size=(len(which), 4)))
            values = np.stack((mean - swing, mean + swing, mean), axis=2).astype(np.float32)
            plain = Measurements.of_windows(
                boxes, nominals, which, end_ns - 10**9, end_ns, values, 1000, TimeSource.NTP
            )
            columns = replace(
                plain,
                sequence=np.full(len(which), second + 1),
                oldest_sequence=np.ones(len(which), np.int64),
                clock_id=clocks[which],
                start_id=np.full(len(which), 77),
            )
            making_s += time.process_time() - making
            store.append_measurements((), (columns,))
    count = minutes * 60 * PARCEL_BOXES
    each_us = (time.process_time() - began_s - making_s) / count * 1e6
    end_ms = NOW_MS + minutes * 60_000 + 1000
    read_ms, rows = cost_ms(lambda: len(store.measurements("7", 0, end_ms)))
    store.close()
    name = f"a Measurement of {PARCEL_BOXES} Boxes in columns"
    return [
        case(f"{name}: CPU", "us", [each_us]),
        case(f"{name}: written, file closed", "bytes", [(_written() - bytes_before) / count]),
        case(f"{name}: on disk", "bytes", [path.stat().st_size / count]),
        case(f"{rows} Measurements of one of {PARCEL_BOXES} Boxes: CPU of reading them", "ms", read_ms),
    ]


def trend_size(path: Path, hours: int) -> list[BenchCase]:
    """Bytes of the trends of TREND_BOXES Boxes, stored minute by minute, with all levels above."""
    draw = random.Random(3)
    pool = [{key: (m.min, m.max, m.average) for key, m in drawn_metrics(draw).items()} for _ in range(997)]
    store, bytes_before = EmbeddedStore(path), _written()
    for minute in range(hours * 60):
        at_ms = NOW_MS + minute * TREND_MS
        store.put_trends(
            Trend(str(box), at_ms, pool[(7 * box + minute) % 997], covered_ms=TREND_MS)
            for box in range(1, TREND_BOXES + 1)
        )
        while store.roll_up(at_ms):
            pass
    store.close()
    count, name = hours * 60 * TREND_BOXES, f"a minute of one of {TREND_BOXES} Boxes, with its levels"
    return [
        case(f"{name}: written, file closed", "bytes", [(_written() - bytes_before) / count]),
        case(f"{name}: on disk", "bytes", [path.stat().st_size / count]),
    ]


def _written() -> int:
    """Bytes that this process has written to the system."""
    lines = Path("/proc/self/io").read_text(encoding="ascii").splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith("wchar")))


HISTORY_BOXES = 2
"""Boxes with a history."""
FLEET_BOXES = 100
"""Boxes of the fleet for SARFI."""
T0_NS = 20_454 * DAY_NS
"""2026-01-01."""
DIPS_PER_DAY = 3
SINGLE = (
    "rms_v",
    "rms_min_v",
    "rms_max_v",
    "urms_min_v",
    "urms_max_v",
    "f_hz",
    "f_min_hz",
    "f_max_hz",
    "thd_ratio",
    "thd_max_ratio",
    "under_ratio",
    "over_ratio",
    "pst",
)
RUNS = 20


def interval_rows(quick: bool) -> list[BenchCase]:
    """Class A intervals: bytes, storing, and reading of a year.

    Each interval of 10 minutes has 50 harmonics, 50 interharmonics, 13 other quantities and the phasors of
    ten instants, with noise in each number. The peer of the week's 95 % of 50 harmonics is the same made of
    its intervals, as it would be without the summaries of days.
    """
    days = 31 if quick else 365
    with tempfile.TemporaryDirectory() as folder, start_blocking_portal() as loop:
        path = Path(folder) / "opq.db"
        store = EmbeddedStore(path)
        rows = filled_intervals(store, days) + interval_sizes(path, days)
        last_ns = T0_NS + days * DAY_NS
        week = last_ns - 7 * DAY_NS, last_ns
        intervals, page = store.intervals, past_page(store, loop, last_ns // 10**6)
        rows += [
            cost(
                "a year's chart: a summary for each day",
                lambda: intervals.days("1", TEN_MINUTES_MS, T0_NS, last_ns, ["rms_v"]),
            ),
            cost(
                "a year of one quantity",
                lambda: intervals.read("1", TEN_MINUTES_MS, T0_NS, last_ns, ["rms_v"]),
                3,
            ),
            cost("a year of all quantities", lambda: intervals.read("1", TEN_MINUTES_MS, T0_NS, last_ns), 3),
            cost("disturbances of all Boxes", lambda: intervals.disturbances(None, T0_NS, last_ns)),
            cost(
                "/past: a year's chart", lambda: page(f"box=1&q=rms_v&source=a&from=now-{days}d"), limit=200.0
            ),
            cost(
                "/past: a week's harmonics with limits",
                lambda: page("box=1&show=harmonics&from=now-7d"),
                limit=300.0,
            ),
            cost("/past: verdicts of five weeks", lambda: page("box=1&show=verdicts"), 3),
            cost("a week's 95 % of 50 harmonics", lambda: summarised(store, *week), limit=300.0),
        ]
        rows += fleet_of(store, path, quick)
        raw = cost("made of the intervals", lambda: of_rows(store, *week))
        store.close()
    return [replace(row, peer=raw.value) if row.case.startswith("a week's") else row for row in rows]


def fleet_of(store: EmbeddedStore, path: Path, quick: bool) -> list[BenchCase]:
    """Indices of a fleet over a year: each further Box has the summaries of Box 1, and a dip a day.

    The first FREQUENCY_BOXES have its intervals too: where a summary has none, which no Box stores, the
    frequency of each day would be looked for in vain at Box after Box.
    """
    boxes, numbers = (10 if quick else FLEET_BOXES), iter(range(10**9, 2 * 10**9))
    with sqlite3.connect(path) as opened:
        for box in range(1, boxes + 1):
            if box > HISTORY_BOXES:
                opened.execute(
                    "INSERT INTO interval_blocks SELECT ?, length_ms, level, start_ms, packed "
                    "FROM interval_blocks WHERE box_id = '1' AND (level > 0 OR ?)",
                    (str(box), box <= FREQUENCY_BOXES),
                )
    opened.close()
    for box in range(1, boxes + 1):
        store.put_box(BoxRecord(str(box), "", feeder=f"f{box % 5}"))
        if box > HISTORY_BOXES:
            dips = []
            for day in range(365):
                at_ns = T0_NS + day * DAY_NS + box * 10**9
                dip = Disturbance(str(box), "dip", at_ns, at_ns + 10**8, 1000, 90.0)
                dips.append(_row(str(box), at_ns, at_ns + 10**8, next(numbers), None, dip))
            store.intervals.append(dips)
    span, nominal = span_of("2026", "UTC", 0), Nominal(120.0, 60.0)
    return [
        cost(
            f"a year of SARFI, supply, data and frequency of {boxes} Boxes",
            lambda: fleet_indices(store, span, PlaceChoice(), nominal, span.end_ns),
            3,
            limit=1000.0,
        )
    ]


def summarised(store: EmbeddedStore, start_ns: int, end_ns: int) -> list[float | None]:
    found = store.intervals.summary("1", TEN_MINUTES_MS, start_ns, end_ns, ["harmonics_v"])
    return [found.distribution("harmonics_v", order).quantile(0.95) for order in range(50)]


def of_rows(store: EmbeddedStore, start_ns: int, end_ns: int) -> list[float]:
    found = store.intervals.read("1", TEN_MINUTES_MS, start_ns, end_ns, ["harmonics_v"]).values["harmonics_v"]
    percentiles: list[float] = np.quantile(found, 0.95, axis=0, method="inverted_cdf").tolist()
    return percentiles


def cost(name: str, call: Callable[[], object], runs: int = RUNS, limit: float | None = None) -> BenchCase:
    """CPU of a call, ms."""
    taken = []
    for _ in range(runs):
        began_s = time.process_time()
        call()
        taken.append((time.process_time() - began_s) * 1e3)
    return case(f"{name}: CPU", "ms", taken, limit=limit)


def filled_intervals(store: EmbeddedStore, days: int) -> list[BenchCase]:
    """Stores intervals day by day; returns what one costs, with its blocks and summaries."""
    rng = np.random.default_rng(61)
    base = 2.4 / np.arange(1, 51)
    base[0] = 120.0
    append_s = settle_s = 0.0
    numbers = iter(range(1, 10**9))
    for day in range(days):
        rows = []
        for box in range(1, HISTORY_BOXES + 1):
            harmonics = (base * (1 + rng.normal(size=(144, 50)) / 50)).astype(np.float32)
            others = (0.01 + np.abs(rng.normal(size=(144, 50))) / 200).astype(np.float32)
            angles = rng.uniform(-180, 180, (144, 10)).astype(np.float32)
            phasors = (120 * (1 + rng.normal(size=(144, 10)) / 100)).astype(np.float32)
            single = (120 * (1 + rng.normal(size=(144, len(SINGLE))) / 100)).astype(np.float32)
            for at in range(144):
                start_ns = T0_NS + day * DAY_NS + at * TEN_MINUTES_NS
                values: dict[str, float | tuple[float, ...]] = {
                    **dict(zip(SINGLE, single[at].tolist(), strict=True)),
                    "harmonics_v": tuple(harmonics[at].tolist()),
                    "interharmonics_v": tuple(others[at].tolist()),
                    "angles_deg": tuple(angles[at].tolist()),
                    "phasors_v": tuple(phasors[at].tolist()),
                }
                interval = Interval(TEN_MINUTES_MS, at % 50 == 0, 1.0, values)
                rows.append(
                    _row(str(box), start_ns, start_ns + TEN_MINUTES_NS, next(numbers), interval, None)
                )
            for number in range(DIPS_PER_DAY):
                at_ns = T0_NS + day * DAY_NS + number * 3600 * 10**9
                dip = Disturbance(str(box), "dip", at_ns, at_ns + 10**8, 1000, 90.0)
                rows.append(_row(str(box), at_ns, at_ns + 10**8, next(numbers), None, dip))
        began_s = time.process_time()
        store.intervals.append(rows)
        appended_s = time.process_time()
        while store.intervals.settle((T0_NS + (day + 2) * DAY_NS) // 10**6):
            pass
        append_s, settle_s = append_s + appended_s - began_s, settle_s + time.process_time() - appended_s
    count = days * HISTORY_BOXES * 144
    return [
        case("append of an interval: CPU", "us", [append_s / count * 1e6]),
        case("its block and summaries: CPU", "us", [settle_s / count * 1e6]),
        case("stored per second and core", "intervals/s", [count / (append_s + settle_s)]),
    ]


def interval_sizes(path: Path, days: int) -> list[BenchCase]:
    with sqlite3.connect(path) as opened:
        of_level = dict(
            opened.execute("SELECT level, sum(length(packed)) FROM interval_blocks GROUP BY level").fetchall()
        )
    opened.close()
    count = days * HISTORY_BOXES * 144
    return [
        case("an interval in its block", "B", [of_level[0] / count]),
        case("its share of the summaries", "B", [(of_level[1] + of_level[2]) / count]),
        case("a Box and year", "MB", [sum(of_level.values()) / HISTORY_BOXES / days * 365 / 1e6]),
    ]


def _row(
    box_id: str, start_ns: int, end_ns: int, sequence: int, interval: Interval | None, dip: Disturbance | None
) -> Measurement:
    return Measurement(
        box_id,
        end_ns // 10**6,
        {},
        start_ns,
        end_ns,
        1000,
        sequence=sequence,
        interval=interval,
        disturbance=dip,
    )
