"""Notifications as a service: receives incidents and health, fills the outbox and sends due entries."""

import threading
import time
from collections.abc import Sequence
from contextlib import ExitStack, closing

import zmq

from opq_cloud.core.backend.peer_watch import WatchedConnections
from opq_cloud.core.backend.sockets import LARGEST_FRAME_BYTES, Context, Socket, service_context
from opq_cloud.core.service import CloudContext, CloudService, HealthReport, ServiceCounters
from opq_cloud.core.settings.config import CloudConfig
from opq_cloud.notifications.background import PeerThread, ReportThread
from opq_cloud.notifications.health_watch import HealthWatch
from opq_cloud.notifications.incident_watch import TOPIC, AssignedWatch, IncidentWatch
from opq_cloud.notifications.outbox import NotificationOutbox
from opq_cloud.notifications.rows_endpoint import RowsEndpoint
from opq_cloud.notifications.rule_book import RuleBook
from opq_cloud.notifications.sending import made_channels
from opq_proto.errors import StoreError
from opq_proto.kit import log as logs
from opq_proto.kit.http_server import HttpServer, url_of
from opq_proto.kit.rate_limit import RateLimitedLog

log = logs.get(service="notifications")

EXPIRE_EVERY_S = 3600.0
FIRST_POLL_S = 0.2
"""The first look at the store is so long after the start."""
BUS_MESSAGES = 10_000
"""Most messages that wait on the bus; beyond it the newest are lost, but the store has their incidents."""


class Notifications:
    """The service for one store; its counters appear in `/metrics`."""

    name = "notifications"

    def __init__(self, config: CloudConfig, shared: CloudContext) -> None:
        self.counters = ServiceCounters()
        self.counters.add("incidents_heard", 0)
        self.counters.set("notifications_waiting_now", 0)
        self.port = 0
        """Port to which rows are posted; 0 until it is bound."""
        self._config = config
        self._section = config.notifications
        self._shared = shared
        self._limited = RateLimitedLog(log)
        self._expire_s = 0.0
        self._problem: str | None = None
        """The reason why the store refuses."""

    def health(self) -> list[HealthReport]:
        """Reports a store that refuses, because without it no message is sent."""
        return [HealthReport(self.name, self._problem is None, info=self._problem)]

    def run(self, stop: threading.Event, ready: threading.Event | None = None) -> None:
        """Runs until `stop` is set; raises PortBusyError, ConfigError or StoreError when it cannot start."""
        section, store = self._section, self._shared.store
        book = RuleBook(store.people, self.counters)
        view_url = self._config.view.address or url_of(self._config.view.http_endpoint, "")
        with ExitStack() as opened:
            channels = made_channels(self._config)
            for each in channels.values():
                opened.enter_context(closing(each))
            outbox = NotificationOutbox(store.people, channels, view_url, self.counters, section.claim_s)
            opened.enter_context(closing(outbox))
            rows = RowsEndpoint(store.people, book, self.counters)
            server = HttpServer("notifications", section.http_endpoint, rows.handler())
            server.start()
            opened.callback(server.end)
            self.port = server.port
            bus = self._bus(opened.enter_context(service_context()), opened)
            watch, assigned = IncidentWatch(store, book, self.counters), AssignedWatch(store, book)
            health = HealthWatch(f"http://{section.watched_endpoint}/", store, book, self.counters)
            opened.enter_context(PeerThread(health, channels, book, section.health_s, self.counters))
            opened.enter_context(ReportThread(self._config, store, self.counters))
            if ready is not None:
                ready.set()
            self._loop(stop, bus, watch, assigned, book, outbox)

    def _bus(self, context: Context, opened: ExitStack) -> Socket:
        bus = opened.enter_context(closing(context.socket(zmq.SUB)))
        bus.setsockopt(zmq.LINGER, 0)
        bus.setsockopt(zmq.RCVHWM, BUS_MESSAGES)
        bus.setsockopt(zmq.MAXMSGSIZE, LARGEST_FRAME_BYTES)
        bus.setsockopt(zmq.RECONNECT_IVL_MAX, 1000)
        bus.setsockopt(zmq.SUBSCRIBE, TOPIC)
        self._connections = WatchedConnections()
        self._connections.connect(bus, self._section.bus_endpoint, "notifications.bus_endpoint")
        return bus

    def _loop(
        self,
        stop: threading.Event,
        bus: Socket,
        watch: IncidentWatch,
        assigned: AssignedWatch,
        book: RuleBook,
        outbox: NotificationOutbox,
    ) -> None:
        next_poll_s = time.monotonic() + min(FIRST_POLL_S, self._section.poll_s)
        while not stop.is_set():
            due_s = min(next_poll_s - time.monotonic(), watch.due_s)
            has_message = bus in self._connections.wait(stop, bus, due_s=due_s)
            try:
                if has_message:
                    watch.read_bus(bus)
                has_message |= watch.check_held()
                if has_message or time.monotonic() >= next_poll_s:
                    next_poll_s = time.monotonic() + self._section.poll_s
                    if not has_message:
                        watch.check_incidents()
                        assigned.check_assigned()
                        self._expire(book)
                    unsent = book.records.unsent()
                    book.count_waiting(unsent)
                    outbox.send_due(unsent)
                    self._problem = None
            except StoreError as error:
                self._problem = str(error)
                self.counters.add("store_errors")
                self._limited.warning("notifications.store_failed", error=str(error))
                stop.wait(min(1.0, self._section.poll_s))

    def _expire(self, book: RuleBook) -> None:
        if time.monotonic() >= self._expire_s:
            self._expire_s = time.monotonic() + EXPIRE_EVERY_S
            gone = book.records.expire(time.time_ns() // 1_000_000, self._section.kept_days)
            self.counters.add("expired", gone)


def services(config: CloudConfig, shared: CloudContext) -> Sequence[CloudService]:
    """Returns the services that `opq-cloud notifications` runs."""
    return [Notifications(config, shared)]
