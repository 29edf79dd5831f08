"""Copies what one cloud's store has of a Box into another's; a second copy adds only what is new.

Measurements, intervals and disturbances are taken once by their numbers, trends by their time, events by a
token that names the event they come from. Pure over two stores. Measurements are read as a copy of the whole
store reads them, so those of any time are among them.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from opq_cloud.makai.measurements.trends import NEIGHBOUR_MS, trend_of
from opq_cloud.store import BoxRecord, CloudStore
from opq_cloud.store.event_record import EventRecord
from opq_cloud.store.intervals.interval_rows import UNKNOWN, WIDE, IntervalRow, add_columns
from opq_cloud.store.intervals.served_phases import service_spans
from opq_cloud.store.site_key import may_name_intervals
from opq_cloud.store.store import LogPlace
from opq_proto.measurement.intervals import LENGTHS_MS, IntervalColumns
from opq_proto.messages import TREND_LEVELS, TREND_MS, Interval, Measurement, Trend, Trigger
from opq_proto.time_units import DAY_NS

FOR_EVER = 2**62
MOST_EVENTS = 1_000_000
Damaged = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class CopiedHistory:
    """How much was new in the other store."""

    measurements: int
    minutes: int
    events: int
    place: LogPlace
    """How far the source's Measurements were read."""


def copy_history(
    box_id: str,
    source: CloudStore,
    target: CloudStore,
    damaged: Damaged,
    since_ms: int = 0,
    after: LogPlace = (),
) -> CopiedHistory:
    """Copies what the source has of a Box since then.

    Args:
        damaged: is called with a line for Measurements that cannot be read, which are left out.
        after: where a former copy ended; Measurements are read from there on.
    Raises:
        StoreError: a store cannot be read or written; what was copied stays.
    """
    _copy_intervals(box_id, source, target, since_ms)
    new, place = 0, after
    for read_to, rows in source.all_measurements(damaged, after, box_id):
        new, place = new + target.append_measurements(rows), read_to
    minutes = _copy_minutes(box_id, source, target, since_ms)
    for length_ms in (TREND_LEVELS["10m"], TREND_LEVELS["1h"]):  # of days whose minutes are merged; rolled up
        target.put_trend_rows(source.trend_rows(box_id, since_ms, FOR_EVER, length_ms))
    return CopiedHistory(new, minutes, _copy_events(box_id, source, target, since_ms), place)


def copy_box(box_id: str, source: CloudStore, target: CloudStore) -> None:
    """Makes a Box known with its facts and all its places; facts that the target has stay."""
    record = source.box(box_id)
    if record is None or target.box(box_id) is not None:
        return
    known = source.locations()
    for slug in sorted({*record.values_of("location")} & known.keys() - target.locations().keys()):
        target.put_location(known[slug])
    target.put_box(replace(record, unplugged=False, retired_ms=0))


def not_copied(box_id: str, source: CloudStore, target: CloudStore) -> list[int]:
    """Numbers of Measurements that only the source has."""
    there = set(target.sequences(box_id, 0, FOR_EVER))
    return [number for number in source.sequences(box_id, 0, FOR_EVER) if number not in there]


def _copy_intervals(box_id: str, source: CloudStore, target: CloudStore, since_ms: int) -> None:
    """Intervals and disturbances of class A, also of a site while the Box measured a phase of it.

    Their numbers come last, which say that all of it is there.
    """
    since_ns = max(0, since_ms - max(LENGTHS_MS)) * 1_000_000
    record = source.box(box_id)
    at_sites = service_spans(
        [] if record is None else [record], since_ns, FOR_EVER, _has_site, ("site", "retired_ms")
    )
    of_sites = ((each.box.site or "", max(since_ns, each.start_ns), each.end_ns) for each in at_sites)
    for name, start_ns, end_ns in [(box_id, since_ns, FOR_EVER), *of_sites]:
        for length_ms in LENGTHS_MS:
            for columns in _read_days(source, name, length_ms, start_ns, end_ns):
                target.intervals.append(_rows_of(columns, box_id))
    target.intervals.append(
        Measurement(box_id, 0, {}, start_ns=each.start_ns, end_ns=each.end_ns, disturbance=each)
        for each in source.intervals.disturbances(box_id, since_ns, FOR_EVER)
    )
    there = set(target.intervals.sequences(box_id, 0, FOR_EVER))
    numbers = [each for each in source.intervals.sequences(box_id, 0, FOR_EVER) if each not in there]
    target.intervals.append(Measurement(box_id, 0, {}, sequence=number) for number in numbers)


def _has_site(box: BoxRecord) -> bool:
    return box.site is not None and may_name_intervals(box.site)


def _read_days(
    store: CloudStore, name: str, length_ms: int, start_ns: int, end_ns: int
) -> Iterator[IntervalColumns]:
    """Yields the intervals that overlap [start_ns, end_ns), a day at a time."""
    known = store.intervals.span_ns(name, length_ms)
    if known is None:
        return
    first_ns = max(known[0], start_ns - length_ms * 1_000_000 + 1)
    end_ns = min(known[1] + 1, end_ns)
    for day_ns in range(first_ns // DAY_NS * DAY_NS, end_ns, DAY_NS):
        yield store.intervals.read(name, length_ms, max(first_ns, day_ns), min(end_ns, day_ns + DAY_NS))


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
