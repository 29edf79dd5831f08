"""Values of Boxes ready to draw: the charts of pages read them, and programs that draw the same."""

from typing import Annotated, Any

from fastapi import Query, Request, Response

from opq_cloud.store.trends.pyramid import MAX_ROWS
from opq_cloud.view.api.answers import json_answer, rest_span
from opq_cloud.view.api.box_routes import BoxId, From, To, check_box
from opq_cloud.view.api.problems import RestProblemError
from opq_cloud.view.pages.boxes.sparkline import spark_steps
from opq_cloud.view.pages.drawing.box_history import read_history
from opq_cloud.view.pages.visible.availability import together
from opq_cloud.view.pages.visible.visitor_context import VisitorContext
from opq_cloud.view.web.shares import PageRouter
from opq_proto.measurement.fields import DRAWN_KEYS
from opq_proto.time_units import HOUR_MS

BUCKET_MS = 10_000
MAX_MINUTES = 24 * 60


class ChartedRoutes:
    """Only GET; every answer is JSON with an ETag."""

    def __init__(self, context: VisitorContext) -> None:
        self._context = context

    def router(self) -> PageRouter:
        router = PageRouter()
        for path, route in (
            ("/availability", self.availability),
            ("/recent", self.recent),
            ("/boxes/{box_id}/minutes", self.minutes),
            ("/boxes/{box_id}/history", self.history),
        ):
            router.add_api_route(path, route, response_model=dict[str, Any])
        return router

    def availability(
        self, request: Request, box: Annotated[list[str] | None, Query(max_length=200)] = None
    ) -> Response:
        """The measured share of the last hour, in words as pages show them, and of these Boxes."""
        found = self._context.measured_shares()
        shown = together(found.values())
        facts = {
            "summary": {"text": shown.text, "tone": shown.tone},
            "boxes": {
                box_id: {name: {"text": text, "tone": tone} for name, text, tone in found[box_id].shown}
                for box_id in box or ()
                if box_id in found
            },
        }
        return json_answer(request, facts)

    def recent(self, request: Request) -> Response:
        """Per Box [timestamp_ms, min, mean, max, window in ms] rms volts of the last minutes."""
        hub = self._context.hub
        facts = {
            box_id: [
                [
                    step.end_ms,
                    *(round(v, 2) for v in (step.metric.min, step.metric.average, step.metric.max)),
                    round(step.length_ms, 1),
                ]
                for step in spark_steps(hub.recent(box_id))
            ]
            for box_id in hub.latest()
        }
        return json_answer(request, facts)

    def minutes(
        self, request: Request, box_id: BoxId, minutes: Annotated[int, Query(ge=1, le=MAX_MINUTES)] = 60
    ) -> Response:
        """[min, mean, max] of each metric per 10 s (longer spans: per minute), up to now."""
        check_box(self._context, box_id)
        now_ms = self._context.now_ns() // 1_000_000
        width_ms = BUCKET_MS if minutes * 60_000 <= 2 * HOUR_MS else 60_000
        found = self._context.buckets(box_id, width_ms, now_ms - minutes * 60_000, now_ms + 60_000)
        facts = {
            "box_id": box_id,
            "bucket_ms": width_ms,
            "first_heard_ms": self._context.first_heard_ms(box_id),
            "rows": [
                {
                    "start_ms": row.start_ms,
                    "windows": row.windows,
                    **row.values,
                    "coverage": row.coverage,
                    "flagged": row.flagged,
                }
                for row in found
            ],
        }
        return json_answer(request, facts)

    def history(
        self,
        request: Request,
        box_id: BoxId,
        start: From = "now-24h",
        end: To = "now",
        rows: Annotated[int, Query(ge=1, le=MAX_ROWS)] = MAX_ROWS,
    ) -> Response:
        """Any span of a Box by rows of one length: [min, mean, max] of each metric, and what they cover."""
        check_box(self._context, box_id)
        now_ns = self._context.now_ns()
        span = rest_span(start, end, now_ns)
        try:
            history = read_history(self._context.store, box_id, span, now_ns // 1_000_000, rows)
        except ValueError as error:
            raise RestProblemError(400, f"rows is {rows}: {error}.") from None
        facts = {
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
                    **{name: row.values.get(name) for name in DRAWN_KEYS},
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
        return json_answer(request, facts)
