"""What `/api/v1` reads: Boxes, Measurements, trends, events, waveforms, incidents, findings.

It reads the store as the visitor sees it, so that it can show no more than the pages do.
"""

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Path, Query, Request, Response

from opq_cloud.export.selection import event_records, finding_row, measurement_row
from opq_cloud.store.documents.sample_requests import request_json
from opq_cloud.store.event_record import EventRecord
from opq_cloud.store.incidents.as_json import incident_json
from opq_cloud.store.incidents.index import IndexPlace
from opq_cloud.store.trends.pyramid import DAY_MS, HOUR_MS, MAX_ROWS, TEN_MINUTES_MS, level_for
from opq_cloud.view.api import shapes
from opq_cloud.view.api.answers import cursor_place, cursor_text, json_answer, rest_span
from opq_cloud.view.api.problems import RestProblemError
from opq_cloud.view.live.messages import LARGEST_ID, measurement_json
from opq_cloud.view.pages.boxes.box_history import METRICS
from opq_cloud.view.pages.incidents.incident_page import past_before
from opq_cloud.view.pages.shown.availability import NOT_KNOWN, BoxAvailability
from opq_cloud.view.pages.shown.context import ShownBox, ViewContext, check_class, label, read_incidents
from opq_cloud.view.pages.shown.seen_store import seen_record
from opq_cloud.view.web.words import headline, worst
from opq_proto.decision import NS_PER_MS
from opq_proto.messages import TREND_MS, Incident, Measurement, Trend
from opq_proto.wire.flagged import flags_of_trend

LEVELS_MS = {"1m": TREND_MS, "10m": TEN_MINUTES_MS, "1h": HOUR_MS, "1d": DAY_MS}
MAX_MEASUREMENTS = 1000
ONE_MS_ROWS = 5000
EVENTS_READ = 500
"""Events that one request examines, where most are hidden; such a page is short and has a next one."""
EVENTS_SHOWN = 20
"""Events whose requests for more samples are in one incident."""
BoxId = Annotated[str, Path(pattern=shapes.BOX_PATTERN, examples=["1"])]
Number = Annotated[int, Path(ge=1, le=LARGEST_ID, examples=[1])]
Cursor = Annotated[str | None, Query(max_length=200, description="`next` of the page before")]
OneBox = Annotated[str | None, Query(pattern=shapes.BOX_PATTERN)]
From = Annotated[str, Query(alias="from", max_length=40, examples=["now-24h"])]
To = Annotated[str, Query(alias="to", max_length=40, examples=["now"])]

MOVED: dict[int | str, dict[str, Any]] = {
    301: {"description": "It is part of the incident at `Location` now."}
}


class ReadRoutes:
    """Only GET; every answer is JSON with an ETag."""

    def __init__(self, context: ViewContext) -> None:
        self._context = context

    def router(self) -> APIRouter:
        router = APIRouter()
        for path, route, shape in (
            ("/boxes", self.boxes, shapes.BoxList),
            ("/boxes/{box_id}", self.box, shapes.BoxShape),
            ("/boxes/{box_id}/measurements", self.measurements, shapes.MeasurementList),
            ("/boxes/{box_id}/trend", self.trend, shapes.TrendShape),
            ("/events", self.events, shapes.EventList),
            ("/events/{event_id}", self.event, shapes.EventShape),
            ("/events/{event_id}/waveforms/{box_id}", self.waveform, shapes.WaveformShape),
            ("/incidents", self.incidents, shapes.IncidentList),
            ("/incidents/{incident_id}", self.incident, shapes.IncidentShape),
            ("/incidents/{incident_id}/findings", self.findings_of, shapes.FindingList),
            ("/findings", self.findings, shapes.FindingList),
        ):
            moves = MOVED if path.startswith("/incidents/") else None
            router.add_api_route(path, route, response_model=shape, responses=moves)
        return router

    def boxes(self, request: Request) -> Response:
        """Each Box that you may see, in the order of their numbers."""
        latest = self._context.hub.latest()
        boxes = self._context.boxes()
        shares = self._context.measured_shares(boxes)
        items = [self._box_json(box, latest.get(box.box_id), shares.get(box.box_id)) for box in boxes]
        return json_answer(request, {"items": items, "next": None})

    def box(self, request: Request, box_id: BoxId) -> Response:
        """One Box."""
        if not self._context.knows(box_id):
            raise RestProblemError(404, f"There is no Box {box_id} that you may see.")
        latest = self._context.hub.newest(box_id)
        shown = self._context.box(box_id)
        share = self._context.measured_shares([shown]).get(box_id)
        newest = None if latest is None else latest.measurement
        return json_answer(request, self._box_json(shown, newest, share))

    def measurements(
        self,
        request: Request,
        box_id: BoxId,
        start: From = "now-1h",
        end: To = "now",
        limit: Annotated[int, Query(ge=2, le=MAX_MEASUREMENTS)] = 500,
        cursor: Cursor = None,
    ) -> Response:
        """Measurements of a span as they were stored, oldest first; kept for a day."""
        span = rest_span(start, end, self._context.now_ns())
        place = cursor_place("measurements", cursor)
        first_ms = span.start_ms if place is None else max(place[0], span.start_ms)
        found = self._context.store.measurements(box_id, first_ms, span.end_ms, limit)
        following = None
        if len(found) == limit:
            last_ms = found[-1].timestamp_ms
            if last_ms == found[0].timestamp_ms:  # the page holds a single millisecond: read all of it
                found = self._context.store.measurements(box_id, last_ms, last_ms + 1, ONE_MS_ROWS)
                last_ms += 1
            else:
                found = [each for each in found if each.timestamp_ms < last_ms]
            following = cursor_text("measurements", last_ms)
        return json_answer(request, {"items": [measurement_row(each) for each in found], "next": following})

    def trend(
        self,
        request: Request,
        box_id: BoxId,
        start: From = "now-24h",
        end: To = "now",
        level: Literal["auto", "1m", "10m", "1h", "1d"] = "auto",
    ) -> Response:
        """Any span by rows of one length: [min, mean, max] of each metric, null where it is not known."""
        now_ns = self._context.now_ns()
        span = rest_span(start, end, now_ns)
        try:
            shortest_ms = level_for(span.start_ms, span.end_ms)
        except ValueError as error:
            raise RestProblemError(400, f"from and to: {error}.") from None
        step_ms = LEVELS_MS.get(level, shortest_ms)
        if step_ms < shortest_ms:
            fits = [name for name, length_ms in LEVELS_MS.items() if length_ms >= shortest_ms]
            raise RestProblemError(
                400, f"level {level} has more than {MAX_ROWS} rows in this span; allowed: {', '.join(fits)}."
            )
        end_ms = min(span.end_ms, now_ns // NS_PER_MS)
        rows = self._context.store.trend_rows(box_id, span.start_ms, end_ms, step_ms)
        facts = {"box_id": box_id, "from_ms": span.start_ms, "to_ms": span.end_ms, "step_ms": step_ms}
        return json_answer(request, {**facts, "rows": [_trend_json(each) for each in rows]})

    def events(
        self, request: Request, limit: Annotated[int, Query(ge=1, le=200)] = 50, cursor: Cursor = None
    ) -> Response:
        """Events, the newest first by their start, without samples; a page may be short and have a next."""
        whole, visitor = self._context.whole_store, self._context.visitor
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

    def incidents(
        self,
        request: Request,
        limit: Annotated[int, Query(ge=1, le=200)] = 50,
        cursor: Cursor = None,
        box: OneBox = None,
        kind: Annotated[str | None, Query(alias="class", max_length=64, examples=["sag"])] = None,
    ) -> Response:
        """Incidents, the newest first by their start; a page may be short and still have a next."""
        page, following = self._incident_page(limit, cursor, box, kind)
        names = self._context.names(page)
        items = [_incident_json(each, headline(each, names)) for each in page]
        return json_answer(request, {"items": items, "next": following})

    def incident(self, request: Request, incident_id: Number) -> Response:
        """One incident, with what came before it and what analyses asked for beyond its events.

        Before it: those most like it, hours and intervals of its kind.
        """
        found = self._context.incident(str(incident_id), "/api/v1/incidents/{}")
        document = _incident_json(found, headline(found, self._context.names([found])))
        records = [self._context.store.event_record(event_id) for event_id in found.event_ids[:EVENTS_SHOWN]]
        document["requests"] = [
            {"event_id": record.event_id, **request_json(each)}
            for record in records
            if record is not None
            for each in record.more.values()
        ]
        return json_answer(request, document | past_before(self._context, found).as_json())

    def findings_of(self, request: Request, incident_id: Number) -> Response:
        """What the analyses said of an incident, Box by Box, and why."""
        found = self._context.incident(str(incident_id), "/api/v1/incidents/{}/findings")
        return json_answer(request, {"items": [finding_row(each) for each in found.findings], "next": None})

    def findings(
        self,
        request: Request,
        limit: Annotated[int, Query(ge=1, le=200, description="incidents whose findings a page has")] = 50,
        cursor: Cursor = None,
        box: OneBox = None,
        kind: Annotated[str | None, Query(alias="class", max_length=64)] = None,
    ) -> Response:
        """Findings, those of the newest incidents first."""
        check_class(self._context.store, kind)
        page, following = self._incident_page(limit, cursor, box, None)
        items = [
            finding_row(each)
            for incident in page
            for each in incident.findings
            if box in (None, each.finding.box_id) and (kind is None or kind in each.finding.kind.split("+"))
        ]
        return json_answer(request, {"items": items, "next": following})

    def _incident_page(
        self, limit: int, cursor: str | None, box: str | None, kind: str | None
    ) -> tuple[Sequence[Incident], str | None]:
        place = cursor_place("incidents", cursor)
        beyond = None if place is None else IndexPlace(*place)
        page = read_incidents(self._context.store, beyond, limit, box, kind)
        last = page.last
        return page.incidents, None if last is None else cursor_text(
            "incidents", int(last.value), last.number
        )

    def _box_json(
        self, box: ShownBox, newest: Measurement | None, share: BoxAvailability | None
    ) -> dict[str, object]:
        """A Box that the visitor sees, as JSON."""
        return {
            "box_id": box.box_id,
            "name": label(box),
            "location": box.location,
            "region": self._context.whole_registry.now().place(box.box_id).region,
            "nominal_v": box.nominal_v,
            "nominal_hz": box.nominal_hz,
            "unplugged": box.unplugged,
            "availability": (share or NOT_KNOWN).as_json(),
            "measurement": None if newest is None else measurement_json(newest),
        }


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


def _incident_json(incident: Incident, summary: str) -> dict[str, object]:
    found = worst(incident)
    return {
        **incident_json(incident),
        "summary": summary,
        "worst_event_id": None if found is None else found.event_id,
        "worst_box_id": None if found is None else found.finding.box_id,
    }


def _trend_json(trend: Trend) -> dict[str, object]:
    values: dict[str, list[float] | None] = {}
    for name, (key, scale) in METRICS.items():
        three = trend.metrics.get(key)
        values[name] = None if three is None else [three[0] * scale, three[2] * scale, three[1] * scale]
    flagged = flags_of_trend(trend.metrics)
    return {
        "start_ms": trend.start_ms,
        "coverage": round(trend.coverage, 4),
        "flagged": flagged,
        **values,
    }
