"""Signing in: limits on guessing, the second factor, sessions, and users of the original's View.

For any reason (e-mail, password, code, a disabled account), the answer is the same and takes as long.
"""

import functools
import hmac
import re
import secrets
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from opq_cloud.store.records.accounts.account_records import Account, AccountRecords, AccountSession
from opq_cloud.store.records.accounts.notifications import NotificationRecords, NotificationRule
from opq_cloud.store.records.keyed_documents import OriginalUser
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
DEVICE_S = 365 * 86_400
"""A device that signed in is known for this long; it still needs the password."""
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

    For one e-mail from one address 5 at once, then one a minute; for one e-mail from all strangers together
    30, then one in 30 s; from one address 30, then two a minute. IPv6 addresses count by network
    (`client_network`).

    Strangers cannot use up the tries of a place that is known to belong to the account: a device or an
    address that signed in before, or its own session. Each has 5 at once, then one a minute.
    """

    def __init__(self, monotonic_s: Callable[[], float] = time.monotonic) -> None:
        self._lock = threading.Lock()
        self._pairs = TokenBuckets(5, 1 / 60, FAILURES_REMEMBERED, monotonic_s)
        self._emails = TokenBuckets(30, 1 / 30, FAILURES_REMEMBERED, monotonic_s)
        self._addresses = TokenBuckets(30, 1 / 30, FAILURES_REMEMBERED, monotonic_s)

    def spend(self, email: str, address: str, known_place: str = "") -> bool:
        """Counts a try. Returns False, and counts nothing, where there were too many.

        `known_place`: the place whose own tries count; empty for a stranger.
        """
        rows = self._rows(email, address, known_place)
        with self._lock:
            if any(buckets.left(key) < 1.0 for buckets, key in rows):
                return False
            for buckets, key in rows:
                buckets.spend(key)
        return True

    def give_back(self, email: str, address: str, known_place: str = "") -> None:
        """Gives back the try of a right password."""
        with self._lock:
            for buckets, key in self._rows(email, address, known_place):
                buckets.give_back(key)

    def _rows(self, email: str, address: str, known_place: str) -> tuple[tuple[TokenBuckets, object], ...]:
        email, network = email.strip().lower()[:320], network_of(address)
        if known_place:
            return ((self._pairs, (email, known_place)),)
        return (self._pairs, (email, network)), (self._emails, email), (self._addresses, network)


def network_of(address: str) -> str:
    """The network under which tries are counted; an address of this machine counts as itself."""
    return visitor_network(address) or address


def device_mark(key: bytes, account_id: str, device: str = "", issued_s: int | None = None) -> str:
    """The text of the device cookie: a number of this browser, when it was issued, and a signature of both.

    `device`: the number that the browser has already; a new one where it has none.
    """
    device = device or secrets.token_hex(8)
    issued_s = int(time.time()) if issued_s is None else issued_s
    return f"{device}.{issued_s}.{_device_signature(key, account_id, device, issued_s)}"


def marked_device(key: bytes, account_id: str, mark: str, now_s: float | None = None) -> str:
    """The device that signed in to this account before; empty where the mark is not valid for it."""
    found = re.fullmatch(r"([0-9a-f]{16})\.([0-9]{1,12})\.([0-9a-f]{64})", mark)
    if found is None:
        return ""
    device, issued_s = found[1], int(found[2])
    fits = hmac.compare_digest(found[3], _device_signature(key, account_id, device, issued_s))
    age_s = (time.time() if now_s is None else now_s) - issued_s
    return device if fits and age_s < DEVICE_S else ""


def _device_signature(key: bytes, account_id: str, device: str, issued_s: int) -> str:
    return hmac.digest(key, f"{account_id}.{device}.{issued_s}".encode(), "sha256").hex()


class SignIn:
    """Checks passwords and begins sessions; every method may be called from any thread."""

    def __init__(self, people: AccountRecords) -> None:
        self._people = people
        self.limits = GuessLimits()
        self._device_key = functools.cache(lambda: people.installation_secret("device"))

    def known_place(self, email: str, address: str, mark: str) -> str:
        """The device or the network that signed in to the account of this e-mail before; else empty.

        `mark`: the device cookie.
        """
        account = self._people.account_of(email)
        account_id = account.account_id if account else ""
        device, network = marked_device(self._device_key(), account_id, mark), network_of(address)
        known = {network_of(each.address) for each in self._people.sessions(account_id)}
        if account is None:  # it was read as for an account, so that the time does not reveal one
            return ""
        return f"device {device}" if device else network if network in known else ""

    def mark_of(self, account: Account, before: str) -> str:
        """The device cookie for a browser that proved to be this account's; `before`: the one that it has."""
        key, account_id = self._device_key(), account.account_id
        return device_mark(key, account_id, marked_device(key, account_id, before))

    def account_of(self, email: str, password: str, code: str) -> Account | None:
        """The account with this password and, where it has a second factor, this code; otherwise None."""
        account = self._people.account_of(email)
        fits = password_fits(account.password_hash if account else None, password)
        if self._people.has_original_users():  # for every e-mail: the time must not reveal an account
            user = None if account else self._people.original_user(email)
            if original_password_fits(user.bcrypt_hash if user else None, password) and user:
                account = self._from_original(user, password)
                fits = account is not None
        if account is None or not fits or not account.in_force:
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
            self._people.add_owner(box_id, made.account_id)
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
