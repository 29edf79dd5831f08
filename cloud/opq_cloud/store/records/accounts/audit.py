"""The log of changes: who changed what, when and from where, with the values before and after. Entries are
only added; both stores refuse changes (`checked_change`, `checked_removal`). The one exception is what people
may demand: a deleted account is removed from the log, with the names and places of its Boxes. An entry is
deleted after AUDIT_S.
"""

import secrets
import time
from collections.abc import Collection, Iterator, Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from opq_cloud.store.driver import Fields
from opq_cloud.store.records.keyed_documents import KeyedDocuments
from opq_proto.errors import StoreError

AUDIT = "opq_audit"
AUDIT_S = 400 * 86_400
"""Seconds for which the log of changes goes back."""
BY_PAGE = "page"
BY_COMMAND = "command line"
VALUE_CHARACTERS = 400
"""Characters of a value before or after; a longer one is cut."""
ROWS_AT_ONCE = 200
PERSONAL_FIELDS = frozenset({"account_id", "address", "subject"})
"""Fields of an entry that may become empty."""
PERSONAL = frozenset({"name", "region", "location", "latitude", "longitude", "description"})
"""Values that an owner gave a Box; they are deleted with the account."""
NOT_REMOVABLE = "entries of the log of changes cannot be changed"


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """One change: who, when, from where, what. Never has a person's name or e-mail: those can be deleted."""

    key: str
    """Sorts by time."""
    at_ms: int
    account_id: str
    address: str
    """IP address; for a command line the machine's user."""
    what: str
    subject: str
    """`box 1`, `incident 7`, `plug-in sag`, or the id of an account."""
    before: Mapping[str, str] = field(default_factory=dict)
    """Field -> value, of the fields that changed."""
    after: Mapping[str, str] = field(default_factory=dict)
    by: str = BY_PAGE
    """`page` or `command line`."""


@dataclass(frozen=True, slots=True)
class AuditFilter:
    """Selects entries; a field that is empty or None selects all."""

    account_id: str = ""
    subject: str = ""
    """The whole subject, such as `box 1`."""
    by: str = ""
    words: str = ""
    """Text in `what`, the subject, or a field and value; upper and lower case are equal."""
    from_ms: int | None = None
    to_ms: int | None = None
    """Entries before this time."""

    def fits(self, entry: AuditEntry) -> bool:
        if self.account_id not in ("", entry.account_id) or self.by not in ("", entry.by):
            return False
        if self.subject not in ("", entry.subject) or not (self.from_ms or 0) <= entry.at_ms:
            return False
        if self.to_ms is not None and entry.at_ms >= self.to_ms:
            return False
        texts = (entry.what, entry.subject, *_texts(entry.before), *_texts(entry.after))
        return not self.words or any(self.words.lower() in text.lower() for text in texts)


ALL_ENTRIES = AuditFilter()


class AuditRecords:
    """The log of changes. Any thread may call its methods; they raise StoreError where the database fails."""

    def __init__(self, documents: KeyedDocuments) -> None:
        self._documents = documents

    def add(
        self,
        account_id: str,
        address: str,
        what: str,
        subject: str,
        before: Mapping[str, object] | None = None,
        after: Mapping[str, object] | None = None,
        by: str = BY_PAGE,
    ) -> None:
        """Adds one entry, with only the fields whose values differ.

        A dot in a field's name becomes a space: a database in MongoDB's protocol may refuse it in a key.
        """
        at_ms, below_ms = divmod(time.time_ns(), 1_000_000)  # changes of one ms keep their order
        key = f"{at_ms:015d}-{below_ms:06d}{secrets.token_hex(4)}"
        was, now = (
            {name.replace(".", " "): text for name, text in values.items()}
            for values in changed_fields(before or {}, after or {})
        )
        entry = AuditEntry(key, at_ms, account_id, address, what, subject, was, now, by)
        self._documents.insert(AUDIT, key, asdict(entry))

    def entries(
        self, wanted: AuditFilter = ALL_ENTRIES, below: str = "", limit: int = 100
    ) -> list[AuditEntry]:
        """Returns entries, newest first; `below` is the key of the last entry of the page before."""
        found: list[AuditEntry] = []
        for entry in self.every(wanted, below, ROWS_AT_ONCE if wanted != ALL_ENTRIES else limit):
            found.append(entry)
            if len(found) >= limit:
                break
        return found

    def every(
        self, wanted: AuditFilter = ALL_ENTRIES, below: str = "", rows_at_once: int = ROWS_AT_ONCE
    ) -> Iterator[AuditEntry]:
        """Yields all entries that fit, newest first."""
        for field_name in ("subject", "account_id"):
            if value := getattr(wanted, field_name):
                documents = reversed(self._documents.find(AUDIT, field_name, value))
                for entry in map(read_entry, documents):
                    if wanted.fits(entry) and (not below or entry.key < below):
                        yield entry
                return
        if wanted.to_ms is not None:
            highest = f"{max(0, wanted.to_ms):015d}"
            below = min(below, highest) if below else highest
        while True:
            rows = [read_entry(each) for each in self._documents.newest(AUDIT, below, rows_at_once)]
            for entry in rows:
                if entry.at_ms < (wanted.from_ms or 0):
                    return
                if wanted.fits(entry):
                    yield entry
            if len(rows) < rows_at_once:
                return
            below = rows[-1].key

    def of_account(self, account_id: str) -> list[AuditEntry]:
        """Returns the changes that one account made, oldest first."""
        return [read_entry(each) for each in self._documents.find(AUDIT, "account_id", account_id)]

    def forget_account(self, account_id: str, boxes: Collection[str]) -> None:
        """Removes an account from the entries, and the names and places of its Boxes."""
        subjects = {f"box {box_id}" for box_id in boxes}
        for document in self._documents.find(AUDIT):
            own = account_id in (document["account_id"], document["subject"])
            own |= any(account_id in document.get(side, {}).values() for side in ("before", "after"))
            if own or document["subject"] in subjects:
                self._documents.change(AUDIT, document["key"], lambda was: _forgotten(was, account_id))

    def expire(self, now_s: float) -> int:
        """Removes entries older than AUDIT_S; returns how many."""
        gone = 0
        for document in self._documents.find(AUDIT):
            if document["at_ms"] > (now_s - AUDIT_S) * 1000:
                break
            gone += self._documents.remove(AUDIT, document["key"]) is not None
        return gone


def changed_fields(
    before: Mapping[str, object], after: Mapping[str, object]
) -> tuple[dict[str, str], dict[str, str]]:
    """Returns the values that differ, before and after, as texts; without None."""
    was, now = ({key: _text(value) for key, value in each.items()} for each in (before, after))
    names = {key for key in was.keys() | now.keys() if was.get(key) != now.get(key)}
    return _known(was, names), _known(now, names)


def _known(values: Mapping[str, str | None], names: Collection[str]) -> dict[str, str]:
    return {key: text for key, text in values.items() if key in names and text is not None}


def read_entry(document: Mapping[str, Any]) -> AuditEntry:
    """Reads an entry."""
    names = {each.name for each in fields(AuditEntry)}
    return AuditEntry(**{name: value for name, value in document.items() if name in names})


def checked_change(before: Mapping[str, Any], after: Mapping[str, Any]) -> None:
    """Checks a change of an entry, for both stores. Raises StoreError unless it only removes a person."""
    for key in before.keys() | after.keys():
        was, now = before.get(key), after.get(key)
        emptied = key in PERSONAL_FIELDS and now == ""
        fewer = key in ("before", "after") and _is_part(now, was)
        if was != now and not emptied and not fewer:
            raise StoreError(f"{NOT_REMOVABLE}; {key} of an entry stays as it is")


def checked_removal(document: Mapping[str, Any], now_s: float) -> None:
    """Checks a removal of an entry, for both stores. StoreError: the entry is younger than AUDIT_S."""
    if document["at_ms"] > (now_s - AUDIT_S) * 1000:
        raise StoreError(f"{NOT_REMOVABLE}; an entry goes after {AUDIT_S // 86_400} days")


def _is_part(fewer: object, whole: object) -> bool:
    if not isinstance(fewer, Mapping) or not isinstance(whole, Mapping):
        return False
    return all(key in whole and whole[key] == value for key, value in fewer.items())


def _forgotten(entry: Fields, account_id: str) -> Fields:
    """Returns the entry without the account, its address, and names and places; the rest stays."""
    after = dict(entry)
    if entry["account_id"] == account_id:
        after.update(account_id="", address="")
    if entry["subject"] == account_id:
        after["subject"] = ""
    for side in ("before", "after"):
        if side in entry:
            after[side] = {
                key: text for key, text in entry[side].items() if key not in PERSONAL and text != account_id
            }
    return after


def _text(value: object) -> str | None:
    if value is None:
        return None
    text = {True: "yes", False: "no"}[value] if isinstance(value, bool) else str(value)
    return text if len(text) <= VALUE_CHARACTERS else f"{text[: VALUE_CHARACTERS - 1]}…"


def _texts(values: Mapping[str, str]) -> Iterator[str]:
    for key, text in values.items():
        yield f"{key} {text}"
