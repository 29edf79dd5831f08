"""The frequency of chosen places over a span: which Boxes are of one grid, and when they were there.

Reports and indices ask here, so that they have one answer; `/past` has that of a single Box
(`frequency_reading.box_extremes`).
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace

from opq_cloud.reports.frequency_reading import read_frequency
from opq_cloud.reports.grid_frequency import GridFrequency, commonest_hz
from opq_cloud.reports.place_reading import ChosenPlace, PlaceChoice, chosen_places
from opq_cloud.reports.stating_boxes import LENGTHS_MS
from opq_cloud.store.box_record import BoxRecord, FactSpan
from opq_cloud.store.intervals.served_phases import stints
from opq_cloud.store.records.intervals.long_term import ShownIntervals
from opq_plugins.sdk.modules import DEFAULT_NOMINAL
from opq_proto.decision import Nominal
from opq_proto.time_units import DAY_NS


def places_of_days(
    records: Sequence[BoxRecord], choice: PlaceChoice, start_ns: int, end_ns: int
) -> list[ChosenPlace]:
    """The chosen places in the whole days (UTC) that a span touches, in which its frequency is stated."""
    return chosen_places(records, choice, start_ns // DAY_NS * DAY_NS, -(-end_ns // DAY_NS) * DAY_NS)


def places_frequency(
    intervals: ShownIntervals, places: Iterable[ChosenPlace], nominal: Nominal, start_ns: int, end_ns: int
) -> GridFrequency:
    """The frequency of the Boxes of these places that state the commonest nominal frequency."""
    by_hz: dict[float | None, dict[str, list[FactSpan]]] = {}
    for span in (span for place in places for span in place.spans):
        by_hz.setdefault(_stated_hz(span, nominal), {}).setdefault(span.box.box_id, []).append(span)
    if len(by_hz) > 1:
        there = [
            (of_hz, box_id, parts)
            for of_hz, boxes in by_hz.items()
            for box_id, own in boxes.items()
            if (parts := stints(own, start_ns, end_ns))
        ]
        measured = [of_hz for of_hz, box_id, parts in there if _has_measured(intervals, box_id, parts)]
        hertz = commonest_hz(measured or [of_hz for of_hz, _, _ in there])
    else:
        hertz = next(iter(by_hz), None)
    boxes = by_hz.get(hertz, {})
    stays = {box_id: stints(own, 0, max(span.end_ns for span in own)) for box_id, own in boxes.items()}
    return replace(read_frequency(intervals, stays, start_ns, end_ns), nominal_hz=hertz)


def _stated_hz(span: FactSpan, nominal: Nominal) -> float | None:
    """The nominal frequency of a Box; None: neither it nor the configuration states one."""
    return span.box.nominal_hz or (None if nominal == DEFAULT_NOMINAL else nominal.hz)


def _has_measured(intervals: ShownIntervals, box_id: str, parts: Sequence[tuple[int, int]]) -> bool:
    lengths = ((length_ms, *part) for length_ms in LENGTHS_MS for part in parts)
    return any(intervals.summary(box_id, *each, ()).intervals for each in lengths)
