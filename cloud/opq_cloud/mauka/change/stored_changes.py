"""Finds what changed at each Box of a store over the last weeks, and stores it as phenomena."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from opq_cloud.mauka.change.detection import LIMITS, Change, ChangeLimits, changes_of, own_changes
from opq_cloud.mauka.change.likeness import likenesses, most_likely
from opq_cloud.mauka.change.phenomena import likeness_phenomenon, phenomenon_of, profile_phenomenon
from opq_cloud.mauka.change.series import DAY_H, HOUR_NS, HourSeries, hourly, hourly_of
from opq_cloud.store.box_place import phase_letter
from opq_cloud.store.box_record import BoxRecord, box_order
from opq_cloud.store.records.phenomena import Phenomenon
from opq_cloud.store.records.phenomenon_words import ANALYSIS
from opq_cloud.store.store import CloudStore
from opq_proto.decision import Nominal
from opq_proto.measurement.intervals import TEN_MINUTES_MS

HOUR_MS = 3_600_000
BOXES_COMPARED = 8
"""Boxes of one phase that are compared with each other."""
MOST_COMPARED = 200
"""Boxes of which every two are compared for likeness."""
DC_LIMITS = {"least": 0.5, "least_own": 0.25}
"""Volts."""


@dataclass(frozen=True, slots=True)
class Span:
    """The whole hours that are analysed."""

    start_ns: int
    hours: int

    @property
    def end_ns(self) -> int:
        return self.start_ns + self.hours * HOUR_NS

    @property
    def in_ms(self) -> tuple[int, int]:
        return self.start_ns // 1_000_000, self.end_ns // 1_000_000


def last_days(now_ns: int, days: int) -> Span:
    """The last so many days, up to the last whole hour."""
    hours = days * DAY_H
    return Span((now_ns // HOUR_NS - hours) * HOUR_NS, hours)


def find_changes(
    store: CloudStore, span: Span, nominal: Nominal, limits: ChangeLimits = LIMITS, box_id: str = ""
) -> Iterator[tuple[str, list[Phenomenon]]]:
    """Analyses one Box after the other, or one alone; yields each with its new phenomena.

    Raises:
        StoreError: the store cannot be read or written.
    """
    records = sorted(
        (each for each in store.boxes() if not each.retired_ms), key=lambda box: box_order(box.box_id)
    )
    pairs = _alike(store, span, [each.box_id for each in records][:MOST_COMPARED])
    for record in records:
        if box_id in ("", record.box_id):
            found = [*_of_box(store, span, nominal, limits, record, records), *pairs.get(record.box_id, ())]
            yield record.box_id, store.replace_phenomena(ANALYSIS, record.box_id, *span.in_ms, found)


def neighbours_of(record: BoxRecord, records: Sequence[BoxRecord]) -> list[BoxRecord]:
    """Boxes that are stated to be on the same phase of the same site, location or feeder."""
    phase = phase_letter(record.phase)
    places = [(name, getattr(record, name)) for name in ("site", "location", "feeder")]
    known = [(name, value) for name, value in places if value]
    if phase is None:
        return []
    return [
        each
        for each in records
        if each.box_id != record.box_id
        and phase_letter(each.phase) == phase
        and any(getattr(each, name) == value for name, value in known)
    ][:BOXES_COMPARED]


def _of_box(
    store: CloudStore,
    span: Span,
    nominal: Nominal,
    limits: ChangeLimits,
    record: BoxRecord,
    records: Sequence[BoxRecord],
) -> list[Phenomenon]:
    group = [record, *neighbours_of(record, records)]
    found: list[Phenomenon] = []
    for quantity in ("rms_v", "dc"):
        used = limits if quantity == "rms_v" else replace(limits, **DC_LIMITS)
        series = [_series(store, span, quantity, each, nominal) for each in group]
        box, others = series[0], [each for each in series[1:] if each.known.any()]
        changes = changes_of(box, own_changes([box, *others], used), used)
        if changes is not None:
            profile = profile_phenomenon(box, changes, quantity)
            found += [_related(store, phenomenon_of(each, quantity), each) for each in changes.changes]
            found += [] if profile is None else [profile]
    # what may be one or the other Box's is stored under both
    return [replace(each, box_ids=_first(record.box_id, each.box_ids)) for each in found]


def _first(box_id: str, box_ids: tuple[str, ...]) -> tuple[str, ...]:
    return (box_id, *(each for each in box_ids if each != box_id))


def _series(store: CloudStore, span: Span, quantity: str, box: BoxRecord, nominal: Nominal) -> HourSeries:
    if quantity == "dc":
        rows = [row for row in store.trend_rows(box.box_id, *span.in_ms, HOUR_MS) if quantity in row.metrics]
        at_ns = np.array([row.start_ms * 1_000_000 for row in rows], np.int64)
        means = np.array([row.metrics[quantity][2] for row in rows], np.float64)
        return hourly_of(box.box_id, at_ns, means, span.start_ns, span.hours)
    columns = store.intervals.read(box.box_id, TEN_MINUTES_MS, span.start_ns, span.end_ns, (quantity,))
    return hourly(columns, quantity, span.start_ns, span.hours, 100 / (box.nominal_v or nominal.volts))


def _related(store: CloudStore, found: Phenomenon, change: Change) -> Phenomenon:
    """Adds the findings of its hours and their events; those of a drift would be all of them."""
    if change.kind not in ("level_step", "own_step", "anomaly"):
        return found
    known = store.findings_of_box(change.box_ids[0], change.start_ns, change.end_ns)
    events = sorted({number for each in known for number in each.event_ids})
    return replace(found, event_ids=tuple(events), incident_ids=tuple(each.finding_id for each in known))


def _alike(store: CloudStore, span: Span, box_ids: Sequence[str]) -> Mapping[str, list[Phenomenon]]:
    """Box -> its pairs; each pair is of the Box that comes first."""
    values = {box_id: _ten_minutes(store, span, box_id) for box_id in box_ids}
    known = {box_id: each for box_id, each in values.items() if not np.isnan(each).all()}
    found: dict[str, list[Phenomenon]] = {}
    for pair in most_likely(likenesses(known)):
        found.setdefault(pair.box_ids[0], []).append(likeness_phenomenon(pair, *span.in_ms))
    return found


def _ten_minutes(store: CloudStore, span: Span, box_id: str) -> NDArray[np.float64]:
    columns = store.intervals.read(box_id, TEN_MINUTES_MS, span.start_ns, span.end_ns, ("rms_v",))
    found = np.full(span.hours * 6, np.nan)
    volts = columns.values.get("rms_v")
    if volts is not None:
        place = (columns.start_ns - span.start_ns) // (TEN_MINUTES_MS * 1_000_000)
        good = ~columns.flagged
        found[place[good]] = volts[good]
    return found
