"""Boxes of `/api/v1`, with their Measurements and trends.

It reads the store as the visitor sees it, so that it can show no more than the pages do.
"""

from typing import Annotated, Literal

from fastapi import Path, Query, Request, Response

from opq_cloud.store.trends.pyramid import MAX_ROWS, level_for
from opq_cloud.view.api import shapes
from opq_cloud.view.api.answers import cursor_place, cursor_text, json_answer, rest_span
from opq_cloud.view.api.problems import RestProblemError
from opq_cloud.view.live.feed_messages import LARGEST_ID, newest_json
from opq_cloud.view.pages.visible.availability import NOT_KNOWN, BoxAvailability
from opq_cloud.view.pages.visible.shown_box import ShownBox
from opq_cloud.view.pages.visible.visitor_context import VisitorContext
from opq_cloud.view.web.shares import PageRouter
from opq_proto.measurement.fields import DRAWN_KEYS
from opq_proto.measurement.flagged import flags_of_trend
from opq_proto.measurement.measurement_json import measurement_json
from opq_proto.messages import TREND_LEVELS, Measurement, Trend
from opq_proto.time_units import NS_PER_MS

MAX_MEASUREMENTS = 1000
ONE_MS_ROWS = 5000
BoxId = Annotated[str, Path(pattern=shapes.BOX_PATTERN, examples=["1"])]
Number = Annotated[int, Path(ge=1, le=LARGEST_ID, examples=[1])]
Cursor = Annotated[str | None, Query(max_length=200, description="`next` of the page before")]
OneBox = Annotated[str | None, Query(pattern=shapes.BOX_PATTERN, examples=["1"])]
From = Annotated[str, Query(alias="from", max_length=40, examples=["now-24h"])]
To = Annotated[str, Query(alias="to", max_length=40, examples=["now"])]


def check_box(context: VisitorContext, box_id: str) -> None:
    """Raises RestProblemError 404 for a Box that does not exist, or that the visitor does not see."""
    if not context.knows(box_id):
        raise no_box(box_id)


def no_box(box_id: str) -> RestProblemError:
    """The same words for a Box that does not exist and one that the visitor does not see."""
    return RestProblemError(404, f"There is no Box {box_id} that you may see.")


class BoxRoutes:
    """Only GET; every answer is JSON with an ETag."""

    def __init__(self, context: VisitorContext) -> None:
        self._context = context

    def router(self) -> PageRouter:
        router = PageRouter()
        for path, route, shape in (
            ("/boxes", self.boxes, shapes.BoxList),
            ("/boxes/{box_id}", self.box, shapes.BoxShape),
            ("/boxes/{box_id}/measurements", self.measurements, shapes.MeasurementList),
            ("/boxes/{box_id}/trend", self.trend, shapes.TrendShape),
        ):
            router.add_api_route(path, route, response_model=shape)
        return router

    def boxes(self, request: Request) -> Response:
        """Each Box that you may see, in the order of their numbers."""
        latest = self._context.hub.latest()
        boxes = self._context.boxes()
        shares = self._context.measured_shares([box.box_id for box in boxes])
        items = [self._box_json(box, latest.get(box.box_id), shares.get(box.box_id)) for box in boxes]
        return json_answer(request, {"items": items, "next": None})

    def box(self, request: Request, box_id: BoxId) -> Response:
        """One Box."""
        check_box(self._context, box_id)
        latest = self._context.hub.newest(box_id)
        shown = self._context.box(box_id)
        share = self._context.measured_shares([box_id]).get(box_id)
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
        check_box(self._context, box_id)
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
        return json_answer(request, {"items": [measurement_json(each) for each in found], "next": following})

    def trend(
        self,
        request: Request,
        box_id: BoxId,
        start: From = "now-24h",
        end: To = "now",
        level: Literal["auto", "1m", "10m", "1h", "1d"] = "auto",
    ) -> Response:
        """Any span by rows of one length: [min, mean, max] of each metric, null where it is not known."""
        check_box(self._context, box_id)
        now_ns = self._context.now_ns()
        span = rest_span(start, end, now_ns)
        try:
            shortest_ms = level_for(span.start_ms, span.end_ms)
        except ValueError as error:
            raise RestProblemError(400, f"from and to: {error}.") from None
        step_ms = TREND_LEVELS.get(level, shortest_ms)
        if step_ms < shortest_ms:
            fits = [name for name, length_ms in TREND_LEVELS.items() if length_ms >= shortest_ms]
            raise RestProblemError(
                400, f"level {level} has more than {MAX_ROWS} rows in this span; allowed: {', '.join(fits)}."
            )
        end_ms = min(span.end_ms, now_ns // NS_PER_MS)
        rows = self._context.store.trend_rows(box_id, span.start_ms, end_ms, step_ms)
        facts = {"box_id": box_id, "from_ms": span.start_ms, "to_ms": span.end_ms, "step_ms": step_ms}
        return json_answer(request, {**facts, "rows": [_trend_json(each) for each in rows]})

    def _box_json(
        self, box: ShownBox, newest: Measurement | None, share: BoxAvailability | None
    ) -> dict[str, object]:
        """A Box that the visitor sees, as JSON."""
        return {
            "box_id": box.box_id,
            "name": box.label,
            "location": box.location,
            "region": self._context.region(box.box_id),
            "nominal_v": box.nominal_v,
            "nominal_hz": box.nominal_hz,
            "unplugged": box.unplugged,
            "availability": (share or NOT_KNOWN).as_json(),
            "measurement": None if newest is None else newest_json(newest),
        }


def _trend_json(trend: Trend) -> dict[str, object]:
    values: dict[str, list[float] | None] = {}
    for name, (key, scale) in DRAWN_KEYS.items():
        three = trend.metrics.get(key)
        values[name] = None if three is None else [three[0] * scale, three[2] * scale, three[1] * scale]
    flagged = flags_of_trend(trend.metrics)
    return {
        "start_ms": trend.start_ms,
        "coverage": round(trend.coverage, 4),
        "flagged": flagged,
        **values,
    }
