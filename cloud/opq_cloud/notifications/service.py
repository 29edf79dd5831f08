"""Notifications as a service: receives incidents and health, fills the outbox and sends due entries."""

import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, closing
from smtplib import SMTPException

import zmq

from opq_cloud.core.backend.peer_watch import WatchedConnections
from opq_cloud.core.backend.sockets import LARGEST_FRAME_BYTES, POLL_MS, Context, Socket, service_context
from opq_cloud.core.mail_server import MailServer
from opq_cloud.core.service import CloudContext, CloudService, HealthReport, ServiceCounters
from opq_cloud.core.settings.config import CloudConfig
from opq_cloud.notifications.health_watch import HealthWatch
from opq_cloud.notifications.incident_watch import TOPIC, IncidentWatch
from opq_cloud.notifications.outbox import NotificationOutbox
from opq_cloud.notifications.rows_endpoint import RowsEndpoint
from opq_cloud.notifications.rule_book import RuleBook
from opq_cloud.notifications.sending import SendingChannel, made_channels
from opq_cloud.reports.schedule import ReportSchedule
from opq_cloud.store.store import CloudStore
from opq_proto.errors import OpqError, StoreError
from opq_proto.kit import log as logs
from opq_proto.kit.http_server import HttpServer
from opq_proto.kit.own_thread import OwnThread
from opq_proto.kit.rate_limit import RateLimitedLog
from opq_proto.kit.system_place import default_data_dir

log = logs.get(service="notifications")

EXPIRE_EVERY_S = 3600.0
ANNOUNCED_AGAIN_S = 30.0
REPORTS_EVERY_S = 60.0
"""How often the schedule is looked at; a report that could not be made or mailed is tried again then."""
BUS_MESSAGES = 10_000
"""Messages that may wait on the bus; beyond that the newest are lost, but the store has their incidents."""


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
        """Why the store refuses."""

    def health(self) -> list[HealthReport]:
        """Reports a store that refuses: without it nothing is sent, and health ends its pings."""
        return [HealthReport(self.name, self._problem is None, info=self._problem)]

    def run(self, stop: threading.Event, ready: threading.Event | None = None) -> None:
        """Runs until `stop` is set; raises PortBusyError, ConfigError or StoreError when it cannot start."""
        section, store = self._section, self._shared.store
        book = RuleBook(store.people, self.counters)
        view_url = self._config.view.public_url or f"http://{self._config.view.http_endpoint}"
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
            watch = IncidentWatch(store, book, self.counters)
            health = HealthWatch(f"http://{section.watched_endpoint}/", store, book, self.counters)
            opened.enter_context(_PeerThread(health, channels, book, section.health_s, self.counters))
            schedule = self._schedule()
            if schedule.runs:
                opened.enter_context(_ReportThread(schedule, store, self.counters))
            if ready is not None:
                ready.set()
            self._loop(stop, bus, watch, book, outbox)

    def _schedule(self) -> ReportSchedule:
        config, mail = self._config, MailServer(self._config.view.mail)
        return ReportSchedule(
            config.reports,
            config.data_dir or default_data_dir(),
            config.nominal,
            mail.deliver if mail.ready else None,
            mail.sender,
        )

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
        book: RuleBook,
        outbox: NotificationOutbox,
    ) -> None:
        next_poll_s = 0.0
        while not stop.is_set():
            has_message = bool(bus.poll(min(POLL_MS, round(self._section.poll_s * 1000))))
            try:
                if has_message:
                    watch.read_bus(bus)
                self._connections.check()
                has_message |= watch.check_held()
                if has_message or time.monotonic() >= next_poll_s:
                    next_poll_s = time.monotonic() + self._section.poll_s
                    if not has_message:
                        watch.check_incidents()
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


class _ReportThread(OwnThread):
    """Makes the weekly reports that are due: a report of many places takes seconds, and delays no mail."""

    _join_s = 3.0

    def __init__(self, schedule: ReportSchedule, store: CloudStore, counters: ServiceCounters) -> None:
        super().__init__("notifications.reports")
        self._schedule, self._store, self._counters = schedule, store, counters
        self._limited = RateLimitedLog(log)

    def _run(self) -> None:
        wait_s = 1.0
        while not self._stop.wait(wait_s):
            wait_s = REPORTS_EVERY_S
            try:
                for made in self._schedule.make_due(self._store, time.time_ns()):
                    self._counters.add("reports_made")
                    log.info("report.made", path=str(made.path), mailed=made.mailed)
            except (OpqError, OSError, SMTPException) as error:
                self._counters.add("reports_failed")
                self._limited.warning("report.failed", why=str(error)[:200])


class _PeerThread(OwnThread):
    """Reads health and announces the rules to the channels.

    So a peer that does not answer delays no incident; a request that hangs ends by its own time limit.
    """

    _join_s = 3.0

    def __init__(
        self,
        health: HealthWatch,
        channels: Mapping[str, SendingChannel],
        book: RuleBook,
        every_s: float,
        counters: ServiceCounters,
    ) -> None:
        super().__init__("notifications.beside")
        self._health = health
        self._channels = channels
        self._book = book
        self._every_s = every_s
        self._counters = counters
        self._limited = RateLimitedLog(log)

    def _run(self) -> None:
        health_s = time.monotonic() + self._every_s
        announce_s = 0.0
        while not self._stop.wait(min(1.0, self._every_s)):
            try:
                if time.monotonic() >= health_s:
                    health_s = time.monotonic() + self._every_s
                    self._health.check_health()
                if time.monotonic() >= announce_s:
                    rules = [each.rule for each in self._book.rules()]
                    for name, channel in self._channels.items():
                        channel.announce(rule for rule in rules if rule.channel == name)
            except StoreError:
                self._counters.add("store_errors")
            except OSError as error:
                announce_s = time.monotonic() + ANNOUNCED_AGAIN_S
                self._limited.warning("notifications.broker_away", why=str(error)[:200])


def services(config: CloudConfig, shared: CloudContext) -> Sequence[CloudService]:
    """Returns the services that `opq-cloud notifications` runs."""
    return [Notifications(config, shared)]
