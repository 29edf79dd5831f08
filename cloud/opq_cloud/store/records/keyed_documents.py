"""Tables of documents by a text key, for accounts, the log of changes, and what services announce.

Separate from `accounts.py`, which the log of changes must not import.
"""

import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

from opq_cloud.store.driver import Documents, Driver, Fields, Table

T = TypeVar("T")
_KEY = "_key"


@dataclass(frozen=True, slots=True)
class OriginalUser:
    """A user of the original's View (docs/reference/opq-interop.md D.8): `users`, `UserProfiles`,
    `BoxOwners`."""

    username: str
    bcrypt_hash: str
    """bcrypt of the hexadecimal SHA-256 of the password, as Meteor stores it."""
    name: str
    admin: bool
    box_ids: tuple[str, ...]
    preferences: Mapping[str, Any] = field(default_factory=dict)
    """`notification_preferences` of the profile, as they are stored."""


class OriginalUsers(Protocol):
    """The users of the original's View, in a database of the original."""

    def any(self) -> bool:
        """Whether there are users, who may sign in with their passwords."""

    def named(self, name: str) -> OriginalUser | None:
        """Returns a user by name or e-mail; None where there is none."""

    def delete(self, name: str) -> None:
        """Deletes a user, with profile, Box ownership and notifications."""


class PeopleDriver(Driver, Protocol):
    """A driver whose file or collections the first document makes."""

    def exists(self) -> bool:
        """Whether there may be documents."""

    def version(self, counted: str) -> tuple[int, ...] | None:
        """Returns a value that differs after changes by other processes; None where it is unknown now."""

    def empty_log(self) -> None:
        """Overwrites removed data in the file's log, too."""


@dataclass(frozen=True, slots=True)
class KeyedTable:
    """What is special of a table.

    Attributes:
        indexed: fields by which documents are found; `email` is unique.
        change_check: raises StoreError where a document must not change like this (before, after).
        removal_check: raises StoreError where a document must stay at this time (s).
        counted: whether changes are counted, after each write, so that readers may cache documents.
        overwritten: whether removed documents are overwritten in the log, too.
    """

    indexed: tuple[str, ...] = ()
    change_check: Callable[[Fields, Fields], None] | None = None
    removal_check: Callable[[Fields, float], None] | None = None
    counted: bool = False
    overwritten: bool = False


class KeyedDocuments:
    """Tables of documents by a text key; every method is atomic over threads and processes."""

    def __init__(self, driver: PeopleDriver, tables: Mapping[str, KeyedTable]) -> None:
        self._driver = driver
        self._special = tables
        self._tables = {name: keyed_table(name, each.indexed) for name, each in tables.items()}
        self._lock = threading.Lock()
        self._changes: Counter[str] = Counter()
        """Table -> number of changes by this process."""

    @property
    def driver(self) -> PeopleDriver:
        return self._driver

    @property
    def tables(self) -> Mapping[str, Table]:
        return self._tables

    def insert(self, table: str, key: str, document: Fields) -> bool:
        """Inserts a document; False, with nothing stored, where the key or a unique field exists already."""
        new, there = {_KEY: key, **document}, self._table(table)
        return self._write(table, lambda documents: documents.insert(there, new))

    def add_all(self, table: str, documents: Mapping[str, Fields], below: str) -> None:
        """Inserts documents by their keys, and removes those whose key is below `below`, in one job."""
        there = self._table(table)

        def job(stored: Documents) -> None:
            for key, document in documents.items():
                stored.insert(there, {_KEY: key, **document})
            stored.remove(there, [(_KEY, "<", below)])

        self._write(table, job)

    def get(self, table: str, key: str) -> Fields | None:
        there = self._table(table)
        if not self._driver.exists():
            return None
        with self._driver.read() as documents:
            found = documents.get(there, key)
        return None if found is None else _plain(found)

    def change(self, table: str, key: str, changed: Callable[[Fields], Fields | None]) -> bool:
        """Replaces a document by what `changed` returns for it; `changed` may be called several times.

        False where there is no document, or where `changed` returns None.
        """
        there, check = self._table(table), self._special[table].change_check
        wanted = False

        def after(found: Fields | None) -> Fields | None:
            nonlocal wanted
            before = None if found is None else _plain(found)
            new = None if before is None else changed(dict(before))
            wanted = new is not None
            if before is None or new is None:
                return None
            if check is not None:
                check(before, new)
            return {_KEY: key, **new}

        if not self._driver.exists():
            return False
        return self._write(table, lambda documents: documents.change(there, (key,), after) or wanted)

    def remove(self, table: str, key: str) -> Fields | None:
        """Removes a document and returns it; where several callers remove it, one gets it."""
        there, special = self._table(table), self._special[table]

        def job(documents: Documents) -> Fields | None:
            if special.removal_check is not None and (found := documents.get(there, key)) is not None:
                special.removal_check(found, time.time())
            return documents.take(there, key)

        if not self._driver.exists():
            return None
        gone = self._write(table, job)
        if gone is not None and special.overwritten:
            self._driver.empty_log()
        return None if gone is None else _plain(gone)

    def find(self, table: str, field: str = "", value: str = "") -> list[Fields]:
        """Returns all documents, or those whose `field` (an indexed one) is `value`, in the order of keys."""
        there = self._table(table, field)
        if not self._driver.exists():
            return []
        where = [(field, "=", value)] if field else []
        with self._driver.read() as documents:
            return [_plain(each) for each in documents.find(there, where, sort=(_KEY,))]

    def newest(self, table: str, below: str, limit: int) -> list[Fields]:
        """Returns the documents with the highest keys, the highest first; only those below a given key."""
        there = self._table(table)
        if not self._driver.exists():
            return []
        where = [(_KEY, "<", below)] if below else []
        with self._driver.read() as documents:
            return [_plain(each) for each in documents.find(there, where, sort=(f"-{_KEY}",), limit=limit)]

    def remove_many(self, table: str, keys: Sequence[str]) -> int:
        """Removes the documents with these keys in one step; returns how many there were."""
        there, where = self._table(table), [(_KEY, "in", list(keys))]
        if not keys or not self._driver.exists():
            return 0
        return self._write(table, lambda documents: documents.remove(there, where))

    def remove_expired(self, table: str, now_s: float) -> int:
        """Removes all whose `expires_s` is not after `now_s` in one step; returns how many."""
        there, where = self._table(table), [("expires_s", "<=", now_s)]
        if not self._driver.exists():
            return 0
        return self._write(table, lambda documents: documents.remove(there, where))

    def revision(self, table: str) -> tuple[int, ...] | None:
        """Returns a value that differs after each change by any process; None where unknown.

        The value may also differ without a change.
        """
        if not self._special[table].counted or not self._driver.exists():
            return None
        with self._lock:
            own = self._changes[table]
        foreign = self._driver.version(_counter(table))
        return None if foreign is None else (own, *foreign)

    def close(self) -> None:
        self._driver.close()

    def _table(self, table: str, field: str = "") -> Table:
        """Allows only known tables and fields."""
        special = self._special.get(table)
        if special is None or (field and field not in special.indexed):
            known = {name: each.indexed for name, each in self._special.items()}
            raise ValueError(f"{table}.{field} is not a table and field of accounts; there are {known}")
        return self._tables[table]

    def _write(self, table: str, job: Callable[[Documents], T]) -> T:
        """Runs a job; counts the change, once it is on disk, so that readers read the table again."""

        def counted(documents: Documents) -> T:
            result = job(documents)
            if result and self._special[table].counted and not documents.atomic:
                documents.raise_number(_counter(table))
            return result

        result = self._driver.write(counted)
        if result:
            with self._lock:
                self._changes[table] += 1
        return result


def keyed_table(name: str, indexed: tuple[str, ...]) -> Table:
    return Table(name, (_KEY,), columns={_KEY: "key"}, ahead=(_KEY,), id_field=_KEY, indexed=indexed)


def _counter(table: str) -> str:
    return f"{table}_revision"


def _plain(document: Fields) -> Fields:
    return {name: value for name, value in document.items() if name != _KEY}
