"""The page of a Box, `/boxes/{id}`: now and the last hour."""

from typing import Annotated

from fastapi import Query, Request, Response
from fastapi.responses import HTMLResponse

from opq_cloud.core.page_parts import ShownParts
from opq_cloud.operations.box_client import BoxClient, BoxClientError, BoxReport
from opq_cloud.store.incidents.index import IncidentFilter
from opq_cloud.view.pages.boxes.box_card import box_card, stale_words
from opq_cloud.view.pages.drawing.rendering import PageMaker
from opq_cloud.view.pages.past.change_list import changes_listed
from opq_cloud.view.pages.visible.seen_sites import seen_sites, sites_of_boxes
from opq_cloud.view.pages.visible.visitor_context import VisitorContext, feed_after
from opq_cloud.view.web.shares import PageRouter
from opq_proto.kit.rate_limit import TokenBuckets
from opq_proto.measurement.fields import DRAWN
from opq_proto.time_units import HOUR_MS

ON_BOX_PAGE = 10
COMMANDS_AT_ONCE = 3.0
"""Requests to Boxes of one account at once; a Box that does not answer holds a thread for seconds."""
COMMANDS_PER_S = 0.1
"""Requests per second after that."""
CHANGES_MS = 30 * 86_400_000


class BoxPages:
    """One Box; `box_client` asks it for its losses."""

    def __init__(self, context: VisitorContext, box_client: BoxClient, render: PageMaker) -> None:
        self._context = context
        self._questions = box_client
        self._command_limits = TokenBuckets(COMMANDS_AT_ONCE, COMMANDS_PER_S)
        self._render = render

    def router(self) -> PageRouter:
        router = PageRouter(default_response_class=HTMLResponse, include_in_schema=False)
        router.add_api_route("/boxes/{box_id}", self.box)
        return router

    def _report_of(self, box_id: str, ask: str) -> tuple[BoxReport | None, str]:
        """The report of a Box that its owner or an administrator requests now; or why it was not asked."""
        visitor = self._context.visitor
        if not ask or visitor.account is None or not visitor.may_change(box_id):
            return None, ""
        if not self._command_limits.spend(visitor.account.account_id):
            return None, "You asked a moment ago; ask again in some seconds."
        try:
            return self._questions.read_info(box_id), ""
        except BoxClientError as error:
            return None, f"{error}."

    def box(self, request: Request, box_id: str, ask: Annotated[str, Query(max_length=20)] = "") -> Response:
        """The page of a Box; `ask` waits some seconds at most for the Box's report of its losses."""
        context = self._context
        record = context.known_box(box_id)
        now_ms = context.now_ns() // 1_000_000
        parts = ShownParts()
        span_ms = now_ms - HOUR_MS, now_ms + 60_000
        minutes = parts.made("The last hour", lambda: context.buckets(box_id, 60_000, *span_ms), ())
        mine = parts.made(
            "Its incidents",
            lambda: context.find_incidents(IncidentFilter(box_id=box_id), ON_BOX_PAGE)[0],
            [],
        )
        changes = parts.made(
            "What changed", lambda: changes_listed(context.store, now_ms - CHANGES_MS, now_ms, [box_id]), []
        )
        card = box_card(context, record, measured=context.measured_shares([box_id]).get(box_id))
        place, of_box = context.place_words(box_id), context.places().get(box_id)
        regions = () if of_box is None else of_box.regions
        in_percent = context.visitor.voltage_unit == "percent"
        said, not_asked = self._report_of(box_id, ask)
        return self._render(
            "box.html",
            "boxes",
            200,
            card=card,
            about=f"At {place}. " if place else "",
            regions=regions,
            sites=sites_of_boxes(seen_sites(context), [box_id]),
            minutes=minutes[::-1],
            stale_words=None if card.live else stale_words(context, [box_id]),
            may_request=context.visitor.may_request(box_id),
            may_change=context.visitor.may_change(box_id),
            said=said,
            not_asked=not_asked,
            silent_words=_silent_words(context.visitor.sees(box_id), card.values["rms_v"] is not None),
            incidents=mine[:ON_BOX_PAGE],
            changes=changes,
            failed=parts.failed,
            after=feed_after(context, mine),
            voltage_unit="%" if in_percent else "V",
            voltage_factor=100.0 / record.nominal_v if in_percent else 1.0,
            beside_voltage=DRAWN[1:],
            names=context.names(mine),
        )


def _silent_words(is_seen: bool, has_values: bool) -> str:
    """What the page of a Box without recent values says."""
    if not is_seen:
        return "You do not have this Box now. What was measured while you had it is on its past."
    if has_values:
        return "When its gateway sends again, the values above move and this chart begins."
    return "It has never been heard. When its gateway connects, its values appear here."
