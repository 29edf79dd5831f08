"""Health: `/` in the original's contract and `/metrics` for Prometheus, over HTTP on loopback."""

import json
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from opq_gateway.counters import MEANING, Counters
from opq_gateway.status import Status
from opq_proto.errors import PortBusyError

SOCKET_TIMEOUT_S = 5.0


def health(boxes: Mapping[str, Status], monotonic_s: float, now_s: float) -> dict[str, object]:
    """The contract's object: one subcomponent per Box, with `info` saying what is wrong."""
    parts = [_box(status, monotonic_s, now_s) for status in boxes.values()]
    return {
        "name": "gateway",
        "ok": all(bool(part["ok"]) for part in parts),
        "timestamp": int(now_s),
        "info": None,
        "subcomponents": parts,
    }


def _box(status: Status, monotonic_s: float, now_s: float) -> dict[str, object]:
    problem = status.problem(monotonic_s)
    seen_s = status.sample_monotonic_s
    return {
        "name": status.box_id,
        "ok": problem is None,
        "timestamp": int(now_s if seen_s is None else now_s - (monotonic_s - seen_s)) if seen_s else 0,
        "info": problem,
        "subcomponents": None,
        "hardware": status.hello.hardware if status.hello else None,
        "sampling": seen_s is not None and monotonic_s - seen_s < 5,
        "connected": status.connected,
        "refused": status.refused,
        "measurement_cycles": status.measurement_cycles,
        "acknowledged": status.acknowledging,
        "acknowledged_sequence": status.acknowledged_sequence,
    }


class _BoxMetrics(Collector):
    """Reads the counters when asked; the hot path only adds to them."""

    def __init__(self, boxes: Mapping[str, Status], counters: Mapping[str, Counters]) -> None:
        self._boxes = boxes
        self._counters = counters

    def collect(self) -> Iterable[Metric]:
        snapshots = {box_id: counters.snapshot() for box_id, counters in self._counters.items()}
        for name, meaning in MEANING.items():
            family = CounterMetricFamily(f"opq_gateway_{name}", meaning, labels=["box_id"])
            for box_id, snapshot in snapshots.items():
                family.add_metric([box_id], snapshot[name])
            yield family
        up = GaugeMetricFamily(
            "opq_gateway_box_ok", "1 when the Box samples and its uplink stands", labels=["box_id"]
        )
        now_s = time.monotonic()
        for box_id, status in self._boxes.items():
            up.add_metric([box_id], float(status.problem(now_s) is None))
        yield up


class HealthServer:
    """Serves until `close`; each request in a thread of its own, closed after 5 s of silence."""

    def __init__(self, endpoint: str, boxes: Mapping[str, Status], counters: Mapping[str, Counters]) -> None:
        """Bind.

        Raises:
            PortBusyError: the address cannot be had; the text says what to do.
        """
        registry = CollectorRegistry()
        registry.register(_BoxMetrics(boxes, counters))

        def page() -> tuple[str, bytes]:
            return "application/json", json.dumps(health(boxes, time.monotonic(), time.time())).encode()

        def metrics() -> tuple[str, bytes]:
            return "text/plain; version=0.0.4; charset=utf-8", generate_latest(registry)

        handler = _handler({"/": page, "/metrics": metrics})
        host, _, port = endpoint.rpartition(":")
        try:
            self._server = ThreadingHTTPServer((host, int(port)), handler)
        except (OSError, OverflowError) as error:
            reason = getattr(error, "strerror", None) or error
            raise PortBusyError(
                f"gateway: health address {endpoint} cannot be used: {reason}; is another gateway running? "
                "Set health_endpoint, or move all ports with --port-offset"
            ) from error
        self._server.daemon_threads = True
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.1}, name="health", daemon=True
        )
        self._thread.start()

    def close(self) -> None:
        """Stop serving and free the address."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def _handler(pages: Mapping[str, Callable[[], tuple[str, bytes]]]) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        timeout = SOCKET_TIMEOUT_S

        def do_GET(self) -> None:
            page = pages.get(self.path.partition("?")[0])
            kind, body = (
                page() if page is not None else ("text/plain", b"not found; there are / and /metrics\n")
            )
            self.send_response(200 if page is not None else 404)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            """No line per request."""

    return Handler
