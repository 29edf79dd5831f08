"""The embedded store: cost of a Measurement, and of a span of one Box compared with reading its raw trends.

CPU is this process's, of the store's calls alone; bytes are all that it wrote: log and checkpoint. The
baseline is the longest span by reading one-minute trends, as every chart would have to without levels.
"""

import random
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np

from bench.result import Baseline, BenchCase, BenchResult, case
from bench.store_filling import NOW_MS, drawn_metrics, filled
from bench.store_spans import cost_ms, span_cost
from opq_cloud.makai.measurements.trends import Trends
from opq_cloud.store.embedded.store import EmbeddedStore
from opq_cloud.store.trends.pyramid import DAY_MS
from opq_proto.decision import Nominal
from opq_proto.measurement.batch import Measurements
from opq_proto.measurement.wire import batches_of
from opq_proto.messages import TREND_MS, Measurement, TimeSource, Trend

BOXES = 300
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
    with tempfile.TemporaryDirectory() as folder:
        rows = measurement_cost(Path(folder) / "measured.db", 2 if quick else 10)
        rows += parcel_cost(Path(folder) / "parcels.db", 1 if quick else 10)
        rows += trend_size(Path(folder) / "trends.db", 4 if quick else 24)
        store = EmbeddedStore(Path(folder) / "year.db")
        rows += filled(store, round(max(days.values())))
        for name, length in days.items():
            rows += span_cost(store, name, length)
        (longest, length) = list(days.items())[-1]
        start_ms = NOW_MS - round(length * DAY_MS)
        raw_ms, raw_rows = cost_ms(lambda: len(store.trends("1", start_ms, NOW_MS)), 1)
        store.close()
    mine = next(each for each in rows if each.case == f"{longest}: CPU of the chart's rows")
    rows.append(case(f"{longest}: trends read without levels", "rows", [raw_rows]))
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
