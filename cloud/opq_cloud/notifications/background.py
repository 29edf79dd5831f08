"""The work of notifications outside its loop: requests to peers that may not answer, and weekly reports."""

import time
from collections.abc import Mapping
from smtplib import SMTPException

from opq_cloud.core.mail_server import MailServer
from opq_cloud.core.service import ServiceCounters
from opq_cloud.core.settings.config import CloudConfig
from opq_cloud.notifications.health_watch import HealthWatch
from opq_cloud.notifications.rule_book import RuleBook
from opq_cloud.notifications.sending import SendingChannel
from opq_cloud.reports.report_schedule import ReportSchedule
from opq_cloud.store.store import CloudStore
from opq_proto.errors import OpqError, StoreError
from opq_proto.kit import log as logs
from opq_proto.kit.own_thread import OwnThread
from opq_proto.kit.rate_limit import RateLimitedLog
from opq_proto.kit.system_place import default_data_dir

log = logs.get(service="notifications")

ANNOUNCED_AGAIN_S = 30.0
REPORTS_EVERY_S = 60.0
"""Interval of reading the schedule; a report that failed is tried again then."""


class ReportThread(OwnThread):
    """Makes the weekly reports that are due, in a thread, because a report of many places takes seconds."""

    _join_s = 3.0

    def __init__(self, config: CloudConfig, store: CloudStore, counters: ServiceCounters) -> None:
        """Raises ConfigError when a value of `[reports]` cannot be used."""
        super().__init__("notifications.reports")
        mail = MailServer(config.view.mail)
        self._schedule = ReportSchedule(
            config.reports,
            config.data_dir or default_data_dir(),
            config.nominal,
            mail.deliver if mail.ready else None,
            mail.sender,
        )
        self._store, self._counters = store, counters
        self._limited = RateLimitedLog(log)

    def _run(self) -> None:
        wait_s = 1.0
        while self._schedule.runs and not self._stop.wait(wait_s):
            wait_s = REPORTS_EVERY_S
            try:
                for made in self._schedule.make_due(self._store, time.time_ns()):
                    self._counters.add("reports_made")
                    log.info("report.made", path=str(made.path), mailed=made.mailed)
            except (OpqError, OSError, SMTPException) as error:
                self._counters.add("reports_failed")
                self._limited.warning("report.failed", why=str(error)[:200])


class PeerThread(OwnThread):
    """Reads health and announces the rules to the channels.

    A peer that does not answer does not delay an incident, and each request has a time limit.
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
