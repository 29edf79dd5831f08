"""Accounts of people, their sessions and links, who may see which Box, and the log of changes.

Works on tables of keyed documents (`KeyedDocuments`), which both stores have: the embedded store in the file
`accounts.db` beside `opq.db`, MongoDB in collections of the same names. Secrets (sessions, links, passwords)
are stored as hashes, except the secret of a second factor, which must be read back.
"""

import hashlib
import secrets
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, fields, is_dataclass, replace
from typing import Any, TypeVar

from opq_cloud.store.driver import Fields
from opq_cloud.store.reading_spans import Spans, has_moment, merged
from opq_cloud.store.records.accounts.audit import AUDIT, AuditRecords, checked_change, checked_removal
from opq_cloud.store.records.accounts.rights import Action, Relation, Standing, Way, may
from opq_cloud.store.records.accounts.seen_marks import SEEN_INCIDENTS, SeenMarkRecords
from opq_cloud.store.records.keyed_documents import (
    KeyedDocuments,
    KeyedTable,
    OriginalUser,
    OriginalUsers,
    PeopleDriver,
)
from opq_cloud.store.stated_facts import NS_PER_MS

R = TypeVar("R")

PRIVACIES = ("nothing", "region", "all")
"""What the public sees of a Box: no figure, figures of its region (all such Boxes together), the Box itself.
"""
MOVE_SHOWN_S = 7 * 86_400
"""For so long after a move everybody sees a Box where it was."""
ACCOUNTS = "opq_accounts"
SESSIONS = "opq_sessions"
TICKETS = "opq_tickets"
ACCESSES = "opq_box_access"
DELETED = "deleted_ms"
"""Field of the access to a Box that was deleted: when."""
SECRETS = "opq_secrets"
NOTIFICATION_RULES = "opq_notification_rules"
NOTIFICATIONS = "opq_notifications"
INCIDENT_ANNOUNCEMENTS = "opq_incident_announcements"
LEASES = "opq_leases"
GATEWAY_UPDATES = "opq_gateway_updates"
LAHA_STATS = "laha_stats"
"""The original's collection (docs/reference/opq-interop.md, D.7), under its own name."""
HEALTH = "health"
"""The original's collection (D.8), under its own name."""
KEPT_BY_ACCOUNT = {
    NOTIFICATION_RULES: "rule_id",
    NOTIFICATIONS: "entry_id",
}
"""Table with documents of an account -> the field that is the document's key."""
TABLES: Mapping[str, KeyedTable] = {
    ACCOUNTS: KeyedTable(("email",), overwritten=True),
    SESSIONS: KeyedTable(("account_id",)),
    TICKETS: KeyedTable(("account_id",)),
    ACCESSES: KeyedTable(counted=True),
    AUDIT: KeyedTable(("account_id", "subject"), checked_change, checked_removal),
    NOTIFICATION_RULES: KeyedTable(("account_id",)),
    NOTIFICATIONS: KeyedTable(("account_id", "state")),
    SECRETS: KeyedTable(),
    INCIDENT_ANNOUNCEMENTS: KeyedTable(),
    LEASES: KeyedTable(),
    SEEN_INCIDENTS: KeyedTable(),
    GATEWAY_UPDATES: KeyedTable(),
    LAHA_STATS: KeyedTable(),
    HEALTH: KeyedTable(),
}


VOUCHED = ("invitation", "claim")
"""Purposes of tickets that are valid only while the account that made them may make them."""


@dataclass(frozen=True, slots=True)
class Account:
    """A person who may sign in, while the account is in force."""

    account_id: str
    email: str
    """In lower case; unique."""
    name: str
    role: str
    password_hash: str
    created_ms: int
    disabled: bool = False
    totp_secret: str = ""
    """Base32; empty where there is no second factor."""
    totp_step: int = 0
    """The last step of 30 s whose code was accepted: each code is accepted once."""
    recovery_hashes: tuple[str, ...] = ()
    time_zone: str = "UTC"
    theme: str = "system"
    voltage_unit: str = "V"
    """`V` or `percent` of nominal: where an address of Examine or `/past` names none."""

    @property
    def in_force(self) -> bool:
        return not self.disabled

    def standing(self, way: Way, scopes: tuple[str, ...] = ()) -> Standing:
        """What the person is who uses the account in this way, for `rights.may`."""
        return Standing(self.role, way, scopes, self.in_force)


@dataclass(frozen=True, slots=True)
class AccountSession:
    """One browser that is signed in."""

    token_hash: str
    account_id: str
    created_ms: int
    seen_ms: int
    expires_s: int
    address: str
    agent: str


@dataclass(frozen=True, slots=True)
class AccountTicket:
    """A secret that allows one thing once (a link, a claim code), or reading until it expires (a token)."""

    ticket_hash: str
    purpose: str
    """`first_admin`, `invitation`, `registration`, `reset`, `claim`, `token` or `notify`."""
    created_ms: int
    expires_s: int
    account_id: str = ""
    """The account whose password it resets, or in whose name it reads."""
    email: str = ""
    role: str = ""
    box_id: str = ""
    label: str = ""
    scopes: tuple[str, ...] = ()
    """What a token may do: `read`, `waveforms`, `write`, `sites`. One made without scopes reads all."""
    made_by: str = ""
    """The administrator's account that made an invitation or a claim code."""


@dataclass(frozen=True, slots=True)
class EndedAccess:
    """How much of an account `AccountRecords.end_access` ended."""

    sessions: int
    rules: int
    """Notification rules that it switched off."""

    @property
    def switched_off(self) -> dict[str, object]:
        """For the log of changes; empty where no rule was switched off."""
        return {"notification_rules_switched_off": self.rules} if self.rules else {}


@dataclass(frozen=True, slots=True)
class FormerOwner:
    """An account that owned a Box, and when."""

    account_id: str
    since_ms: int
    until_ms: int


@dataclass(frozen=True, slots=True)
class BoxAccess:
    """Who owns a Box and who may see it; a Box without a record has no owner and is not public.

    A right holds for what was measured while its owner had the Box: a former owner reads that still, and a
    new owner, their readers and the public read only what was measured since.
    """

    box_id: str
    owner_id: str = ""
    """The owner who is named; others may own it too (`further_owner_ids`)."""
    shared_ids: tuple[str, ...] = ()
    privacy: str = "nothing"
    public_waveforms: bool = False
    """Whether the public also sees its raw waveforms, where `privacy` is `all`."""
    mark_place: tuple[float, ...] = ()
    """The public place (latitude, longitude) of a Box that was moved; empty: it has none yet."""
    mark_until_ms: int = 0
    """Until then everybody sees the Box at `mark_place`."""
    further_owner_ids: tuple[str, ...] = ()
    """Owners beside that one, from the original's `BoxOwners`; they have the same rights."""
    asked_site: str = ""
    """The key of the site of another owner that this Box's owner asks to join."""
    since_ms: int = 0
    """Since when the present owners have it, or since when it has none; 0: from the beginning."""
    former: tuple[FormerOwner, ...] = ()

    def __post_init__(self) -> None:
        former = (FormerOwner(**each) if isinstance(each, Mapping) else each for each in self.former)
        object.__setattr__(self, "former", tuple(former))  # a document has mappings

    @property
    def owner_ids(self) -> tuple[str, ...]:
        return (self.owner_id, *self.further_owner_ids) if self.owner_id else ()

    def without_owner(self, account_id: str) -> "BoxAccess":
        """The access after one of several owners has left."""
        first, *further = (each for each in self.owner_ids if each != account_id)
        former = (*self.former, FormerOwner(account_id, self.since_ms, _now_ms()))
        return replace(self, owner_id=first, further_owner_ids=tuple(further), former=former)

    def released(self, had_place: bool) -> "BoxAccess":
        """The access of a Box without an owner. A new place is not shown for MOVE_SHOWN_S."""
        now_ms = _now_ms()
        held = had_place or now_ms < self.mark_until_ms
        return BoxAccess(
            self.box_id,
            mark_until_ms=now_ms + MOVE_SHOWN_S * 1000 if held else 0,
            since_ms=now_ms,
            former=(*self.former, *(FormerOwner(each, self.since_ms, now_ms) for each in self.owner_ids)),
        )

    def without_account(self, account_id: str) -> "BoxAccess":
        """The access without a former owner; their time opens for no other owner."""
        return replace(self, former=tuple(each for each in self.former if each.account_id != account_id))

    def relation_to(self, account_id: str, t_ns: int | None = None) -> Relation:
        """What the Box is to an account now, or was for what was measured at `t_ns`; a stranger has an empty
        id. A former owner reads, as one with whom the Box is shared."""
        had = t_ns is not None and has_moment(self.former_spans(account_id), t_ns)
        if t_ns is not None and t_ns < self.since_ns:
            return Relation.SHARED if had else Relation.NONE
        if account_id and account_id in self.owner_ids:
            return Relation.OWN
        if had or account_id in self.shared_ids:
            return Relation.SHARED
        if self.privacy != "all":
            return Relation.NONE
        return Relation.PUBLIC_WAVEFORMS if self.public_waveforms else Relation.PUBLIC

    @property
    def since_ns(self) -> int:
        return self.since_ms * NS_PER_MS

    def former_spans(self, account_id: str) -> Spans:
        """When the account owned the Box, which it does not own now."""
        own = (each for each in self.former if each.account_id == account_id != "")
        return merged((each.since_ms * NS_PER_MS, each.until_ms * NS_PER_MS) for each in own)


class AccountRecords:
    """Accounts and what belongs to them.

    Every method may be called from any thread and raises StoreError where the database fails.
    """

    def __init__(self, driver: PeopleDriver, originals: OriginalUsers | None = None) -> None:
        documents = self._documents = KeyedDocuments(driver, TABLES)
        self._originals = originals
        self.changes = AuditRecords(documents)
        """The log of changes."""
        self.seen_marks = SeenMarkRecords(documents)

    @property
    def documents(self) -> KeyedDocuments:
        """The tables, for the records that other modules keep in them (`notifications.py`)."""
        return self._documents

    def close(self) -> None:
        self._documents.close()

    # Accounts
    def any_account(self) -> bool:
        return bool(self._documents.newest(ACCOUNTS, "", 1))

    def accounts(self) -> list[Account]:
        """Returns all accounts, the oldest first."""
        found = _records(Account, self._documents.find(ACCOUNTS))
        return sorted(found, key=lambda each: (each.created_ms, each.account_id))

    def account(self, account_id: str) -> Account | None:
        return _record(Account, self._documents.get(ACCOUNTS, account_id))

    def account_of(self, email: str) -> Account | None:
        found = _records(Account, self._documents.find(ACCOUNTS, "email", email.strip().lower()))
        return found[0] if found else None

    def add_account(self, email: str, name: str, role: str, password_hash: str) -> Account | None:
        """Adds an account and returns it; None where the e-mail has an account already."""
        account_id = secrets.token_hex(8)
        made = Account(account_id, email.strip().lower(), name, role, password_hash, _now_ms())
        return made if self._documents.insert(ACCOUNTS, account_id, asdict(made)) else None

    def change_account(self, account_id: str, changed: Callable[[Account], Account | None]) -> bool:
        """Changes an account as `KeyedDocuments.change` does; `changed` must not alter e-mail and id."""

        def change(document: Fields) -> Fields | None:
            after = changed(read_record(Account, document))
            return None if after is None else {**document, **asdict(after)}

        return self._documents.change(ACCOUNTS, account_id, change)

    def delete_account(self, account_id: str) -> tuple[str, ...]:
        """Deletes an account and all that names it; returns its Boxes, now without owner and not public."""
        account = self.account(account_id)
        freed = []
        for access in self.accesses().values():
            if account_id in access.owner_ids and len(access.owner_ids) > 1:
                self.change_access(access.box_id, lambda was: was.without_owner(account_id))
            elif access.owner_id == account_id:
                freed.append(access.box_id)
                self.change_access(access.box_id, lambda was: was.released(had_place=True))
            elif account_id in access.shared_ids:
                self.share_box(access.box_id, account_id, False)
            if account_id in (*access.owner_ids, *(each.account_id for each in access.former)):
                self.change_access(access.box_id, lambda was: was.without_account(account_id))
        self.end_access(account_id)
        self.end_codes(account_id)
        for ticket in self.tickets():
            if account and ticket.email == account.email:
                self._documents.remove(TICKETS, ticket.ticket_hash)
        self._remove_kept(account_id, NOTIFICATION_RULES, NOTIFICATIONS)
        self._documents.remove(SEEN_INCIDENTS, account_id)
        self.changes.forget_account(account_id, freed)
        self._documents.remove(ACCOUNTS, account_id)
        if account is not None and self._originals is not None:
            self._originals.delete(account.email)
        return tuple(freed)

    def set_mailed_password(self, account_id: str, password_hash: str) -> EndedAccess | None:
        """Sets a new password for somebody who opened a mailed link, and ends all sessions, tokens and links.

        Returns None where there is no such account.
        """
        if self.account(account_id) is None:
            return None
        self.change_account(account_id, lambda was: replace(was, password_hash=password_hash))
        return self.end_access(account_id)

    def _remove_kept(self, account_id: str, *tables: str) -> None:
        """Removes what an account keeps in these tables."""
        for table in tables:
            for document in self._documents.find(table, "account_id", account_id):
                self._documents.remove(table, document[KEPT_BY_ACCOUNT[table]])

    def has_original_users(self) -> bool:
        """Returns whether the store is a database of the original with users of its View."""
        return self._originals is not None and self._originals.any()

    def original_user(self, name: str) -> OriginalUser | None:
        """Returns a user of the original's View, to take over; None in the embedded store."""
        return None if self._originals is None else self._originals.named(name.strip().lower())

    # Sessions
    def add_session(self, session: AccountSession) -> None:
        self._documents.insert(SESSIONS, session.token_hash, asdict(session))

    def session(self, token_hash: str) -> AccountSession | None:
        return _record(AccountSession, self._documents.get(SESSIONS, token_hash))

    def sessions(self, account_id: str) -> list[AccountSession]:
        """Returns the sessions of an account, the most recently used first."""
        found = _records(AccountSession, self._documents.find(SESSIONS, "account_id", account_id))
        return sorted(found, key=lambda each: -each.seen_ms)

    def keep_sessions(self, account_id: str, most: int) -> int:
        """Ends all but the `most` most recently used sessions; returns the number of ended ones."""
        longest = [each.token_hash for each in self.sessions(account_id)[most:]]
        return self._documents.remove_many(SESSIONS, longest)

    def touch_session(self, token_hash: str, seen_ms: int) -> None:
        self._documents.change(SESSIONS, token_hash, lambda was: {**was, "seen_ms": seen_ms})

    def end_session(self, token_hash: str) -> bool:
        return self._documents.remove(SESSIONS, token_hash) is not None

    def end_access(self, account_id: str, keep: str = "") -> EndedAccess:
        """Ends an account's sessions but `keep`, its tokens and links.

        Notification rules that send to a URL are switched off. The sessions end first: if the store fails
        after that, somebody who knew the old password has no session.
        """
        ended = [each.token_hash for each in self.sessions(account_id) if each.token_hash != keep]
        sessions = self._documents.remove_many(SESSIONS, ended)
        tickets = [each.ticket_hash for each in self.tickets(account_id=account_id)]
        self._documents.remove_many(TICKETS, tickets)
        rules = 0
        for rule in self._documents.find(NOTIFICATION_RULES, "account_id", account_id):
            if rule.get("url"):
                key = rule[KEPT_BY_ACCOUNT[NOTIFICATION_RULES]]
                self._documents.change(NOTIFICATION_RULES, key, lambda was: {**was, "enabled": False})
                rules += bool(rule.get("enabled", True))
        return EndedAccess(sessions, rules)

    def end_codes(self, account_id: str) -> None:
        """Ends the invitations and claim codes that an account has made."""
        made = [each.ticket_hash for each in self.tickets() if each.made_by == account_id]
        self._documents.remove_many(TICKETS, made)

    # Links, codes and tokens
    def add_ticket(self, ticket: AccountTicket) -> None:
        """Adds a ticket; a link for the first administrator replaces older ones."""
        if ticket.purpose == "first_admin":
            for old in self.tickets("first_admin"):
                self._documents.remove(TICKETS, old.ticket_hash)
        self._documents.insert(TICKETS, ticket.ticket_hash, asdict(ticket))

    def ticket(self, ticket_hash: str, purpose: str, now_s: float | None = None) -> AccountTicket | None:
        """Returns a ticket; None where it is unknown, for another purpose, expired, or not backed."""
        found = _record(AccountTicket, self._documents.get(TICKETS, ticket_hash))
        if found is None or not _holds(found, purpose, now_s) or not self.is_backed(found):
            return None
        return found

    def is_backed(self, ticket: AccountTicket) -> bool:
        """Whether the account that made a code, or in whose name a token reads, has the right now."""
        if ticket.purpose in VOUCHED:
            maker = self.account(ticket.made_by)
            return maker is not None and may(maker.standing(Way.CODE), Action.VOUCH)
        if not ticket.account_id:  # made by a user who may write the store, or for an unknown e-mail
            return True
        account = self.account(ticket.account_id)
        if account is None or ticket.purpose == "reset":  # a mailed password proves the e-mail
            return account is not None and not account.disabled
        return account.in_force

    def tickets(self, purpose: str = "", account_id: str | None = None) -> list[AccountTicket]:
        """Returns all tickets; only those of a purpose or an account, where given."""
        found = _records(AccountTicket, self._documents.find(TICKETS))
        mine = found if account_id is None else [each for each in found if each.account_id == account_id]
        return [each for each in mine if purpose in ("", each.purpose)]

    def use_ticket(self, ticket_hash: str, purpose: str, now_s: float | None = None) -> AccountTicket | None:
        """Returns a ticket as `ticket` does, and removes it: if two use it at once, only one gets it."""
        if self.ticket(ticket_hash, purpose, now_s) is None:
            return None
        return _record(AccountTicket, self._documents.remove(TICKETS, ticket_hash))

    def remove_ticket(self, ticket_hash: str) -> bool:
        return self._documents.remove(TICKETS, ticket_hash) is not None

    def remove_own_ticket(self, purpose: str, account_id: str, ticket_hash: str) -> bool:
        """Removes a ticket of this account; False where it has no such ticket."""
        own = {each.ticket_hash for each in self.tickets(purpose, account_id)}
        return ticket_hash in own and self.remove_ticket(ticket_hash)

    # Boxes
    def accesses(self) -> dict[str, BoxAccess]:
        """Returns Box -> access, of all Boxes that have one."""
        return {each.box_id: each for each in _records(BoxAccess, self._documents.find(ACCESSES))}

    def any_access(self) -> bool:
        """Whether a Box was ever published, shared or claimed."""
        return bool(self._documents.newest(ACCESSES, "", 1))

    def accesses_revision(self) -> tuple[int, ...] | None:
        """Returns a value that differs after each change of `accesses` by any process; None if unknown."""
        return self._documents.revision(ACCESSES)

    def access(self, box_id: str) -> BoxAccess:
        return _record(BoxAccess, self._documents.get(ACCESSES, box_id)) or BoxAccess(box_id)

    def claim_box(self, box_id: str, account_id: str) -> bool:
        """Makes the account the owner of a Box; False where the Box has an owner.

        The first owner also reads what was measured before; a later one only what is measured from now on.
        """
        fresh = BoxAccess(box_id, account_id)
        if self._documents.insert(ACCESSES, box_id, asdict(fresh)):
            return True

        def claimed(was: Fields) -> Fields | None:
            before_ms = was.get("since_ms", 0)
            since_ms = before_ms and max(before_ms, _now_ms())
            return None if was["owner_id"] else {**was, "owner_id": account_id, "since_ms": since_ms}

        return self._documents.change(ACCESSES, box_id, claimed)

    def add_owner(self, box_id: str, account_id: str) -> None:
        """Makes the account an owner of a Box, beside those that it has."""

        def changed(was: BoxAccess) -> BoxAccess:
            if account_id in was.owner_ids:
                return was
            return replace(was, further_owner_ids=(*was.further_owner_ids, account_id))

        if not self.claim_box(box_id, account_id):
            self.change_access(box_id, changed)

    def forget_box(self, box_id: str) -> None:
        """Removes who owns and sees a Box, and notes that it was deleted."""
        self._documents.remove(ACCESSES, box_id)
        now_ms = _now_ms()
        fresh = asdict(BoxAccess(box_id, since_ms=now_ms)) | {DELETED: now_ms}
        self._documents.insert(ACCESSES, box_id, fresh)

    def deletions(self) -> dict[str, int]:
        """Returns Box -> when it was last deleted (ms), also where its number was given again since."""
        found = self._documents.find(ACCESSES)
        return {str(each["box_id"]): int(each[DELETED]) for each in found if DELETED in each}

    def change_access(self, box_id: str, changed: Callable[[BoxAccess], BoxAccess]) -> None:
        self._documents.insert(ACCESSES, box_id, asdict(BoxAccess(box_id)))
        self._documents.change(
            ACCESSES, box_id, lambda was: {**was, **asdict(changed(read_record(BoxAccess, was)))}
        )

    def share_box(self, box_id: str, account_id: str, may_see: bool) -> None:
        def shared(was: BoxAccess) -> BoxAccess:
            others = [each for each in was.shared_ids if each != account_id]
            return replace(was, shared_ids=tuple([*others, account_id] if may_see else others))

        self.change_access(box_id, shared)

    # Secrets of this installation
    def installation_secret(self, name: str) -> bytes:
        """Returns random bytes, made at the first call and the same for all later calls and processes."""
        self._documents.insert(SECRETS, name, {"hex": secrets.token_hex(32)})
        found = self._documents.get(SECRETS, name)
        assert found is not None  # a secret is never removed
        return bytes.fromhex(found["hex"])

    def expire(self, now_s: float | None = None) -> int:
        """Removes expired sessions, links and tokens, and entries of the log of changes that are too old."""
        limit_s = time.time() if now_s is None else now_s
        gone = sum(self._documents.remove_expired(table, limit_s) for table in (SESSIONS, TICKETS))
        gone += self.changes.expire(min(limit_s, time.time()))
        return gone


def secret_hash(secret: str) -> str:
    """Returns the hash that is stored of a secret made here: SHA-256 is enough for 256 random bits."""
    return hashlib.sha256(secret.encode()).hexdigest()


def _holds(ticket: AccountTicket, purpose: str, now_s: float | None) -> bool:
    return ticket.purpose == purpose and (time.time() if now_s is None else now_s) < ticket.expires_s


def read_record(kind: type[R], document: Mapping[str, Any]) -> R:
    """Makes a dataclass from its document; ignores fields that a newer version added; lists become tuples."""
    assert is_dataclass(kind)
    names = {each.name for each in fields(kind)}
    values: Fields = {
        name: tuple(value) if isinstance(value, list) else value
        for name, value in document.items()
        if name in names
    }
    return kind(**values)


def _record(kind: type[R], document: Mapping[str, Any] | None) -> R | None:
    return None if document is None else read_record(kind, document)


def _records(kind: type[R], documents: Iterable[Mapping[str, Any]]) -> list[R]:
    return [read_record(kind, document) for document in documents]


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
