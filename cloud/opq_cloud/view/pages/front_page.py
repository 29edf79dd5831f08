"""The first page, `/`: all Boxes, and the newest incidents above them."""

from collections.abc import Iterable
from itertools import chain, islice
from pathlib import Path
from typing import Annotated

from fastapi import Query
from fastapi.responses import HTMLResponse

from opq_cloud.core.page_parts import FailedPart, made_part, made_parts
from opq_cloud.store.incidents.index import IncidentFilter
from opq_cloud.view.pages.boxes.box_card import box_card, stale_words
from opq_cloud.view.pages.boxes.sparkline import NORMAL_PERCENT, spark_scale, spark_steps
from opq_cloud.view.pages.drawing.alike_incidents import READ_FOR_EACH_ROW, fold
from opq_cloud.view.pages.drawing.rendering import PageMaker
from opq_cloud.view.pages.front_week import FrontWeeks
from opq_cloud.view.pages.machine_notice import read_notice
from opq_cloud.view.pages.reports.seen_reports import SeenReports
from opq_cloud.view.pages.visible.availability import together
from opq_cloud.view.pages.visible.shown_box import BOXES_A_PAGE, pages_of_boxes
from opq_cloud.view.pages.visible.visitor_context import VisitorContext, feed_after
from opq_cloud.view.web import words
from opq_cloud.view.web.shares import PageRouter

ON_FRONT_PAGE = 5
"""Rows of incidents, above the Boxes."""
MAX_CARDS = 24
"""More Boxes than this are rows of a table."""


class FrontPage:
    """All Boxes that the visitor sees."""

    def __init__(
        self, context: VisitorContext, reports: SeenReports, folder: Path | None, render: PageMaker
    ) -> None:
        self._context = context
        self._weeks = FrontWeeks(context, reports)
        self._folder = folder
        self._render = render

    def router(self) -> PageRouter:
        router = PageRouter(default_response_class=HTMLResponse, include_in_schema=False)
        router.add_api_route("/", self.boxes)
        return router

    def boxes(self, page: Annotated[int, Query(ge=1, le=10_000)] = 1) -> HTMLResponse:
        """Up to MAX_CARDS Boxes have cards; more are rows, BOXES_A_PAGE on a page, silent ones first."""
        context = self._context
        entries = context.store.find_incidents(IncidentFilter(), ON_FRONT_PAGE * READ_FOR_EACH_ROW, None)
        rows = {row.first.incident_id: row for row in fold(entries, ON_FRONT_PAGE)}
        newest = context.store.incidents_of(list(rows))
        ids = context.box_ids()
        live = context.hub.live_boxes(context.now_ns() // 1_000_000)
        many = len(ids) > MAX_CARDS
        pages = pages_of_boxes(len(ids) if many else 0, page)
        first = (page - 1) * BOXES_A_PAGE
        shown: Iterable[str] = ids
        if many:  # silent Boxes first, each group by number
            silent = (each for each in ids if each not in live)
            ordered = chain(silent, (each for each in ids if each in live))
            shown = islice(ordered, first, first + BOXES_A_PAGE)
        records = context.boxes(shown)
        drawn = [] if many else records
        steps = {each.box_id: spark_steps(context.hub.recent(each.box_id)) for each in drawn}
        scale = spark_scale((steps.get(each.box_id, ()), each.nominal_v) for each in records)
        shares = context.measured_shares()
        cards, failed = made_parts(
            records,
            lambda each: f"Box {each.box_id}",
            lambda each: box_card(
                context, each, steps.get(each.box_id, ()), scale, measured=shares.get(each.box_id)
            ),
        )
        week = made_part("This week", self._weeks.now) if page == 1 else None
        if isinstance(week, FailedPart):
            failed, week = (*failed, week), None
        return self._render(
            "boxes.html",
            here="boxes",
            cards=cards,
            measured=together(shares.values()),
            slow=read_notice(self._folder) if context.visitor.everything else None,
            normal_y=scale.y(NORMAL_PERCENT[1]),
            normal_height=scale.y(NORMAL_PERCENT[0]) - scale.y(NORMAL_PERCENT[1]),
            normal_percent=NORMAL_PERCENT,
            many=many,
            page=page,
            pages=pages,
            first=first + 1,
            count=len(ids),
            incidents=newest,
            alike=rows,
            rows_shown=ON_FRONT_PAGE,
            names=self._context.names(newest),
            after=feed_after(context, newest),
            week=week,
            failed=failed,
            summary=_summary(len(ids), len(live)),
            stale_words=None if live else stale_words(context, None),
        )


def _summary(count: int, live: int) -> str:
    if not count:
        return "Each Box appears here with its live voltage, frequency and distortion."
    return words.reporting(count, live)
