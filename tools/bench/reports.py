"""`opq-tools bench reports`: the weekly reports of 100 Boxes out of a real store, in each form.

The baseline is the least that a report has to do: the percentiles of each Box's 50 harmonics over its ten
minutes, by NumPy out of memory.
"""

import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path

import numpy as np

from bench.result import Baseline, BenchCase, BenchResult, case, cpu_of
from opq_cloud.reports.limit_table import LimitTable, limit_table
from opq_cloud.reports.reading import PlaceChoice, read_fleet
from opq_cloud.reports.week import ReportWeek, week_of
from opq_cloud.reports.written import ReportForm, written
from opq_cloud.store import CloudStore, open_store
from opq_cloud.store.box_record import BoxRecord
from opq_proto.decision import Nominal
from opq_proto.measurement.intervals import Interval
from opq_proto.messages import Measurement

BOXES = 100
"""Reports of a run, one for each Box."""
QUICK_BOXES = 10
"""The same in a quick run."""
QUICK_PDFS = 3
"""Reports as PDF in a quick run."""
MOST_S = 60.0
"""Most CPU seconds of 100 weekly reports."""
NOMINAL = Nominal(230.0, 50.0)
TEN_MINUTES_NS = 600 * 10**9
TWO_HOURS_NS = 7200 * 10**9


def run(quick: bool) -> BenchResult:
    boxes = QUICK_BOXES if quick else BOXES
    week, table = week_of("2026-W47", "Europe/Berlin", 0), limit_table("en50160")
    with _filled(boxes, week) as store:
        scale = BOXES / boxes
        results = [
            case(
                f"100 reports, {form}",
                "s of CPU",
                [scale * _reports(store, table, week, boxes, form)],
                limit=MOST_S,
            )
            for form in ("html", "json", "csv")
        ]
        results += _pdfs(store, table, week, min(boxes, QUICK_PDFS) if quick else boxes)
        least_s = scale * _percentiles(store, week, boxes)
    return BenchResult(
        tuple(results),
        Baseline("percentiles of 50 harmonics alone", least_s, "s of CPU"),
        results[0].value / least_s,
    )


def _reports(store: CloudStore, table: LimitTable, week: ReportWeek, boxes: int, form: ReportForm) -> float:
    def all_of_them() -> None:
        for box in range(1, boxes + 1):
            written(read_fleet(store, table, week, PlaceChoice("box", str(box)), NOMINAL), form, week.end_ns)

    return cpu_of(all_of_them)[0]


def _pdfs(store: CloudStore, table: LimitTable, week: ReportWeek, count: int) -> list[BenchCase]:
    """PDFs by one process, each read and made: CPU, and by the clock; fewer than BOXES are scaled."""
    began_s, began_cpu_s = time.perf_counter(), time.process_time()
    for box in range(1, count + 1):
        fleet = read_fleet(store, table, week, PlaceChoice("box", str(box)), NOMINAL)
        assert written(fleet, "pdf", week.end_ns).startswith(b"%PDF")
    wall_s, cpu_s = time.perf_counter() - began_s, time.process_time() - began_cpu_s
    scale = BOXES / count
    return [
        case(f"{BOXES} reports, pdf", "s of CPU", [scale * cpu_s], limit=MOST_S),
        case(f"{BOXES} reports, pdf, by the clock", "s", [scale * wall_s]),
    ]


def _percentiles(store: CloudStore, week: ReportWeek, boxes: int) -> float:
    columns = [
        store.intervals.read(str(box), 600_000, week.start_ns, week.end_ns, ("harmonics_v",))
        for box in range(1, boxes + 1)
    ]

    def percentiles() -> None:
        for each in columns:
            np.quantile(each.values["harmonics_v"], 0.95, axis=0, method="inverted_cdf")

    return cpu_of(percentiles)[0]


@contextmanager
def _filled(boxes: int, week: ReportWeek) -> Iterator[CloudStore]:
    """A store with a week of intervals of ten minutes and two hours, in blocks."""
    with tempfile.TemporaryDirectory(prefix="opq-bench-reports-") as folder:
        store = open_store(None, Path(folder))
        try:
            rng = np.random.default_rng(1)
            for box in range(1, boxes + 1):
                store.put_box(BoxRecord(str(box), f"Box {box}", nominal_v=230.0, nominal_hz=50.0))
                store.intervals.append(_week(str(box), week, rng))
            later_ms = week.end_ns // 10**6 + 30 * 86_400_000
            while store.roll_up(later_ms):
                time.sleep(0)
            yield store
        finally:
            store.close()


def _week(box_id: str, week: ReportWeek, rng: np.random.Generator) -> list[Measurement]:
    numbers = count(1)
    volts = rng.normal(230.0, 2.0, (1008,)).astype(np.float32).tolist()
    harmonics = rng.random((1008, 49)).astype(np.float32).tolist()
    rows = []
    for at, (rms_v, others) in enumerate(zip(volts, harmonics, strict=True)):
        values = {
            "rms_v": rms_v,
            "rms_min_v": rms_v - 1,
            "rms_max_v": rms_v + 1,
            "f_hz": 50.0,
            "f_min_hz": 49.95,
            "f_max_hz": 50.05,
            "thd_ratio": 0.03,
            "thd_max_ratio": 0.04,
            "harmonics_v": (rms_v, *others),
        }
        start_ns = -(-week.start_ns // TEN_MINUTES_NS) * TEN_MINUTES_NS + at * TEN_MINUTES_NS
        rows.append(
            _sent(box_id, start_ns, TEN_MINUTES_NS, Interval(600_000, False, 1.0, values), next(numbers))
        )
    for at in range(84):
        start_ns = -(-week.start_ns // TWO_HOURS_NS) * TWO_HOURS_NS + at * TWO_HOURS_NS
        interval = Interval(7_200_000, False, 1.0, {"plt": 0.5})
        rows.append(_sent(box_id, start_ns, TWO_HOURS_NS, interval, next(numbers)))
    return rows


def _sent(box_id: str, start_ns: int, length_ns: int, interval: Interval, number: int) -> Measurement:
    end_ns = start_ns + length_ns
    return Measurement(
        box_id, end_ns // 10**6, {}, start_ns, end_ns, 1000, sequence=number, interval=interval
    )
