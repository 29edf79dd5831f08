"""Events and waveforms of `/api/v1`, as far as the pages show them."""

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from opq_cloud.export.selection import event_records
from opq_cloud.store.event_record import EventRecord
from opq_cloud.store.incidents.index import IndexPlace
from opq_cloud.store.sample_requests import request_json
from opq_cloud.view.api import shapes
from opq_cloud.view.api.answers import cursor_place, cursor_text, json_answer
from opq_cloud.view.api.box_routes import BoxId, Cursor, Number
from opq_cloud.view.api.problems import RestProblemError
from opq_cloud.view.pages.visible.seen import seen_record
from opq_cloud.view.pages.visible.view_services import ViewServices
from opq_cloud.view.pages.visible.visitor_context import VisitorContext
from opq_proto.decision import NS_PER_MS

EVENTS_READ = 500
"""Events that one request examines, where most are hidden; such a page is short and has a next one."""


class EventRoutes:
    """Only GET; every answer is JSON with an ETag."""

    def __init__(self, context: VisitorContext, services: ViewServices) -> None:
        self._context = context
        self._services = services

    def router(self) -> APIRouter:
        router = APIRouter()
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
        """Events, the newest first by their start, without samples; a page may be short and have a next."""
        whole, visitor = self._services.store, self._services.visitor
        place, looked = cursor_place("events", cursor), 0
        last = None if place is None else whole.event_record(place[0])
        found: list[EventRecord] = []
        following, page = None, list[EventRecord]()
        while place is None or last is not None:  # where the cursor's event has expired, older ones have too
            beyond = None if last is None else IndexPlace(last.start_ns // NS_PER_MS, last.event_id)
            page = whole.events_by_start(limit + 1, beyond)
            for record in page:
                if len(found) == limit or looked == EVENTS_READ:
                    following = cursor_text("events", last.event_id) if last else None
                    break
                last, looked = record, looked + 1
                seen = record if visitor.unlimited else seen_record(record, visitor)
                found += [] if seen is None else [seen]
            if following or len(page) <= limit:
                break
        return json_answer(request, {"items": [_event_json(each) for each in found], "next": following})

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
