"""Hears of incidents on Mauka's bus (topic `incident`) and reads them of the store, for every rule.

The bus is heard at once and may lose; so the newest incidents of the store are looked through at the start
and whenever its revision has risen. A rule gets the incident as its account sees it.
"""

import json
import time
from collections.abc import Callable, Iterable
from time import monotonic

import zmq
from google.protobuf.message import DecodeError

from opq_cloud.notifications.incident_news import incident_news, shown_severity
from opq_cloud.notifications.messages import incident_headline
from opq_cloud.notifications.rule_book import RuleBook
from opq_cloud.service import ServiceCounters
from opq_cloud.store.incident_announcements import BY_ANALYSIS
from opq_cloud.store.incident_json import incident_json
from opq_cloud.store.seen_incident import incident_at
from opq_cloud.store.store import CloudStore
from opq_proto import mauka_pb2
from opq_proto.errors import StoreError
from opq_proto.messages import Incident
from opq_proto.zmq_inbox import waiting_messages

TOPIC = b"incident"
LOOKED_BACK_NS = 3_600 * 10**9
"""An incident that was over before is no news any more, when we were away or the bus lost it, or when a
person or a re-analysis has changed it."""
MOST_LOOKED_AT = 500
MOST_BOXES_SENT = 100
HELD_S = 5.0
"""So long an incident waits for the rest of its event: Mauka may store what one Box shows before that."""
MOST_HELD = 1000
"""One more does not wait."""


class IncidentWatch:
    """One owner thread. Counters: `incidents_heard`, `malformed`, `looked_at`."""

    def __init__(
        self,
        store: CloudStore,
        book: RuleBook,
        counters: ServiceCounters,
        now_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        self._store = store
        self._book = book
        self._counters = counters
        self._now_ns = now_ns
        self._revision: int | None = None
        self._held: dict[int, tuple[int, float]] = {}
        """Incident that is news -> the event it waits for, and until when (monotonic)."""

    def begin(self) -> None:
        """Another one has looked before: what it said is no news. Raises StoreError."""
        self._book.read_said_findings()
        self._revision = None
        self._held.clear()

    def read_bus(self, bus: "zmq.Socket[bytes]") -> None:
        """What waits on the bus. Raises StoreError; what was read is then left to `look`."""
        since_ns: dict[int, int] = {}
        for frames in waiting_messages(bus):
            heard = self._heard(frames)
            if heard is not None:
                number, analysed = heard
                least_ns = 0 if analysed else self._now_ns() - LOOKED_BACK_NS
                since_ns[number] = min(least_ns, since_ns.get(number, least_ns))
        try:
            for number, least_ns in since_ns.items():
                if self._book.rules("incident"):
                    incident = self._store.incident(number)
                    if incident is not None and incident.end_ns >= least_ns:
                        self.accept_incident(incident)
        except StoreError:
            self._revision = None
            raise

    def check_held(self) -> bool:
        """Those whose events were not analysed whole before; whether that made news. Raises StoreError."""
        made = 0
        for number, (event_id, until_s) in list(self._held.items()):
            if monotonic() < until_s and self._analysis_is_due(event_id):
                continue
            incident = self._store.incident(number)
            if incident is None:
                del self._held[number]
            else:
                made += self.accept_incident(incident)
        return made > 0

    def _waits(self, incident: Incident) -> bool:
        """Whether more of it is about to come; of what has waited for `HELD_S` nobody knows."""
        number, event_id, now_s = incident.incident_id, max(incident.event_ids, default=0), monotonic()
        _, until_s = self._held.get(number, (0, now_s + HELD_S))
        full = number not in self._held and len(self._held) >= MOST_HELD
        if full or now_s >= until_s or not self._analysis_is_due(event_id):
            return False
        self._held[number] = event_id, until_s
        return True

    def _analysis_is_due(self, event_id: int) -> bool:
        record = self._store.event_record(event_id)
        return record is not None and record.finished and not record.analysed

    def check_incidents(self) -> None:
        """The newest incidents, where anything has changed since the last look. Raises StoreError."""
        if not self._book.rules("incident"):
            return
        revision = self._store.join_revision()
        if revision == self._revision:
            return
        since_ns = self._now_ns() - LOOKED_BACK_NS
        for incident in reversed(self._store.incidents(start_ns=since_ns, limit=MOST_LOOKED_AT)):
            self.accept_incident(incident)
        self._revision = revision

    def accept_incident(self, incident: Incident) -> int:
        """To every rule that it is news to; how many."""
        self._counters.add("looked_at")
        made, checked = 0, False
        for held in self._book.rules("incident"):
            seen = incident_at(incident, held.sight.sees, held.sight.sees_place)
            if seen is None:
                continue
            said = self._book.findings[held.rule.rule_id]
            news = incident_news(held.rule, seen, said)
            if news is None:
                continue
            if not checked and self._waits(incident):
                return 0
            checked = True
            content = {"incident": _bounded(incident_json(seen), shown_severity(seen))}
            made += self._book.add(
                held,
                news.kind,
                incident_headline(seen, worse=news.kind == "incident_changed"),
                subject=f"incident {seen.incident_id}",
                said=(min(news.finding_ids, default=seen.incident_id), news.level),
                content=content,
                severity=shown_severity(seen),
                box_ids=seen.box_ids[:MOST_BOXES_SENT],
                finding_ids=news.finding_ids[:MOST_LOOKED_AT],
                level=news.level,
            )
            said.add(news.finding_ids, news.level)
        self._held.pop(incident.incident_id, None)
        return made

    def _heard(self, frames: list[bytes]) -> tuple[int, bool] | None:
        """(the incident that a message names, whether an analysis changed it); None: none that is there."""
        self._counters.add("incidents_heard")
        try:
            if len(frames) != 2:
                raise ValueError(f"{len(frames)} frames, not 2")
            message = mauka_pb2.MaukaMessage()
            message.ParseFromString(frames[1])
            found = json.loads(message.incident_json)
            kind, number = found["kind"], found["incident"]["id"]
            if type(number) is not int or not 0 < number < 2**63:
                raise TypeError("the id is no number of an incident")
            by = found.get("by", BY_ANALYSIS)
        except (DecodeError, ValueError, TypeError, KeyError, RecursionError):
            self._counters.add("malformed")
            return None
        return None if kind == "incident_gone" else (number, by == BY_ANALYSIS)


def _bounded(document: dict[str, object], severity: float | None) -> dict[str, object]:
    """The first Boxes of an incident of very many; `boxes` says how many there are."""
    boxes = document["box_ids"]
    assert isinstance(boxes, list)
    cut: Iterable[str] = ("box_ids", "event_ids")
    for name in cut:
        values = document[name]
        assert isinstance(values, list)
        document[name] = values[:MOST_BOXES_SENT]
    classes = document["classes"]
    assert isinstance(classes, dict)
    document["classes"] = dict(list(classes.items())[:MOST_BOXES_SENT])
    return {**document, "severity": severity, "boxes": len(boxes)}
