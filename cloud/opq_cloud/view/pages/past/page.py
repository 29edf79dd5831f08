"""`/past`: any quantity over any span, Boxes and weeks compared, harmonics, verdicts by a standard.

The addresses of the pages before it lead here, with their place and time.
"""

from collections import Counter
from itertools import chain
from urllib.parse import urlencode

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, RedirectResponse

from opq_cloud.reports.limit_table import LimitTable, known_standards, limit_table
from opq_cloud.reports.reading import ChosenPlace
from opq_cloud.view.pages.drawing.rendering import PageMaker
from opq_cloud.view.pages.past.address import (
    MAX_QUANTITIES,
    MAX_WEEKS,
    SHOWN,
    PastAddress,
    former_query,
    read_address,
)
from opq_cloud.view.pages.past.box_choice import BoxChoice, Groups, read_box_choice, read_groups
from opq_cloud.view.pages.past.course import Course, read_course
from opq_cloud.view.pages.past.drawing import HarmonicBars, charts_json, harmonic_bars, spread_drawing
from opq_cloud.view.pages.past.quantities import MAIN
from opq_cloud.view.pages.past.reading import read_harmonics
from opq_cloud.view.pages.past.verdict_calendar import MOST_WEEKS, WeekLine, week_lines
from opq_cloud.view.pages.visible.past_before import query_zone
from opq_cloud.view.pages.visible.view_services import ViewServices
from opq_cloud.view.pages.visible.visitor_context import VisitorContext
from opq_cloud.view.web import words
from opq_cloud.view.web.time_span import PRESET_WORDS, input_words

BOXES_OFFERED = 24
"""Where there are more, they are typed, not ticked."""
SHOWN_FIRST = 3
"""Boxes of a page whose address names none."""
BARS_DRAWN = 6
"""Boxes whose harmonics are drawn, and places whose verdicts are."""
WEEKS_READ = 110
"""Weeks of all places whose verdicts are made at once: each takes some 20 ms."""
INCIDENTS_LISTED = 20
NS_PER_MS = 1_000_000
WEEK_MS = 7 * 86_400_000
STEP_WORDS = ((86_400_000, "day"), (3_600_000, "h"), (60_000, "min"), (1000, "s"))


class PastPages:
    """The page; `render` is `Pages.render`."""

    def __init__(self, context: VisitorContext, services: ViewServices, render: PageMaker) -> None:
        self._context = context
        self._services = services
        self._render = render

    def router(self) -> APIRouter:
        router = APIRouter(include_in_schema=False)
        router.add_api_route("/past", self.past, response_class=HTMLResponse)
        for path in ("/compare", "/calendar", "/reports", "/reports/month", "/grid"):
            router.add_api_route(path, self.former, response_class=RedirectResponse)
        router.add_api_route("/boxes/{box_id}/history", self.former_box, response_class=RedirectResponse)
        return router

    def former(self, request: Request) -> RedirectResponse:
        """Leads from the address of a page before this one to the same place and time."""
        params = request.query_params
        query = former_query(params, query_zone(self._context, params.get("tz", "")), request.url.path)
        return RedirectResponse(f"/past?{query}" if query else "/past", 307)

    def former_box(self, box_id: str, request: Request) -> RedirectResponse:
        self._context.known_box(box_id)
        query = former_query(request.query_params, query_zone(self._context, ""), "")
        return RedirectResponse(f"/past?box={box_id}{'&' if query else ''}{query}", 307)

    def past(self, request: Request) -> HTMLResponse:
        context = self._context
        groups, every = read_groups(context, self._services), context.box_ids()
        choice = self._choice(request, groups, every)
        address = read_address(context, request.query_params, choice)
        table = limit_table(address.standard)
        span, now_ms = address.span, context.now_ns() // NS_PER_MS
        share = WEEK_MS / span.length_ms if address.weeks else 0.5
        values: dict[str, object] = {
            "course": None,
            "harmonics": (),
            "places": (),
        }
        if address.show == "harmonics":
            values["harmonics"] = self._harmonics(address, table)
        elif address.show == "verdicts":
            values["places"] = self._places(address, table)
        else:
            values |= _course_values(address, read_course(context, self._services, address, table), context)
        return self._render(
            "past.html",
            "past",
            200,
            address=address,
            table=table,
            tabs=[
                (name, text, address.changed(show="" if name == "course" else name))
                for name, text in SHOWN.items()
            ],
            standards=known_standards(),
            main=MAIN,
            orders=",".join(each.name for each in address.quantities if each not in MAIN),
            most_weeks=MAX_WEEKS,
            most_quantities=MAX_QUANTITIES,
            box_choices=context.boxes(every) if len(every) <= BOXES_OFFERED else (),
            any_box=bool(every) or bool(choice.hidden),
            groups={kind: tuple(named) for kind, named in groups.items() if named},
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
            verdict_words=("pass", "fail", "not_assessed"),
            **values,
        )

    def _choice(self, request: Request, groups: Groups, every: list[str]) -> BoxChoice:
        params = request.query_params
        named, group = [*params.getlist("box"), *params.getlist("boxes")], params.get("of", "")
        if group == "grid:" or not (any(named) or group or every):
            grids = groups["grid"]
            group = f"grid:{max(grids, key=lambda name: len(grids[name]))}" if grids else ""
        if not any(named) and not group:
            named = every[:SHOWN_FIRST]
        return read_box_choice(self._context, self._services, named, group, groups)

    def _harmonics(self, address: PastAddress, table: LimitTable) -> list[HarmonicBars]:
        found = []
        for box in address.choice.boxes[:BARS_DRAWN]:
            harmonics = read_harmonics(self._context.store, box.box_id, address.span)
            bars = harmonic_bars(box.label, harmonics, box.nominal_v, table)
            if bars is not None:
                found.append(bars)
        return found

    def _places(self, address: PastAddress, table: LimitTable) -> list[tuple[str, str, list[WeekLine]]]:
        """The verdicts of each Box, or of a site as one place; of the first Boxes where a span is long."""
        context, choice = self._context, address.choice
        records = self._services.registry.now().records
        chosen = [records[box_id] for box_id in choice.box_ids if box_id in records]
        weeks = min(MOST_WEEKS, 2 + address.span.length_ms // WEEK_MS)
        places = [
            ChosenPlace(None, (record,)) for record in chosen[: max(1, min(BARS_DRAWN, WEEKS_READ // weeks))]
        ]
        if choice.kind == "site" and chosen:
            places = [ChosenPlace(choice.name, tuple(chosen))]
        span = address.span.start_ms, address.span.end_ms
        return [
            (
                place.name,
                f"site:{place.site}" if place.site else f"box:{place.records[0].box_id}",
                week_lines(context, self._services, table, place, address.zone, span),
            )
            for place in places
        ]


def _course_values(address: PastAddress, course: Course, context: VisitorContext) -> dict[str, object]:
    zone = address.zone.key if course.weeks else ""
    first, last = address.span.from_words, address.span.to_words
    kinds = Counter(each.kind for each in course.incidents)
    listed = context.store.incidents_of([each.incident_id for each in course.incidents[:INCIDENTS_LISTED]])
    extremes = {
        title: context.store.incidents_of([each.incident_id for each in found])
        for title, found in course.extremes.items()
    }
    numbered = [
        (each.number, each.start_ms, each.end_ms, each.quantity) for each in course.changes if each.number
    ]
    fields = address.choice.incident_fields
    return {
        "course": course,
        "data": charts_json(course.charts, course.axis, zone, course.marks, numbered),
        "spreads": [
            [
                drawn
                for place, each in enumerate(chart.series)
                if (drawn := spread_drawing(each, place, chart.unit, chart.digits)) is not None
            ]
            for chart in course.charts
        ],
        "step_words": ", ".join(
            dict.fromkeys(
                step_words(each.step_ms) for chart in course.charts for each in chart.series if each.source
            )
        ),
        "kinds": kinds.most_common(),
        "incidents": listed,
        "extremes": extremes,
        "names": context.names([*listed, *chain.from_iterable(extremes.values())]),
        "severities": words.SEVERITIES,
        "incident_query": fields and urlencode({**fields, "from": first, "to": last}),
    }


def step_words(step_ms: int) -> str:
    """A length in words: `2 s`, `10 min`, `1 h`, `1 day`."""
    length_ms, unit = next(each for each in STEP_WORDS if step_ms >= each[0])
    return f"{step_ms // length_ms}{words.THIN}{unit}"
