"""Health: `/` in the original's contract, `/metrics` for Prometheus, `/measured`, over HTTP on loopback.
Orders (`local_orders`) are for programs of this machine with the gateway's token, even where the address is
reachable from others.
"""

import json
import time
from collections.abc import Callable, Mapping

from opq_gateway.commands.local_orders import LocalOrders
from opq_gateway.counters import BoxCounters
from opq_gateway.gateway_status import BoxStatus
from opq_gateway.local.measured import Ledgers, measured
from opq_gateway.local.metrics import GatewayMetrics, measurements_held
from opq_gateway.serial_side.gps_comparison import GpsComparison, GpsComparisonState
from opq_gateway.software_version import software_version
from opq_proto.errors import PortBusyError
from opq_proto.kit import log
from opq_proto.kit.http_server import METRICS_TYPE, HttpServer, Reply, ReplyHandler, target_of
from opq_proto.kit.origin_guard import page_refusal
from opq_proto.kit.rate_limit import RateLimitedLog
from opq_proto.kit.system_record import ID_HEADER, SystemIdentity
from opq_proto.link.box_losses import losses_text
from opq_proto.messages import known_uncertainty_ns

Query = Mapping[str, list[str]]
Page = Callable[[Query], Reply]
SOCKET_TIMEOUT_S = 5.0


def health(
    boxes: Mapping[str, BoxStatus], monotonic_s: float, now_s: float, gps: GpsComparison | None = None
) -> dict[str, object]:
    """The contract's object: one subcomponent per Box; `info` lists its problem and what it lost."""
    parts = [_box(status, monotonic_s, now_s) for status in boxes.values()]
    return {
        "name": "gateway",
        "ok": all(bool(part["ok"]) for part in parts),
        "timestamp": int(now_s),
        "info": None,
        "version": software_version(),
        "subcomponents": parts,
        "gps_comparison": None if gps is None else _compared(gps.refresh_state()),
    }


def _compared(state: GpsComparisonState) -> dict[str, object]:
    return {
        "box_id": state.box_id,
        "held": state.held,
        "uncertainty_ns": known_uncertainty_ns(state.uncertainty_ns),
        "system_clock_off_ns": state.system_off_ns,
        "drift_ppm": state.drift_ppm,
        "apart_ns": dict(state.apart_ns),
    }


def _box(status: BoxStatus, monotonic_s: float, now_s: float) -> dict[str, object]:
    problem, lost = status.problem(monotonic_s), status.lost
    seen_s = status.sample_monotonic_s
    return {
        "name": status.box_id,
        "ok": problem is None,
        "timestamp": int(now_s if seen_s is None else now_s - (monotonic_s - seen_s)) if seen_s else 0,
        "info": "; ".join(filter(None, (problem, losses_text(lost)))) or None,
        **({"note": note} if (note := _note(status)) else {}),
        "levels": {"measurements_held": measurements_held(status)},
        "subcomponents": None,
        "hardware": status.hello.hardware if status.hello else None,
        "sampling": seen_s is not None and monotonic_s - seen_s < 5,
        "connected": status.connected,
        "refused": status.refused,
        "measurement_cycles": status.measurement_cycles,
        "acknowledged": status.acknowledging,
        "acknowledged_sequence": status.acknowledged_sequence,
        "time_source": None if status.sample_source is None else status.sample_source.name.lower(),
        "uncertainty_ns": known_uncertainty_ns(status.sample_uncertainty_ns),
        "supply_v": status.health.supply_v if status.health else None,
        "battery_v": status.health.battery_v if status.health else None,
        "lost": lost,
        "facts": status.facts,
    }


def _note(status: BoxStatus) -> str:
    """What somebody should know of a Box that is well."""
    lost, refused = status.ledger_lost, status.number_refused
    found = [f"Box {status.box_id} lost {lost}"] if lost else []
    if refused:
        found.append(f"Box {status.box_id} does not take the number of its port: {refused}")
    return "; ".join(found)


class HealthServer:
    """Serves until `close`; each request in its own thread, closed after 5 s of silence."""

    def __init__(
        self,
        endpoint: str,
        statuses: Mapping[str, BoxStatus],
        pages: Mapping[str, Page],
        orders: LocalOrders | None = None,
        gps: GpsComparison | None = None,
        counters: BoxCounters | None = None,
        system: SystemIdentity | None = None,
    ) -> None:
        """Binds; `/` is health, `pages` are the others by path; `counters` count requests that are not
        served; `system`: the name of the system that answers.

        Raises:
            PortBusyError: the address is in use, or not one of this machine's.
        """

        def page(local: bool, header: str | None) -> Reply:
            document = health(statuses, time.monotonic(), time.time(), gps)
            return _json(200, {**document, **({} if system is None else system.shown_to(local, header))})

        lines = RateLimitedLog(log.get(service="gateway"))

        def refused(reason: str) -> None:
            lines.warning("health.overflow", reason=reason)
            if counters is not None:
                counters.add("health_overflow")

        handler = _handler(page, pages, orders)
        try:
            self._server = HttpServer("health", endpoint, handler, on_refused=refused, on_late=refused)
        except PortBusyError as error:
            more = "is another gateway running? Set health_endpoint, or move all ports with --port-offset"
            raise PortBusyError(f"{error}; {more}") from error
        self._server.start()

    @property
    def port(self) -> int:
        """The bound port."""
        return self._server.port

    def close(self) -> None:
        """Stops serving and frees the address."""
        self._server.end()


def pages_of(metrics: GatewayMetrics, ledgers: Ledgers) -> dict[str, Page]:
    """The pages `/metrics` and `/measured`."""

    def rows(query: Query) -> Reply:
        try:
            status, document = measured(query, ledgers)
        except OSError as error:
            status, document = 500, {"error": f"the ledger cannot be read: {error.strerror}"}
        return status, "application/json", json.dumps(document).encode()

    def text(_: Query) -> Reply:
        return 200, METRICS_TYPE, metrics.text()

    return {"/metrics": text, "/measured": rows}


def _json(status: int, document: object) -> Reply:
    return status, "application/json", json.dumps(document).encode()


def _handler(
    health_page: Callable[[bool, str | None], Reply], pages: Mapping[str, Page], orders: LocalOrders | None
) -> type[ReplyHandler]:
    class HealthRequestHandler(ReplyHandler):
        timeout = SOCKET_TIMEOUT_S

        def do_GET(self) -> None:
            target = target_of(self.path)
            if target is not None and self._ordered(*target):
                return
            if target is not None and target[0] == "/":
                self.send_reply(health_page(self.from_this_machine, self.headers[ID_HEADER]))
                return
            page = None if target is None else pages.get(target[0])
            if page is None or target is None:
                found = ", ".join(("/", *pages))
                self.send_reply((404, "text/plain", f"not found; there are {found}\n".encode()))
            else:
                self.send_reply(page(target[1]))

        def do_POST(self) -> None:
            target = target_of(self.path)
            if target is None or not self._ordered(*target):
                self.send_reply((404, "text/plain", b"nothing is posted there\n"))

        def _ordered(self, path: str, query: Query) -> bool:
            """Answers an order; False for another request."""
            action = None if orders is None else orders.action(self.command, path)
            if orders is None or action is None:
                return False
            headers = {name.lower(): value for name, value in self.headers.items()}
            if not self.from_this_machine:
                reply = _json(403, {"error": "orders are for programs of the gateway's own machine"})
            elif (why := page_refusal(headers, on_loopback=not self.asked_by_own_address)) is not None:
                reply = _json(403, {"error": why})
            elif not orders.knows(headers):
                reply = orders.refusal(headers, int(self.connection.getsockname()[1]))
            else:
                reply = action(query)
            self.send_reply(reply, {"Cache-Control": "no-store"})
            return True

    return HealthRequestHandler
