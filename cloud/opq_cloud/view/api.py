"""The JSON API for the pages' scripts and anyone else.

Keys are those of docs/reference/contracts.md where it has them; unknown is null; positions are milliseconds
from `origin_ns` (by default the waveform's start), because a browser's numbers cannot hold an int64.
"""

from dataclasses import asdict
from typing import Annotated

from fastapi import APIRouter, HTTPException, Query
from fastapi.responses import JSONResponse

from opq_cloud.judged_nominal import judged_in_event
from opq_cloud.store.incidents.as_json import finding_json, incident_json
from opq_cloud.store.trends.pyramid import MAX_ROWS
from opq_cloud.unknown_gain import gain_advice
from opq_cloud.view import charts
from opq_cloud.view.availability import NOT_KNOWN, together
from opq_cloud.view.box_history import METRICS, read_history
from opq_cloud.view.context import LARGEST_ID, ViewContext, label, read_incidents, whole_id
from opq_cloud.view.half_cycle_lines import whole_line
from opq_cloud.view.history_page import From, To, query_span
from opq_cloud.view.incident_list import place_of
from opq_cloud.view.incident_page import past_before
from opq_cloud.view.itic_curve import corners
from opq_cloud.view.live_messages import measurement_json
from opq_cloud.view.pages import HOUR_MS
from opq_cloud.view.registry import BOX_ID
from opq_cloud.view.sparkline import spark_steps
from opq_cloud.view.words import headline
from opq_measure.events.curves import SEMI_F47
from opq_proto.messages import Event, Waveform, known_uncertainty_ns

BUCKET_MS = 10_000
MAX_MINUTES = 24 * 60
FAR_MS = 1e12
Moment = Annotated[float | None, Query(ge=-FAR_MS, le=FAR_MS, allow_inf_nan=False)]
Origin = Annotated[int | None, Query(ge=0, lt=2**63)]


class Api:
    """Read-only; every route answers JSON."""

    def __init__(self, context: ViewContext) -> None:
        self._context = context

    def router(self) -> APIRouter:
        router = APIRouter(prefix="/api", default_response_class=JSONResponse)
        router.add_api_route("/boxes", self.boxes)
        router.add_api_route("/availability", self.availability)
        router.add_api_route("/recent", self.recent)
        router.add_api_route("/boxes/{box_id}/measurements", self.measurements)
        router.add_api_route("/boxes/{box_id}/trend", self.trend)
        router.add_api_route("/incidents", self.incidents)
        router.add_api_route("/incidents/{incident_id}", self.incident)
        router.add_api_route("/events/{event_id}", self.event)
        router.add_api_route("/events/{event_id}/waveform/{box_id}", self.waveform)
        router.add_api_route("/events/{event_id}/rms/{box_id}", self.envelope)
        router.add_api_route("/curves", self.curves)
        return router

    def boxes(self) -> JSONResponse:
        """Each Box with its newest measurement, null where it was never heard."""
        latest = self._context.hub.latest()
        boxes = self._context.boxes()
        shares = self._context.measured_shares(boxes)
        return JSONResponse(
            [
                {
                    "box_id": record.box_id,
                    "name": label(record),
                    "location": record.location,
                    "nominal_v": record.nominal_v,
                    "nominal_hz": record.nominal_hz,
                    "unplugged": record.unplugged,
                    "availability": shares.get(record.box_id, NOT_KNOWN).as_json(),
                    "measurement": measurement_json(latest[record.box_id])
                    if record.box_id in latest
                    else None,
                }
                for record in boxes
            ]
        )

    def availability(self, box: Annotated[list[str] | None, Query(max_length=200)] = None) -> JSONResponse:
        """The measured share of the last hour, in words as pages show them, and of these Boxes."""
        found = self._context.measured_shares()
        shown = together(found.values())
        return JSONResponse(
            {
                "summary": {"text": shown.text, "tone": shown.tone},
                "boxes": {
                    box_id: {name: {"text": text, "tone": tone} for name, text, tone in found[box_id].shown}
                    for box_id in box or ()
                    if box_id in found
                },
            }
        )

    def recent(self) -> JSONResponse:
        """Per Box [timestamp_ms, min, mean, max, window in ms] rms volts of the last minutes."""
        return JSONResponse(
            {
                box_id: [
                    [
                        step.end_ms,
                        *(round(v, 2) for v in (step.metric.min, step.metric.average, step.metric.max)),
                        round(step.length_ms, 1),
                    ]
                    for step in spark_steps(self._context.hub.recent(box_id))
                ]
                for box_id in self._context.hub.latest()
            }
        )

    def measurements(
        self, box_id: str, minutes: Annotated[int, Query(ge=1, le=MAX_MINUTES)] = 60
    ) -> JSONResponse:
        """[min, mean, max] of each metric per 10 s (longer spans: per minute), up to now."""
        now_ms = self._context.now_ns() // 1_000_000
        width_ms = BUCKET_MS if minutes * 60_000 <= 2 * HOUR_MS else 60_000
        start_ms = now_ms - minutes * 60_000
        found = self._context.buckets(_box(box_id), width_ms, start_ms, now_ms + 60_000)
        sees = self._context.visitor.sees(box_id)
        return JSONResponse(
            {
                "box_id": box_id,
                "bucket_ms": width_ms,
                "first_heard_ms": self._context.availability.first_heard_ms(box_id) if sees else None,
                "rows": [asdict(row) for row in found],
            }
        )

    def trend(
        self,
        box_id: str,
        start: From = "now-24h",
        end: To = "now",
        rows: Annotated[int, Query(ge=1, le=MAX_ROWS)] = MAX_ROWS,
    ) -> JSONResponse:
        """Any span of a Box by rows of one length: [min, mean, max] of each metric, and what they cover."""
        span = query_span(self._context, start, end)
        now_ms = self._context.now_ns() // 1_000_000
        try:
            history = read_history(self._context.store, _box(box_id), span, now_ms, rows)
        except ValueError as error:
            raise HTTPException(400, f"rows is {rows}: {error}") from None
        return JSONResponse(
            {
                "box_id": box_id,
                "from_ms": span.start_ms,
                "to_ms": span.end_ms,
                "step_ms": history.step_ms,
                "coverage": round(history.coverage, 5),
                "rows": [
                    {
                        "start_ms": row.start_ms,
                        "coverage": round(row.coverage, 4),
                        "flagged": row.flagged,
                        **{name: row.values.get(name) for name in METRICS},
                    }
                    for row in history.rows
                ],
                "gaps": history.gaps,
                "percentiles": {
                    name: dict(zip(("p05", "p50", "p95"), values, strict=True))
                    for name, values in history.percentiles.items()
                },
                "incidents": [
                    {
                        "id": each.incident_id,
                        "class": each.kind,
                        "start_ms": each.start_ns / 1e6,
                        "end_ms": each.end_ns / 1e6,
                    }
                    for each in history.incidents
                ],
            }
        )

    def incidents(
        self,
        limit: Annotated[int, Query(ge=1, le=200)] = 25,
        before: Annotated[int | None, Query(ge=1, le=LARGEST_ID)] = None,
        box: Annotated[str | None, Query(pattern=f"^{BOX_ID.pattern}$")] = None,
        kind: Annotated[str | None, Query(alias="class", max_length=64)] = None,
    ) -> JSONResponse:
        """Newest first; the next page is `before=<older>`, the number of the last, null at the end."""
        beyond = None if before is None else place_of(self._context, before)
        page = read_incidents(self._context.store, beyond, limit, box, kind)
        older = None if page.last is None else page.last.number
        return JSONResponse({"incidents": [incident_json(item) for item in page.incidents], "older": older})

    def incident(self, incident_id: str) -> JSONResponse:
        found = self._context.incident(incident_id, "/api/incidents/{}")
        findings = [finding_json(item) for item in found.findings]
        summary = headline(found, self._context.names([found]))
        before = past_before(self._context, found).as_json()
        return JSONResponse({**incident_json(found), "summary": summary, "findings": findings, **before})

    def event(self, event_id: str) -> JSONResponse:
        """An event without its samples."""
        record = self._context.store.event_record(whole_id(event_id, "event"))
        if record is None:
            raise HTTPException(404, f"there is no event {event_id}")
        return JSONResponse(asdict(record))

    def waveform(
        self,
        event_id: str,
        box_id: str,
        origin_ns: Origin = None,
        start_ms: Moment = None,
        end_ms: Moment = None,
        points: Annotated[int, Query(ge=2, le=charts.MAX_POINTS)] = charts.OVERVIEW_POINTS,
    ) -> JSONResponse:
        """Volts; more samples than `points` are reduced to the lowest and highest of each stretch.

        A long dip or swell gives both its ends.
        """
        wave = self._wave(event_id, box_id)
        origin = wave.start_ns if origin_ns is None else origin_ns
        waves = [*self._onset(event_id, box_id), wave]
        share = max(2, points // len(waves))
        line = charts.joined([charts.waveform_line(each, origin, start_ms, end_ms, share) for each in waves])
        return JSONResponse({**_wave_json(wave, event_id, origin), **line.as_json(2)})

    def envelope(self, event_id: str, box_id: str, origin_ns: Origin = None) -> JSONResponse:
        """Urms(1/2), each value at the middle of its cycle; of a long dip or swell also between its ends."""
        wave = self._wave(event_id, box_id)
        origin = wave.start_ns if origin_ns is None else origin_ns
        record = self._context.box(box_id)
        line = charts.envelope_line(wave, origin, record.nominal_hz)
        half = dict(self._context.half_cycles(int(event_id))).get(wave.box_id)
        if half is not None:
            onsets = [
                charts.envelope_line(each, origin, record.nominal_hz)
                for each in self._onset(event_id, box_id)
            ]
            line = whole_line([*onsets, line], half, origin)
        event = self._context.store.event_record(int(event_id))
        judged_v = None if event is None else judged_in_event(self._context.store, event).volts(wave.box_id)
        shared = {**_wave_json(wave, event_id, origin), "nominal_v": judged_v or record.nominal_v}
        return JSONResponse({**shared, **line.as_json(3)})

    def curves(self) -> JSONResponse:
        """Corners [seconds, percent of nominal] of the lines that verdicts are given by."""
        semi_f47: list[tuple[float, float]] = []
        first_s = 0.0
        for until_s, level in SEMI_F47:
            semi_f47 += [(first_s, level), (until_s, level)]
            first_s = until_s
        return JSONResponse({"itic": corners(), "semi_f47": semi_f47})

    def _onset(self, event_id: str, box_id: str) -> list[Waveform]:
        """The waveform of the beginning of a long dip or swell whose half cycles are stored."""
        record = self._context.store.event_record(whole_id(event_id, "event"))
        if record is None or record.completes is None or record.half_cycles.get(box_id) != "":
            return []
        before = self._context.store.event(record.completes)
        return [wave for wave in (before.waveforms if before else ()) if wave.box_id == box_id]

    def _wave(self, event_id: str, box_id: str) -> Waveform:
        event: Event | None = self._context.store.event(whole_id(event_id, "event"))
        for wave in event.waveforms if event else ():
            if wave.box_id == _box(box_id):
                return wave
        raise HTTPException(404, f"event {event_id} has no waveform of this Box")


def _box(box_id: str) -> str:
    if not BOX_ID.fullmatch(box_id):
        raise HTTPException(404, "no Box has such an id")
    return box_id


def _wave_json(wave: Waveform, event_id: str, origin_ns: int) -> dict[str, object]:
    return {
        "event_id": int(event_id),
        "box_id": wave.box_id,
        "start_ns": wave.start_ns,
        "origin_ns": origin_ns,
        "uncertainty_ns": known_uncertainty_ns(wave.uncertainty_ns),
        "source": wave.source.name.lower(),
        "rate_hz": wave.rate_hz,
        "volts_per_lsb": wave.v_per_lsb if wave.gain_known else None,
        "problem": None if wave.gain_known else gain_advice(wave.box_id),
        "samples": len(wave.counts),
        "gaps": [asdict(gap) for gap in wave.gaps],
    }
