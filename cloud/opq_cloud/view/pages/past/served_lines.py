"""The lines of `/past` by the facts of then: a phase of a site is the Boxes that served it.

Apart from `course.py`, which reads them, because bars of harmonics are of the same Boxes. Pure, except that
u2 of a site is read.
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from opq_cloud.store.box_record import BoxRecord, FactSpan
from opq_cloud.store.intervals.phases_together import PHASES, site_intervals, wiring_of_columns
from opq_cloud.store.intervals.served_phases import (
    NOMINAL_FACTS,
    IntervalReader,
    ServedPhase,
    chosen_rows,
    phases_of,
    service_spans,
    stints,
)
from opq_cloud.store.reading_spans import ALWAYS
from opq_cloud.store.stated_facts import LAST_NS
from opq_cloud.store.store import QUERY_ROWS, ShownStore
from opq_cloud.view.pages.past.series import UnshownSpan
from opq_cloud.view.pages.visible.shown_box import ShownBox
from opq_measure.aggregation.wiring import Wiring
from opq_proto.measurement.intervals import IntervalColumns
from opq_proto.messages import Measurement, Trend

BEGINS_IN_MS = 600_000
"""What is this long counts where it began; longer rows count where they lie wholly."""
Stays = tuple[tuple[int, int], ...]
"""Spans in ns; empty: always."""


@dataclass(frozen=True, slots=True)
class LinePart:
    """A Box in the spans in which it served a line, with the nominal values of then."""

    box: ShownBox
    stays: Stays = ()


@dataclass(frozen=True, slots=True)
class ServedLine:
    words: str
    parts: tuple[LinePart, ...]


def lines_of_boxes(
    boxes: Sequence[ShownBox], records: Mapping[str, BoxRecord], span_ns: tuple[int, int]
) -> list[ServedLine]:
    """A line for each Box; it has parts where its nominal values changed."""
    found = []
    for box in boxes:
        record = records.get(box.box_id)
        whole = () if record is None else record.spans(0, span_ns[1], NOMINAL_FACTS)
        spans = [each for each in whole if each.end_ns > span_ns[0]]
        as_now = all(each.box.nominal_v in (None, box.nominal_v) for each in spans)
        parts = (LinePart(box),) if as_now else _parts(spans, {box.box_id: box}, span_ns)
        found.append(ServedLine(box.label, parts))
    return found


def lines_of_site(
    site: str, boxes: Sequence[ShownBox], records: Iterable[BoxRecord], span_ns: tuple[int, int]
) -> list[ServedLine]:
    """A line for each phase of a site; for each of its Boxes where they measured it side by side."""
    spans = service_spans(records, *span_ns, lambda box: box.site == site)
    shown = {each.box_id: each for each in boxes}
    found = []
    for phase in phases_of(span for span in spans if span.box.box_id in shown):
        served = [phase]
        if len(phase.box_ids) > 1 and _overlap(phase.spans, span_ns):
            served = [phase.of_box(box_id) for box_id in phase.box_ids]
        found += [ServedLine(_words(each, shown), _parts(each.spans, shown, span_ns)) for each in served]
    return found


def lines_of_group(
    boxes: Sequence[ShownBox],
    records: Iterable[BoxRecord],
    span_ns: tuple[int, int],
    belongs: Callable[[BoxRecord], bool],
) -> list[ServedLine]:
    """A line for each Box that was at a feeder, or in a region or grid; `belongs` decides by its facts."""
    own: dict[str, list[FactSpan]] = {}
    for span in service_spans(records, *span_ns, belongs):
        own.setdefault(span.box.box_id, []).append(span)
    return [
        ServedLine(box.label, _parts(own[box.box_id], {box.box_id: box}, span_ns))
        for box in boxes
        if box.box_id in own
    ]


def _words(phase: ServedPhase, shown: Mapping[str, ShownBox]) -> str:
    stated = phase.spans[-1].box.phase
    named = ", then ".join(f"Box {box_id}" for box_id in phase.box_ids)
    if stated:
        return f"{named}, phase {stated}"
    return shown[phase.box_ids[0]].label


def _overlap(spans: Sequence[FactSpan], span_ns: tuple[int, int]) -> bool:
    """Whether two Boxes are stated for one time."""
    own = [stints([each for each in spans if each.box.box_id == box_id], *span_ns) for box_id in _ids(spans)]
    whole = stints(spans, *span_ns)
    return sum(last - first for part in own for first, last in part) > sum(
        last - first for first, last in whole
    )


def _ids(spans: Iterable[FactSpan]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(span.box.box_id for span in spans))


def _parts(
    spans: Iterable[FactSpan], shown: Mapping[str, ShownBox], span_ns: tuple[int, int]
) -> tuple[LinePart, ...]:
    """Parts in time order, each of one Box and nominal voltage.

    Only a change of facts begins or ends a stay: where the span cuts a row, the row is of the stay.
    """
    own: dict[tuple[str, float | None], list[FactSpan]] = {}
    for span in spans:
        own.setdefault((span.box.box_id, span.box.nominal_v), []).append(span)
    found = []
    for (box_id, nominal_v), there in own.items():
        box = shown[box_id]
        if nominal_v is not None:
            box = replace(box, nominal_v=nominal_v, nominal_hz=there[-1].box.nominal_hz or box.nominal_hz)
        until_end = stints(there, 0, span_ns[1])
        stays = tuple((first, LAST_NS if last == span_ns[1] else last) for first, last in until_end)
        found.append(LinePart(box, () if stays == ALWAYS else stays))
    return tuple(found)


def begins_in(stays: Stays, start_ms: int, length_ms: int) -> bool:
    """Whether a row is of these spans."""
    last_ms = start_ms if length_ms <= BEGINS_IN_MS else start_ms + length_ms - 1
    return not stays or any(first <= start_ms * 10**6 and last_ms * 10**6 < last for first, last in stays)


@dataclass(frozen=True, slots=True)
class StayRows:
    """The rows of Boxes in some spans alone."""

    store: ShownStore
    stays: Stays

    def measurements(
        self, box_id: str, start_ms: int, end_ms: int, limit: int = QUERY_ROWS
    ) -> list[Measurement]:
        found = self.store.measurements(box_id, start_ms, end_ms, limit)
        return [each for each in found if begins_in(self.stays, each.timestamp_ms, 0)]

    def trend_rows(self, box_id: str, start_ms: int, end_ms: int, length_ms: int) -> list[Trend]:
        found = self.store.trend_rows(box_id, start_ms, end_ms, length_ms)
        return [each for each in found if begins_in(self.stays, each.start_ms, each.length_ms)]


@dataclass(frozen=True, slots=True)
class SiteReader:
    """u2 of a site under its name, by the Boxes of then; without what an exchange of phases makes wrong."""

    intervals: IntervalReader
    records: Sequence[BoxRecord]
    unshown: list[UnshownSpan] = field(default_factory=list)
    """What was left out so far, in time order."""

    def read(
        self, box_id: str, length_ms: int, start_ns: int, end_ns: int, names: Collection[str] | None = None
    ) -> IntervalColumns:
        found = site_intervals(self.intervals, box_id, self.records, start_ns, end_ns)
        wrong = wiring_of_columns(found)
        if wrong is None:
            return found
        left_out = UnshownSpan(self._wiring_words(box_id, wrong[0], start_ns, end_ns), start_ns, end_ns)
        if self.unshown and self.unshown[-1].why == left_out.why and self.unshown[-1].end_ns >= start_ns:
            left_out = replace(left_out, start_ns=self.unshown.pop().start_ns)
        self.unshown.append(left_out)
        return chosen_rows(found, np.empty(0, np.int64))

    def _wiring_words(self, site: str, wrong: Wiring, start_ns: int, end_ns: int) -> str:
        phases = phases_of(service_spans(self.records, start_ns, end_ns, lambda box: box.site == site))
        box_of = {each.phase: f"Box {each.box_ids[-1]}" for each in phases if each.phase}
        if {*PHASES} <= box_of.keys():
            return wrong.words(box_of)
        return "The phases are not connected as stated"
