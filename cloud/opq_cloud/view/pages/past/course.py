"""The lines of `/past`: which Boxes and weeks are read, and what of them is drawn over one another."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from heapq import nlargest

from opq_cloud.core.page_parts import FailedPart, made_parts
from opq_cloud.reports.limit_table import LimitTable
from opq_cloud.store.incidents.index import IncidentFilter, IndexedIncident
from opq_cloud.view.pages.drawing.local_weeks import WEEK_MS, LocalSpan, week_place_ms, week_span, whole_hours
from opq_cloud.view.pages.drawing.missing_words import MissingPart, missing_parts
from opq_cloud.view.pages.past.address import PastAddress
from opq_cloud.view.pages.past.change_list import ListedChange, changes_listed
from opq_cloud.view.pages.past.line_reading import (
    HIDDEN_ROW_MS,
    read_lines,
    rows_for,
    served_lines,
    week_span_of,
)
from opq_cloud.view.pages.past.past_drawing import PastChart, limits_of
from opq_cloud.view.pages.past.quantities import PastQuantity
from opq_cloud.view.pages.past.series import PastSeries, UnshownSpan, in_week, without_skipped
from opq_cloud.view.pages.visible.shown_box import ShownBox
from opq_cloud.view.pages.visible.view_services import ViewServices
from opq_cloud.view.pages.visible.visitor_context import VisitorContext
from opq_cloud.view.web import words

INCIDENTS_MARKED = 200
ALL_INCIDENTS = 2**31
"""More than a span has."""
HOLES_LISTED = 20
EXTREMES_LISTED = 5
"""Incidents in each list of the longest and the deepest."""
FEWEST_ROWS = 6
HIDDEN_QUANTITIES = ("rms_v", "f_hz")
"""Quantities that Boxes show that are in figures only."""
HOUR_ROWS_OF_WEEK = 170
"""Rows of a week by hours, and some to spare."""
TEN_MINUTE_ROWS_OF_WEEK = 1100
"""Rows of a week by ten minutes, for zones whose hours are not those of UTC."""


@dataclass(frozen=True, slots=True)
class Hole:
    """A stretch of which nothing of a line is stored."""

    line: str
    start_ms: int
    end_ms: int


@dataclass(frozen=True, slots=True)
class Course:
    charts: tuple[PastChart, ...]
    axis: tuple[int, int]
    weeks: tuple[LocalSpan, ...]
    """Those that are drawn over one another, the newest first; empty: a span."""
    read: int
    """Boxes in the lines."""
    incidents: tuple[IndexedIncident, ...]
    marks: tuple[tuple[float, str], ...]
    """Place on the axis and tone of each incident."""
    missing: Sequence[MissingPart]
    changes: Sequence[ListedChange] = ()
    extremes: Mapping[str, Sequence[IndexedIncident]] = field(default_factory=dict)
    """Longest and deepest incidents by the title of their list."""
    wanted: IncidentFilter = field(default_factory=IncidentFilter)
    """The incidents that are listed."""
    holes: Sequence[Hole] = ()
    losses: Sequence[str] = ()
    """What was lost of the Boxes for good, in words, until somebody has noted it as seen."""
    failed: Sequence[FailedPart] = ()
    """Quantities that could not be drawn."""

    @property
    def unshown(self) -> tuple[UnshownSpan, ...]:
        return tuple(dict.fromkeys(span for chart in self.charts for span in chart.unshown))

    @property
    def has_frequency(self) -> bool:
        return any(chart.quantity.name == "f_hz" and chart.drawn for chart in self.charts)


def read_course(
    context: VisitorContext, services: ViewServices, address: PastAddress, table: LimitTable
) -> Course:
    """Reads all lines of an address."""
    now_ms = context.now_ns() // 1_000_000
    choice, span = address.choice, address.span
    quantities = address.quantities
    if choice.hidden:
        quantities = tuple(each for each in quantities if each.name in HIDDEN_QUANTITIES) or quantities[:0]
    boxes, hidden = choice.read()
    if span.length_ms < FEWEST_ROWS * HIDDEN_ROW_MS and not address.weeks:
        hidden = []  # their rows would be shorter
    weeks: tuple[LocalSpan, ...] = ()
    axis = (span.start_ms, span.end_ms)
    if address.weeks:
        last_ms = min(span.end_ms, now_ms) - 1
        weeks = tuple(week_span(last_ms, address.zone, back) for back in range(address.weeks + 1))
        axis = (0, WEEK_MS)
    if not (boxes or hidden):
        return Course((), axis, weeks, 0, (), (), ())
    rows = _week_rows(address, weeks[0]) if weeks else rows_for(len(boxes) + len(hidden))
    spans = [week_span_of(each) for each in weeks] or [span]
    served = [served_lines(context, choice, boxes, each.start_ms, each.end_ms) for each in spans]
    parts = [
        read_lines(context, services, address, quantities, each, now_ms, rows, boxes, hidden, own)
        for each, own in zip(spans, served, strict=True)
    ]
    nominal = [part.box for own in served for line in own for part in line.parts] or boxes
    nominal += (each.box for each in hidden)

    def chart_of(quantity: PastQuantity) -> PastChart:
        if weeks:
            series = tuple(
                in_week(_named(part[quantity.name][0], back, week), week, address.zone)
                for back, (part, week) in enumerate(zip(parts, weeks, strict=True))
            )
            gaps = tuple(
                without_skipped(each.gaps, week, address.zone)
                for each, week in zip(series, weeks, strict=True)
            )
        else:
            series = tuple(parts[0][quantity.name])
            gaps = tuple(each.gaps for each in series)
        return _chart(address, quantity, series, gaps, table, nominal)

    charts, failed = made_parts(quantities, lambda each: each.words, chart_of)
    first_ms, last_ms = (weeks[-1].start_ms, weeks[0].end_ms) if weeks else axis
    span_ns = first_ms * 1_000_000, last_ms * 1_000_000
    wanted = IncidentFilter(box_ids=choice.box_ids, start_ns=span_ns[0], end_ns=span_ns[1])
    stays = context.stays(**{choice.kind: choice.name}) if choice.name else ()
    if choice.name:
        wanted = replace(wanted, box_ids=tuple(dict.fromkeys(each[0] for each in stays)), stays=stays)
    found = context.store.find_incidents(wanted, INCIDENTS_MARKED) if wanted.box_ids else []
    incidents = sorted(found, key=lambda each: -each.start_ns)
    missing: Sequence[MissingPart] = ()
    holes = () if weeks else tuple(_holes(charts))
    if len(boxes) == 1 and not weeks and charts and charts[0].series[0].source != "":
        first = charts[0].series[0]
        shares = list(zip(first.at_ms.tolist(), first.coverage.tolist(), strict=True))
        missing = missing_parts(context.store, boxes[0].box_id, shares, first.step_ms, span.end_ms)
    marks = tuple((_place(each, address), words.class_tone(each.kind)) for each in incidents)
    changes = changes_listed(
        context.store, *axis, () if weeks else choice.box_ids, stays if choice.name else None
    )
    read = len(boxes) + len({each.box.box_id for each in hidden})
    extremes = _extremes(context, wanted, incidents)
    losses = tuple(_losses(context, boxes, first_ms, last_ms))
    return Course(
        charts,
        axis,
        weeks,
        read,
        tuple(incidents),
        marks,
        missing,
        changes,
        extremes,
        wanted,
        holes,
        losses,
        failed,
    )


def _losses(context: VisitorContext, boxes: Sequence[ShownBox], start_ms: int, end_ms: int) -> Iterator[str]:
    records = context.records(box.box_id for box in boxes)
    for box in boxes:
        if (record := records.get(box.box_id)) is None:
            continue
        known = record if context.visitor.knows_place(box.box_id) else record.without("site")
        for each in known.lost:
            if each.start_ms < end_ms and each.end_ms > start_ms:
                yield f"{box.label} lost {each.words}"


def _holes(charts: Sequence[PastChart]) -> Iterator[Hole]:
    """Stretches of which nothing of a line is stored, the newest first; of lines that have any value."""
    for chart in charts[:1]:
        found = [(gap, each.words) for each in chart.series if each.source for gap in each.gaps]
        for (start_ms, end_ms), line in sorted(found, reverse=True)[:HOLES_LISTED]:
            yield Hole(line, start_ms, end_ms)


def _week_rows(address: PastAddress, week: LocalSpan) -> int:
    return HOUR_ROWS_OF_WEEK if whole_hours(week, address.zone) else TEN_MINUTE_ROWS_OF_WEEK


def _named(series: PastSeries, back: int, week: LocalSpan) -> PastSeries:
    before = f"{words.counted(back, 'week', 'weeks')} before" if back else "The week"
    return replace(series, words=f"{before}, from {week.first.isoformat()}")


def _place(incident: IndexedIncident, address: PastAddress) -> float:
    at_ms = incident.start_ns / 1e6
    if not address.weeks:
        return at_ms
    return week_place_ms(int(at_ms), week_span(int(at_ms), address.zone).first, address.zone)


def _chart(
    address: PastAddress,
    quantity: PastQuantity,
    series: tuple[PastSeries, ...],
    gaps: tuple[tuple[tuple[int, int], ...], ...],
    table: LimitTable,
    boxes: Sequence[ShownBox],
) -> PastChart:
    in_percent = address.percent and quantity.name == "rms_v"
    unit, digits = ("%", 2) if in_percent else (quantity.unit, quantity.digits)
    nominal = None
    if quantity.name in HIDDEN_QUANTITIES:
        values = {box.nominal_v if quantity.name == "rms_v" else box.nominal_hz for box in boxes}
        nominal = 100.0 if in_percent else values.pop() if len(values) == 1 else None
    return PastChart(
        quantity,
        f"{quantity.words}, {unit}" if unit else quantity.words,
        unit,
        digits,
        nominal,
        limits_of(table, quantity, address.percent, nominal, {each.source for each in series if each.source}),
        series,
        gaps,
    )


def _extremes(
    context: VisitorContext, wanted: IncidentFilter, newest: Sequence[IndexedIncident]
) -> dict[str, list[IndexedIncident]]:
    """The longest incidents, and the deepest of the most severe; of the newest where those are all."""
    severe = every = newest
    if len(newest) >= INCIDENTS_MARKED:  # the store reads all that was at some Boxes for either order
        every = context.store.find_incidents(replace(wanted, order="severe"), ALL_INCIDENTS)
        severe = every[:INCIDENTS_MARKED]
    longest = nlargest(EXTREMES_LISTED, every, key=lambda each: each.place("long").key)
    below = [each for each in severe if each.residual_percent is not None and each.residual_percent < 100]
    deepest = sorted(below, key=lambda each: each.residual_percent or 0.0)[:EXTREMES_LISTED]
    return {name: found for name, found in (("Longest", longest), ("Deepest", deepest)) if found}
