"""Class A in `/api/v1`: intervals and disturbances of a Box, phases of a site, what changed over weeks."""

from typing import Annotated, Literal

from fastapi import Path, Query, Request, Response

from opq_cloud.export.class_a import disturbance_json, interval_rows
from opq_cloud.operations.site_now import site_json
from opq_cloud.store.records.incidents.phenomenon_words import phenomenon_json
from opq_cloud.store.site_key import KEY_CHARACTERS
from opq_cloud.view.api import shapes
from opq_cloud.view.api.answers import cursor_place, cursor_text, json_answer, rest_span
from opq_cloud.view.api.box_routes import BoxId, Cursor, From, OneBox, To, check_box
from opq_cloud.view.pages.visible.seen_sites import seen_site, seen_sites
from opq_cloud.view.pages.visible.visitor_context import VisitorContext
from opq_cloud.view.web.shares import PageRouter
from opq_proto.measurement.intervals import LENGTH_NAMES

MAX_INTERVALS = 1000
"""Intervals of one answer."""
MAX_DISTURBANCES = 1000
"""Disturbances of one answer."""
MAX_PHENOMENA = 1000
"""Phenomena of weeks of one answer."""
SPAN_NS = 10**6


class IntervalRoutes:
    """Only GET; every answer is JSON with an ETag."""

    def __init__(self, context: VisitorContext) -> None:
        self._context = context

    def router(self) -> PageRouter:
        router = PageRouter()
        for path, route, shape in (
            ("/boxes/{box_id}/intervals", self.intervals, shapes.IntervalList),
            ("/boxes/{box_id}/disturbances", self.disturbances, shapes.DisturbanceList),
            ("/phenomena", self.phenomena, shapes.PhenomenonList),
            ("/sites", self.sites, shapes.SiteList),
            ("/sites/{name:path}", self.site, shapes.SiteShape),
        ):
            router.add_api_route(path, route, response_model=shape)
        return router

    def phenomena(
        self,
        request: Request,
        box: OneBox = None,
        start: From = "now-30d",
        end: To = "now",
        limit: Annotated[int, Query(ge=1, le=MAX_PHENOMENA)] = 200,
        cursor: Cursor = None,
    ) -> Response:
        """What changed over weeks, of one Box or of all, by number: steps, drift, profiles, likeness."""
        span, place = rest_span(start, end, self._context.now_ns()), cursor_place("phenomena", cursor)
        known = self._context.store.phenomena(span.start_ms, span.end_ms, box or "")
        if box and not known:
            check_box(self._context, box)
        items = sorted(map(phenomenon_json, known), key=lambda each: int(str(each["id"])))
        items = [each for each in items if place is None or int(str(each["id"])) > place[0]]
        following = cursor_text("phenomena", int(str(items[limit - 1]["id"]))) if len(items) > limit else None
        return json_answer(request, {"items": items[:limit], "next": following})

    def sites(self, request: Request) -> Response:
        """The sites that Boxes state, by name, with their Boxes in the order of the phases."""
        found = seen_sites(self._context).items()
        items = [{"name": name, "box_ids": [each.box_id for each in boxes]} for name, boxes in found]
        return json_answer(request, {"items": items, "next": None})

    def site(self, request: Request, name: Annotated[str, Path(max_length=KEY_CHARACTERS)]) -> Response:
        """The phases of a site side by side over the newest ten minutes, unbalance, and events of 30 days."""
        site = seen_site(self._context, name)
        return json_answer(request, site_json(site.now(), site.events(self._context.now_ns())))

    def intervals(
        self,
        request: Request,
        box_id: BoxId,
        start: From = "now-24h",
        end: To = "now",
        length: Literal["3s", "10s", "10min", "2h"] = "10min",
        limit: Annotated[int, Query(ge=1, le=MAX_INTERVALS)] = 500,
        cursor: Cursor = None,
    ) -> Response:
        """Intervals of one length that begin in a span, oldest first; harmonics are `h1_v` to `h50_v`."""
        check_box(self._context, box_id)
        length_ms = LENGTH_NAMES[length]
        span = rest_span(start, end, self._context.now_ns())
        place = cursor_place("intervals", cursor)
        at_ns = span.start_ms * SPAN_NS if place is None else max(place[0], span.start_ms * SPAN_NS)
        end_ns, items = span.end_ms * SPAN_NS, list[dict[str, object]]()
        seen = self._context.store.seen_intervals(box_id)
        known = None if seen is None else seen.span_ns(box_id, length_ms)
        if seen is not None and known is not None:
            at_ns, end_ns = max(at_ns, known[0]), min(end_ns, known[1] + 1)
            while at_ns < end_ns and len(items) <= limit:  # a page of rows at a time
                until_ns = min(at_ns + (limit + 1) * length_ms * SPAN_NS, end_ns)
                items += interval_rows(seen.read(box_id, length_ms, at_ns, until_ns))
                at_ns = until_ns
        following = None
        if len(items) > limit:
            following = cursor_text("intervals", int(str(items[limit]["start_ns"])))
        return json_answer(request, {"items": items[:limit], "next": following})

    def disturbances(
        self,
        request: Request,
        box_id: BoxId,
        start: From = "now-30d",
        end: To = "now",
        limit: Annotated[int, Query(ge=1, le=MAX_DISTURBANCES)] = 500,
        cursor: Cursor = None,
    ) -> Response:
        """Dips, swells and interruptions that begin in a span, oldest first."""
        check_box(self._context, box_id)
        span = rest_span(start, end, self._context.now_ns())
        place = cursor_place("disturbances", cursor)
        at_ns = span.start_ms * SPAN_NS if place is None else max(place[0], span.start_ms * SPAN_NS)
        seen = self._context.store.seen_intervals(box_id)
        found = [] if seen is None else seen.disturbances(box_id, at_ns, span.end_ms * SPAN_NS)
        following = cursor_text("disturbances", found[limit].start_ns) if len(found) > limit else None
        items = [disturbance_json(each) for each in found[:limit]]
        return json_answer(request, {"items": items, "next": following})
