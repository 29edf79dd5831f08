"""Events and waveforms of `/api/v1`, as far as the pages show them."""

from collections.abc import Iterator
from itertools import islice
from typing import Annotated

from fastapi import Query, Request, Response

from opq_cloud.export.selection import event_records
from opq_cloud.store.event_record import EventRecord
from opq_cloud.store.incidents.index import IndexPlace
from opq_cloud.store.sample_requests import request_json
from opq_cloud.view.api import shapes
from opq_cloud.view.api.answers import cursor_place, cursor_text, json_answer
from opq_cloud.view.api.box_routes import BoxId, Cursor, Number
from opq_cloud.view.api.problems import RestProblemError
from opq_cloud.view.pages.visible.view_services import ViewServices
from opq_cloud.view.pages.visible.visitor_context import VisitorContext
from opq_cloud.view.web.shares import PageRouter, client_gone
from opq_proto.time_units import NS_PER_MS

EVENTS_READ = 500
"""Events read at once for a visitor from whom some are hidden."""


class EventRoutes:
    """Only GET; every answer is JSON with an ETag."""

    def __init__(self, context: VisitorContext, services: ViewServices) -> None:
        self._context = context
        self._services = services

    def router(self) -> PageRouter:
        router = PageRouter()
        for path, route, shape in (
            ("/events", self.events, shapes.EventList),
            ("/events/{event_id}", self.event, shapes.EventShape),
            ("/events/{event_id}/waveforms/{box_id}", self.waveform, shapes.WaveformShape),
        ):
            router.add_api_route(path, route, response_model=shape)
        return router

    def events(
        self, request: Request, limit: Annotated[int, Query(ge=1, le=200)] = 50, cursor: Cursor = None
    ) -> Response:
        """Events, the newest first by their start, without samples."""
        place, beyond = cursor_place("events", cursor), None
        if place is not None:
            is_seen = self._context.store.event_record(place[0]) is not None
            last = self._services.store.event_record(place[0]) if is_seen else None
            if last is None:  # it has expired, and so have older ones; a hidden event is answered alike
                return json_answer(request, {"items": [], "next": None})
            beyond = IndexPlace(last.start_ns // NS_PER_MS, last.event_id)
        found = list(islice(self._seen_events(beyond, limit + 1), limit + 1))
        following = cursor_text("events", found[limit - 1].event_id) if len(found) > limit else None
        items = [_event_json(each) for each in found[:limit]]
        return json_answer(request, {"items": items, "next": following})

    def _seen_events(self, beyond: IndexPlace | None, wanted: int) -> Iterator[EventRecord]:
        """Yields visible events by their start, the newest first; hidden ones change no page's length.

        The search ends if the client is gone. Its CPU time is taken from the visitor's.
        """
        whole, visitor, gone = self._services.store, self._services.visitor, client_gone()
        at_once = wanted if visitor.unlimited else EVENTS_READ
        while (page := whole.events_by_start(at_once, beyond)) and not gone():
            for record in page:
                if visitor.unlimited:
                    yield record
                elif any(map(visitor.reads, record.boxes_triggered)):
                    seen = self._context.store.event_record(record.event_id)
                    if seen is not None:
                        yield seen
            beyond = IndexPlace(page[-1].start_ns // NS_PER_MS, page[-1].event_id)

    def event(self, request: Request, event_id: Number) -> Response:
        """An event without its samples: who was asked, why, and what is missing."""
        record = self._context.store.event_record(event_id)
        if record is None:
            raise RestProblemError(404, f"There is no event {event_id} that you may see.")
        return json_answer(request, _event_json(record))

    def waveform(self, request: Request, event_id: Number, box_id: BoxId) -> Response:
        """Converter counts of one Box with gain, time and gaps; needs the scope `waveforms`."""
        record = event_records(self._context.store, event_id, [box_id])[0]
        return json_answer(request, {**record.facts(), "counts": record.wave.counts.tolist()})


def _event_json(record: EventRecord) -> dict[str, object]:
    return {
        "id": record.event_id,
        "start_ns": record.start_ns,
        "end_ns": record.end_ns,
        "onset_ns": record.onset_ns,
        "box_ids": record.boxes_triggered,
        "received": record.boxes_received,
        "missing": record.missing,
        "short": record.short,
        "opened_by": record.opened_by,
        "because": record.because,
        "finished": record.finished,
        "analysed": record.analysed,
        "completes": record.completes,
        "asked_as": record.asked_as,
        "requests": [request_json(each) for each in record.more.values()],
        "decided_ns": record.decided_ns,
        "finished_ns": record.finished_ns,
        "analysed_ns": record.analysed_ns,
    }
