"""The rules in force, with their accounts, the visible Boxes, and the news that each rule has reported. Rules
are read from the store at most once a second. Reported news are read once, at the start, and then updated in
memory."""

import json
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from zoneinfo import ZoneInfo

from opq_cloud.core.service import ServiceCounters
from opq_cloud.notifications.incident_news import ReportedFindings
from opq_cloud.notifications.send_time import send_time_ms
from opq_cloud.store.records.accounts.account_records import Account, AccountRecords
from opq_cloud.store.records.accounts.notifications import (
    NotificationEntry,
    NotificationRecords,
    NotificationRule,
    entry_id,
)
from opq_cloud.store.records.accounts.rights import Action, Way, may
from opq_cloud.store.records.accounts.seen_incidents import BoxSight, box_sight
from opq_proto.kit import log as logs
from opq_proto.kit.time_zone import zone_of
from opq_proto.time_units import HOUR_MS

log = logs.get(service="notifications")

READ_EVERY_S = 1.0
MAX_WAITING = 500
"""Entries of one account that may wait; more are dropped and counted, with one log entry per hour."""


@dataclass(frozen=True, slots=True)
class RuleInForce:
    """A rule that is switched on, with its account, which may have it."""

    rule: NotificationRule
    account: Account
    sight: BoxSight

    @property
    def zone(self) -> ZoneInfo:
        return zone_of(self.account.time_zone)


def may_notify(account: Account, rule: NotificationRule) -> bool:
    """Whether the account may be notified now of what the rule is about."""
    of_services = rule.about == "health"
    action = Action.BE_NOTIFIED_OF_SERVICES if of_services else Action.BE_NOTIFIED
    return may(account.standing(Way.MESSAGE), action)


class RuleBook:
    """Rules and outbox. Any thread may call `rules` and `add`; `findings` and `outages` each have one owner.

    Counters: `made`, `dropped`, each by channel.
    """

    def __init__(
        self,
        people: AccountRecords,
        counters: ServiceCounters,
        now_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
    ) -> None:
        """Raises StoreError: the entries of the outbox cannot be read."""
        self._people = people
        self.records = NotificationRecords(people.documents)
        self._counters = counters
        self._now_ms = now_ms
        self._lock = threading.Lock()
        self._read_s: float | None = None
        self._rules: list[RuleInForce] = []
        self._waiting: Counter[str] = Counter()
        self.findings: defaultdict[str, ReportedFindings] = defaultdict(ReportedFindings)
        """Rule -> what it has reported about incidents."""
        self.outages: defaultdict[str, dict[str, int]] = defaultdict(dict)
        """Rule -> subject -> beginning (ms) of the outage that the rule reported last."""
        for entry in reversed(self.records.entries(limit=10**9)):
            self._remember(entry)

    def rules(self, about: str = "") -> list[RuleInForce]:
        """Returns all rules, or those about one matter; at most READ_EVERY_S old. Raises StoreError."""
        with self._lock:
            now_s = time.monotonic()
            if self._read_s is None or now_s - self._read_s >= READ_EVERY_S:
                self._rules = list(self._read())
                self._read_s = now_s
            return [each for each in self._rules if about in ("", each.rule.about)]

    def count_waiting(self, unsent: Iterable[NotificationEntry]) -> None:
        """Counts the waiting entries of each account, for its limit MAX_WAITING."""
        self._waiting = Counter(entry.account_id for entry in unsent)

    def add(
        self,
        held: RuleInForce,
        kind: str,
        headline: str,
        *,
        subject: str,
        identity: tuple[object, ...],
        content: object,
        severity: float | None = None,
        box_ids: tuple[str, ...] = (),
        finding_ids: tuple[int, ...] = (),
        level: int = 0,
    ) -> bool:
        """Puts a notification into the outbox; False where it was there before, or too many wait.

        Args:
            identity: values that identify the notification; its id is made from rule, kind and these.
        """
        rule, now_ms = held.rule, self._now_ms()
        if self._waiting[rule.account_id] >= MAX_WAITING:
            self._drop(held, now_ms)
            return False
        due_ms, why = send_time_ms(rule, held.zone, now_ms, severity)
        entry = NotificationEntry(
            entry_id=entry_id(rule.rule_id, kind, *identity),
            account_id=rule.account_id,
            rule_id=rule.rule_id,
            rule_name=rule.name,
            channel=rule.channel,
            kind=kind,
            headline=headline,
            made_ms=now_ms,
            due_ms=due_ms,
            why=why,
            box_ids=box_ids,
            subject=subject,
            finding_ids=finding_ids,
            level=level,
            content=json.dumps(content),
        )
        new = self.records.add_entry(entry)
        self._remember(entry)  # last, because it is still news if the store raises
        if not new:
            return False
        self._waiting[rule.account_id] += 1
        self._counters.add("made", label=rule.channel)
        log.info("notification.made", kind=kind, channel=rule.channel, rule=rule.rule_id, held=why)
        return True

    def _read(self) -> Iterator[RuleInForce]:
        rules = [each for each in self.records.rules() if each.enabled]
        if not rules:
            return
        accounts = {each.account_id: each for each in self._people.accounts()}
        accesses = self._people.accesses().values()
        sights: dict[str, BoxSight] = {}
        for rule in rules:
            account = accounts.get(rule.account_id)
            if account is None or not may_notify(account, rule):
                continue
            if account.account_id not in sights:
                sights[account.account_id] = box_sight(account, accesses)
            yield RuleInForce(rule, account, sights[account.account_id])

    def _remember_findings(self, entry: NotificationEntry) -> None:
        if entry.finding_ids:
            self.findings[entry.rule_id].add(entry.finding_ids, entry.level)

    def _remember(self, entry: NotificationEntry) -> None:
        self._remember_findings(entry)
        if entry.kind == "health":
            found = json.loads(entry.content).get("health", {})
            if found.get("ok"):
                self.outages[entry.rule_id].pop(entry.subject, None)
            else:
                self.outages[entry.rule_id][entry.subject] = found.get("since_ms", 0)

    def _drop(self, held: RuleInForce, now_ms: int) -> None:
        """Counts a dropped notification; adds one entry per hour to the account's log."""
        self._counters.add("dropped", label=held.rule.channel)
        rule = held.rule
        self.records.add_entry(
            NotificationEntry(
                entry_id(rule.account_id, "full", now_ms // HOUR_MS),
                rule.account_id,
                rule.rule_id,
                rule.name,
                rule.channel,
                "health",
                "Too many messages wait",
                now_ms,
                now_ms,
                "dropped",
                f"{MAX_WAITING} wait already; messages of this hour may be missing",
                settled_ms=now_ms,
                content='{"health": {"ok": true}}',
            )
        )
