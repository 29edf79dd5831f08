"""Signing in: limits on guessing, the second factor, sessions, and users of the original's View.

For any reason (e-mail, password, code, a disabled account), the answer is the same and takes as long.
"""

import hmac
import secrets
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from opq_cloud.store.records.accounts import Account, AccountRecords, AccountSession
from opq_cloud.store.records.keyed_documents import OriginalUser
from opq_cloud.store.records.notifications import NotificationRecords, NotificationRule
from opq_cloud.view.web.passwords import (
    hash_password,
    new_secret,
    original_password_fits,
    password_fits,
    secret_hash,
    totp_step_of,
)
from opq_cloud.view.web.visitors import visitor_network
from opq_proto.kit.rate_limit import TokenBuckets

SESSION_S = 30 * 86_400
AGENT_CHARACTERS = 160
MAX_SESSIONS = 100
"""Sessions that one account may have; a further one ends the session that was unused for longest."""
DIGEST_OF = {"once an hour": "hourly", "once a day": "daily"}
DAILY_AT = "06:00"
RULE_NAMES = {"incident": "New incidents", "silence": "Silent Boxes", "health": "Services down"}
FAILURES_REMEMBERED = 100_000
"""Addresses and e-mails whose failures are remembered."""


class GuessLimits:
    """Limits how often passwords may be tried; a right one does not count.

    For one e-mail from one address 5 at once, then one a minute; for one e-mail from anywhere 30, then one in
    30 s (a flood delays its owner, but does not lock the account); from one address 30, then two a minute. An
    IPv6 address counts as its /64, because one household has the whole /64.
    """

    def __init__(self, monotonic_s: Callable[[], float] = time.monotonic) -> None:
        self._lock = threading.Lock()
        self._pairs = TokenBuckets(5, 1 / 60, FAILURES_REMEMBERED, monotonic_s)
        self._emails = TokenBuckets(30, 1 / 30, FAILURES_REMEMBERED, monotonic_s)
        self._addresses = TokenBuckets(30, 1 / 30, FAILURES_REMEMBERED, monotonic_s)

    def spend(self, email: str, address: str) -> bool:
        """Counts a try. Returns False, and counts nothing, where there were too many."""
        email, address = _keys(email, address)
        rows: tuple[tuple[TokenBuckets, object], ...] = (
            (self._pairs, (email, address)),
            (self._emails, email),
            (self._addresses, address),
        )
        with self._lock:
            if any(buckets.left(key) < 1.0 for buckets, key in rows):
                return False
            for buckets, key in rows:
                buckets.spend(key)
        return True

    def give_back(self, email: str, address: str) -> None:
        email, address = _keys(email, address)
        with self._lock:
            self._pairs.give_back((email, address))
            self._emails.give_back(email)
            self._addresses.give_back(address)


def _keys(email: str, address: str) -> tuple[str, str]:
    return email.strip().lower()[:320], visitor_network(address) or address


class SignIn:
    """Checks passwords and begins sessions; every method may be called from any thread."""

    def __init__(self, people: AccountRecords) -> None:
        self._people = people
        self.limits = GuessLimits()

    def account_of(self, email: str, password: str, code: str) -> Account | None:
        """The account with this password and, where it has a second factor, this code; otherwise None."""
        account = self._people.account_of(email)
        fits = password_fits(account.password_hash if account else None, password)
        if self._people.has_original_users():  # for every e-mail: the time must not reveal an account
            user = None if account else self._people.original_user(email)
            if original_password_fits(user.bcrypt_hash if user else None, password) and user:
                account = self._from_original(user, password)
                fits = account is not None
        if account is None or not fits or account.disabled:
            return None
        return account if not account.totp_secret or self.use_code(account, code) else None

    def use_code(self, account: Account, code: str) -> bool:
        """Uses a code of the authenticator or a recovery code; each works once, over all processes."""
        plain = code.strip().replace(" ", "").lower()

        def spend(was: Account) -> Account | None:
            step = totp_step_of(was.totp_secret, plain, was.totp_step) if plain.isdigit() else None
            if step is not None:
                return replace(was, totp_step=step)
            used = secret_hash(plain)
            left = tuple(each for each in was.recovery_hashes if not hmac.compare_digest(each, used))
            return replace(was, recovery_hashes=left) if len(left) < len(was.recovery_hashes) else None

        return bool(plain) and self._people.change_account(account.account_id, spend)

    def begin_session(self, account: Account, address: str, agent: str, replaces: str = "") -> str:
        """Begins a session and returns its new secret for the cookie; ends the session that it replaces."""
        if replaces:
            self._people.end_session(replaces)
        secret = new_secret()
        now_ms = time.time_ns() // 1_000_000
        session = AccountSession(
            secret_hash(secret),
            account.account_id,
            now_ms,
            now_ms,
            now_ms // 1000 + SESSION_S,
            address,
            agent[:AGENT_CHARACTERS],
        )
        self._people.add_session(session)
        self._people.keep_sessions(account.account_id, MAX_SESSIONS)
        return secret

    def _from_original(self, user: OriginalUser, password: str) -> Account | None:
        """Makes an account at the first sign-in of a user of the original's View, with their Boxes and rules.

        The password is hashed again.
        """
        role = "admin" if user.admin else "owner"
        made = self._people.add_account(user.username, user.name, role, hash_password(password))
        if made is None:
            return None
        for box_id in user.box_ids:
            self._people.claim_box(box_id, made.account_id)
        records = NotificationRecords(self._people.documents)
        now_ms = time.time_ns() // 1_000_000
        for rule in original_rules(made.account_id, user.preferences, role == "admin", now_ms):
            records.put_rule(rule)
        self._people.changes.add(
            made.account_id, "", "came over from the original's View", f"account {made.account_id}"
        )
        return made


def original_rules(
    account_id: str, preferences: Mapping[str, Any], admin: bool, now_ms: int
) -> list[NotificationRule]:
    """The notification preferences of the original's View (`UserProfiles`, D.8) as rules of ours. Pure.

    Rules by mail, disabled where the profile wants no mail or "never"; none where no type is chosen.

    "system service down" also came for Boxes, so it becomes a rule of silent Boxes, and for administrators
    also one of services. The original mailed hourly, or daily at 6:00; it also sent texts as mails to the
    telephone's carrier, which we do not do.
    """
    chosen = preferences.get("notification_types")
    types = {str(each).strip().lower() for each in chosen} if isinstance(chosen, list) else set()
    about = ["incident"] if "new incident" in types else []
    if "system service down" in types:
        about += ["silence", "health"] if admin else ["silence"]
    often = str(preferences.get("max_per_day") or "").strip().lower()
    enabled = preferences.get("email") is True and often != "never"
    return [
        NotificationRule(
            secrets.token_hex(8),
            account_id,
            RULE_NAMES[each],
            each,
            "mail",
            now_ms,
            enabled=enabled,
            digest=DIGEST_OF.get(often, "none"),
            digest_at=DAILY_AT,
        )
        for each in about
    ]
