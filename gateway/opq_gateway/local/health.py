"""Health: `/` in the original's contract, `/metrics` for Prometheus, `/measured`, over HTTP on loopback."""

import json
import time
from collections.abc import Callable, Mapping

from opq_gateway.local.measured import Ledgers, measured
from opq_gateway.local.metrics import CONTENT_TYPE, GatewayMetrics
from opq_gateway.status import BoxStatus
from opq_proto import log
from opq_proto.errors import PortBusyError
from opq_proto.http_server import MOST_AT_ONCE, HttpServer, Reply, ReplyHandler, target_of

Query = Mapping[str, list[str]]
Page = Callable[[Query], Reply]
SOCKET_TIMEOUT_S = 5.0


def health(boxes: Mapping[str, BoxStatus], monotonic_s: float, now_s: float) -> dict[str, object]:
    """The contract's object: one subcomponent per Box, with `info` saying what is wrong."""
    parts = [_box(status, monotonic_s, now_s) for status in boxes.values()]
    return {
        "name": "gateway",
        "ok": all(bool(part["ok"]) for part in parts),
        "timestamp": int(now_s),
        "info": None,
        "subcomponents": parts,
    }


def _box(status: BoxStatus, monotonic_s: float, now_s: float) -> dict[str, object]:
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
        "time_source": None if status.sample_source is None else status.sample_source.name.lower(),
        "uncertainty_ns": status.sample_uncertainty_ns,
        "supply_v": status.health.supply_v if status.health else None,
        "battery_v": status.health.battery_v if status.health else None,
    }


class HealthServer:
    """Serves until `close`; each request in a thread of its own, closed after 5 s of silence."""

    def __init__(self, endpoint: str, statuses: Mapping[str, BoxStatus], pages: Mapping[str, Page]) -> None:
        """Bind; `/` is health, `pages` are the others by path.

        Raises:
            PortBusyError: the address is taken, or none of this machine.
        """

        def page(_: Query) -> Reply:
            return (
                200,
                "application/json",
                json.dumps(health(statuses, time.monotonic(), time.time())).encode(),
            )

        handler = _handler({"/": page, **pages})
        try:
            self._server = HttpServer("health", endpoint, handler, on_refused=_overflow)
        except PortBusyError as error:
            more = "is another gateway running? Set health_endpoint, or move all ports with --port-offset"
            raise PortBusyError(f"{error}; {more}") from error
        self._server.start()

    def close(self) -> None:
        """Stop serving and free the address."""
        self._server.end()


def _overflow(reason: str) -> None:
    log.get(service="gateway").warning("health.overflow", at_once=MOST_AT_ONCE)


def pages_of(metrics: GatewayMetrics, ledgers: Ledgers) -> dict[str, Page]:
    """`/metrics` and `/measured`."""

    def rows(query: Query) -> Reply:
        try:
            status, document = measured(query, ledgers)
        except OSError as error:
            status, document = 500, {"error": f"the ledger cannot be read: {error.strerror}"}
        return status, "application/json", json.dumps(document).encode()

    def text(_: Query) -> Reply:
        return 200, CONTENT_TYPE, metrics.text()

    return {"/metrics": text, "/measured": rows}


def _handler(pages: Mapping[str, Page]) -> type[ReplyHandler]:
    class Handler(ReplyHandler):
        timeout = SOCKET_TIMEOUT_S

        def do_GET(self) -> None:
            target = target_of(self.path)
            page = None if target is None else pages.get(target[0])
            if page is None or target is None:
                self.send_reply((404, "text/plain", f"not found; there are {', '.join(pages)}\n".encode()))
            else:
                self.send_reply(page(target[1]))

    return Handler
