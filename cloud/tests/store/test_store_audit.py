"""The log of changes in both stores: only added to, filtered, read in pages; it forgets who asks it."""

import time

import pytest

from opq_cloud.store import CloudStore
from opq_cloud.store.records.accounts.audit import (
    AUDIT,
    AUDIT_S,
    BY_COMMAND,
    AuditEntry,
    AuditFilter,
    changed_fields,
)
from opq_proto.errors import StoreError

SET = "set facts of a Box box 1"


def _fill(store: CloudStore) -> None:
    changes = store.people.changes
    changes.add("ada", "192.0.2.7", "set facts of a Box", "box 1", {"name": "Box 1"}, {"name": "Cellar"})
    changes.add("eve", "192.0.2.8", "revoked a key", "box 2", {"key": "admitted"}, {"key": "revoked"})
    changes.add(
        "", "user root", "set facts of a Box", "box 1", {"feeder": None}, {"feeder": "f2"}, BY_COMMAND
    )
    changes.add("ada", "192.0.2.7", "signed in", "")


def _whats(entries: list[AuditEntry]) -> list[str]:
    return [f"{each.what} {each.subject}".strip() for each in entries]


def test_before_and_after_hold_the_difference(store: CloudStore) -> None:
    """Before and after hold what differs and survive the store."""
    same = {"region": "oahu", "grid": None}
    store.people.changes.add(
        "ada", "::1", "x", "box 1", {**same, "v": 120.0, "off": False}, {**same, "off": True}
    )
    entry = store.people.changes.entries()[0]
    assert dict(entry.before) == {"v": "120.0", "off": "no"} and dict(entry.after) == {"off": "yes"}
    assert (entry.account_id, entry.address, entry.by) == ("ada", "::1", "page")


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        (AuditFilter(), ["signed in", SET, "revoked a key box 2", SET]),
        (AuditFilter(account_id="ada"), ["signed in", SET]),
        (AuditFilter(subject="box 1", by="page"), [SET]),
        (AuditFilter(by=BY_COMMAND), [SET]),
        (AuditFilter(words="CELLAR"), [SET]),
        (AuditFilter(words="Key"), ["revoked a key box 2"]),
        (AuditFilter(to_ms=1000), []),
        (AuditFilter(from_ms=2**50), []),
    ],
)
def test_entries_are_filtered_newest_first(store: CloudStore, wanted: AuditFilter, found: list[str]) -> None:
    _fill(store)
    assert _whats(store.people.changes.entries(wanted)) == found
    assert _whats(list(store.people.changes.every(wanted, rows_at_once=1))) == found


@pytest.mark.parametrize("wanted", [AuditFilter(), AuditFilter(words="box"), AuditFilter(subject="box 1")])
def test_pages_of_a_filter_hold_each_entry_once(store: CloudStore, wanted: AuditFilter) -> None:
    for _ in range(3):
        _fill(store)
    whole, pages, below = store.people.changes.entries(wanted), list[AuditEntry](), ""
    while page := store.people.changes.entries(wanted, below, 2):
        pages += page
        below = page[-1].key
    assert pages == whole and len(whole) >= 6


def test_an_entry_is_neither_changed_nor_taken_away(store: CloudStore) -> None:
    _fill(store)
    documents, entries = store.people.documents, store.people.changes.entries()
    key = entries[-1].key
    for change in (
        {"what": "nothing"},
        {"at_ms": 1},
        {"account_id": "eve"},
        {"after": {"name": "Attic"}},
        {"before": {"name": "Box 1", "more": "x"}},
        {"more": 1},
    ):
        with pytest.raises(StoreError, match="cannot be changed"):
            documents.change(AUDIT, key, lambda was, change=change: {**was, **change})
    with pytest.raises(StoreError, match="cannot be changed"):
        documents.remove(AUDIT, key)
    assert store.people.changes.entries() == entries


def test_an_entry_expires_at_its_time(store: CloudStore) -> None:
    """An entry goes after its time and no earlier."""
    _fill(store)
    old_ms = round((time.time() - AUDIT_S - 60) * 1000)
    key = f"{old_ms:015d}-x"
    old = {"key": key, "at_ms": old_ms, "account_id": "", "address": "", "what": "old", "subject": ""}
    store.people.documents.insert(AUDIT, key, old)  # without what differs
    assert store.people.changes.entries()[-1] == AuditEntry(key, old_ms, "", "", "old", "")
    assert store.people.expire(time.time() + 10 * AUDIT_S) == 1  # a clock that is wrong takes nothing else
    assert len(store.people.changes.entries()) == 4


def test_a_deleted_account_disappears_from_the_log(store: CloudStore) -> None:
    """Deletion of an account removes its name and its Boxes' names from the log."""
    people = store.people
    ada = people.add_account("ada@example.org", "Ada", "owner", "hash")
    assert ada is not None
    people.claim_box("1", ada.account_id)
    people.changes.add(
        "eve", "192.0.2.8", "set facts", "box 1", {"name": "x"}, {"name": "Ada's home", "phase": "L1"}
    )
    people.changes.add("eve", "192.0.2.8", "set facts", "box 2", {}, {"name": "hall"})
    people.changes.add(
        ada.account_id, "192.0.2.7", "changed", ada.account_id, {"theme": "dark"}, {"theme": "light"}
    )
    people.delete_account(ada.account_id)
    own, hall, home = people.changes.entries()
    assert (own.account_id, own.address, own.subject, dict(own.after)) == ("", "", "", {"theme": "light"})
    assert dict(hall.after) == {"name": "hall"}
    assert dict(home.before) == {} and dict(home.after) == {"phase": "L1"} and home.account_id == "eve"


def test_long_values_are_shortened_but_listed() -> None:
    was, now = changed_fields({"a": None, "b": "x" * 1000}, {"a": "1", "b": None})
    assert was == {"b": "x" * 399 + "…"} and now == {"a": "1"}
