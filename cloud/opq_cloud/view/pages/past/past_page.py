"""`/past`: any quantity over any span, Boxes and weeks compared, harmonics, verdicts by a standard.

The addresses of the pages before it lead here, with their place and time.
"""

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from itertools import chain
from urllib.parse import urlencode

from fastapi import Request
from fastapi.responses import HTMLResponse

from opq_cloud.reports.limit_table import LimitTable, known_standards, limit_table
from opq_cloud.view.pages.drawing.rendering import PageMaker
from opq_cloud.view.pages.past.address import (
    MAX_QUANTITIES,
    MAX_WEEKS,
    SHOWN,
    PastAddress,
    read_address,
)
from opq_cloud.view.pages.past.box_choice import BoxChoice, Groups, hidden_in, read_box_choice, read_groups
from opq_cloud.view.pages.past.course import Course, read_course
from opq_cloud.view.pages.past.line_reading import boxes_of_then, harmonics_of
from opq_cloud.view.pages.past.past_drawing import HarmonicBars, charts_json, harmonic_bars, spread_drawing
from opq_cloud.view.pages.past.quantities import MAIN
from opq_cloud.view.pages.past.verdict_calendar import PlaceVerdicts, VerdictCalendar, weeks_touched
from opq_cloud.view.pages.visible.past_before import query_zone
from opq_cloud.view.pages.visible.view_services import ViewServices
from opq_cloud.view.pages.visible.visitor_context import VisitorContext
from opq_cloud.view.web import words
from opq_cloud.view.web.shares import PageRouter, in_thread, refuse_large
from opq_cloud.view.web.time_span import PRESET_WORDS, input_words, zone_words

BOXES_OFFERED = 24
"""Where there are more, they are typed, not ticked."""
SHOWN_FIRST = 3
"""Boxes of a page whose address names none."""
BARS_DRAWN = 6
"""Boxes whose harmonics are drawn."""
INCIDENTS_LISTED = 20
NS_PER_MS = 1_000_000
WEEK_MS = 7 * 86_400_000
STEP_WORDS = ((86_400_000, "day"), (3_600_000, "h"), (60_000, "min"), (1000, "s"))


class PastPages:
    """The page; `render` is `Pages.render`."""

    def __init__(
        self, context: VisitorContext, services: ViewServices, verdicts: VerdictCalendar, render: PageMaker
    ) -> None:
        self._context = context
        self._services = services
        self._verdicts = verdicts
        self._render = render

    def router(self) -> PageRouter:
        router = PageRouter(include_in_schema=False)
        router.add_api_route("/past", self.past, response_class=HTMLResponse)
        return router

    async def past(self, request: Request) -> HTMLResponse:
        made = await in_thread(self._made_at_once, request)
        if isinstance(made, HTMLResponse):
            return made
        span = made.span.start_ms, made.span.end_ms
        places = await self._verdicts.read(made.choice, made.standard, made.zone, span)
        return await in_thread(self._page, made, places)

    def _made_at_once(self, request: Request) -> HTMLResponse | PastAddress:
        """The page, in one turn of a thread; verdicts are made elsewhere, so of those the address."""
        address = self._address(request)
        return address if address.show == "verdicts" else self._page(address, ())

    def _address(self, request: Request) -> PastAddress:
        context = self._context
        choice = self._choice(request, read_groups(context, self._services), context.box_ids())
        address = read_address(context, request.query_params, choice)
        if choice.name:
            # weeks of a course reach back before the span
            if not address.weeks or address.show == "verdicts":
                there = boxes_of_then(context, choice, self._span_ms(address))
                choice = replace(choice, boxes=there or choice.boxes, was_empty=not there)
            first_ms = address.span.start_ms - address.weeks * WEEK_MS
            span_ns = first_ms * NS_PER_MS, address.span.end_ms * NS_PER_MS
            choice = replace(choice, hidden=hidden_in(choice.hidden, span_ns))
            address = replace(address, choice=choice)
        boxes, hidden = choice.read()
        refuse_large(context.visitor, len(boxes) + len(hidden), address.span.length_ms)
        return address

    def _span_ms(self, address: PastAddress) -> tuple[int, int]:
        """The span, or all of the weeks that it touches where these are judged."""
        span_ms = address.span.start_ms, address.span.end_ms
        if address.show != "verdicts":
            return span_ms
        weeks = weeks_touched(span_ms, self._context.now_ns() // NS_PER_MS, address.zone)
        return weeks[-1].start_ns // NS_PER_MS, weeks[0].end_ns // NS_PER_MS

    def _page(self, address: PastAddress, places: Sequence[PlaceVerdicts]) -> HTMLResponse:
        context, choice = self._context, address.choice
        groups, every = read_groups(context, self._services), context.box_ids()
        table = limit_table(address.standard)
        span, now_ms = address.span, context.now_ns() // NS_PER_MS
        share = WEEK_MS / span.length_ms if address.weeks else 0.5
        values: dict[str, object] = {
            "course": None,
            "harmonics": (),
            "places": places,
        }
        if address.show == "harmonics":
            values["harmonics"] = self._harmonics(address, table)
        elif address.show != "verdicts":
            values |= _course_values(address, read_course(context, self._services, address, table), context)
        return self._render(
            "past.html",
            "past",
            200,
            address=address,
            trends_wait=self._services.store.trends_wait(time.time_ns() // 1_000_000),
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
            zone=(zone := query_zone(context, "")).key,
            from_input=zone_words(input_words(span.start_ms), zone),
            to_input=zone_words(input_words(span.end_ms), zone),
            verdict_words=("pass", "fail", "not_assessed"),
            failed=getattr(values["course"], "failed", ()),
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
        for each in harmonics_of(self._context, address.choice, address.span, BARS_DRAWN):
            if (bars := harmonic_bars(*each, table)) is not None:
                found.append(bars)
        return found


def _course_values(address: PastAddress, course: Course, context: VisitorContext) -> dict[str, object]:
    zone = address.zone.key if course.weeks else ""
    first, last = address.span.from_words, address.span.to_words
    kinds = Counter(each.kind for each in course.incidents)
    lists = {"": course.incidents[:INCIDENTS_LISTED], **course.extremes}
    entries = {each.incident_id: each for each in chain(*lists.values())}  # one may be in several lists
    shown = {each.incident_id: each for each in context.incidents_at([*entries.values()], course.wanted)}
    extremes = {
        title: [shown[each.incident_id] for each in found if each.incident_id in shown]
        for title, found in lists.items()
    }
    listed = extremes.pop("")
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
        "names": context.names(shown.values()),
        "severities": words.SEVERITIES,
        "incident_query": fields and urlencode({**fields, "from": first, "to": last}),
    }


def step_words(step_ms: int) -> str:
    """A length in words: `2 s`, `10 min`, `1 h`, `1 day`."""
    length_ms, unit = next(each for each in STEP_WORDS if step_ms >= each[0])
    return f"{step_ms // length_ms}{words.THIN}{unit}"
