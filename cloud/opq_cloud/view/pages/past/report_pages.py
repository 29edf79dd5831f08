"""`/reports`: the months that the store holds, and `/reports/month`: one of them as a summary to print.

`?box=1` or `?region=north`, else all Boxes that the visitor sees; `month=2026-11&tz=Europe/Berlin`. Figures
of many Boxes are of some of them, always the same ones.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice, pairwise
from typing import Annotated
from urllib.parse import urlencode
from zoneinfo import ZoneInfo

from fastapi import APIRouter, HTTPException, Query, Request
from fastapi.responses import HTMLResponse

from opq_cloud.export.records import software_name
from opq_cloud.view.pages.drawing import history_chart as drawing
from opq_cloud.view.pages.drawing.box_history import INCIDENTS_SHOWN
from opq_cloud.view.pages.drawing.local_weeks import local_day
from opq_cloud.view.pages.drawing.rendering import PageMaker
from opq_cloud.view.pages.past.calendar_page import month_of_address
from opq_cloud.view.pages.past.compare_page import BOXES_OFFERED, clock_words
from opq_cloud.view.pages.past.month_report import (
    BANDS,
    FIGURE_ROWS,
    IncidentSummary,
    LocalMonth,
    month_after,
    month_before,
    read_month_lines,
    read_month_report,
    worst_of,
)
from opq_cloud.view.pages.past.past_chart import past_chart
from opq_cloud.view.pages.visible.past_before import query_zone
from opq_cloud.view.pages.visible.registry import sampled
from opq_cloud.view.pages.visible.shown_box import BOXES_A_PAGE, pages_of_boxes
from opq_cloud.view.pages.visible.visitor_context import VisitorContext
from opq_cloud.view.web import words
from opq_cloud.view.web.time_span import input_words

BOXES_READ = 5
"""Boxes of a group whose rows are read: a month has 744 hours of each."""
MONTHS_LISTED = 12
WORST_LISTED = 5
MAX_EXPORTED = 50
"""Boxes of one export of Measurements."""


@dataclass(frozen=True, slots=True)
class ReportScope:
    """The Boxes of a report: one, those of a region, or all that the visitor sees."""

    box_ids: tuple[str, ...]
    box_id: str = ""
    region: str = ""
    words: str = ""
    every: bool = False
    """Whether it is all Boxes of a visitor who sees all."""

    @property
    def fields(self) -> dict[str, str]:
        """The fields of an address for this scope."""
        return {name: text for name, text in (("box", self.box_id), ("region", self.region)) if text}

    @property
    def of_incidents(self) -> tuple[str, ...] | None:
        return None if self.every else self.box_ids


@dataclass(frozen=True, slots=True)
class MonthLinks:
    """Queries of other pages and files for one month of a scope."""

    report: str
    calendar: str
    """Empty where the page knows no such choice of Boxes; so are the two below."""
    history: str
    incidents: str
    measurements: str


class ReportPages:
    """The pages; `render` is `Pages.render`."""

    def __init__(self, context: VisitorContext, render: PageMaker) -> None:
        self._context = context
        self._render = render

    def router(self) -> APIRouter:
        router = APIRouter(include_in_schema=False, default_response_class=HTMLResponse)
        router.add_api_route("/reports", self.months)
        router.add_api_route("/reports/month", self.month)
        return router

    def months(self, request: Request, page: Annotated[int, Query(ge=1, le=10_000)] = 1) -> HTMLResponse:
        context, params = self._context, request.query_params
        every = context.box_ids()
        scope, zone = self._scope(params, every), query_zone(context, params.get("tz", ""))
        now_ms = context.now_ns() // 1_000_000
        last = self._month(params.get("until", ""), "until", zone)
        months = [last]
        while len(months) < MONTHS_LISTED:
            months.append(LocalMonth.of(month_before(months[-1].first), zone))
        read = sampled(scope.box_ids, BOXES_READ)
        lines, counted = read_month_lines(context.store, read, scope.of_incidents, months[::-1], now_ms)
        pages = pages_of_boxes(len(scope.box_ids), page)
        first = (page - 1) * BOXES_A_PAGE
        until = f"{last.first:%Y-%m}"
        following = last.first
        for _month in range(MONTHS_LISTED):
            following = month_after(following)
        following = min(following, local_day(now_ms, zone).replace(day=1))
        return self._render(
            "reports.html",
            "compare",
            200,
            scope=scope,
            zone=zone,
            until=until,
            lines=[
                (each, self._links(scope, each.month, zone), _classes_words(each.incidents))
                for each in reversed(lines)
            ],
            first=months[-1].first,
            last=last.first,
            earlier=self._query(scope, zone, until=f"{month_before(months[-1].first):%Y-%m}"),
            later=self._query(scope, zone, until=f"{following:%Y-%m}") if last.end_ms <= now_ms else "",
            severe=int(BANDS[1]),
            counted=counted,
            read=len(read),
            box_choices=context.boxes(every) if len(every) <= BOXES_OFFERED else (),
            any_box=bool(every),
            regions=list(context.regions()),
            own_boxes=context.boxes(islice(scope.box_ids, first, first + BOXES_A_PAGE))
            if not scope.box_id
            else (),
            page=page,
            pages=pages,
            first_box=first + 1,
            box_fields=self._query(ReportScope(()), zone, until=until),
            page_query=self._query(scope, zone, until=until),
        )

    def month(self, request: Request) -> HTMLResponse:
        context, params = self._context, request.query_params
        scope, zone = self._scope(params, context.box_ids()), query_zone(context, params.get("tz", ""))
        month = self._month(params.get("month", ""), "month", zone)
        boxes = context.boxes(sorted(sampled(scope.box_ids, BOXES_READ), key=scope.box_ids.index))
        percent = {box.box_id: 100.0 / box.nominal_v for box in boxes}
        nominals = {box.nominal_v for box in boxes}
        in_volts = context.visitor.voltage_unit == "V" and len(nominals) == 1
        found = read_month_report(
            context.store,
            scope.words,
            dict.fromkeys(percent, 1.0) if in_volts else percent,
            percent,
            scope.of_incidents,
            month,
            zone,
            context.now_ns() // 1_000_000,
        )
        axis = drawing.ChartTimeAxis(month.start_ms, month.end_ms)
        nominal = None if not nominals else nominals.pop() if in_volts else 100.0
        unit, digits = ("V", 2) if in_volts else ("%", 2)
        marks = (axis.mark(each.start_ns / 1e6, each.kind) for each in found.entries[:INCIDENTS_SHOWN])
        worst = [each.incident_id for each in worst_of(found.entries, WORST_LISTED)]
        listed = context.store.incidents_of(worst)
        return self._render(
            "report.html",
            "compare",
            200,
            scope=scope,
            zone=zone,
            found=found,
            month=month,
            links=self._links(scope, month, zone),
            chart=past_chart([found.voltage], month.start_ms, month.end_ms, nominal),
            ticks=drawing.time_ticks(month.start_ms, month.end_ms),
            marks=[each for each in marks if each is not None],
            unit=unit,
            nominal=nominal,
            figure_rows=[("Voltage", unit, digits, found.voltage.figures)]
            + [(each.words, each.unit, each.digits, found.figures[each.name]) for each in FIGURE_ROWS],
            bands=_band_rows(found.incidents),
            clock=clock_words(context, found.until_ms, [box.box_id for box in boxes]),
            read=len(boxes),
            software=software_name(),
            local=[_local_words(at_ms, zone) for at_ms in (month.start_ms, month.end_ms, found.until_ms)],
            over=month.end_ms <= context.now_ns() // 1_000_000,
            worst=listed,
            names=context.names(listed),
            before=self._links(scope, LocalMonth.of(month_before(month.first), zone), zone).report,
            after=self._links(scope, LocalMonth.of(month_after(month.first), zone), zone).report,
            all_months=self._query(scope, zone),
        )

    def _scope(self, params: Mapping[str, str], every: list[str]) -> ReportScope:
        """Raises HTTPException 404 where the visitor sees no such Box or region."""
        context = self._context
        box_id, region = params.get("box", "").strip(), params.get("region", "").strip()
        if region:
            members = context.regions().get(region)
            if not members:
                raise HTTPException(404, "No region of this name has a Box.")
            counted = words.counted(len(members), "Box", "Boxes")
            named = f"region {region}, {counted}"
            return ReportScope(members, region=region, words=named)
        if not box_id and len(every) != 1:
            sees_all = context.visitor.everything
            named = f"all {words.counted(len(every), 'Box', 'Boxes')}"
            return ReportScope(tuple(every), words=named, every=sees_all)
        box_id = box_id or every[0]
        return ReportScope((box_id,), box_id, words=context.known_box(box_id).label)

    def _month(self, given: str, name: str, zone: ZoneInfo) -> LocalMonth:
        """The month of an address, else the present one."""
        if given:
            return LocalMonth.of(month_of_address(name, given), zone)
        return LocalMonth.of(local_day(self._context.now_ns() // 1_000_000, zone), zone)

    def _query(self, scope: ReportScope, zone: ZoneInfo, **fields: str) -> str:
        return urlencode({**scope.fields, **fields, "tz": zone.key})

    def _links(self, scope: ReportScope, month: LocalMonth, zone: ZoneInfo) -> MonthLinks:
        span = {"from": input_words(month.start_ms), "to": input_words(month.end_ms)}
        chosen = {**scope.fields, **span}
        few = len(scope.box_ids) <= MAX_EXPORTED
        boxes = [("box", box_id) for box_id in scope.box_ids] if few else []
        of_month = f"{month.first:%Y-%m}"
        history = ""
        if scope.box_id:
            history = f"/boxes/{scope.box_id}?{urlencode(span)}#past"
        elif scope.region:
            history = f"/compare?{urlencode({**chosen, 'together': '1'})}"
        return MonthLinks(
            report=self._query(scope, zone, month=of_month),
            calendar=self._query(scope, zone, month=of_month) if scope.fields else "",
            history=history,
            incidents=urlencode(chosen),
            measurements=urlencode([*boxes, *span.items()]) if few else "",
        )


def _classes_words(found: IncidentSummary | None) -> str:
    """`sag 12, swell 3`: the classes of incidents, the most frequent first."""
    classes = found.classes if found else ()
    return ", ".join(f"{words.class_phrase(each.kind)} {each.count}" for each in classes)


def _band_rows(found: IncidentSummary) -> list[tuple[str, int]]:
    """Severity in words -> number of incidents; the last row is of those without one."""
    names = [f"below {BANDS[0]:g}"]
    names += [f"{low:g} to {high:g}" for low, high in pairwise(BANDS)]
    names.append(f"from {BANDS[-1]:g}")
    rows = list(zip(names, found.bands, strict=True))
    unrated = found.count - sum(found.bands)
    return [*rows, ("not rated", unrated)] if unrated else rows


def _local_words(at_ms: int, zone: ZoneInfo) -> str:
    """`2026-11-01 00:00 UTC+01:00`."""
    at = datetime.fromtimestamp(at_ms / 1000, UTC).astimezone(zone)
    offset = at.strftime("%z")
    return f"{at:%Y-%m-%d %H:%M} UTC{offset[:3]}:{offset[3:]}"
