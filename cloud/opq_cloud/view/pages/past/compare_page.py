"""`/compare`: several Boxes, a group as one, or the weeks of a Box, in one chart of any span."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, JSONResponse

from opq_cloud.store.incidents.index import IncidentFilter, IndexedIncident
from opq_cloud.view.pages.boxes.history_page import INCIDENTS_LISTED, step_words
from opq_cloud.view.pages.drawing import history_chart as drawing
from opq_cloud.view.pages.drawing.box_history import INCIDENTS_SHOWN
from opq_cloud.view.pages.drawing.local_weeks import WEEK_MS, week_place_ms, week_span
from opq_cloud.view.pages.drawing.rendering import PageMaker
from opq_cloud.view.pages.past.box_choice import BoxChoice, GroupNames, read_groups
from opq_cloud.view.pages.past.compare_address import (
    MAX_SERIES,
    MAX_WEEKS,
    QUANTITIES,
    CompareAddress,
    read_compare_address,
)
from opq_cloud.view.pages.past.past_chart import WEEK_AXIS, past_chart, week_ticks
from opq_cloud.view.pages.past.past_series import (
    BOXES_READ,
    Factors,
    PastSeries,
    read_span_series,
    read_week_series,
    step_for,
)
from opq_cloud.view.pages.visible.registry import sampled
from opq_cloud.view.pages.visible.visitor_context import VisitorContext
from opq_cloud.view.web import words
from opq_cloud.view.web.time_span import PRESET_WORDS, input_words
from opq_proto.messages import Measurement

BOXES_OFFERED = 24
"""Where there are more, they are typed, not ticked."""
SHOWN_FIRST = 3
"""Boxes of a page whose address names none."""
CLOCK_MS = 120_000
"""The newest Measurement of a span is searched in its last minutes."""


@dataclass(frozen=True, slots=True)
class SeriesRow:
    """A line of the table next to the chart."""

    number: int
    series: PastSeries
    clock: str
    link: str
    """Link to the Box; empty for a group."""


class ComparePages:
    """The page; `render` is `Pages.render`."""

    def __init__(self, context: VisitorContext, render: PageMaker) -> None:
        self._context = context
        self._render = render

    def router(self) -> APIRouter:
        router = APIRouter(include_in_schema=False)
        router.add_api_route("/compare", self.compare, response_class=HTMLResponse)
        router.add_api_route("/compare/rows", self.rows)
        return router

    def rows(self, request: Request) -> JSONResponse:
        """The rows from which the chart of the same address is drawn; times are those of its axis."""
        series, _ = self._series(self._address_of(request)[0])
        lines = [
            {
                "number": number,
                "words": each.words,
                "step_ms": each.step_ms,
                "rows": [
                    (row.at_ms, *(round(v, 6) for v in (row.low, row.mean, row.high))) for row in each.rows
                ],
            }
            for number, each in enumerate(series)
        ]
        return JSONResponse({"series": lines}, headers={"Cache-Control": "no-store"})

    def _address_of(self, request: Request) -> tuple[CompareAddress, GroupNames]:
        context, params = self._context, request.query_params
        groups = read_groups(context)
        named = [*params.getlist("box"), *params.getlist("boxes")]  # people type both
        if not any(named) and not params.get("region") and not params.get("feeder"):
            named = context.box_ids()[:SHOWN_FIRST]
        return read_compare_address(context, params, named, groups), groups

    def compare(self, request: Request) -> HTMLResponse:
        context = self._context
        every = context.box_ids()
        address, groups = self._address_of(request)
        series, read = self._series(address)
        nominal = self._nominal(address)
        axis = WEEK_AXIS if address.weeks else (address.span.start_ms, address.span.end_ms)
        incidents = self._incidents_in_span(address)
        chart = past_chart(series, *axis, nominal)
        words_of, unit, digits = _metric_words(address)
        now_ms = context.now_ns() // 1_000_000
        span = address.span
        share = WEEK_MS / span.length_ms if address.weeks else 0.5
        return self._render(
            "compare.html",
            "compare",
            200,
            address=address,
            axis=axis,
            rows_query=address.changed(start=str(span.start_ms), end=str(span.end_ms)),
            chart=chart,
            rows=[self._row(address, number, each) for number, each in enumerate(series)],
            ticks=week_ticks() if address.weeks else drawing.time_ticks(*axis),
            marks=self._marks(address, incidents, axis),
            incident_count=len(incidents),
            incident_rows=context.store.incidents_of(
                [each.incident_id for each in incidents[:INCIDENTS_LISTED]]
            ),
            most_marked=INCIDENTS_SHOWN,
            metric_words=words_of,
            unit=unit,
            digits=digits,
            summary=_summary(series, unit, digits),
            step_words=step_words(series[0].step_ms) if series else "",
            read=read,
            metrics=[(name, each.words) for name, each in QUANTITIES.items()],
            box_choices=context.boxes(every) if len(every) <= BOXES_OFFERED else (),
            any_box=bool(every),
            groups=groups,
            most_series=MAX_SERIES,
            most_weeks=MAX_WEEKS,
            presets=[
                (address.changed(start=f"now-{name}", end="now", weeks=""), text, span.is_preset(name))
                for name, text in PRESET_WORDS.items()
            ],
            steps=[
                (name, text, address.changed(start=moved.from_words, end=moved.to_words))
                for name, text, moved in (
                    ("back", "Back", span.shifted(-share, now_ms)),
                    ("forward", "Forward", span.shifted(share, now_ms)),
                    ("out", "Zoom out", span.zoomed_out(now_ms)),
                )
            ],
            from_input=input_words(span.start_ms),
            to_input=input_words(span.end_ms),
            names=context.names(()),
        )

    def _series(self, address: CompareAddress) -> tuple[list[PastSeries], int]:
        """The series, and the number of Boxes in them."""
        context, choice = self._context, address.choice
        now_ms = context.now_ns() // 1_000_000
        boxes = {box.box_id: box for box in choice.boxes}
        read = sorted(sampled(boxes, BOXES_READ), key=list(boxes).index)
        factors = {box_id: 100.0 / boxes[box_id].nominal_v if address.percent else 1.0 for box_id in read}
        if not factors:
            return [], 0
        if address.weeks:
            end_ms = min(address.span.end_ms, now_ms) - 1
            weeks = [week_span(end_ms, address.zone, back) for back in range(address.weeks + 1)]
            return [
                read_week_series(
                    context.store,
                    _week_words(back, week.first.isoformat()),
                    factors,
                    address.metric,
                    week,
                    address.zone,
                    now_ms,
                )
                for back, week in enumerate(weeks)
            ], len(read)
        step_ms = step_for(context.store, read, address.span)
        lines: list[tuple[str, Factors]] = [(boxes[b].label, {b: factor}) for b, factor in factors.items()]
        if address.together and len(factors) > 1:
            lines = [(_group_words(choice), factors)]
        return [
            read_span_series(
                context.store,
                name,
                each,
                address.metric,
                address.span,
                step_ms,
                now_ms,
                context.first_heard_ms,
            )
            for name, each in lines
        ], len(read)

    def _row(self, address: CompareAddress, number: int, series: PastSeries) -> SeriesRow:
        one = series.box_ids[0] if len(series.box_ids) == 1 else ""
        query = address.span.query
        return SeriesRow(
            number,
            series,
            "" if address.weeks else clock_words(self._context, address.span.end_ms, series.box_ids),
            f"/boxes/{one}?{query}#past" if one and not address.weeks else "",
        )

    def _incidents_in_span(self, address: CompareAddress) -> list[IndexedIncident]:
        if not address.choice.boxes:
            return []
        start_ms, end_ms = address.span.start_ms, address.span.end_ms
        if address.weeks:
            last_ms = min(end_ms, self._context.now_ns() // 1_000_000) - 1
            start_ms = week_span(last_ms, address.zone, address.weeks).start_ms
            end_ms = week_span(last_ms, address.zone).end_ms
        wanted = IncidentFilter(
            box_ids=address.choice.box_ids, start_ns=start_ms * 1_000_000, end_ns=end_ms * 1_000_000
        )
        found = self._context.store.find_incidents(wanted, INCIDENTS_SHOWN)
        return sorted(found, key=lambda each: -each.start_ns)

    def _marks(
        self, address: CompareAddress, incidents: Sequence[IndexedIncident], axis: tuple[int, int]
    ) -> list[drawing.IncidentMark]:
        found = []
        for each in incidents:
            at_ms = each.start_ns / 1e6
            if address.weeks:
                week = week_span(int(at_ms), address.zone)
                at_ms = week_place_ms(int(at_ms), week.first, address.zone)
            found.append(drawing.ChartTimeAxis(*axis).mark(at_ms, each.kind))
        return [each for each in found if each is not None]

    def _nominal(self, address: CompareAddress) -> float | None:
        """The nominal value, where all Boxes have the same."""
        if address.metric == "thd_percent":
            return None
        if address.percent:
            return 100.0
        hertz = address.metric == "f_hz"
        values = {box.nominal_hz if hertz else box.nominal_v for box in address.choice.boxes}
        return values.pop() if len(values) == 1 else None


def clock_words(context: VisitorContext, end_ms: int, box_ids: Sequence[str]) -> str:
    """The source of the time of a Box at the end of a span, while that is stored; of several Boxes now."""
    latest = context.hub.latest() if len(box_ids) != 1 else {}
    found = Counter(words.source(latest[box_id].source) for box_id in box_ids if box_id in latest)
    if found:  # `now GPS 3, NTP 1`
        counts = ", ".join(f"{name} {count}" for name, count in sorted(found.items()))
        return f"now {counts}"
    if len(box_ids) != 1:
        return "not heard now"
    kept = context.store.measurements(box_ids[0], end_ms - CLOCK_MS, end_ms + 1000)
    if kept:
        return _clock_words(kept[-1])
    newest = context.hub.newest(box_ids[0])
    return f"not kept; now {_clock_words(newest.measurement)}" if newest else "not kept"


def _group_words(choice: BoxChoice) -> str:
    found = choice.words
    return found[:1].upper() + found[1:]


def _week_words(back: int, monday: str) -> str:
    if back == 0:
        return f"The week, from {monday}"
    return f"{words.counted(back, 'week', 'weeks')} before, from {monday}"


def _metric_words(address: CompareAddress) -> tuple[str, str, int]:
    """The metric's name, unit and digits."""
    shown = QUANTITIES[address.metric]
    return (shown.words, "%", 2) if address.percent else (shown.words, shown.unit, shown.digits)


def _clock_words(measurement: Measurement) -> str:
    return f"{words.source(measurement.source)}, {words.uncertainty(measurement.uncertainty_ns)}"


def _summary(series: Sequence[PastSeries], unit: str, digits: int) -> str:
    """A sentence for visitors who cannot see the chart."""
    known = [(each.words, each.figures) for each in series if each.figures is not None]
    parts = [
        f"{name}: {words.number(found.least, digits)} to {words.number(found.most, digits, unit)}, "
        f"half of the time at or below {words.number(found.p50, digits, unit)}"
        for name, found in known
    ]
    return "; ".join(parts)
