"""Indices of a fleet over a week, a month or a year: supply, data, SARFI and frequency, by Box and by feeder.

Read from disturbances, outages and the summaries of days and months. The frequency alone is read from
intervals.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from opq_cloud.core.page_parts import FailedPart, made_part, made_parts
from opq_cloud.export.exported_records import software_name
from opq_cloud.export.tables import ExportTable, TableColumn
from opq_cloud.reports.grid_frequency import GridFrequency
from opq_cloud.reports.place_frequency import places_frequency, places_of_days
from opq_cloud.reports.place_indices import (
    BoxIndices,
    IndexStore,
    PlaceIndices,
    long_interruption_s,
    place_indices,
)
from opq_cloud.reports.place_reading import ChosenPlace, PlaceChoice, chosen_places
from opq_cloud.reports.week import ReportSpan
from opq_measure.standards.event_tables import SARFI_NAMES
from opq_measure.standards.indices import fleet_supply
from opq_proto.decision import Nominal
from opq_proto.messages import Disturbance


@dataclass(frozen=True, slots=True)
class FleetIndices:
    span: ReportSpan
    words: str
    long_s: float
    places: tuple[PlaceIndices, ...]
    feeders: Mapping[str, Sequence[PlaceIndices]]
    """Feeder -> its places, each in the part of the span in which it was of the feeder."""
    frequency: GridFrequency
    broken: tuple[FailedPart, ...] = ()
    """Places, or figures, that could not be made."""


def fleet_indices(
    store: IndexStore, span: ReportSpan, choice: PlaceChoice, nominal: Nominal, now_ns: int
) -> FleetIndices:
    """The indices of the chosen places; a span that is not over ends now.

    Raises:
        NoPlaceError: nothing of this name is known.
        StoreError: the store cannot be read.
    """
    records = store.boxes()
    whole = replace(span, end_ns=max(span.start_ns, min(span.end_ns, now_ns)))
    places = chosen_places(records, choice, whole.start_ns, max(whole.end_ns, whole.start_ns + 1))
    events: dict[str, list[Disturbance]] = {}
    for each in store.intervals.disturbances_during(None, whole.start_ns, whole.end_ns):
        events.setdefault(each.box_id, []).append(each)
    made, broken = made_parts(
        places,
        lambda place: place.name,
        lambda place: _with_feeders(store, whole, place, nominal, events),
    )
    found = tuple(each for each, _ in made)
    names = sorted({name for _, parts in made for name in parts})
    feeders = {name: [parts[name] for _, parts in made if name in parts] for name in names}
    of_days = places_of_days(records, choice, whole.start_ns, whole.end_ns)
    frequency = made_part(
        "Frequency",
        lambda: places_frequency(store.intervals, (*places, *of_days), nominal, whole.start_ns, whole.end_ns),
    )
    if isinstance(frequency, FailedPart):
        broken, frequency = (*broken, frequency), GridFrequency()
    words = found[0].name if len(found) == 1 else choice.words
    long_s = long_interruption_s()
    whole = replace(whole, end_ns=span.end_ns)
    return FleetIndices(whole, words, long_s, found, feeders, frequency, broken)


def _with_feeders(
    store: IndexStore,
    span: ReportSpan,
    place: ChosenPlace,
    nominal: Nominal,
    events: dict[str, list[Disturbance]],
) -> tuple[PlaceIndices, dict[str, PlaceIndices]]:
    """The indices of a place, and by feeder those of the part of the span in which it was of that feeder."""
    whole = place_indices(store, span, place, nominal, events)
    if whole.feeder:
        return whole, {whole.feeder: whole}
    names = {each.box.feeder for each in place.spans if each.box.feeder}
    return whole, {name: place_indices(store, span, place.of_feeder(name), nominal, events) for name in names}


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
            "nominal_hz": found.frequency.nominal_hz,
            "median_hz": _known(index.median_hz),
            "nadir_hz": _known(index.nadir_hz),
            "nadir_ns": index.nadir_ns,
            "steepest_hz_per_s": _known(index.steepest_hz_per_s),
            "steepest_ns": index.steepest_ns,
            "of": found.frequency.of or None,
        },
        "feeders": [{"feeder": name, **_together(places)} for name, places in found.feeders.items()],
        "places": [
            {
                "place": place.name,
                "site": place.site,
                "feeder": place.feeder,
                "sarfi": _sarfi(place),
            }
            for place in found.places
        ],
        "boxes": [
            {**_row(place, box), "sarfi": _sarfi(box)} for place in found.places for box in place.boxes
        ],
        "failed": [each.name for each in found.broken],
        "software": software_name(),
    }


def indices_table(found: FleetIndices) -> ExportTable:
    """A row for each Box with what it measured, then one for each site with the events of its phases."""
    texts = "row", "box_id", "label", "site", "feeder", "place"
    numbers = "nominal_v", *BOX_FIGURES, *(f"sarfi_{each}" for each in SARFI_NAMES)
    columns = (
        *(TableColumn(name, "text") for name in texts),
        *(TableColumn(each, "number") for each in numbers),
    )
    nothing = dict.fromkeys((*texts, *numbers))
    rows = [
        {"row": "box", **_row(place, box), **_sarfi_cells(box)}
        for place in found.places
        for box in place.boxes
    ]
    rows += [
        {
            **nothing,
            "row": "site",
            "label": place.name,
            "site": place.site,
            "feeder": place.feeder,
            "place": place.name,
            **_sarfi_cells(place),
        }
        for place in found.places
        if place.site
    ]
    facts = {"software": software_name(), "span": found.span.name, "zone": found.span.zone.key}
    return ExportTable("indices", columns, rows, facts)


BOX_FIGURES = (
    "interruptions",
    "earlier_interruptions",
    "interrupted_minutes",
    "short_interruptions",
    "supplied_percent",
    "complete_percent",
    "flagged_percent",
)


def _row(place: PlaceIndices, box: BoxIndices) -> dict[str, Any]:
    supply = box.supply
    counts = supply.sustained, supply.earlier, supply.minutes, supply.short
    figures = counts if box.is_known else (math.nan,) * len(counts)
    values = (*figures, supply.supplied_percent, box.complete_percent, box.flagged_percent)
    return {
        "box_id": box.box_id,
        "label": box.label,
        "site": box.site,
        "feeder": box.feeder,
        "place": place.name,
        "nominal_v": box.nominal_v,
        **{name: _known(value) for name, value in zip(BOX_FIGURES, values, strict=True)},
    }


def _sarfi_cells(found: BoxIndices | PlaceIndices) -> dict[str, int | None]:
    return {f"sarfi_{key}": value for key, value in _sarfi(found).items()}


def _sarfi(found: BoxIndices | PlaceIndices) -> Mapping[str, int | None]:
    return found.sarfi.counts() if found.is_known else dict.fromkeys(SARFI_NAMES)


def _together(places: Sequence[PlaceIndices]) -> dict[str, Any]:
    """Means of some places, as SAIFI and SAIDI are, with a Box, or those that replaced it, as a customer.

    Those of which nothing is known in the span are left out, but from the share that was measured.
    """
    boxes = [box for place in places for box in place.supplied]
    seen_ids = {box.box_id for box in boxes if box.is_known}
    known = [box for box in boxes if box.box_id in seen_ids]
    supply = fleet_supply([box.supply for box in known], [box.served for box in known])
    counts = [place.sarfi.counts() for place in places if place.is_known]
    measured = [box for box in boxes if not math.isnan(box.complete_percent)]
    served = sum(box.served for box in measured)
    return {
        "boxes_count": len({box.box_id for box in boxes}),
        "interruptions_per_box": None if supply is None else supply.interruptions_per_box,
        "interrupted_minutes_per_box": None if supply is None else supply.minutes_per_box,
        "supplied_percent": None if supply is None else _known(supply.supplied_percent),
        "complete_percent": _known(sum(box.served * box.complete_percent for box in measured) / served)
        if served
        else None,
        "sarfi": {
            name: sum(each[name] for each in counts) / len(counts) if counts else None for name in SARFI_NAMES
        },
    }


def _known(value: float) -> float | None:
    return None if value is None or not math.isfinite(value) else round(value, 6)
