"""The outbox: sends due notifications in several threads and tries failed ones again.

Each entry is on disk until it is sent, failed or dropped. An entry is claimed before it is sent. If the
process that claimed it is killed, the claim ends after `claim_s` and the entry is sent again under the same
id: delivery is at least once. An entry that cannot be delivered within a day is given up. One destination
has at most one thread and one account at most half of them; a thread is given back after a time, to whoever
waited longest. So slow destinations, also those of several accounts, do not delay other accounts for long.
"""

import math
import smtplib
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence

from opq_cloud.core.service import ServiceCounters
from opq_cloud.notifications.rule_book import may_notify
from opq_cloud.notifications.sending import Delivery, DeliveryRefusedError, SendingChannel
from opq_cloud.store.records.accounts.account_records import Account, AccountRecords
from opq_cloud.store.records.accounts.notifications import (
    NotificationEntry,
    NotificationRecords,
    NotificationRule,
)
from opq_cloud.store.records.accounts.seen_incidents import box_sight
from opq_proto.errors import StoreError
from opq_proto.kit import log as logs
from opq_proto.kit.backoff import doubling

log = logs.get(service="notifications")

SENDING_THREADS = 4
THREADS_OF_ONE = 2
"""Threads that one account may occupy: its slow webhooks leave threads for other accounts."""
ENTRIES_PER_TURN = 500
"""Due entries of one destination that are sent in one turn."""
TURN_S = 20.0
"""After this time a turn begins no further delivery: a webhook that answers each after 19 s would have its
thread for hours."""
WAITS_S = doubling(5.0, 3600.0)
LAST_SENT_S = 3.0
GIVEN_UP_MS = 24 * 3_600_000
PROBLEM_CHARACTERS = 200
OVERDUE_MS = 30_000
"""An entry is overdue after this time, or when it failed."""
Group = tuple[str, str, str]
"""Account, channel, rule."""


class NotificationOutbox:
    """Sends notifications by `channels`, by name; `send_due` is called from one thread.

    `view_url`: beginning of the links, without a slash at the end.
    Counters: `sent`, `failed`, `retried`, `dropped`, each by channel.
    """

    def __init__(
        self,
        people: AccountRecords,
        channels: Mapping[str, SendingChannel],
        view_url: str,
        counters: ServiceCounters,
        claim_s: float,
        now_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
    ) -> None:
        self._people = people
        self._records = NotificationRecords(people.documents)
        self._channels, self._view_url = channels, view_url
        self._counters = counters
        self._claim_ms = round(claim_s * 1000)
        self._now_ms = now_ms
        self._places = threading.BoundedSemaphore(SENDING_THREADS)
        self._lock = threading.Lock()
        self._busy: set[Group] = set()
        self._turns_s: dict[str, float] = {}
        """Account that has entries -> when its last turn began."""

    def send_due(self, unsent: Sequence[NotificationEntry]) -> int:
        """Hands due entries to threads without waiting for them; returns the number of groups."""
        now_ms = self._now_ms()
        groups: dict[Group, list[NotificationEntry]] = {}
        for entry in unsent:
            free = entry.state == "waiting" or entry.claimed_until_ms <= now_ms
            if free and entry.due_ms <= now_ms:
                key = entry.account_id, entry.channel, entry.rule_id
                groups.setdefault(key, []).append(entry)
        handed = 0
        waiting = {each.account_id for each in unsent}
        self._turns_s = {each: at_s for each, at_s in self._turns_s.items() if each in waiting}
        for key in self._by_turn(groups):
            entries = groups[key]
            with self._lock:
                of_one = sum(account_id == key[0] for account_id, _, _ in self._busy)
                if of_one >= THREADS_OF_ONE:
                    continue
                if not self._places.acquire(blocking=False):
                    break
                self._busy.add(key)
            self._turns_s[key[0]] = time.monotonic()
            sending = threading.Thread(
                target=self._send_group,
                args=(key, entries[:ENTRIES_PER_TURN]),
                name="notifications.send",
                daemon=True,
            )
            sending.start()
            handed += 1
        self._counters.set("notifications_waiting_now", len(unsent))
        overdue = sum(each.tried > 0 or each.due_ms < now_ms - OVERDUE_MS for each in unsent)
        self._counters.set("notifications_overdue_now", overdue)
        return handed

    def _by_turn(self, groups: Iterable[Group]) -> list[Group]:
        """Orders those that are not busy: a second thread of an account is after the first ones of others,
        and who waited goes first."""
        with self._lock:
            busy = {*self._busy}
        nth = Counter(account_id for account_id, _, _ in busy)
        placed: list[tuple[int, float, Group]] = []
        for key in groups:
            if key in busy:
                continue
            placed.append((nth[key[0]], self._turns_s.get(key[0], -math.inf), key))
            nth[key[0]] += 1
        return [key for *_, key in sorted(placed, key=lambda each: each[:2])]

    def close(self) -> None:
        """Waits at most LAST_SENT_S for messages that are being sent; the rest stays on disk."""
        until_s = time.monotonic() + LAST_SENT_S
        while self.sending and time.monotonic() < until_s:
            time.sleep(0.02)

    @property
    def sending(self) -> int:
        """Number of groups that are being sent."""
        with self._lock:
            return len(self._busy)

    def _send_group(self, key: Group, entries: Sequence[NotificationEntry]) -> None:
        try:
            self._send(key, entries)
        except StoreError as error:
            self._counters.add("store_errors")
            log.warning("notification.store_failed", error=str(error))
        except Exception:
            self._counters.add("crashed")
            log.exception("notification.crashed", rule=key[2])
        finally:
            with self._lock:
                self._busy.discard(key)
            self._places.release()

    def _send(self, key: Group, entries: Sequence[NotificationEntry]) -> None:
        account_id, channel, rule_id = key
        together = channel in self._channels and self._channels[channel].together
        account, rule = self._people.account(account_id), self._records.rule(rule_id)
        due, until_s = [], time.monotonic() + TURN_S
        for entry in entries:
            why = self._obstacle(entry, account, rule)
            if why:
                self._set_state([entry], "dropped", why)
                continue
            claimed = self._records.claim(entry.entry_id, self._now_ms(), self._claim_ms)
            if claimed is not None:
                due.append(claimed)
                if not together:  # one entry at a time, because a claim lasts for one try
                    assert account is not None and rule is not None
                    if not self._try([claimed], account, rule) or time.monotonic() >= until_s:
                        return
        if due and together:
            assert account is not None and rule is not None
            self._try(due, account, rule)

    def _obstacle(
        self, entry: NotificationEntry, account: Account | None, rule: NotificationRule | None
    ) -> str:
        """Returns why an entry must not be sent any more; "" where it may be. It may have waited for long."""
        if account is None or not account.in_force:
            return "the account is gone or disabled"
        if rule is None:
            return "the rule was deleted"
        if not may_notify(account, rule):
            return "the account is not an administrator's any more"
        if not rule.enabled and entry.kind != "test":
            return "the rule is switched off"
        if rule.channel != entry.channel:
            return f"the rule now sends by {rule.channel}"
        sight = box_sight(account, self._people.accesses().values())
        if not all(map(sight.sees, entry.box_ids)):
            return "the account does not see all of its Boxes any more"
        return ""

    def _try(self, entries: Sequence[NotificationEntry], account: Account, rule: NotificationRule) -> bool:
        """Delivers entries together; returns whether that succeeded."""
        try:
            self._deliver(entries, account, rule)
        except DeliveryRefusedError as error:
            self._set_state(entries, "failed", str(error))
            return False
        except (OSError, smtplib.SMTPException, ValueError) as error:
            self._postpone(entries, _problem(error))
            return False
        self._set_state(entries, "sent", "")
        return True

    def _deliver(
        self, entries: Sequence[NotificationEntry], account: Account, rule: NotificationRule
    ) -> None:
        channel = self._channels.get(rule.channel)
        if channel is None:
            raise DeliveryRefusedError(f"there is no channel {rule.channel}")
        links, settings_url = list(map(self._link, entries)), f"{self._view_url}/account/notifications"
        channel.deliver(Delivery(entries, links, account, rule, settings_url))

    def _link(self, entry: NotificationEntry) -> str:
        number = entry.subject.removeprefix("incident ")
        if number != entry.subject and number.isdigit():
            return f"{self._view_url}/incidents/{number}"
        if len(entry.box_ids) == 1:
            return f"{self._view_url}/boxes/{entry.box_ids[0]}"
        return ""

    def _postpone(self, entries: Sequence[NotificationEntry], why: str) -> None:
        """Sets the time of the next try, by the entry with the most tries, so that entries stay together."""
        now_ms = self._now_ms()
        tried = max(entry.tried for entry in entries)
        wait_ms = round(WAITS_S[min(tried, len(WAITS_S)) - 1] * 1000)
        for entry in entries:
            if now_ms - entry.made_ms > GIVEN_UP_MS and now_ms - entry.due_ms > 0 and entry.tried > 3:
                self._set_state([entry], "failed", f"given up after {entry.tried} tries: {why}")
                continue
            self._records.set_state(entry.entry_id, "waiting", now_ms, why, now_ms + wait_ms)
            self._counters.add("retried", label=entry.channel)
        log.info("notification.postponed", channel=entries[0].channel, wait_s=wait_ms / 1000, why=why)

    def _set_state(self, entries: Sequence[NotificationEntry], state: str, why: str) -> None:
        for entry in entries:
            self._records.set_state(entry.entry_id, state, self._now_ms(), why)
            self._counters.add(state, label=entry.channel)
        facts: Mapping[str, object] = {"channel": entries[0].channel, "entries": len(entries), "why": why}
        log.info(f"notification.{state}", **facts)


def _problem(error: Exception) -> str:
    """Describes an error in one line, without the mail addresses of SMTP errors."""
    if isinstance(error, smtplib.SMTPRecipientsRefused):
        return "the mail server refuses the address"
    return f"{type(error).__name__}: {error}"[:PROBLEM_CHARACTERS]
