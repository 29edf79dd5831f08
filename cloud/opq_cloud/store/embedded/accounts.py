"""Accounts in the embedded store: a file of their own, `accounts.db`, that only its user may read.

It is separate from `opq.db`, whose Measurements other users of this machine may read. Deleted data is
overwritten (`secure_delete`). After an account is deleted the write-ahead log is emptied, so that nothing of
the account is left on disk.
"""

import contextlib
import json
import sqlite3
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

from opq_cloud.store.records.accounts import TABLES
from opq_cloud.store.records.audit import AUDIT, checked_change, checked_removal
from opq_cloud.store.records.keyed_documents import Fields, OriginalUser
from opq_proto.kit.sqlite_database import SqliteDatabase

ACCOUNTS_FILE = "accounts.db"
ACCOUNTS_APPLICATION_ID = 0x4F50_5141
"""`OPQA`."""
ACCOUNTS_MIGRATIONS = (
    """
    CREATE TABLE opq_accounts (key TEXT PRIMARY KEY, document TEXT NOT NULL) WITHOUT ROWID;
    CREATE UNIQUE INDEX opq_accounts_email ON opq_accounts (json_extract(document, '$.email'));
    CREATE TABLE opq_sessions (key TEXT PRIMARY KEY, document TEXT NOT NULL) WITHOUT ROWID;
    CREATE INDEX opq_sessions_account_id ON opq_sessions (json_extract(document, '$.account_id'));
    CREATE TABLE opq_tickets (key TEXT PRIMARY KEY, document TEXT NOT NULL) WITHOUT ROWID;
    CREATE INDEX opq_tickets_account_id ON opq_tickets (json_extract(document, '$.account_id'));
    CREATE TABLE opq_box_access (key TEXT PRIMARY KEY, document TEXT NOT NULL) WITHOUT ROWID;
    CREATE TABLE opq_audit (key TEXT PRIMARY KEY, document TEXT NOT NULL) WITHOUT ROWID;
    CREATE INDEX opq_audit_account_id ON opq_audit (json_extract(document, '$.account_id'));
    """,
    """
    CREATE TABLE opq_notification_rules (key TEXT PRIMARY KEY, document TEXT NOT NULL) WITHOUT ROWID;
    CREATE INDEX opq_notification_rules_account_id
        ON opq_notification_rules (json_extract(document, '$.account_id'));
    CREATE TABLE opq_notifications (key TEXT PRIMARY KEY, document TEXT NOT NULL) WITHOUT ROWID;
    CREATE INDEX opq_notifications_account_id ON opq_notifications (json_extract(document, '$.account_id'));
    CREATE INDEX opq_notifications_state ON opq_notifications (json_extract(document, '$.state'));
    """,
    """
    CREATE TABLE opq_secrets (key TEXT PRIMARY KEY, document TEXT NOT NULL) WITHOUT ROWID;
    """,
    """
    CREATE INDEX opq_audit_subject ON opq_audit (json_extract(document, '$.subject'));
    """,
    """
    CREATE TABLE opq_saved_views (key TEXT PRIMARY KEY, document TEXT NOT NULL) WITHOUT ROWID;
    CREATE INDEX opq_saved_views_account_id ON opq_saved_views (json_extract(document, '$.account_id'));
    """,
    """
    CREATE TABLE opq_incident_announcements (key TEXT PRIMARY KEY, document TEXT NOT NULL) WITHOUT ROWID;
    CREATE TABLE opq_reanalyses (key TEXT PRIMARY KEY, document TEXT NOT NULL) WITHOUT ROWID;
    CREATE INDEX opq_reanalyses_account_id ON opq_reanalyses (json_extract(document, '$.account_id'));
    """,
    """
    CREATE TABLE laha_stats (key TEXT PRIMARY KEY, document TEXT NOT NULL) WITHOUT ROWID;
    """,
    """
    CREATE TABLE opq_leases (key TEXT PRIMARY KEY, document TEXT NOT NULL) WITHOUT ROWID;
    """,
)
"""Script k changes schema k to k + 1; a published script is never changed."""
T = TypeVar("T")


class EmbeddedDocuments:
    """`KeyedDocuments` in the file at `path`; the first write creates the file."""

    def __init__(self, path: Path, busy_s: float) -> None:
        self._path = path
        self._busy_s = busy_s
        self._lock = threading.Lock()
        self._opened: SqliteDatabase | None = None
        self._changes: Counter[str] = Counter()
        """Table -> number of changes by this process."""

    def insert(self, table: str, key: str, document: Fields) -> bool:
        _check(table)
        row = key, json.dumps(document)

        def job(connection: sqlite3.Connection) -> bool:
            return connection.execute(f"INSERT OR IGNORE INTO {table} VALUES (?, ?)", row).rowcount == 1

        return self._changed(table, self._database().write(job))

    def get(self, table: str, key: str) -> Fields | None:
        _check(table)
        found = self._read(f"SELECT document FROM {table} WHERE key = ?", (key,))
        return found[0] if found else None

    def change(self, table: str, key: str, changed: Callable[[Fields], Fields | None]) -> bool:
        _check(table)

        def job(connection: sqlite3.Connection) -> bool:
            row = connection.execute(f"SELECT document FROM {table} WHERE key = ?", (key,)).fetchone()
            after = None if row is None else changed(json.loads(row[0]))
            if after is None:
                return False
            if table == AUDIT:
                checked_change(json.loads(row[0]), after)
            connection.execute(f"UPDATE {table} SET document = ? WHERE key = ?", (json.dumps(after), key))
            return True

        return self._path.exists() and self._changed(table, self._database().write(job))

    def remove(self, table: str, key: str) -> Fields | None:
        _check(table)
        if not self._path.exists():
            return None

        def job(connection: sqlite3.Connection) -> Fields | None:
            if table == AUDIT and (
                found := connection.execute(f"SELECT document FROM {table} WHERE key = ?", (key,)).fetchone()
            ):
                checked_removal(json.loads(found[0]), time.time())
            row = connection.execute(
                f"DELETE FROM {table} WHERE key = ? RETURNING document", (key,)
            ).fetchone()
            return None if row is None else dict(json.loads(row[0]))

        gone = self._changed(table, self._database().write(job))
        if gone is not None and table == "opq_accounts":
            self._empty_log()
        return gone

    def find(self, table: str, field: str = "", value: str = "") -> list[Fields]:
        _check(table, field)
        where = f" WHERE json_extract(document, '$.{field}') = ?" if field else ""
        return self._read(f"SELECT document FROM {table}{where} ORDER BY key", (value,) if field else ())

    def newest(self, table: str, below: str, limit: int) -> list[Fields]:
        _check(table)
        where, values = (" WHERE key < ?", (below, limit)) if below else ("", (limit,))
        return self._read(f"SELECT document FROM {table}{where} ORDER BY key DESC LIMIT ?", values)

    def remove_many(self, table: str, keys: Sequence[str]) -> int:
        _check(table)
        rows = [(key,) for key in keys]
        if not rows or not self._path.exists():
            return 0
        each = f"DELETE FROM {table} WHERE key = ?"
        return self._changed(table, self._database().write(lambda c: c.executemany(each, rows).rowcount))

    def remove_expired(self, table: str, now_s: float) -> int:
        _check(table)
        if not self._path.exists():
            return 0
        due = f"DELETE FROM {table} WHERE json_extract(document, '$.expires_s') <= ?"
        return self._changed(table, self._database().write(lambda c: c.execute(due, (now_s,)).rowcount))

    def revision(self, table: str) -> tuple[int, ...] | None:
        if not self._path.exists():
            return None
        database = self._database()
        with self._lock:
            own = self._changes[table]
        foreign = database.foreign_version()
        return None if foreign is None else (own, foreign)

    def has_original_users(self) -> bool:
        return False

    def original_user(self, name: str) -> OriginalUser | None:
        return None  # the original's database is a MongoDB

    def remove_original_user(self, name: str) -> None:
        return None

    def close(self) -> None:
        with self._lock:
            if self._opened is not None:
                self._opened.close()

    def _changed(self, table: str, result: T) -> T:
        """Counts a change of the table, once it is on disk, so that readers read the table again."""
        if result:
            with self._lock:
                self._changes[table] += 1
        return result

    def _read(self, query: str, values: tuple[object, ...]) -> list[Fields]:
        if not self._path.exists():
            return []
        with self._database().read() as connection:
            return [json.loads(text) for (text,) in connection.execute(query, values)]

    def _database(self) -> SqliteDatabase:
        with self._lock:
            if self._opened is None:
                self._opened = self._open()
            return self._opened

    def _open(self) -> SqliteDatabase:
        return SqliteDatabase(
            self._path,
            ACCOUNTS_MIGRATIONS,
            application_id=ACCOUNTS_APPLICATION_ID,
            busy_s=self._busy_s,
            pragmas=("secure_delete = ON",),
            name="accounts-writer",
        )

    def _empty_log(self) -> None:
        """Empties the write-ahead log, which has the deleted data too; another reader may delay that."""
        with contextlib.suppress(sqlite3.Error), contextlib.closing(sqlite3.connect(self._path)) as own:
            own.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def _check(table: str, field: str = "") -> None:
    """Allows only the names of TABLES, because they are put into the SQL text."""
    if table not in TABLES or (field and field not in TABLES[table]):
        raise ValueError(f"{table}.{field} is no table and field of accounts; there are {dict(TABLES)}")
