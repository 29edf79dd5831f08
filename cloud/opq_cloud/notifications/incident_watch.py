"""Receives incident messages on Mauka's bus (topic `incident`), reads the incidents and checks every rule.
The bus may lose messages, so the newest incidents of the store are also checked at the start and after each
change of its revision. A rule gets the incident as its account sees it."""

import json
import math
import time
from collections.abc import Callable, Iterable
from time import monotonic

import zmq
from google.protobuf.message import DecodeError

from opq_cloud.core.service import ServiceCounters
from opq_cloud.notifications.incident_news import incident_news
from opq_cloud.notifications.message_texts import incident_headline
from opq_cloud.notifications.rule_book import RuleBook, RuleInForce
from opq_cloud.store.incidents.as_json import incident_json
from opq_cloud.store.incidents.index import IncidentFilter
from opq_cloud.store.records.accounts.announcements import BY_ANALYSIS
from opq_cloud.store.records.accounts.seen_incidents import seen_incident
from opq_cloud.store.store import CloudStore
from opq_proto.errors import StoreError
from opq_proto.kit.zmq_inbox import waiting_messages
from opq_proto.messages import Incident
from opq_proto.wire import mauka_pb2

TOPIC = b"incident"
LOOK_BACK_NS = 3_600 * 10**9
"""An incident that ended longer ago is not news any more, if this service did not run, if the bus lost the
message, or if a person or a re-analysis changed it.
"""
ASSIGNED_MS = 86_400_000
"""An older assignment is not reported if the service did not run at its time."""
MAX_CHECKED = 500
MAX_BOXES_SENT = 100
HELD_S = 5.0
"""Longest wait for the rest of an incident's events: Mauka may store one Box's findings before the others',
and an analysis may ask for more samples. What is reported then says `so far`."""
HELD_CHECK_S = 0.2
"""Interval of the checks whether these events are complete."""
EVENTS_WAITED_FOR = 10
"""The newest events of an incident; a long one may have thousands, and the others are hours old."""
MAX_HELD = 1000
"""Most incidents that wait; a further one is reported at once."""


class IncidentWatch:
    """Notifies of incidents. Used by one thread. Counters: `incidents_heard`, `malformed`, `looked_at`."""

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
        self._held: dict[int, tuple[tuple[int, ...], float]] = {}
        """Incident that is news -> the events it waits for, and the end of the wait (monotonic seconds)."""

    def read_bus(self, bus: "zmq.Socket[bytes]") -> None:
        """Handles the messages that wait on the bus.

        Raises StoreError; `check_incidents` then finds the incidents of these messages in the store.
        """
        since_ns: dict[int, int] = {}
        for frames in waiting_messages(bus):
            received = self._read_incident(frames)
            if received is not None:
                number, analysed = received
                least_ns = 0 if analysed else self._now_ns() - LOOK_BACK_NS
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

    @property
    def due_s(self) -> float:
        """Seconds until `check_held` has to be called."""
        return HELD_CHECK_S if self._held else math.inf

    def check_held(self) -> bool:
        """Checks the incidents that wait for their events; returns whether that made a notification.

        Raises StoreError.
        """
        made = 0
        for number, (event_ids, until_s) in list(self._held.items()):
            if monotonic() < until_s and not _are_complete(self._store, event_ids):
                continue
            incident = self._store.incident(number)
            if incident is None:
                del self._held[number]
            else:
                made += self.accept_incident(incident)
        return made > 0

    def _waits(self, incident: Incident, event_ids: tuple[int, ...]) -> bool:
        """Whether an incident has to wait for these events of it, for at most `HELD_S`."""
        number, now_s = incident.incident_id, monotonic()
        _, until_s = self._held.get(number, ((), now_s + HELD_S))
        full = number not in self._held and len(self._held) >= MAX_HELD
        if full or now_s >= until_s:
            return False
        self._held[number] = event_ids, until_s
        return True

    def check_incidents(self) -> None:
        """Checks the newest incidents if the store has changed since the last check. Raises StoreError."""
        if not self._book.rules("incident"):
            return
        revision = self._store.join_revision()
        if revision == self._revision:
            return
        since_ns = self._now_ns() - LOOK_BACK_NS
        for incident in reversed(self._store.incidents(start_ns=since_ns, limit=MAX_CHECKED)):
            self.accept_incident(incident)
        self._revision = revision

    def accept_incident(self, incident: Incident) -> int:
        """Notifies of the incident for each rule that it is news to; returns the number of notifications."""
        self._counters.add("looked_at")
        made, is_complete = 0, None
        for held in self._book.rules("incident"):
            seen = seen_incident(incident, held.sight)
            if seen is None:
                continue
            reported = self._book.findings[held.rule.rule_id]
            news = incident_news(held.rule, seen, reported)
            if news is None:
                continue
            if is_complete is None:
                event_ids = _waited_for(incident)
                is_complete = _are_complete(self._store, event_ids)
                if not is_complete and self._waits(incident, event_ids):
                    return 0
            facts = _bounded(incident_json(seen), seen.severity)
            content = {"incident": {**facts, "complete": is_complete}}
            made += self._book.add(
                held,
                news.kind,
                incident_headline(seen, news.kind == "incident_changed", not is_complete),
                subject=f"incident {seen.incident_id}",
                identity=(min(news.finding_ids, default=seen.incident_id), news.level),
                content=content,
                severity=seen.severity,
                box_ids=seen.box_ids[:MAX_BOXES_SENT],
                finding_ids=news.finding_ids[:MAX_CHECKED],
                level=news.level,
            )
            reported.add(news.finding_ids, news.level)
        self._held.pop(incident.incident_id, None)
        return made

    def _read_incident(self, frames: list[bytes]) -> tuple[int, bool] | None:
        """Returns the incident's number in a message and whether an analysis changed the incident.

        None where the message is malformed or the incident is gone.
        """
        self._counters.add("incidents_heard")
        try:
            if len(frames) != 2:
                raise ValueError(f"{len(frames)} frames, not 2")
            message = mauka_pb2.MaukaMessage()
            message.ParseFromString(frames[1])
            found = json.loads(message.incident_json)
            kind, number = found["kind"], found["incident"]["id"]
            if type(number) is not int or not 0 < number < 2**63:
                raise TypeError("the id is not a number of an incident")
            by = found.get("by", BY_ANALYSIS)
        except (DecodeError, ValueError, TypeError, KeyError, RecursionError):
            self._counters.add("malformed")
            return None
        return None if kind == "incident_gone" else (number, by == BY_ANALYSIS)


class AssignedWatch:
    """Notifies people of incidents that somebody else assigned to them. Used by one thread.

    It reads the store and not the bus, so that no assignment is lost; each has its number in the entry's id.
    """

    def __init__(self, store: CloudStore, book: RuleBook, now_ns: Callable[[], int] = time.time_ns) -> None:
        self._store, self._book, self._now_ns = store, book, now_ns
        self._known: dict[str, frozenset[int]] = {}
        """Account -> the incidents that were assigned to it at the last check."""

    def check_assigned(self) -> None:
        """Raises StoreError; what was not reported then is reported at the next check."""
        rules: dict[str, list[RuleInForce]] = {}
        for held in self._book.rules("assigned"):
            rules.setdefault(held.rule.account_id, []).append(held)
        for account_id, of_account in rules.items():
            entries = self._store.find_incidents(IncidentFilter(assigned_to=account_id), MAX_CHECKED)
            numbers = frozenset(each.incident_id for each in entries)
            for number in sorted(numbers - self._known.get(account_id, frozenset())):
                for held in of_account:
                    self._report(held, number)
            self._known[account_id] = numbers

    def _report(self, held: RuleInForce, number: int) -> None:
        rule, incident = held.rule, self._store.incident(number)
        assignments = [note for note in self._store.notes(number) if note.kind == "assign"]
        seen = None if incident is None else seen_incident(incident, held.sight)
        if (
            incident is None
            or seen is None
            or not assignments
            or assignments[-1].account_id == rule.account_id
        ):
            return
        last = assignments[-1]
        if last.at_ms < max(rule.since_ms, self._now_ns() // 1_000_000 - ASSIGNED_MS):
            return
        is_complete = _are_complete(self._store, _waited_for(incident))
        facts = _bounded(incident_json(seen), seen.severity)
        self._book.add(
            held,
            "assigned",
            f"Assigned to you: {incident_headline(seen, so_far=not is_complete)}",
            subject=f"incident {number}",
            identity=(last.note_id,),
            content={"incident": {**facts, "complete": is_complete}},
            severity=seen.severity,
            box_ids=seen.box_ids[:MAX_BOXES_SENT],
        )


def _waited_for(incident: Incident) -> tuple[int, ...]:
    """The events that must be complete before the incident is."""
    return tuple(sorted(incident.event_ids)[-EVENTS_WAITED_FOR:])


def _are_complete(store: CloudStore, event_ids: Iterable[int]) -> bool:
    found = (store.event_record(event_id) for event_id in event_ids)
    return all(record is None or record.is_complete for record in found)


def _bounded(document: dict[str, object], severity: float | None) -> dict[str, object]:
    """Cuts the lists of an incident with very many Boxes; `boxes` is the full number of Boxes."""
    boxes = document["box_ids"]
    assert isinstance(boxes, list)
    cut: Iterable[str] = ("box_ids", "event_ids")
    for name in cut:
        values = document[name]
        assert isinstance(values, list)
        document[name] = values[:MAX_BOXES_SENT]
    classes = document["classes"]
    assert isinstance(classes, dict)
    document["classes"] = dict(list(classes.items())[:MAX_BOXES_SENT])
    return {**document, "severity": severity, "boxes": len(boxes)}
