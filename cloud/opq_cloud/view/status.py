"""`/health` (the original's contract, opq-interop F.4) and `/metrics` (Prometheus text)."""

from collections.abc import Iterator

from fastapi import APIRouter
from fastapi.responses import JSONResponse, Response
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

from opq_cloud.service import Counters, Health

NAMES = {
    "measurements": "Measurements read from the triggering broker",
    "measurements_late": "Measurements older than one that was shown already",
    "malformed": "Messages that could not be read",
    "bus_messages": "Messages read from Mauka's bus",
    "incidents_told": "Incidents, new or changed, sent to the open pages",
    "live_dropped": "Messages that a slow page did not get",
    "clients": "Pages that have opened the live feed",
    "clients_now": "Pages that have it open now",
    "clients_refused": "Pages that were one too many",
    "boxes_refused": "Boxes that were one too many",
    "store_errors": "Reads of the store that failed",
    "requests_failed": "Requests that ended in an error of ours",
}


class Status:
    """Both routes; the counters are those of the service."""

    def __init__(self, counters: Counters) -> None:
        self._counters = counters
        self._registry = CollectorRegistry()
        self._registry.register(self)

    def router(self) -> APIRouter:
        router = APIRouter(include_in_schema=False)
        router.add_api_route("/health", self.health)
        router.add_api_route("/metrics", self.metrics)
        return router

    def health(self) -> JSONResponse:
        return JSONResponse(Health("view", ok=True).as_json())

    def metrics(self) -> Response:
        return Response(generate_latest(self._registry), media_type=CONTENT_TYPE_LATEST)

    def collect(self) -> Iterator[CounterMetricFamily | GaugeMetricFamily]:
        """prometheus_client asks for this on every scrape."""
        counts = self._counters.snapshot()
        for name, text in NAMES.items():
            rows = counts.get(name, {"": 0})
            labels = ["what"] if any(rows) else []
            kind = GaugeMetricFamily if name.endswith("_now") else CounterMetricFamily
            family = kind(f"opq_view_{name}", text, labels=labels)
            for what, value in rows.items():
                family.add_metric([what] if labels else [], value)
            yield family
