"""Pages that are the same for everybody: share links and the feed.

The gate (`web/gate.py`) treats every visitor of `/share` and `/feeds` as anonymous, so that a
page that somebody passes on shows only what everybody may see.
"""

import zlib

from fastapi import Request, Response
from fastapi.responses import HTMLResponse

from opq_cloud.core.settings.view import ViewSection
from opq_cloud.store.incidents.index import IncidentFilter
from opq_cloud.view.pages.drawing.rendering import PageMaker
from opq_cloud.view.pages.examine.signal_reading import judged_nominals, worst_v
from opq_cloud.view.pages.map.arrival_map import arrival_map, moved_since
from opq_cloud.view.pages.map.feeds import FeedEntry, atom_feed, entry_of
from opq_cloud.view.pages.map.grid_reader import GridReader
from opq_cloud.view.pages.map.map_drawing import SCOPE_SHORT
from opq_cloud.view.pages.visible.visitor_context import VisitorContext
from opq_cloud.view.web import words
from opq_cloud.view.web.answer_cache import AnswerCache
from opq_cloud.view.web.shares import PageRouter

INCIDENTS_IN_FEED = 50
FEED_KEPT_S = 20.0
"""Feeds are requested by many and change seldom."""


class SharedPages:
    """`/share/…` and `/feeds/…`."""

    def __init__(
        self,
        context: VisitorContext,
        reader: GridReader,
        config: ViewSection,
        render: PageMaker,
    ) -> None:
        self._context = context
        self._reader = reader
        self._config = config
        self._render = render
        self._entries: AnswerCache[tuple[FeedEntry, ...]] = AnswerCache(FEED_KEPT_S)

    def router(self) -> PageRouter:
        router = PageRouter(include_in_schema=False)
        router.add_api_route("/share/incidents/{incident_id}", self.share_page, response_class=HTMLResponse)
        router.add_api_route("/feeds/incidents.atom", self.atom)
        return router

    # An incident
    def share_page(self, request: Request, incident_id: str) -> Response:
        """The public part of the incident, with the order of arrival on a map."""
        incident = self._context.incident_of_address(incident_id, "/share/incidents/{}")
        names = self._context.names([incident])
        boxes = [each for each in self._reader.boxes().fixed.boxes if not each.regional]
        moved = moved_since(self._context.records(incident.box_ids), incident.start_ns)
        places = {each.box_id: each.at for each in boxes if each.at is not None and each.box_id not in moved}
        on_map = arrival_map(incident, places, {each.box_id: each.label for each in boxes})
        nominal_v = worst_v(self._context, incident, judged_nominals(self._context, incident))
        return self._render(
            "share.html",
            "incidents",
            200,
            incident=incident,
            names=names,
            sentence=words.sentence(incident, nominal_v, names),
            scope_words=SCOPE_SHORT.get(incident.scope or "", ""),
            most_named=words.BOXES_LISTED,
            on_map=on_map,
            duration_words=words.span_of(incident),
            address=f"{self._base_url(request)}/share/incidents/{incident.incident_id}",
        )

    # Feeds
    def atom(self, request: Request) -> Response:
        progress = self._context.index_progress()  # first: it may end while they are read
        said = "" if progress is None else f"{progress.words.capitalize()}."
        body = atom_feed(self._feed(), self._base_url(request), said)
        return feed_answer(request, body, "application/atom+xml")

    def _feed(self) -> tuple[FeedEntry, ...]:
        return self._entries.of(self._reader.audience, self._read_feed)

    def _read_feed(self) -> tuple[FeedEntry, ...]:
        incidents, _more = self._context.find_incidents(IncidentFilter(), INCIDENTS_IN_FEED)
        names = self._context.names(incidents)
        return tuple(entry_of(each, names, SCOPE_SHORT.get(each.scope or "", "")) for each in incidents)

    def _base_url(self, request: Request) -> str:
        return self._config.address or str(request.base_url).rstrip("/")


def feed_answer(request: Request, body: bytes, kind: str) -> Response:
    """A feed with an ETag; 304 for a client that has it (RFC 9110, 13.2.2).

    It has no Last-Modified: an entry may disappear or get another class, and the time of that is not stored.
    """
    etag = f'"{zlib.crc32(body):08x}-{len(body)}"'
    headers = {"ETag": etag, "Cache-Control": "max-age=60"}
    known_etags = request.headers.get("if-none-match", "")
    if etag in known_etags or known_etags.strip() == "*":
        return Response(status_code=304, headers=headers)
    return Response(body, headers=headers, media_type=kind)
