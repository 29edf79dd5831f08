"""Class A intervals in the embedded store: bytes, storing, and reading of a year.

CPU is this process's, of the store's calls alone. Each interval of 10 minutes has 50 harmonics, 50
interharmonics, 13 other quantities and the phasors of ten instants, with noise in each number. The baseline
is the week's 95 % of 50 harmonics made of its intervals, as it would be without the summaries of days.
"""

import sqlite3
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from bench import history_fleet
from bench.result import Baseline, BenchCase, BenchResult, case
from bench.store_spans import past_page
from opq_cloud.reports.indices import fleet_indices
from opq_cloud.reports.reading import PlaceChoice
from opq_cloud.reports.week import span_of
from opq_cloud.store.box_record import BoxRecord
from opq_cloud.store.embedded.store import EmbeddedStore
from opq_proto.decision import Nominal
from opq_proto.messages import Disturbance, Interval, Measurement

BOXES = 2
"""Boxes with a history."""
FLEET_BOXES = 100
"""Boxes of the fleet for SARFI."""
TEN_MINUTES_NS = 600 * 10**9
DAY_NS = 86_400 * 10**9
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
YEARS = (100, 10, 200)
"""Boxes, years, and questions of each kind; takes 3 GB for some minutes."""
QUICK_YEARS = (10, 1, 20)
"""The same in a quick run."""


def run(quick: bool) -> BenchResult:
    days = 31 if quick else 365
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "opq.db"
        store = EmbeddedStore(path)
        rows = filled(store, days) + sizes(path, days)
        last_ns = T0_NS + days * DAY_NS
        week = last_ns - 7 * DAY_NS, last_ns
        intervals, page = store.intervals, past_page(store, last_ns // 10**6)
        rows += [
            cost(
                "a year's chart: a summary for each day",
                lambda: intervals.days("1", 600_000, T0_NS, last_ns, ["rms_v"]),
            ),
            cost(
                "a year of one quantity", lambda: intervals.read("1", 600_000, T0_NS, last_ns, ["rms_v"]), 3
            ),
            cost("a year of all quantities", lambda: intervals.read("1", 600_000, T0_NS, last_ns), 3),
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
        rows += history_fleet.figures(Path(folder), *(QUICK_YEARS if quick else YEARS))
    baseline = Baseline("a week's 95 % of 50 harmonics made of its intervals", raw.value, "ms")
    return BenchResult(
        tuple(rows),
        baseline,
        next(each.value for each in rows if each.case.startswith("a week's")) / raw.value,
    )


def fleet_of(store: EmbeddedStore, path: Path, quick: bool) -> list[BenchCase]:
    """Indices of a fleet over a year: each further Box has the summaries of Box 1, and a dip a day."""
    boxes, numbers = (10 if quick else FLEET_BOXES), iter(range(10**9, 2 * 10**9))
    with sqlite3.connect(path) as opened:
        for box in range(1, boxes + 1):
            if box > BOXES:
                opened.execute(
                    "INSERT INTO interval_blocks SELECT ?, length_ms, level, start_ms, packed "
                    "FROM interval_blocks WHERE box_id = '1' AND level > 0",
                    (str(box),),
                )
    opened.close()
    for box in range(1, boxes + 1):
        store.put_box(BoxRecord(str(box), "", feeder=f"f{box % 5}"))
        if box > BOXES:
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
    found = store.intervals.summary("1", 600_000, start_ns, end_ns, ["harmonics_v"])
    return [found.distribution("harmonics_v", order).quantile(0.95) for order in range(50)]


def of_rows(store: EmbeddedStore, start_ns: int, end_ns: int) -> list[float]:
    found = store.intervals.read("1", 600_000, start_ns, end_ns, ["harmonics_v"]).values["harmonics_v"]
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


def filled(store: EmbeddedStore, days: int) -> list[BenchCase]:
    """Stores intervals day by day; returns what one costs, with its blocks and summaries."""
    rng = np.random.default_rng(61)
    base = 2.4 / np.arange(1, 51)
    base[0] = 120.0
    append_s = settle_s = 0.0
    numbers = iter(range(1, 10**9))
    for day in range(days):
        rows = []
        for box in range(1, BOXES + 1):
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
                interval = Interval(600_000, at % 50 == 0, 1.0, values)
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
    count = days * BOXES * 144
    return [
        case("append of an interval: CPU", "us", [append_s / count * 1e6]),
        case("its block and summaries: CPU", "us", [settle_s / count * 1e6]),
        case("stored per second and core", "intervals/s", [count / (append_s + settle_s)]),
    ]


def sizes(path: Path, days: int) -> list[BenchCase]:
    with sqlite3.connect(path) as opened:
        of_level = dict(
            opened.execute("SELECT level, sum(length(packed)) FROM interval_blocks GROUP BY level").fetchall()
        )
    opened.close()
    count = days * BOXES * 144
    return [
        case("an interval in its block", "B", [of_level[0] / count]),
        case("its share of the summaries", "B", [(of_level[1] + of_level[2]) / count]),
        case("a Box and year", "MB", [sum(of_level.values()) / BOXES / days * 365 / 1e6]),
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
