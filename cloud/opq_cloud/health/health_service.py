"""Health over HTTP: `/` in the original's contract, `/status` as its Mauka, `/metrics` (Prometheus text),
`/alerts`: the verdicts of the collector in this process, in the same form (without one: as `/`),
`/connections`: Box -> connections with its key, of the brokers in this process, and those of no Box.

Metrics are named `opq_<counter>[_total]`. Source: docs/reference/opq-interop.md F.4;
docs/reference/contracts.md, Health.
"""

import json
import re
import threading
from collections.abc import Callable, Iterable, Iterator
from http import HTTPStatus
from importlib.metadata import version

from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector

from opq_cloud.core.runner import ServiceBoard
from opq_cloud.core.service import HealthReport, ServiceCounters
from opq_cloud.core.stage_times import BOUNDS_S
from opq_proto.errors import PortBusyError
from opq_proto.kit.http_server import METRICS_TYPE, HttpServer, Reply, ReplyHandler
from opq_proto.kit.system_record import ID_HEADER, SystemIdentity

STAGE_LABELS = ("service", "stage")
LABELS = ("service", "of")
"""`of`: the Box, key or plug-in that is counted, or empty."""


class HealthService:
    """Answers for everything on `board`."""

    name = "health"

    def __init__(
        self,
        endpoint: str,
        board: ServiceBoard,
        answers_as: str,
        any_path: bool = False,
        alerts: Callable[[], HealthReport] | None = None,
        system: SystemIdentity | None = None,
    ) -> None:
        """`answers_as`: the name in the answer. `any_path`: as the original's Mauka, else 404. `system`:
        which system answers."""
        self.counters = ServiceCounters()
        self._endpoint = endpoint
        self._board = board
        self._name = answers_as
        self._any_path = any_path
        self._own = system
        self._alerts = alerts or (lambda: board.health(answers_as))
        self._registry = CollectorRegistry()
        self._registry.register(_BoardCollector(board))
        ProcessCollector(registry=self._registry)

    def run(self, stop: threading.Event, ready: threading.Event | None = None) -> None:
        try:
            server = HttpServer("health", self._endpoint, self._handler())
        except PortBusyError as error:
            raise PortBusyError(
                f"{error}; end the program that uses it, set the service's health_endpoint (in `all`: "
                "health.whole_endpoint), or use --port-offset"
            ) from error
        server.start()
        try:
            if ready is not None:
                ready.set()
            stop.wait()
        finally:
            server.end()

    def reply(self, path: str, local: bool = False, header: str | None = None) -> Reply:
        """Status, content type and body of a GET; `local` and `header`: as `SystemIdentity.shown_to`."""
        self.counters.add("requests")
        path = path.partition("?")[0]
        system = {} if self._own is None else self._own.shown_to(local, header)
        if path == "/metrics":
            return HTTPStatus.OK, METRICS_TYPE, generate_latest(self._registry)
        if path == "/status":
            return HTTPStatus.OK, "application/json", json.dumps(self._board.plugin_status()).encode()
        if path == "/connections":
            return HTTPStatus.OK, "application/json", json.dumps(self._board.connections()).encode()
        if path == "/alerts":
            return (
                HTTPStatus.OK,
                "application/json",
                json.dumps({**self._alerts().as_json(), **system}).encode(),
            )
        if path in ("/", "/health") or self._any_path:
            own = self._board.health(self._name).as_json()
            document = {**own, "version": version("opq-toolkit"), **system}
            return HTTPStatus.OK, "application/json", json.dumps(document).encode()
        return HTTPStatus.NOT_FOUND, "text/plain", b"Resource not found."

    def _handler(self) -> type[ReplyHandler]:
        reply = self.reply

        class HealthHandler(ReplyHandler):
            def do_GET(self) -> None:
                self.send_reply(reply(self.path, self.from_this_machine, self.headers[ID_HEADER]))

        return HealthHandler


class _BoardCollector(Collector):
    """Every counter of every service on the board."""

    def __init__(self, board: ServiceBoard) -> None:
        self._board = board

    def collect(self) -> Iterator[CounterMetricFamily | GaugeMetricFamily | HistogramMetricFamily]:
        families: dict[str, CounterMetricFamily | GaugeMetricFamily] = {}
        for service, counter, label, value in self._board.counts():
            family = families.get(counter)
            if family is None:
                name = "opq_" + re.sub(r"[^a-zA-Z0-9_]", "_", counter)
                text = counter.replace("_", " ")
                family = (
                    GaugeMetricFamily(name, text, labels=LABELS)
                    if counter.endswith("_now")
                    else CounterMetricFamily(name, text, labels=LABELS)
                )
                families[counter] = family
            family.add_metric([service, label], value)
        yield from families.values()
        yield self._stages()

    def _stages(self) -> HistogramMetricFamily:
        family = HistogramMetricFamily("opq_stage_seconds", "how long a stage took", labels=STAGE_LABELS)
        ends = [*map(str, BOUNDS_S), "+Inf"]
        for service, stage, counts, sum_s in self._board.stages():
            family.add_metric([service, stage], list(zip(ends, counts, strict=True)), sum_s)
        return family

    def describe(self) -> Iterable[CounterMetricFamily | GaugeMetricFamily]:
        return ()
