"""Copies what one cloud's store has of a Box into another's; a second copy adds only what is new.

Measurements, intervals and disturbances are taken once by their numbers, minutes of trends by their time,
events by a token that names the event they come from. Pure over two stores.
"""

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import product

from opq_cloud.makai.measurements.trends import NEIGHBOUR_MS, trend_of
from opq_cloud.store import CloudStore
from opq_cloud.store.event_record import EventRecord
from opq_cloud.store.intervals.interval_rows import UNKNOWN, WIDE, IntervalRow, add_columns
from opq_cloud.store.site_key import may_name_intervals
from opq_proto.measurement.intervals import LENGTHS_MS, IntervalColumns
from opq_proto.messages import TREND_MS, Interval, Measurement, Trend, Trigger

HOUR_MS = 3_600_000
DAY_NS = 24 * HOUR_MS * 1_000_000
FOR_EVER = 2**62
MOST_EVENTS = 1_000_000
AHEAD_MS = 24 * HOUR_MS
"""A Box's clock may be this much ahead."""


@dataclass(frozen=True, slots=True)
class CopiedHistory:
    """How much was new in the other store."""

    measurements: int
    minutes: int
    events: int


def copy_history(box_id: str, source: CloudStore, target: CloudStore, since_ms: int = 0) -> CopiedHistory:
    """Copies what the source has of a Box since then. Raises StoreError; what was copied stays."""
    _copy_intervals(box_id, source, target, since_ms)
    return CopiedHistory(
        _copy_measurements(box_id, source, target, since_ms),
        _copy_minutes(box_id, source, target, since_ms),
        _copy_events(box_id, source, target, since_ms),
    )


def copy_box(box_id: str, source: CloudStore, target: CloudStore) -> None:
    """Makes a Box known with its facts and its place; facts that the target has stay."""
    record = source.box(box_id)
    if record is None or target.box(box_id) is not None:
        return
    place = source.locations().get(record.location or "")
    if place is not None and record.location not in target.locations():
        target.put_location(place)
    target.put_box(replace(record, unplugged=False, retired_ms=0))


def not_copied(box_id: str, source: CloudStore, target: CloudStore) -> list[int]:
    """Numbers of Measurements that only the source has."""
    there = set(target.sequences(box_id, 0, FOR_EVER))
    return [number for number in source.sequences(box_id, 0, FOR_EVER) if number not in there]


def _copy_measurements(box_id: str, source: CloudStore, target: CloudStore, since_ms: int) -> int:
    """By the hour, the oldest first, so that a Box of an original gateway keeps its order."""
    now_ms = time.time_ns() // 1_000_000
    oldest_ms = max(since_ms, now_ms - source.ttls().measurements * 1000 - AHEAD_MS)
    new = 0
    for start_ms in range(oldest_ms, now_ms + AHEAD_MS, HOUR_MS):
        rows = source.measurements(box_id, start_ms, start_ms + HOUR_MS)
        if rows:
            new += target.append_measurements(rows)
    return new


def _copy_intervals(box_id: str, source: CloudStore, target: CloudStore, since_ms: int) -> None:
    """Intervals and disturbances of class A, also of the sites whose phase the Box is or was.

    Their numbers come last, which say that all of it is there.
    """
    since_ns = max(0, since_ms - max(LENGTHS_MS)) * 1_000_000
    record = source.box(box_id)
    sites = [] if record is None else [each for each in record.values_of("site") if may_name_intervals(each)]
    for name, length_ms in product((box_id, *sites), LENGTHS_MS):
        span = source.intervals.span_ns(name, length_ms)
        first_ns, last_ns = span or (0, -1)
        for day in range(max(first_ns, since_ns) // DAY_NS, last_ns // DAY_NS + 1):
            columns = source.intervals.read(name, length_ms, day * DAY_NS, (day + 1) * DAY_NS)
            target.intervals.append(_rows_of(columns, box_id))
    target.intervals.append(
        Measurement(box_id, 0, {}, start_ns=each.start_ns, end_ns=each.end_ns, disturbance=each)
        for each in source.intervals.disturbances(box_id, since_ns, FOR_EVER)
    )
    there = set(target.intervals.sequences(box_id, 0, FOR_EVER))
    numbers = [each for each in source.intervals.sequences(box_id, 0, FOR_EVER) if each not in there]
    target.intervals.append(Measurement(box_id, 0, {}, sequence=number) for number in numbers)


def _rows_of(columns: IntervalColumns, box_id: str) -> Iterator[Measurement]:
    """Yields intervals as their Box sent them: flicker beside the rest, where it has a number of its own.

    Those of a site have no number, because another of its Boxes may have sent them.
    """
    site = "" if columns.box_id == box_id else columns.box_id
    rows: dict[int, IntervalRow] = {}
    add_columns(rows, columns)
    for row in rows.values():
        coverage = None if math.isnan(row.coverage) else row.coverage
        number, flicker_number = row.sequences
        parts = [(number, coverage, row.values), (flicker_number, None, row.flicker)]
        if site or number == flicker_number:
            parts = [(UNKNOWN if site else number, coverage, row.values | row.flicker)]
        for sequence, covers, values in parts:
            if not values and covers is None:
                continue
            plain = {name: value if name in WIDE else value[0] for name, value in values.items()}
            yield Measurement(
                box_id,
                0,
                {},
                row.start_ns,
                row.end_ns,
                sequence=None if sequence == UNKNOWN else sequence,
                interval=Interval(columns.length_ms, row.is_flagged, covers, plain, site),
            )


def _copy_minutes(box_id: str, source: CloudStore, target: CloudStore, since_ms: int) -> int:
    """A minute that both have is made again of the Measurements of both."""
    there = {each.start_ms: each for each in target.trends(box_id, since_ms, FOR_EVER)}
    found = source.trends(box_id, since_ms, FOR_EVER)
    new = [each for each in found if each.start_ms not in there]
    target.put_trends(new)
    both = [each for each in found if each.start_ms in there and _differs(each, there[each.start_ms])]
    again = [_made_again(each, target) for each in both]
    target.replace_trends([each for each in again if each is not None])
    return len(new)


def _differs(one: Trend, other: Trend) -> bool:
    return (one.metrics, one.covered_ms) != (other.metrics, other.covered_ms)


def _made_again(minute: Trend, store: CloudStore) -> Trend | None:
    around = minute.start_ms - NEIGHBOUR_MS, minute.start_ms + TREND_MS + NEIGHBOUR_MS
    rows = store.measurements(minute.box_id, *around)
    trend, _ = trend_of(minute.box_id, minute.start_ms, rows)
    return trend if trend.metrics else None


def _copy_events(box_id: str, source: CloudStore, target: CloudStore, since_ms: int) -> int:
    """The Box's part of each event; the target's Mauka analyses it, or the next one that starts."""
    records = [
        each
        for each in source.events(since_ms * 1_000_000 or None, None, MOST_EVENTS)
        if each.finished and box_id in each.boxes_received
    ]
    return sum(_copy_event(each, box_id, source, target) for each in reversed(records))


def _copy_event(record: EventRecord, box_id: str, source: CloudStore, target: CloudStore) -> bool:
    wave = source.waveform(record.event_id, box_id)
    if wave is None:  # it expired meanwhile
        return False
    trigger = Trigger(
        token=f"moved-{source.identity()}-{record.event_id}",
        start_ns=record.start_ns,
        end_ns=record.end_ns,
        box_ids=(box_id,),
        opened_by=record.opened_by or box_id,
        because=record.because,
        onset_ns=record.onset_ns,
        onset_sample=record.onset_sample,
        decided_ns=record.decided_ns,
        half_cycles_ns=record.half_cycles_ns,
    )
    event_id = target.open_event(trigger, record.because)
    new = target.put_waveform(event_id, wave)
    half_cycles = source.half_cycles(record.event_id).get(box_id)
    if half_cycles is not None:
        target.put_half_cycles(event_id, half_cycles)
    return target.finish_event(event_id) or new
