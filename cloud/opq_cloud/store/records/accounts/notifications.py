"""Notifications in the store: the rules of accounts, and the messages that were sent, wait, or were not sent,
with the reason.

An entry is one notification of one rule: a row of the outbox while it waits, then a line of the log. Its id
is made from its contents, so that it is added only once. Works on two tables of `KeyedDocuments`, which are
stored and deleted together with the accounts; both stores have them.
"""

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, replace
from datetime import time

from opq_cloud.store.driver import Fields
from opq_cloud.store.records.accounts.account_records import NOTIFICATION_RULES, NOTIFICATIONS, read_record
from opq_cloud.store.records.keyed_documents import KeyedDocuments
from opq_proto.time_units import DAY_MS

UNSENT = ("waiting", "sending")
MAX_RULES = 50
"""Rules that one account may have."""
MAX_KEPT = 1000
"""Lines of one account's log; the oldest beyond it are deleted."""


@dataclass(frozen=True, slots=True)
class NotificationRule:
    """The events that one account is notified of, when and how; empty lists allow everything."""

    rule_id: str
    account_id: str
    name: str
    about: str
    channel: str
    since_ms: int
    """When it was made or last changed; incidents that began before are not news to it."""
    enabled: bool = True
    classes: tuple[str, ...] = ()
    scopes: tuple[str, ...] = ()
    box_ids: tuple[str, ...] = ()
    least_severity: float = 0.0
    after_s: int = 300
    """How long a Box must be silent, or a service fail, before it is news."""
    updates: bool = False
    """Whether to notify again when an incident becomes worse, or a Box or service is well again."""
    digest: str = "none"
    digest_at: str = "07:00"
    """Wall time of a daily digest, in the account's time zone."""
    quiet_from: str = ""
    quiet_to: str = ""
    """Quiet hours, wall times in the account's time zone; empty where there are none."""
    loud_severity: float | None = None
    """From this severity on, notifications ignore quiet hours and digest; None: they never do."""
    url: str = ""
    secret: str = ""
    """A webhook's address (`url`), and the secret for its signature."""


@dataclass(frozen=True, slots=True)
class NotificationEntry:
    """One notification of a rule, and its state."""

    entry_id: str
    account_id: str
    rule_id: str
    rule_name: str
    channel: str
    kind: str
    """`incident`, `incident_changed`, `assigned`, `health`, `rule` or `test`."""
    headline: str
    made_ms: int
    due_ms: int
    state: str = "waiting"
    """`waiting`, `sending`, `sent`, `failed` or `dropped`."""
    why: str = ""
    """Why it waits or was not sent."""
    tried: int = 0
    settled_ms: int = 0
    claimed_until_ms: int = 0
    """End of the claim of the process that sends it."""
    box_ids: tuple[str, ...] = ()
    subject: str = ""
    """What it is about, e.g. `incident 12` or `Box 3`; the same for all notifications about it."""
    finding_ids: tuple[int, ...] = ()
    level: int = 0
    """Level of the severity known when the notification was made."""
    content: str = "{}"
    """JSON: the webhook body's keys other than the fixed ones; a text, as not every store allows all keys."""


def begins_to_send(before: NotificationRule, after: NotificationRule) -> bool:
    """Whether a change makes a rule send to an address to which it does not send now.

    What it sends is read without a session, as with a token: so the change needs the password, is reported by
    mail, and is undone by what ends tokens (`AccountRecords.end_access`).
    """
    return bool(after.url) and (after.url != before.url or (after.enabled and not before.enabled))


def wall_time(text: str) -> time:
    """The time in a text such as `07:30`. Raises ValueError for any other text."""
    hour, separator, minute = text.partition(":")
    if not (separator and len(hour) == len(minute) == 2 and text.isascii() and (hour + minute).isdigit()):
        raise ValueError(f"{text} is not a time of day; write one such as 07:30")
    return time(int(hour), int(minute))


def entry_id(*parts: object) -> str:
    """The id of a notification: the same parts give the same id, so that none is sent twice."""
    return hashlib.sha256("\n".join(map(str, parts)).encode()).hexdigest()[:32]


class NotificationRecords:
    """Every method may be called from any thread, and raises StoreError when the database fails."""

    def __init__(self, documents: KeyedDocuments) -> None:
        self._documents = documents

    # Rules
    def rules(self, account_id: str = "") -> list[NotificationRule]:
        """Returns all rules, or those of one account, sorted by name."""
        found = self._documents.find(NOTIFICATION_RULES, "account_id" if account_id else "", account_id)
        rules = (read_record(NotificationRule, each) for each in found)
        return sorted(rules, key=lambda each: (each.name.lower(), each.rule_id))

    def rule(self, rule_id: str) -> NotificationRule | None:
        found = self._documents.get(NOTIFICATION_RULES, rule_id)
        return None if found is None else read_record(NotificationRule, found)

    def put_rule(self, rule: NotificationRule) -> None:
        """Inserts a rule, or replaces the one with its id."""
        document = asdict(rule)
        if not self._documents.insert(NOTIFICATION_RULES, rule.rule_id, document):
            self._documents.change(NOTIFICATION_RULES, rule.rule_id, lambda was: {**was, **document})

    def change_rule(self, before: NotificationRule, after: NotificationRule) -> bool:
        """Replaces a rule; False where it was deleted, switched or sent elsewhere since `before` was read.

        A new password switches it off (`AccountRecords.end_access`).
        """

        def change(document: Fields) -> Fields | None:
            was = read_record(NotificationRule, document)
            same = (was.enabled, was.url) == (before.enabled, before.url)
            return {**document, **asdict(after)} if same else None

        return self._documents.change(NOTIFICATION_RULES, before.rule_id, change)

    def remove_rule(self, rule_id: str) -> None:
        """Removes a rule; its waiting entries are dropped when they are due."""
        self._documents.remove(NOTIFICATION_RULES, rule_id)

    # Entries
    def add_entry(self, entry: NotificationEntry) -> bool:
        """Adds an entry; False where it was added before, in whatever state it is now."""
        return self._documents.insert(NOTIFICATIONS, entry.entry_id, asdict(entry))

    def entry(self, number: str) -> NotificationEntry | None:
        found = self._documents.get(NOTIFICATIONS, number)
        return None if found is None else read_record(NotificationEntry, found)

    def unsent(self) -> list[NotificationEntry]:
        """Returns entries that wait or are being sent, the earliest due first."""
        found = [each for state in UNSENT for each in self._documents.find(NOTIFICATIONS, "state", state)]
        return sorted(
            (read_record(NotificationEntry, each) for each in found),
            key=lambda each: (each.due_ms, each.made_ms, each.entry_id),
        )

    def claim(self, number: str, now_ms: int, lease_ms: int) -> NotificationEntry | None:
        """Claims an entry for `lease_ms`; None where another process has it, or it is settled."""
        until_ms = now_ms + lease_ms
        claimed: list[NotificationEntry] = []

        def change(was: NotificationEntry) -> NotificationEntry | None:
            claimed.clear()  # it may be called several times
            free = was.state == "waiting" or (was.state == "sending" and was.claimed_until_ms <= now_ms)
            if not free:
                return None
            claimed.append(replace(was, state="sending", claimed_until_ms=until_ms, tried=was.tried + 1))
            return claimed[0]

        return claimed[0] if self.change_entry(number, change) else None

    def set_state(
        self, number: str, state: str, now_ms: int, why: str = "", due_ms: int | None = None
    ) -> None:
        """Sets the state of an entry; `waiting` comes with the time of the next try."""

        def change(was: NotificationEntry) -> NotificationEntry:
            due = was.due_ms if due_ms is None else due_ms
            return replace(was, state=state, why=why, settled_ms=now_ms, due_ms=due, claimed_until_ms=0)

        self.change_entry(number, change)

    def change_entry(
        self, number: str, changed: Callable[[NotificationEntry], NotificationEntry | None]
    ) -> bool:
        """Changes an entry as `KeyedDocuments.change` does."""

        def change(document: Fields) -> Fields | None:
            after = changed(read_record(NotificationEntry, document))
            return None if after is None else {**document, **asdict(after)}

        return self._documents.change(NOTIFICATIONS, number, change)

    def entries(self, account_id: str = "", limit: int = MAX_KEPT) -> list[NotificationEntry]:
        """Returns the log of one account, or of all, the newest first."""
        found = self._documents.find(NOTIFICATIONS, "account_id" if account_id else "", account_id)
        return _newest_first(read_record(NotificationEntry, each) for each in found)[:limit]

    def expire(self, now_ms: int, kept_days: int) -> int:
        """Deletes settled entries that are old, or beyond MAX_KEPT of an account; returns how many."""
        kept: dict[str, int] = {}
        gone = 0
        for entry in self.entries(limit=10**9):
            kept[entry.account_id] = kept.get(entry.account_id, 0) + 1
            old = entry.made_ms < now_ms - kept_days * DAY_MS or kept[entry.account_id] > MAX_KEPT
            if old and entry.state not in UNSENT:
                gone += self._documents.remove(NOTIFICATIONS, entry.entry_id) is not None
        return gone


def _newest_first(entries: Iterable[NotificationEntry]) -> list[NotificationEntry]:
    return sorted(entries, key=lambda each: (-each.made_ms, each.entry_id))
