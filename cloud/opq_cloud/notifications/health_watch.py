"""Reads the verdicts of health over HTTP and puts silent Boxes and failing services into the outbox. While
health cannot be read, the state of the Boxes is unknown, and `opq` is reported as failing."""

import json
import time
from collections.abc import Callable, Mapping

from opq_cloud.core.service import HealthReport, ServiceCounters
from opq_cloud.core.service_conditions import HealthJudge, Reading
from opq_cloud.notifications.message_texts import outage_headline
from opq_cloud.notifications.outage_news import ComponentOutages, HealthComponent, is_about, outage_is_news
from opq_cloud.notifications.rule_book import RuleBook, RuleInForce
from opq_cloud.store.store import CloudStore
from opq_proto.kit.http_client import fetch

TIMEOUT_S = 4.0
MAX_BYTES = 8_000_000
WHOLE = "opq"
VERDICTS = "alerts"
"""Path below the address of health."""


class HealthWatch:
    """Notifies of silent Boxes and failing services. Used by one thread.

    Counters: `health_read`, `health_not_read`.
    """

    def __init__(
        self,
        url: str,
        store: CloudStore,
        book: RuleBook,
        counters: ServiceCounters,
        now_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
    ) -> None:
        self._url = url
        self._store = store
        self._book = book
        self._counters = counters
        self._now_ms = now_ms
        self._outages = ComponentOutages()
        self._judge = HealthJudge()

    def check_health(self) -> None:
        """Reads health and notifies of it, where any rule is about health or silence. Raises StoreError."""
        if self._book.rules("silence") or self._book.rules("health"):
            self.accept_reports(self._read())

    def accept_reports(self, reports: list[HealthReport]) -> int:
        """Handles health's reports, one per service and Box, and returns the number of notifications made.

        Raises StoreError.
        """
        now_ms = self._now_ms()
        boxes = {each.box_id: each for each in self._store.boxes()}
        out_of_service = {each.box_id for each in boxes.values() if not each.is_in_service}
        known = [
            (HealthComponent(each.name, each.name in boxes or each.name.isdigit()), each)
            for each in reports
            if each.name not in out_of_service
        ]
        made = sum(self._report_back(component) for component, report in known if report.ok)
        for outage in self._outages.accept_reports(known, now_ms):
            for held in self._concerned(outage.component):
                reported = self._book.outages[held.rule.rule_id]
                if outage_is_news(held.rule, outage, reported, now_ms):
                    made += self._add(held, outage.component, outage.since_ms, outage.info, back=False)
        return made

    def _concerned(self, component: HealthComponent) -> list[RuleInForce]:
        return [
            held
            for held in self._book.rules()
            if is_about(held.rule, component) and (not component.is_box or held.sight.sees(component.name))
        ]

    def _report_back(self, component: HealthComponent) -> int:
        """Ends the outage of a component that is well, and notifies of it where a rule has `updates`."""
        made = 0
        for held in self._concerned(component):
            reported = self._book.outages[held.rule.rule_id]
            since_ms = reported.get(component.subject)
            if since_ms is not None and held.rule.updates:
                made += self._add(held, component, since_ms, "", back=True)
            reported.pop(component.subject, None)
        return made

    def _add(
        self, held: RuleInForce, component: HealthComponent, since_ms: int, info: str, back: bool
    ) -> bool:
        facts = {"name": component.name, "box": component.is_box, "ok": back, "since_ms": since_ms}
        return self._book.add(
            held,
            "health",
            outage_headline(component, since_ms, back, held.zone),
            subject=component.subject,
            identity=(component.subject, since_ms, back),
            content={"health": {**facts, "info": info}},
            box_ids=(component.name,) if component.is_box else (),
        )

    def _read(self) -> list[HealthReport]:
        try:
            document = json.loads(fetch(self._url + VERDICTS, TIMEOUT_S, MAX_BYTES))
            parts = [_report(each) for each in document.get("subcomponents") or ()]
        except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            self._counters.add("health_not_read")
            late = isinstance(error, TimeoutError)
            info = f"{self._url} does not answer: {type(error).__name__}"
            return self._whole("hang" if late else "service", 1.0, info)
        self._counters.add("health_read")
        return [*self._whole("service", 0.0), *parts]

    def _whole(self, condition: str, value: float, info: str = "") -> list[HealthReport]:
        """Judges health itself; empty until its state is known."""
        self._judge.accept([Reading(condition, WHOLE, value, info)], self._now_ms() / 1000)
        return [
            HealthReport(WHOLE, not each.ill, info=info)
            for each in self._judge.verdicts
            if each.ill is not None
        ]


def _report(document: Mapping[str, object]) -> HealthReport:
    info = document.get("info")
    return HealthReport(
        str(document["name"]),
        document["ok"] is True,
        int(str(document["timestamp"])),
        None if info is None else str(info),
        received_s=None if document.get("received") is None else int(str(document["received"])),
    )
