"""Reads the data of an event's page from the store: signals of its Boxes, and Measurements between them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType

from opq_cloud.store.box_record import box_order
from opq_cloud.store.event_record import EventRecord
from opq_cloud.store.judged_nominal import JudgedNominals
from opq_cloud.store.trends.pyramid import LEVELS_MS
from opq_cloud.view.live.recent import window_ms
from opq_cloud.view.pages.drawing.charts import known_metric
from opq_cloud.view.pages.examine.address import ExamineAddress
from opq_cloud.view.pages.examine.signals import BoxSignal, SignalCache, copied_signals
from opq_cloud.view.pages.visible.shown_box import ShownBox
from opq_cloud.view.pages.visible.visitor_context import VisitorContext
from opq_cloud.view.web.words import worst
from opq_proto.measurement.flagged import flags_of, widens_limits
from opq_proto.messages import Incident
from opq_proto.wire.counted_once import counted_once
from opq_proto.wire.half_cycles import HalfCycleRms

EVENTS_LISTED = 100
"""At most this many events of an incident are considered."""
EVENTS_READ = 12
"""At most this many events are read: the first, the last and the longest."""
BOXES_FIRST = 4
MEASUREMENTS_MS = 3_600_000
"""A longer gap is filled from the trends' rows."""
ROWS_BETWEEN = 720
NS_PER_MS = 1_000_000


@dataclass(frozen=True, slots=True)
class EventSignals:
    """The data of an incident's events that may be shown."""

    candidates: tuple[str, ...]
    """Boxes with a waveform, those of the incident first."""
    shown: tuple[ShownBox, ...]
    signals: dict[str, BoxSignal]
    """Signals of the Boxes that are shown."""
    halves: dict[str, tuple[HalfCycleRms, ...]]
    """Half cycles of a long disturbance, as the gateways of the shown Boxes recorded them."""
    events_left_out: int
    judged: JudgedNominals
    """The nominal voltages by which the Boxes were judged; those of `shown`."""


def read_signals(
    context: VisitorContext,
    cache: SignalCache,
    incident: Incident,
    address: ExamineAddress,
    most: int = BOXES_FIRST,
) -> EventSignals:
    """The signals of the Boxes in the address, or else of those `most` that were disturbed most."""
    records = [context.store.event_record(event_id) for event_id in _listed(incident.event_ids)]
    known = [record for record in records if record is not None]

    def may(box_id: str) -> bool:
        return context.visitor.sees_waveform(box_id, incident.start_ns)

    received = {box_id for record in known for box_id in record.boxes_received if may(box_id)}
    copies = cache.copies(incident) if not received else []
    received |= {wave.box_id for wave in copies if may(wave.box_id)}
    own = [box_id for box_id in incident.box_ids if box_id in received]
    candidates = (*own, *sorted(received - {*own}, key=box_order))
    first = [*sorted(own, key=lambda box_id: -_deviation(incident, box_id)), *candidates[len(own) :]]
    wanted = [box_id for box_id in address.box_ids if box_id in received] or first[:most]
    requested = [record for record in known if {*wanted} & {*record.boxes_received}]
    read = _most_telling(requested)
    judged = judged_nominals(context, incident, cache.nominal_volts(read))
    shown = tuple(judged_box(context, incident, box_id, judged) for box_id in wanted)
    nominal_hz = {box.box_id: box.nominal_hz for box in shown}
    signals = cache.signals(read, nominal_hz) | copied_signals(copies, nominal_hz)
    empty = {box.box_id: BoxSignal(box.box_id, ()) for box in shown}
    halves: dict[str, tuple[HalfCycleRms, ...]] = {}
    for record in requested:
        if "" in record.half_cycles.values():
            for box_id, half in context.store.half_cycles(record.event_id).items():
                if box_id in empty:
                    halves[box_id] = (*halves.get(box_id, ()), half)
    return EventSignals(candidates, shown, empty | signals, halves, len(known) - len(read), judged)


def judged_nominals(
    context: VisitorContext, incident: Incident, stated_v: Mapping[str, float] = MappingProxyType({})
) -> JudgedNominals:
    """The nominal voltages by which an incident's Boxes were judged. `stated_v`: as in JudgedNominals."""
    findings = (item.finding for item in incident.findings)
    return JudgedNominals(
        findings, lambda box_id: context.box_then(box_id, incident.start_ns).nominal_v, stated_v
    )


def judged_box(context: VisitorContext, incident: Incident, box_id: str, judged: JudgedNominals) -> ShownBox:
    """The Box with the nominal voltage that it was judged by, or else the one that is stated for then."""
    found = context.box_then(box_id, incident.start_ns)
    return replace(found, nominal_v=judged.volts(box_id) or found.nominal_v)


def worst_v(context: VisitorContext, incident: Incident, judged: JudgedNominals) -> float:
    """The nominal voltage of the Box with the incident's worst finding."""
    found = worst(incident)
    return (
        judged_box(context, incident, found.finding.box_id, judged).nominal_v if found else context.nominal_v
    )


def _deviation(incident: Incident, box_id: str) -> float:
    """Percent of nominal between the Box's worst finding and nominal; 0 where none has a residual voltage."""
    found = worst(incident, box_id)
    residual = None if found is None else found.finding.residual_percent
    return 0.0 if residual is None else abs(residual - 100.0)


def _listed(event_ids: Sequence[int]) -> Sequence[int]:
    """The first events and the last one of many: a long disturbance ends in its last event."""
    if len(event_ids) <= EVENTS_LISTED:
        return event_ids
    return (*event_ids[: EVENTS_LISTED - 1], event_ids[-1])


def _most_telling(records: Sequence[EventRecord]) -> Sequence[EventRecord]:
    if len(records) <= EVENTS_READ:
        return records
    in_time = sorted(records, key=lambda record: record.start_ns)
    longest = sorted(in_time[1:-1], key=lambda record: record.start_ns - record.end_ns)
    return [in_time[0], *longest[: EVENTS_READ - 2], in_time[-1]]


def measured_between(
    context: VisitorContext, box_id: str, start_ms: float, end_ms: float, origin_ns: int
) -> list[tuple[float, float, float, float]]:
    """(start ms, end ms, lowest, highest rms in volts) of a stretch that has no waveform, from the origin.

    The values come from Measurements, or from rows of the trends where the stretch is long or its
    Measurements have expired.
    """
    first_ms, last_ms = (round(origin_ns / NS_PER_MS + each) for each in (start_ms, end_ms))
    origin_ms = origin_ns / NS_PER_MS
    found: list[tuple[float, float, float, float]] = []
    if end_ms - start_ms <= MEASUREMENTS_MS:
        for item in counted_once(context.store.measurements(box_id, first_ms, last_ms)):
            metric = known_metric(item, "rms")
            if metric is not None:
                begin_ms = max(item.timestamp_ms - window_ms(item) - origin_ms, start_ms)
                wide = widens_limits(flags_of(item.metrics), "rms")
                limits = (metric.min, metric.max) if wide else (metric.average, metric.average)
                found.append((begin_ms, item.timestamp_ms - origin_ms, *limits))
    if found:
        return _fewer(found)
    level_ms = next((each for each in LEVELS_MS if (end_ms - start_ms) / each <= ROWS_BETWEEN), LEVELS_MS[-1])
    for row in context.store.trend_rows(box_id, first_ms, last_ms, level_ms):
        low, high, _ = row.metrics.get("rms", (None, None, None))
        if low is not None and high is not None:
            begin_ms = max(row.start_ms - origin_ms, start_ms)
            found.append((begin_ms, min(row.start_ms + row.length_ms - origin_ms, end_ms), low, high))
    return _fewer(found)


def _fewer(rows: list[tuple[float, float, float, float]]) -> list[tuple[float, float, float, float]]:
    """Joins neighbours where there are more than can be drawn; lowest and highest stay."""
    each = -(-len(rows) // ROWS_BETWEEN)
    if each <= 1:
        return rows
    parts = (rows[k : k + each] for k in range(0, len(rows), each))
    return [
        (part[0][0], part[-1][1], min(row[2] for row in part), max(row[3] for row in part)) for part in parts
    ]
