"""The part of the store and of the live hub that a visitor may see: Boxes, and incidents at those Boxes.

The pages and the API read through these classes, so that a new page shows no more than an old one. An
incident is built again from the findings that the visitor may see, so that class, residual and times of
another Box do not show.
"""

import time
from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Callable, Collection, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import islice
from typing import TypeVar

from opq_cloud.store.box_record import BoxRecord
from opq_cloud.store.event_record import PERSON_ASKED, SAW, EventRecord
from opq_cloud.store.incidents.index import IncidentFilter, IndexedIncident, IndexPlace, cell_of
from opq_cloud.store.incidents.join_plan import KnownFinding
from opq_cloud.store.records.accounts.seen_incidents import seen_incident
from opq_cloud.store.records.incidents.phenomena import StoredPhenomenon
from opq_cloud.store.records.intervals.long_term import ShownIntervals
from opq_cloud.store.stated_facts import NS_PER_MS
from opq_cloud.store.store import QUERY_ROWS, CloudStore
from opq_cloud.store.waveform_parts import shown_part
from opq_cloud.view.pages.visible.seen_intervals import SeenIntervals
from opq_cloud.view.web.answer_cache import AnswerCache
from opq_cloud.view.web.visitors import Visitor
from opq_proto.messages import Event, Finding, Incident, Measurement, Trend
from opq_proto.wire.half_cycles import HalfCycleRms

T = TypeVar("T")
AROUND_NS = 200_000_000
"""Samples that are shown before and after a finding in the event of a hidden Box: ten cycles of 50 Hz."""
SEEN_LISTS = 4
"""How many lists of all incidents are kept for visitors who do not see every Box."""
SEEN_COUNTS = 64
"""How many counts of incidents are kept, for all visitors together; as many counts by field of the plane."""
KEPT_S = 60.0
"""A MongoDB job that ends between the index and its revision leaves the revision behind; lists and counts
of before are shown for so long at most."""


@dataclass
class SeenIncidents:
    """All incidents of a filter, as visitors with the same Boxes see them, in each order that was needed."""

    entries: tuple[IndexedIncident, ...]
    _ordered: dict[str, list[IndexedIncident]] = field(default_factory=dict)

    @cached_property
    def cells(self) -> Mapping[int, int]:
        """Field of the plane -> number of incidents in it."""
        cells = (cell_of(one.residual_percent, one.length_ns) for one in self.entries)
        return dict(Counter(cell for cell in cells if cell is not None))

    def page(self, order: str, limit: int, beyond: IndexPlace | None, back: bool) -> list[IndexedIncident]:
        """At most `limit` incidents from the highest down below `beyond`; `back`: upward from it."""

        def key(one: IndexedIncident) -> tuple[float | int, int]:
            return one.place(order).key

        rising = self._ordered.get(order)
        if rising is None:
            rising = self._ordered[order] = sorted(self.entries, key=key)
        if back:
            first = 0 if beyond is None else bisect_right(rising, beyond.key, key=key)
            return rising[first : first + limit]
        end = len(rising) if beyond is None else bisect_left(rising, beyond.key, key=key)
        return rising[max(0, end - limit) : end][::-1]


SeenLists = AnswerCache[SeenIncidents]


def seen_lists(monotonic_s: Callable[[], float] = time.monotonic) -> SeenLists:
    """A cache for all visitors; its keys have the index's revision."""
    return AnswerCache(KEPT_S, SEEN_LISTS, monotonic_s)


def seen_counts() -> tuple[AnswerCache[int], AnswerCache[Mapping[int, int]]]:
    """Caches of counts likewise: all incidents, and those in each field of the plane."""
    return AnswerCache(KEPT_S, SEEN_COUNTS), AnswerCache(KEPT_S, SEEN_COUNTS)


def kept_newest(make: Callable[[int], T]) -> Callable[[int, Hashable], T]:
    """Returns `make` with a cache; it gets how many of the newest are wanted, and a key of what is seen."""
    cache: AnswerCache[T] = AnswerCache(KEPT_S, SEEN_COUNTS)
    return lambda limit, key: cache.of((limit, key), lambda: make(limit))


class SeenStore:
    """A `ShownStore` for one visitor, who does not see everything.

    `kept` holds what visitors with the same Boxes see of the index, until an incident or the work on it
    changes.
    """

    def __init__(self, store: CloudStore, visitor: Visitor, kept: SeenLists | None = None) -> None:
        self._store = store
        self._visitor = visitor
        self._kept = kept

    def boxes(self) -> list[BoxRecord]:
        visitor = self._visitor
        return [visitor.record_seen(box) for box in self._store.boxes() if visitor.reads(box.box_id)]

    def box(self, box_id: str) -> BoxRecord | None:
        found = self._store.box(box_id) if self._visitor.reads(box_id) else None
        return None if found is None else self._visitor.record_seen(found)

    def measurements(
        self, box_id: str, start_ms: int, end_ms: int, limit: int = QUERY_ROWS
    ) -> list[Measurement]:
        found: list[Measurement] = []
        for span_ns in self._visitor.spans(box_id):
            first_ms, last_ms = max(start_ms, span_ns[0] // NS_PER_MS), min(end_ms, span_ns[1] // NS_PER_MS)
            if first_ms < last_ms and len(found) < limit:
                found += self._store.measurements(box_id, first_ms, last_ms, limit - len(found))
        return found

    def trend_rows(self, box_id: str, start_ms: int, end_ms: int, length_ms: int) -> list[Trend]:
        visitor = self._visitor
        if not visitor.reads(box_id):
            return []
        found = self._store.trend_rows(box_id, start_ms, end_ms, length_ms)
        return [
            row for row in found if visitor.sees_whole_ms(box_id, row.start_ms, row.start_ms + row.length_ms)
        ]

    def seen_intervals(self, box_id: str) -> ShownIntervals | None:
        visitor = self._visitor
        if visitor.everything:
            return self._store.intervals
        return SeenIntervals(self._store, visitor) if visitor.reads(box_id) else None

    def event(self, event_id: int) -> Event | None:
        """The event with the waveforms that the visitor may see; None where there are none."""
        record = self.event_record(event_id)
        found = None if record is None else self._store.event(event_id)
        if record is None or found is None:
            return None
        shown = self._with_waveforms(record)
        waves = shown_part(record, (wave for wave in found.waveforms if wave.box_id in shown))
        missing = {box_id: why for box_id, why in found.missing.items() if box_id in shown}
        if not waves and not missing:
            return None
        return replace(
            found, start_ns=record.start_ns, end_ns=record.end_ns, waveforms=waves, missing=missing
        )

    def event_record(self, event_id: int) -> EventRecord | None:
        found = self._store.event_record(event_id)
        if found is None:
            return None
        return seen_record(found, self._visitor, self._seen_findings)

    def _seen_findings(self, found: EventRecord) -> list[Finding]:
        """What was found in the event at visible Boxes."""
        known = self.findings_of_boxes(found.boxes_triggered, found.start_ns, found.end_ns)
        return [each.finding for each in known if found.event_id in each.event_ids]

    def _with_waveforms(self, record: EventRecord) -> set[str]:
        """The Boxes of an event, as the visitor sees it, whose waveforms the visitor may see."""
        named = {*record.boxes_triggered, *record.boxes_received}
        return {box_id for box_id in named if self._visitor.sees_waveform(box_id, record.start_ns)}

    def half_cycles(self, event_id: int) -> dict[str, HalfCycleRms]:
        """Urms(1/2) by Box, for the Boxes whose waveforms the visitor may see."""
        record = self.event_record(event_id)
        if record is None or record.shown_ns is not None:
            return {}
        shown = self._with_waveforms(record)
        return {box_id: each for box_id, each in self._store.half_cycles(event_id).items() if box_id in shown}

    def phenomena(self, start_ms: int, end_ms: int, box_id: str = "") -> list[StoredPhenomenon]:
        found = self._store.phenomena(start_ms, end_ms, box_id)
        sees = self._visitor.sees_whole_ms
        return [each for each in found if all(sees(box, each.start_ms, each.end_ms) for box in each.box_ids)]

    def findings_of_boxes(self, box_ids: Collection[str], start_ns: int, end_ns: int) -> list[KnownFinding]:
        visitor = self._visitor
        found = self._store.findings_of_boxes(tuple(filter(visitor.reads, box_ids)), start_ns, end_ns)
        return [each for each in found if visitor.sees(each.finding.box_id, each.finding.start_ns)]

    def incident(self, incident_id: int) -> Incident | None:
        return next(iter(self.incidents_of([incident_id])), None)

    def incidents_of(self, incident_ids: Sequence[int]) -> list[Incident]:
        parts = (seen_incident(each, self._visitor) for each in self._store.incidents_of(incident_ids))
        return [each for each in parts if each is not None]

    def find_incidents(
        self, wanted: IncidentFilter, limit: int, beyond: IndexPlace | None = None, back: bool = False
    ) -> list[IndexedIncident]:
        """The incidents whose part at visible Boxes matches, ordered by what the visitor sees of them.

        An entry describes only that part, so that neither its class nor its place reveals another Box.
        """
        if self._visitor.everything:
            return self._store.find_incidents(wanted, limit, beyond, back)
        if wanted.order == "newest" and (self._kept is None or self._kept.known(self._key(wanted)) is None):
            return list(islice(self._found(wanted, beyond, back), limit))
        return self._all(wanted).page(wanted.order, limit, beyond, back)

    def count_incidents(self, wanted: IncidentFilter, most: int) -> int:
        if self._visitor.everything:
            return self._store.count_incidents(wanted, most)
        return min(most, len(self._all(wanted).entries))

    def incident_cells(self, wanted: IncidentFilter) -> dict[int, int]:
        if self._visitor.everything:
            return self._store.incident_cells(wanted)
        return dict(self._all(wanted).cells)

    def _all(self, wanted: IncidentFilter) -> SeenIncidents:
        """All matching incidents: a page needs them several times, and so does the next page.

        Those of some work are chosen from those of any.
        """
        if wanted.by_people and self._visitor.account is None:
            return SeenIncidents(())
        plain = any_work(wanted)

        def found() -> SeenIncidents:
            return SeenIncidents(tuple(self._found(plain)))

        every = found() if self._kept is None else self._kept.of(self._key(wanted), found)
        if plain == replace(wanted, order=plain.order):
            return every
        return SeenIncidents(tuple(each for each in every.entries if each.fits_work(wanted)))

    def _key(self, wanted: IncidentFilter) -> Hashable:
        return self._visitor.sight, any_work(wanted), self._store.index_revision()

    def _found(
        self, wanted: IncidentFilter, beyond: IndexPlace | None = None, back: bool = False
    ) -> Iterator[IndexedIncident]:
        """Yields matching incidents by their starts, as the visitor sees them."""
        visitor = self._visitor
        seen = visitor.full | visitor.public | visitor.former.of_box.keys()
        nobody = wanted.by_people and self._visitor.account is None
        if nobody or not seen or (wanted.at is not None and seen.isdisjoint(wanted.at)):
            return
        sees = visitor.sees if visitor.has_spans else None
        for parts in self._store.incident_parts(seen, wanted, beyond, back, sees):
            one = parts.seen()
            if parts.fits(one, wanted):
                yield one


def any_work(wanted: IncidentFilter) -> IncidentFilter:
    """The filter without order and without what people do about an incident, except for their words."""
    order = wanted.order if wanted.by_severity else "newest"
    return replace(wanted, order=order, work="", assigned_to="", cause_known=False, unseen=None)


def seen_record(
    found: EventRecord, visitor: Visitor, seen_findings: Callable[[EventRecord], Sequence[Finding]]
) -> EventRecord | None:
    """The event at the Boxes that the visitor sees; None where it has none of them.

    Where it was opened for hidden Boxes alone, only the Boxes and times of visible findings are left, and
    None without such a finding: what a visible Box recorded while a hidden one had a dip shows when that was.

    Facts about the whole event are removed where one of its Boxes is not visible: why, who saw it first,
    when, what analyses ask for. The number of Boxes that were not asked is always removed: it counts Boxes
    that the visitor does not see.
    """

    def sees(box_id: str) -> bool:
        return visitor.sees_whole(box_id, found.start_ns, found.end_ns)

    requested = tuple(box_id for box_id in found.boxes_triggered if sees(box_id))
    if not requested:
        return None
    if not _is_of_seen(found, sees):
        findings = seen_findings(found)
        return _at_findings(found, findings) if findings else None
    named = {*found.boxes_triggered, *(box_id for each in found.asked_as.values() for box_id in each)}
    for request in found.more.values():
        named |= {*request.spans, *request.beside, *request.boxes}
    whole = all(sees(box_id) for box_id in named | {found.opened_by} - {""})
    seen_as = {why: tuple(each for each in boxes if sees(each)) for why, boxes in found.asked_as.items()}
    return replace(
        found,
        boxes_triggered=requested,
        boxes_received=tuple(box_id for box_id in found.boxes_received if sees(box_id)),
        missing={box_id: why for box_id, why in found.missing.items() if sees(box_id)},
        short={box_id: why for box_id, why in found.short.items() if sees(box_id)},
        because=found.because if whole else "",
        opened_by=found.opened_by if whole else "",
        asked_as={why: boxes for why, boxes in seen_as.items() if boxes},
        not_asked={},
        more={number: replace(each, refused={}) for number, each in found.more.items() if whole},
        owed={box_id: span for box_id, span in found.owed.items() if sees(box_id)},
        onset_ns=found.onset_ns if whole else None,
        onset_sample=found.onset_sample if whole else None,
        decided_ns=found.decided_ns if whole else None,
        token="",
        half_cycles_ns=found.half_cycles_ns if whole else None,
        half_cycles={box_id: why for box_id, why in found.half_cycles.items() if sees(box_id)},
    )


def _at_findings(found: EventRecord, findings: Sequence[Finding]) -> EventRecord:
    """The event with no more than what its findings show: their Boxes, and when they began and ended."""
    boxes = {each.box_id for each in findings}
    start_ns, end_ns = min(each.start_ns for each in findings), max(each.end_ns for each in findings)
    return EventRecord(
        event_id=found.event_id,
        token="",
        start_ns=start_ns,
        end_ns=end_ns,
        shown_ns=(start_ns - AROUND_NS, end_ns + AROUND_NS),
        boxes_triggered=tuple(filter(boxes.__contains__, found.boxes_triggered)),
        boxes_received=tuple(filter(boxes.__contains__, found.boxes_received)),
        missing={box_id: why for box_id, why in found.missing.items() if box_id in boxes},
        finished=found.finished,
        analysed=found.analysed,
        because="",
        short={box_id: why for box_id, why in found.short.items() if box_id in boxes},
        revision=found.revision,
    )


def _is_of_seen(found: EventRecord, sees: Callable[[str], bool]) -> bool:
    """Whether a visible Box detected the disturbance, or was requested by a person.

    The original's events do not state which Boxes detected it.
    """
    reasons = [found.asked_as.get(reason, ()) for reason in (SAW, PERSON_ASKED)]
    detected = {found.opened_by, *(box_id for boxes in reasons for box_id in boxes)} - {""}
    return not detected or any(map(sees, detected))
