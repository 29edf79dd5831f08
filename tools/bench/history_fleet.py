"""A fleet's years in the store: how long pages and reports wait for them.

What 10 years of 100 Boxes leave is written as the store itself packs it, past its intake, which
`bench.history` measures: every day and month has its summary, the last year has its intervals, and each Box
has a dip a day. The days come in a few forms that Boxes share, since packing is what takes the time.
"""

import calendar
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from bench.result import BenchCase, case
from opq_cloud.store.driver import Documents, Fields
from opq_cloud.store.embedded.store import EmbeddedStore
from opq_cloud.store.intervals.distribution import pack_summary, summary_of, summed
from opq_cloud.store.intervals.interval_block import DAY_NS, pack_block
from opq_cloud.store.records.disturbances import put_disturbance
from opq_cloud.store.records.interval_reading import DAY, MONTH, ROWS
from opq_cloud.store.records.tables import INTERVAL_BLOCKS
from opq_measure.standards.event_tables import Sarfi, SiteEvent, sarfi_of
from opq_proto.measurement.intervals import IntervalColumns
from opq_proto.messages import Disturbance

TEN_MINUTES_NS = 600 * 10**9
TEN_MINUTES_MS = 600_000
T0_NS = 16_801 * DAY_NS
"""2016-01-01."""
NOMINAL_V = 120.0
FORMS = 2
"""Kinds of days; the Boxes have them in turns."""
YEAR = 365
ROWS_AT_ONCE = 2000
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
CHART_MS = 200.0
"""Limit of a year's chart."""
WEEK_MS = 300.0
"""Limit of a week's percentiles."""
SARFI_MS = 1000.0
"""Limit of SARFI over a year."""


def figures(folder: Path, boxes: int, years: int, calls: int) -> list[BenchCase]:
    """What questions about the fleet cost: wall and CPU, each of another Box and time."""
    store = EmbeddedStore(folder / "fleet.db")
    try:
        fill(store, boxes, years)
        days = years * YEAR
        rng = np.random.default_rng(6161)

        def asked(length: int) -> Iterator[tuple[str, int, int]]:
            while True:
                first_ns = T0_NS + int(rng.integers(0, days - length + 1)) * DAY_NS
                yield str(rng.integers(1, boxes + 1)), first_ns, first_ns + length * DAY_NS

        year, week = asked(min(YEAR, days)), asked(7)
        held = f"{boxes} Boxes, {years} years"

        def chart() -> object:
            box_id, first_ns, last_ns = next(year)
            found = store.intervals.days(box_id, TEN_MINUTES_MS, first_ns, last_ns, ["rms_v"])
            assert len(found) == (last_ns - first_ns) // DAY_NS
            return [(row.summary.distribution("rms_v").quantile(0.95)) for row in found]

        def percentiles() -> object:
            box_id, first_ns, last_ns = next(week)
            found = store.intervals.summary(box_id, TEN_MINUTES_MS, first_ns, last_ns, ["harmonics_v"])
            assert found.intervals == 7 * 144
            return [found.distribution("harmonics_v", order).quantile(0.95) for order in range(50)]

        def sarfi() -> object:
            _, first_ns, last_ns = next(year)
            found = fleet_sarfi(store, first_ns, last_ns)
            assert len(found) == boxes
            return found

        def decade() -> object:
            box_id, _, _ = next(year)
            found = store.intervals.summary(box_id, TEN_MINUTES_MS, T0_NS, T0_NS + days * DAY_NS, ["rms_v"])
            assert found.intervals == days * 144
            return found.distribution("rms_v").quantile(0.95)

        return [
            *waited(f"{held}: a year's chart", chart, calls, CHART_MS),
            *waited(f"{held}: a week's 95 % of 50 harmonics", percentiles, calls, WEEK_MS),
            *waited(f"{held}: 95 % of all years of a Box", decade, calls, CHART_MS),
            *waited(f"{held}: a year of SARFI", sarfi, max(2, calls // 10), SARFI_MS),
            case(f"{held}: size of the file", "GB", [(folder / "fleet.db").stat().st_size / 1e9]),
        ]
    finally:
        store.close()


def waited(name: str, call: Callable[[], object], calls: int, limit_ms: float) -> list[BenchCase]:
    """99 % of the calls take at most so long: by the clock, and in CPU of this process."""
    wall, spent = [], []
    for _ in range(calls):
        began_s, began_cpu_s = time.perf_counter(), time.process_time()
        call()
        wall.append((time.perf_counter() - began_s) * 1e3)
        spent.append((time.process_time() - began_cpu_s) * 1e3)
    return [
        case(f"{name}: p99", "ms", wall, float(np.percentile(wall, 99)), limit=limit_ms),
        case(f"{name}: p99, CPU", "ms", spent, float(np.percentile(spent, 99))),
    ]


def fleet_sarfi(store: EmbeddedStore, start_ns: int, end_ns: int) -> dict[str, Sarfi]:
    """SARFI of each Box, as a place of its own."""
    events: dict[str, list[SiteEvent]] = {}
    for each in store.intervals.disturbances(None, start_ns, end_ns):
        lasts_s = None if each.end_ns is None else (each.end_ns - each.start_ns) / 1e9
        event = SiteEvent(each.kind, each.start_ns, lasts_s, 100 * each.residual_v / NOMINAL_V)
        events.setdefault(each.box_id, []).append(event)
    return {box_id: sarfi_of(own) for box_id, own in events.items()}


def fill(store: EmbeddedStore, boxes: int, years: int) -> None:
    """Writes a month at a time."""
    rng = np.random.default_rng(61)
    end = years * YEAR
    ids = [str(box) for box in range(1, boxes + 1)]
    for month in _months(end):
        _put(store, _blocks(ids, month, end - YEAR, rng))
        dips = [
            Disturbance(box_id, "dip", at_ns, at_ns + int(rng.integers(2, 90)) * 10**7, 1000, residual_v)
            for day in month
            for box_id in ids
            for at_ns in [T0_NS + day * DAY_NS + int(rng.integers(DAY_NS))]
            for residual_v in [NOMINAL_V * rng.random()]
        ]
        store.driver.write(lambda documents, dips=dips: _put_dips(documents, dips))  # type: ignore[misc]


def _months(end: int) -> Iterator[range]:
    """The days of each month of the calendar, from T0 on; the last one may be cut."""
    day = 0
    while day < end:
        at = datetime.fromtimestamp((T0_NS + day * DAY_NS) // 10**9, UTC)
        length = calendar.monthrange(at.year, at.month)[1]
        yield range(day, min(day + length, end))
        day += length


def _put_dips(documents: Documents, dips: Iterable[Disturbance]) -> None:
    for each in dips:
        put_disturbance(documents, each, each.end_ns or 0)


def _put(store: EmbeddedStore, found: Iterable[Fields]) -> None:
    rows = list(found)
    for at in range(0, len(rows), ROWS_AT_ONCE):
        part = rows[at : at + ROWS_AT_ONCE]
        store.driver.write(lambda documents, part=part: documents.put(INTERVAL_BLOCKS, part))  # type: ignore[misc]


def _blocks(ids: Sequence[str], month: range, with_rows: int, rng: np.random.Generator) -> Iterator[Fields]:
    """The documents of a month: its days, their intervals from day `with_rows` on, and the month itself."""
    for form in range(FORMS):
        of_form = ids[form::FORMS]
        summaries = []
        for day in month:
            columns = day_columns(day, rng)
            summaries.append(summary_of(columns))
            yield from _of_boxes(of_form, DAY, day, pack_summary(summaries[-1]))
            if day >= with_rows:
                yield from _of_boxes(of_form, ROWS, day, pack_block(columns))
        yield from _of_boxes(of_form, MONTH, month[0], pack_summary(summed(summaries)))


def _of_boxes(ids: Sequence[str], level: int, day: int, packed: bytes) -> Iterator[Fields]:
    start_ms = (T0_NS + day * DAY_NS) // 10**6
    for box_id in ids:
        yield {
            "box_id": box_id,
            "length_ms": TEN_MINUTES_MS,
            "level": level,
            "start_ms": start_ms,
            "packed": packed,
        }


def day_columns(day: int, rng: np.random.Generator) -> IntervalColumns:
    """A day of a Box, with noise in each number."""
    base = 2.4 / np.arange(1, 51)
    base[0] = NOMINAL_V
    start_ns = T0_NS + day * DAY_NS + np.arange(144, dtype=np.int64) * TEN_MINUTES_NS
    single = NOMINAL_V * (1 + rng.normal(size=(144, len(SINGLE))) / 100)
    values = {name: single[:, at].astype(np.float32) for at, name in enumerate(SINGLE)}
    values["harmonics_v"] = (base * (1 + rng.normal(size=(144, 50)) / 50)).astype(np.float32)
    flagged = np.arange(144) % 50 == 0
    return IntervalColumns(
        "",
        TEN_MINUTES_MS,
        start_ns,
        start_ns + TEN_MINUTES_NS,
        flagged,
        np.ones(144, np.float32),
        dict(sorted(values.items())),
    )
