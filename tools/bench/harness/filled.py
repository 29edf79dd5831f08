"""Fills a store as the live system would: Boxes, Measurements, incidents over a year, minutes.

It uses the store's own interface. Boxes are written by several threads, so that their commits are joined; old
Measurements as columns, thirty of a Box per block; the newest one by one with their sequence numbers.
"""

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from math import ceil

import numpy as np

from opq_cloud.reports.week import ReportWeek
from opq_cloud.store import BoxRecord, CloudStore, LocationRecord
from opq_cloud.store.incidents.join_plan import IncidentFacts, JoinPlan, KnownFinding
from opq_measure.aggregation.aggregator import TEN_MINUTES_NS, TWO_HOURS_NS
from opq_proto.decision import Nominal
from opq_proto.measurement.batch import Measurements
from opq_proto.measurement.intervals import TEN_MINUTES_MS, TWO_HOURS_MS, Interval
from opq_proto.messages import TREND_MS, Finding, Measurement, Metric, TimeSource, Trend, Trigger
from opq_proto.time_units import DAY_MS

PLAN_SIZE = 500
"""Number of incidents written at once."""
KINDS = ("sag", "swell", "interruption", "impulsive_transient", "harmonics")
WRITERS = 64
NEWEST_S = 5
"""Number of the newest Measurements of each Box that are written one by one."""
BLOCK_S = 30
"""Measurements of a Box, one a second, that one call passes as columns."""
BOXES_AT_ONCE = 2_000
NOMINAL = Nominal(120.0, 60.0)


def fill_boxes(store: CloudStore, boxes: int) -> None:
    """Stores Boxes on a grid over an island, with four feeders per region."""

    def put(number: int) -> None:
        slug = f"p{number}"
        store.put_location(LocationRecord(slug, 55.0 + number % 97 / 300, 14.7 + number % 89 / 200))
        store.put_box(
            BoxRecord(str(number), "", slug, region=f"r{number % 10}", feeder=f"f{number % 40}", phase="a")
        )

    with ThreadPoolExecutor(WRITERS) as pool:
        list(pool.map(put, range(1, boxes + 1)))


def fill_measurements(store: CloudStore, boxes: int, count: int, now_ms: int) -> None:
    """Stores one Measurement a second of each Box, up to now; at least `count` in total."""
    seconds = max(1, ceil(count / boxes))
    blocks = max(0, seconds - NEWEST_S) // BLOCK_S
    box_ids = tuple(str(box) for box in range(1, boxes + 1))
    for block in range(blocks):
        first_ms = now_ms - (seconds - block * BLOCK_S) * 1000
        for begin in range(0, boxes, BOXES_AT_ONCE):
            which = range(begin, min(boxes, begin + BOXES_AT_ONCE))
            store.append_columns(_columns(box_ids, which, first_ms))
    for second in range(blocks * BLOCK_S, seconds):
        store.append_measurements(_second(boxes, now_ms - (seconds - second) * 1000, second + 1))


def _columns(box_ids: tuple[str, ...], which: range, first_ms: int) -> Measurements:
    begins = np.tile(np.arange(BLOCK_S, dtype=np.int64), len(which)) * 1000 + first_ms
    f, rms, thd = [59.99, 60.01, 60.0], [119.5, 120.5, 120.0], [0.02, 0.03, 0.025]
    of_box = np.array([f, rms, thd, [0.0, 0.0, 0.0]], np.float32)
    return Measurements.of_windows(
        box_ids,
        (NOMINAL,) * len(box_ids),
        np.repeat(np.arange(which.start, which.stop, dtype=np.int64), BLOCK_S),
        (begins - 1000) * 1_000_000,
        begins * 1_000_000,
        np.broadcast_to(of_box, (len(begins), 4, 3)),
        1000,
        TimeSource.NTP,
    )


def _second(boxes: int, at_ms: int, sequence: int) -> Iterable[Measurement]:
    figures = {"rms": (119.5, 120.5, 120.0), "f": (59.99, 60.01, 60.0), "thd": (0.02, 0.03, 0.025)}
    singles = {
        name: np.array(three, np.float32).tolist() for name, three in figures.items()
    }  # as on the wire
    metrics = {name: Metric(*three) for name, three in singles.items()}
    return (
        Measurement(
            str(box), at_ms, metrics, (at_ms - 1000) * 10**6, at_ms * 10**6, 1000, TimeSource.NTP, sequence, 1
        )
        for box in range(1, boxes + 1)
    )


def fill_incidents(store: CloudStore, boxes: int, count: int, now_ms: int) -> None:
    """Stores incidents over a year, PLAN_SIZE per event, each at one Box."""
    apart_ns = 365 * DAY_MS * 10**6 // count
    for first in range(0, count, PLAN_SIZE):
        places = range(first, min(first + PLAN_SIZE, count))
        findings = [
            _finding(number, boxes, now_ms * 10**6 - (count - number) * apart_ns) for number in places
        ]
        box_ids = tuple(sorted({each.box_id for each in findings}))
        span = findings[0].start_ns, findings[-1].end_ns
        event_id = store.open_event(
            Trigger(f"bench-{first}", *span, box_ids[:8], box_ids[0], "bench"), "bench"
        )
        store.finish_event(event_id)
        known = tuple(
            KnownFinding(-place, -place, (event_id,), each, leads=True)
            for place, each in enumerate(findings, start=1)
        )
        facts = tuple(
            _facts(-place, each, severity=1.0 + number % 9)
            for place, (number, each) in enumerate(zip(places, findings, strict=True), start=1)
        )
        while (
            store.carry_out(
                JoinPlan(store.join_revision(), event_id, written=known, facts=facts, answer=known)
            )
            is None
        ):
            pass
        store.mark_analysed(event_id)


def _finding(number: int, boxes: int, start_ns: int) -> Finding:
    kind = KINDS[number % len(KINDS)]
    percent = None if kind in KINDS[3:] else {"sag": 70.0, "swell": 115.0}.get(kind, 4.0) + number % 17
    return Finding(
        kind=kind,
        box_id=str(1 + number * 7919 % boxes),
        start_ns=start_ns,
        end_ns=start_ns + (20 + number % 400) * 10**6,
        uncertainty_ns=1_000_000,
        closed=True,
        residual_v=None if percent is None else 1.2 * percent,
        residual_percent=percent,
        duration_cycles=1.0 + number % 24,
        because="made up",
    )


def _facts(incident_id: int, one: Finding, severity: float) -> IncidentFacts:
    return IncidentFacts(
        incident_id,
        one.kind,
        one.residual_percent,
        one.start_ns,
        one.end_ns,
        True,
        1,
        "local",
        severity,
        worst=(30.0, 10**8, -one.start_ns, one.box_id),
        kinds=(one.kind,),
    )


def fill_days(store: CloudStore, days: int, now_ms: int) -> None:
    """Stores one Box's minutes with their levels."""
    first_ms = (now_ms - days * DAY_MS) // TREND_MS * TREND_MS
    metrics = {"rms": (119.0, 121.0, 120.0), "f": (59.98, 60.02, 60.0), "thd": (0.02, 0.03, 0.025)}
    for begin in range(0, days * 1440, 5000):
        store.put_trends(
            Trend("1", first_ms + minute * TREND_MS, metrics, covered_ms=TREND_MS)
            for minute in range(begin, min(begin + 5000, days * 1440))
        )
    while store.roll_up(now_ms):
        pass


def filled_week(box_id: str, week: ReportWeek, seed: int) -> list[Measurement]:
    """A week of intervals of ten minutes and two hours of one Box."""
    rng, numbers = np.random.default_rng(seed), count(1)
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
            _sent(
                box_id, start_ns, TEN_MINUTES_NS, Interval(TEN_MINUTES_MS, False, 1.0, values), next(numbers)
            )
        )
    for at in range(84):
        start_ns = -(-week.start_ns // TWO_HOURS_NS) * TWO_HOURS_NS + at * TWO_HOURS_NS
        interval = Interval(TWO_HOURS_MS, False, 1.0, {"plt": 0.5})
        rows.append(_sent(box_id, start_ns, TWO_HOURS_NS, interval, next(numbers)))
    return rows


def _sent(box_id: str, start_ns: int, length_ns: int, interval: Interval, number: int) -> Measurement:
    end_ns = start_ns + length_ns
    return Measurement(
        box_id, end_ns // 10**6, {}, start_ns, end_ns, 1000, sequence=number, interval=interval
    )
