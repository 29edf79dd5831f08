"""The indices of one place over a span: supply, data and SARFI of its Boxes, and what means count as one."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Protocol

import numpy as np

from opq_cloud.reports.limit_table import limit_table
from opq_cloud.reports.place_reading import (
    ChosenPlace,
    ReportStore,
    box_week,
    label_of,
    outages_of,
)
from opq_cloud.reports.supply import Span, is_known, supply_of_box, until_left, with_ends
from opq_cloud.reports.verdicts import expected_intervals
from opq_cloud.reports.week import ReportSpan
from opq_cloud.reports.week_report import PlacedBox, as_channels, merged, named_by_standard, site_events
from opq_cloud.store.box_record import BoxRecord, FactSpan
from opq_cloud.store.intervals.distribution import summed
from opq_cloud.store.intervals.served_phases import (
    ServedPhase,
    Times,
    are_parallel,
    one_after_the_other,
    read_served,
    stints,
)
from opq_cloud.store.records.intervals.long_term import ShownIntervals
from opq_measure.standards.event_tables import Sarfi, sarfi_of
from opq_measure.standards.indices import SupplyIndex, supply_together
from opq_proto.decision import Nominal
from opq_proto.measurement.intervals import DAY_NS, TEN_MINUTES_MS, TEN_MINUTES_NS
from opq_proto.messages import Disturbance

WHOLE_DAYS = 8
"""Of a span of so many days each interval is read; of a longer one summaries, and single days."""
STANDARD = "en50160"
"""What an interruption is, and which are long: EN 50160:2010."""


class IndexStore(ReportStore, Protocol):
    """What indices are read from."""

    @property
    def intervals(self) -> ShownIntervals: ...


@dataclass(frozen=True, slots=True)
class BoxIndices:
    """One Box over the span."""

    box_id: str
    label: str
    site: str | None
    feeder: str | None
    supply: SupplyIndex
    complete_percent: float
    """Share that it measured of the time in which it was at the place."""
    flagged_percent: float
    nominal_v: float | None
    """None: not stated, and percentages of its events are of the configuration's default."""
    sarfi: Sarfi
    """Of the events of this Box."""
    events: int
    """Dips, swells and interruptions that began in the span."""
    served: float = 1.0
    """Share of the span in which it was at the place: it counts so much in means."""

    @property
    def is_known(self) -> bool:
        return is_known(self.complete_percent, self.supply, self.events)


@dataclass(frozen=True, slots=True)
class PlaceIndices:
    """A site, or a single Box; events of a site's phases that overlap are one."""

    name: str
    site: str | None
    feeder: str | None
    boxes: tuple[BoxIndices, ...]
    sarfi: Sarfi
    supplied: tuple[BoxIndices, ...]
    """What means count as one each: a Box, or those that served one phase one after the other."""

    @property
    def is_known(self) -> bool:
        return any(box.is_known for box in self.boxes)


def long_interruption_s() -> float:
    """A longer interruption is a long one."""
    return limit_table(STANDARD).long_interruption_s


def place_indices(
    store: IndexStore,
    span: ReportSpan,
    place: ChosenPlace,
    nominal: Nominal,
    events: dict[str, list[Disturbance]],
) -> PlaceIndices:
    phases = place.phases
    channels = as_channels([_channel(phase, nominal, events) for phase in phases])
    if len(channels) > 1:
        channels = _with_measured(store, channels)
    channels = list(named_by_standard(channels, limit_table(STANDARD).interruption_percent))
    events = {}
    for channel in channels:
        for each in channel.disturbances:
            events.setdefault(each.box_id, []).append(each)
    of_phases = [
        tuple(_box(store, span, phase.of_box(box_id), events, nominal) for box_id in phase.box_ids)
        for phase in phases
    ]
    own = tuple(box for boxes in of_phases for box in boxes)
    supplied = tuple(
        each
        for phase, boxes in zip(phases, of_phases, strict=True)
        for each in _supplied(store, span, phase, boxes, events, nominal)
    )
    joined = sarfi_of(site_events(channels, span))
    return PlaceIndices(place.name, place.site, _feeder_of(place.spans), own, joined, supplied)


def _feeder_of(spans: Sequence[FactSpan]) -> str | None:
    """The feeder of a place; None: it is not stated, or another one in a part of the span."""
    feeders = {each.box.feeder for each in spans}
    return feeders.pop() if len(feeders) == 1 else None


def _supplied(
    store: IndexStore,
    span: ReportSpan,
    phase: ServedPhase,
    boxes: Sequence[BoxIndices],
    events: Mapping[str, Sequence[Disturbance]],
    nominal: Nominal,
) -> Sequence[BoxIndices]:
    """What means count as one: the Boxes of a phase that measured one after the other, else each Box."""
    if len(boxes) < 2:
        return boxes
    times = [_times(store, span, phase.of_box(box.box_id)) for box in boxes]
    if any(are_parallel(*pair) for pair in combinations(times, 2)):
        return boxes
    return (_box(store, span, phase, events, nominal),)


def _times(store: IndexStore, span: ReportSpan, phase: ServedPhase) -> Times:
    """When a Box measured: the beginnings of its ten minutes, of a long span the days (UTC) of which it has
    more than half."""
    if span.end_ns - span.start_ns <= WHOLE_DAYS * DAY_NS:
        return read_served(store.intervals, phase, TEN_MINUTES_MS, span.start_ns, span.end_ns, ()).start_ns
    days = {
        row.start_ms
        for box_id in phase.box_ids
        for part in stints(phase.spans, span.start_ns, span.end_ns)
        for row in store.intervals.days(box_id, TEN_MINUTES_MS, *part, ())
        if 2 * row.summary.covered * TEN_MINUTES_NS > DAY_NS
    }
    return np.array(sorted(days), np.int64)


def _channel(phase: ServedPhase, nominal: Nominal, events: Mapping[str, Sequence[Disturbance]]) -> PlacedBox:
    """A phase with the events of all its Boxes, each of the time in which it served the phase."""
    last = phase.spans[-1].box
    own = [
        each
        for box_id in phase.box_ids
        for each in events.get(box_id, ())
        if phase.had(box_id, each.start_ns)
    ]
    box = placed(last, nominal, tuple(sorted(own, key=lambda each: each.start_ns)))
    spans = (
        replace(span, box=replace(span.box, nominal_v=span.box.nominal_v or nominal.volts))
        for span in phase.spans
    )
    return replace(box, box_ids=phase.box_ids, spans=tuple(spans))


def _with_measured(store: IndexStore, channels: Sequence[PlacedBox]) -> list[PlacedBox]:
    """The phases with their ten minutes at the beginnings of interruptions, which show what was measured."""
    times_ns = sorted(
        {each.start_ns for box in channels for each in box.disturbances if each.kind == "interruption"}
    )
    found = []
    for box in channels:
        phase = ServedPhase(None, box.spans)
        parts = [
            read_served(store.intervals, phase, TEN_MINUTES_MS, each - TEN_MINUTES_NS, each + 1, ())
            for each in times_ns
        ]
        columns = one_after_the_other(box.box_id, TEN_MINUTES_MS, parts)
        week = replace(box.week, intervals={TEN_MINUTES_MS: columns} if times_ns else {})
        found.append(replace(box, week=week))
    return found


def _share_of(parts: Sequence[tuple[int, int]], span: ReportSpan) -> float:
    whole_ns = span.end_ns - span.start_ns
    return sum(last_ns - first_ns for first_ns, last_ns in parts) / whole_ns if whole_ns else 1.0


def placed(record: BoxRecord, nominal: Nominal, events: tuple[Disturbance, ...] = ()) -> PlacedBox:
    return PlacedBox(record.box_id, label_of(record), None, box_week(record, nominal, {}), events)


def _box(
    store: IndexStore,
    span: ReportSpan,
    phase: ServedPhase,
    events: Mapping[str, Sequence[Disturbance]],
    nominal: Nominal,
) -> BoxIndices:
    """The Boxes of `phase` as one, over the parts of the span in which they served it."""
    record = phase.spans[-1].box
    lost: list[Span] = []
    for box_id in phase.box_ids:
        own = [
            each
            for each in events.get(box_id, ())
            if each.kind == "interruption" and phase.had(box_id, each.start_ns)
        ]
        ended = with_ends(store.intervals, phase, own, span.end_ns)
        outages = outages_of(store, box_id, span.start_ns, span.end_ns)
        times = [(each.start_ns, each.end_ns) for each in ended]
        times += (each for each in outages if phase.had(box_id, each[0]))
        lost += (until_left(phase.spans, box_id, each, span.end_ns) for each in times)
    parts = stints(phase.spans, span.start_ns, span.end_ns)
    summaries = [
        summed(
            [
                store.intervals.summary(box_id, TEN_MINUTES_MS, *own, ())
                for box_id in phase.box_ids
                for own in stints(phase.of_box(box_id).spans, *part)
            ]
        )
        for part in parts
    ]
    supplies = [
        _supply(store, phase, merged(lost), part, each.covered)
        for part, each in zip(parts, summaries, strict=True)
    ]
    summary = summed(summaries)
    expected = sum(expected_intervals(*part, TEN_MINUTES_MS) for part in parts)
    week = box_week(record, nominal, {})
    began = site_events([_channel(phase, nominal, events)], span)
    return BoxIndices(
        record.box_id,
        label_of(record),
        record.site,
        _feeder_of(phase.spans),
        supply_together(supplies),
        min(100.0, 100 * summary.covered / expected) if expected else math.nan,
        100 * summary.flagged / expected if expected else math.nan,
        None if "nominal_v" in week.unstated else week.nominal_v,
        sarfi_of(began),
        len(began),
        _share_of(parts, span),
    )


def _supply(
    store: IndexStore, phase: ServedPhase, lost: Sequence[Span], part: tuple[int, int], covered: float
) -> SupplyIndex:
    """The supply of a phase in a part of the span that was served without a break.

    `covered`: ten minutes of the part that were measured.
    """
    start_ns, end_ns = part
    spans = [
        (begin_ns, until_ns)
        for begin_ns, until_ns in lost
        if begin_ns < end_ns and (until_ns is None or until_ns > start_ns)
    ]
    long_s = long_interruption_s()
    touched = [
        read_served(
            store.intervals,
            phase,
            TEN_MINUTES_MS,
            max(start_ns, begin_ns // TEN_MINUTES_NS * TEN_MINUTES_NS),
            end_ns if until_ns is None else min(until_ns, end_ns),
            (),
        )
        for begin_ns, until_ns in spans
        if ((until_ns or end_ns) - begin_ns) / 1e9 > long_s
    ]
    return supply_of_box(spans, covered * TEN_MINUTES_NS, touched, part, long_s)
