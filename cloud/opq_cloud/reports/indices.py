"""Indices of a fleet over a week, a month or a year: supply, data, SARFI and frequency, by Box and by feeder.

Read from disturbances, outages and the summaries of days and months, so that a year needs no interval. The
frequency is that of one grid, so a few Boxes with the most data state it: the median of all their intervals,
and of the day that went lowest its intervals themselves, each the median of those Boxes weighted by
1/uncertainty^2.
"""

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from opq_cloud.export.records import software_name
from opq_cloud.export.tables import ExportTable, TableColumn
from opq_cloud.reports.fleet import grid_of
from opq_cloud.reports.reading import (
    LOOK_BACK_NS,
    ChosenPlace,
    IntervalReader,
    PlaceChoice,
    ReportStore,
    chosen_places,
    label_of,
    outages_of,
)
from opq_cloud.reports.verdicts import TEN_MINUTES_MS, TEN_SECONDS_MS, BoxWeek, expected_intervals
from opq_cloud.reports.week import ReportSpan
from opq_cloud.reports.week_report import PlacedBox, merged, site_events
from opq_cloud.store.box_record import BoxRecord
from opq_cloud.store.intervals.distribution import IntervalSummary, summed
from opq_cloud.store.records.intervals import SummaryRow
from opq_measure.standards.event_tables import SARFI_PERCENTS, Sarfi, sarfi_of
from opq_measure.standards.indices import (
    FrequencyIndex,
    SupplyIndex,
    fleet_supply,
    frequency_index,
    supply_of,
    weighted_median,
)
from opq_proto.decision import Nominal
from opq_proto.messages import Disturbance

FREQUENCY_BOXES = 5
"""Boxes, those with the most data, that state the grid's frequency."""
FREQUENCY = ("f_min_hz", "f_hz")
"""The lowest window of an interval, which older gateways do not send, and the interval itself."""
DAY_NS = 86_400 * 10**9
LONG_S = 180.0
"""A longer interruption counts: EN 50160:2010, 3.11."""


class SummaryReader(IntervalReader, Protocol):
    """The store's intervals with their summaries."""

    def summary(
        self, box_id: str, length_ms: int, start_ns: int, end_ns: int, names: Collection[str] | None = None
    ) -> IntervalSummary: ...

    def days(
        self, box_id: str, length_ms: int, start_ns: int, end_ns: int, names: Collection[str] | None = None
    ) -> list[SummaryRow]: ...


class IndexStore(ReportStore, Protocol):
    """What indices are read from."""

    @property
    def intervals(self) -> SummaryReader: ...


@dataclass(frozen=True, slots=True)
class BoxIndices:
    """One Box over the span."""

    box_id: str
    label: str
    site: str | None
    feeder: str | None
    supply: SupplyIndex
    complete_percent: float
    """Share of the span that it measured."""
    flagged_percent: float


@dataclass(frozen=True, slots=True)
class PlaceIndices:
    """A site, or a single Box; events of a site's phases that overlap are one."""

    name: str
    feeder: str | None
    boxes: tuple[BoxIndices, ...]
    sarfi: Sarfi


@dataclass(frozen=True, slots=True)
class GridFrequency:
    index: FrequencyIndex
    boxes: int
    nadir_ns: int | None
    steepest_ns: int | None


@dataclass(frozen=True, slots=True)
class FleetIndices:
    span: ReportSpan
    words: str
    long_s: float
    places: tuple[PlaceIndices, ...]
    frequency: GridFrequency

    @property
    def feeders(self) -> dict[str, list[PlaceIndices]]:
        found: dict[str, list[PlaceIndices]] = {}
        for place in self.places:
            if place.feeder:
                found.setdefault(place.feeder, []).append(place)
        return dict(sorted(found.items()))


def fleet_indices(
    store: IndexStore, span: ReportSpan, choice: PlaceChoice, nominal: Nominal, now_ns: int
) -> FleetIndices:
    """The indices of the chosen places; a span that is not over ends now.

    Raises:
        NoPlaceError: nothing of this name is known.
        StoreError: the store cannot be read.
    """
    records = store.boxes()
    places = chosen_places(records, choice)
    whole = replace(span, end_ns=max(span.start_ns + 1, min(span.end_ns, now_ns)))
    events: dict[str, list[Disturbance]] = {}
    for each in store.intervals.disturbances(None, whole.start_ns - LOOK_BACK_NS, whole.end_ns):
        events.setdefault(each.box_id, []).append(each)
    found = tuple(_place(store, whole, place, nominal, events) for place in places)
    chosen = {record.box_id for place in places for record in place.records}
    frequency = _frequency(store, whole, [each for each in records if each.box_id in chosen], found, nominal)
    words = found[0].name if len(found) == 1 else choice.words
    return FleetIndices(replace(whole, end_ns=span.end_ns), words, LONG_S, found, frequency)


def _place(
    store: IndexStore,
    span: ReportSpan,
    place: ChosenPlace,
    nominal: Nominal,
    events: dict[str, list[Disturbance]],
) -> PlaceIndices:
    boxes = [_placed(record, nominal, tuple(events.get(record.box_id, ()))) for record in place.records]
    own = tuple(_box(store, span, record, box) for record, box in zip(place.records, boxes, strict=True))
    feeders = {record.feeder for record in place.records}
    feeder = feeders.pop() if len(feeders) == 1 else None
    return PlaceIndices(place.name, feeder, own, sarfi_of(site_events(boxes, span)))


def _placed(record: BoxRecord, nominal: Nominal, events: tuple[Disturbance, ...] = ()) -> PlacedBox:
    week = BoxWeek(record.box_id, record.nominal_v or nominal.volts, record.nominal_hz or nominal.hz, {})
    return PlacedBox(record.box_id, label_of(record), None, week, events)


def _box(store: IndexStore, span: ReportSpan, record: BoxRecord, box: PlacedBox) -> BoxIndices:
    interruptions = [(each.start_ns, each.end_ns) for each in box.disturbances if each.kind == "interruption"]
    outages = outages_of(store, record.box_id, span.start_ns, span.end_ns)
    summary = store.intervals.summary(record.box_id, TEN_MINUTES_MS, span.start_ns, span.end_ns, ())
    expected = max(1, expected_intervals(span.start_ns, span.end_ns, TEN_MINUTES_MS))
    return BoxIndices(
        record.box_id,
        box.label,
        record.site,
        record.feeder,
        supply_of(merged([*interruptions, *outages]), span.start_ns, span.end_ns, LONG_S),
        min(100.0, 100 * summary.covered / expected),
        100 * summary.flagged / expected,
    )


def _frequency(
    store: IndexStore,
    span: ReportSpan,
    records: Sequence[BoxRecord],
    places: Sequence[PlaceIndices],
    nominal: Nominal,
) -> GridFrequency:
    share = {box.box_id: box.complete_percent for place in places for box in place.boxes}
    best = sorted(records, key=lambda each: -share.get(each.box_id, 0.0))[:FREQUENCY_BOXES]
    parts = _months(span)
    found = {
        part: [store.intervals.summary(each.box_id, TEN_MINUTES_MS, *part, FREQUENCY) for each in best]
        for part in parts
    }
    lowest = (_lowest_day(store, best, found, name) for name in FREQUENCY)
    days_ns = sorted({day_ns for day_ns in lowest if day_ns is not None})
    if not days_ns:
        nothing = np.zeros(0)
        return GridFrequency(frequency_index(nothing, nothing), 0, None, None)
    of_boxes = (summed(own).distribution("f_hz", flagged=False) for own in zip(*found.values(), strict=True))
    medians = [middle for each in of_boxes if (middle := each.quantile(0.5)) is not None]
    index, starts_ns, count = min(
        (_of_grid([_of_day(store, each, nominal, day_ns, span) for each in best]) for day_ns in days_ns),
        key=lambda each: math.inf if math.isnan(each[0].nadir_hz) else each[0].nadir_hz,
    )
    whole = replace(index, median_hz=weighted_median(np.array(medians), np.ones(len(medians))))
    at = [None if place is None else int(starts_ns[place]) for place in (index.nadir_at, index.steepest_at)]
    return GridFrequency(whole, count, at[0], at[1])


def _of_grid(boxes: Sequence[PlacedBox]) -> tuple[FrequencyIndex, NDArray[np.int64], int]:
    """The index of the Boxes of a day, the starts of its intervals, and how many Boxes have some."""
    hertz, starts_ns, count = grid_of(boxes)
    return frequency_index(starts_ns / 1e9, hertz), starts_ns, count


def _months(span: ReportSpan) -> list[tuple[int, int]]:
    """The months (UTC) of a span, the first and the last in part."""
    edges_ns, at = [span.start_ns], datetime.fromtimestamp(span.start_ns // 10**9, UTC)
    while edges_ns[-1] < span.end_ns:
        at = (at.replace(day=1) + timedelta(32)).replace(day=1, hour=0, minute=0, second=0)
        edges_ns.append(min(span.end_ns, round(at.timestamp()) * 10**9))
    return list(pairwise(edges_ns))


def _lowest_day(
    store: IndexStore,
    records: Sequence[BoxRecord],
    months: Mapping[tuple[int, int], Sequence[IntervalSummary]],
    name: str,
) -> int | None:
    """The day (UTC) on which the median of the Boxes went lowest by a quantity; None where nothing is known.

    Windows are compared with windows and intervals with intervals, because the mean of ten minutes hides how
    low they went: of Boxes that store the one and others that store the other, no median is right. The days
    of a month are read only where one of its Boxes was as low as the lowest day so far.
    """
    known = (
        (part, [hertz for each in own if (hertz := _least_hz(each, name)) is not None])
        for part, own in months.items()
    )
    lowest: tuple[float, int] | None = None
    for least_hz, part in sorted((min(hertz), part) for part, hertz in known if hertz):
        if lowest is not None and least_hz > lowest[0]:
            break
        days: dict[int, list[float]] = {}
        for record in records:
            for row in store.intervals.days(record.box_id, TEN_MINUTES_MS, *part, FREQUENCY):
                if (hertz := _least_hz(row.summary, name)) is not None:
                    days.setdefault(row.start_ms, []).append(hertz)
        found = [(float(np.median(hertz)), at_ms) for at_ms, hertz in days.items()]
        lowest = min([*found, *([] if lowest is None else [lowest])], default=None)
    return None if lowest is None else 10**6 * lowest[1]


def _least_hz(summary: IntervalSummary, name: str) -> float | None:
    """The lowest window, or interval where some have no windows, without a flag; None where there is none."""
    windows, found = (summary.distribution(each, flagged=False) for each in (FREQUENCY[0], name))
    if name != FREQUENCY[0] and found.count <= windows.count:
        return None  # its windows are at least as low
    return None if math.isnan(found.least) else found.least


def _of_day(
    store: IndexStore, record: BoxRecord, nominal: Nominal, day_ns: int, span: ReportSpan
) -> PlacedBox:
    """A Box with the frequency of one day, in 10 s where they are stored."""
    first_ns, last_ns = max(day_ns, span.start_ns), min(day_ns + DAY_NS, span.end_ns)
    box = _placed(record, nominal)
    found = {}
    for length_ms in (TEN_SECONDS_MS, TEN_MINUTES_MS):
        columns = store.intervals.read(record.box_id, length_ms, first_ns, last_ns, ("f_hz",))
        if len(columns.start_ns):
            found[length_ms] = columns
    return replace(box, week=replace(box.week, intervals=found))


def indices_document(found: FleetIndices) -> dict[str, Any]:
    """The indices as JSON; unknown is null."""
    index = found.frequency.index
    return {
        "of": found.words,
        "span": found.span.name,
        "zone": found.span.zone.key,
        "from": found.span.start_ns,
        "to": found.span.end_ns,
        "long_interruption_s": found.long_s,
        **_together(found.places),
        "frequency": {
            "boxes": found.frequency.boxes,
            "median_hz": _known(index.median_hz),
            "nadir_hz": _known(index.nadir_hz),
            "nadir_ns": found.frequency.nadir_ns,
            "steepest_hz_per_s": _known(index.steepest_hz_per_s),
            "steepest_ns": found.frequency.steepest_ns,
        },
        "feeders": [{"feeder": name, **_together(places)} for name, places in found.feeders.items()],
        "places": [
            {"place": place.name, "feeder": place.feeder, "sarfi": _sarfi(place.sarfi)}
            for place in found.places
        ],
        "boxes": [_row(place, box) for place in found.places for box in place.boxes],
        "software": software_name(),
    }


def indices_table(found: FleetIndices) -> ExportTable:
    """A row for each Box."""
    texts, numbers = ("box_id", "label", "site", "feeder", "place"), (*BOX_FIGURES, *SARFI_NAMES)
    columns = (
        *(TableColumn(name, "text") for name in texts),
        *(TableColumn(each, "number") for each in numbers),
    )
    rows = [
        {**_row(place, box), **{f"sarfi_{key}": value for key, value in _sarfi(place.sarfi).items()}}
        for place in found.places
        for box in place.boxes
    ]
    facts = {"software": software_name(), "span": found.span.name, "zone": found.span.zone.key}
    return ExportTable("indices", columns, rows, facts)


BOX_FIGURES = (
    "interruptions",
    "interrupted_minutes",
    "short_interruptions",
    "supplied_percent",
    "complete_percent",
    "flagged_percent",
)
SARFI_NAMES = tuple(
    f"sarfi_{name}" for name in (*(f"{each:g}" for each in SARFI_PERCENTS), "itic", "semi_f47")
)


def _row(place: PlaceIndices, box: BoxIndices) -> dict[str, Any]:
    supply = box.supply
    figures = (supply.sustained, supply.minutes, supply.short, supply.supplied_percent)
    values = (*figures, box.complete_percent, box.flagged_percent)
    return {
        "box_id": box.box_id,
        "label": box.label,
        "site": box.site,
        "feeder": box.feeder,
        "place": place.name,
        **{name: round(value, 6) for name, value in zip(BOX_FIGURES, values, strict=True)},
    }


def _sarfi(found: Sarfi) -> dict[str, int]:
    return {
        **{f"{each:g}": count for each, count in found.beyond},
        "itic": found.itic,
        "semi_f47": found.semi_f47,
    }


def _together(places: Sequence[PlaceIndices]) -> dict[str, Any]:
    """Means of some places, as SAIFI and SAIDI are, with a Box as a customer."""
    boxes = [box for place in places for box in place.boxes]
    supply = fleet_supply([box.supply for box in boxes])
    counts = [_sarfi(place.sarfi) for place in places]
    return {
        "boxes_count": len(boxes),
        "interruptions_per_box": None if supply is None else supply.interruptions_per_box,
        "interrupted_minutes_per_box": None if supply is None else supply.minutes_per_box,
        "supplied_percent": None if supply is None else supply.supplied_percent,
        "complete_percent": sum(box.complete_percent for box in boxes) / len(boxes) if boxes else None,
        "sarfi": {name: sum(each[name] for each in counts) / len(counts) for name in counts[0]}
        if counts
        else {},
    }


def _known(value: float) -> float | None:
    return None if value is None or not math.isfinite(value) else round(value, 6)
