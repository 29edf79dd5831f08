"""Accounts in the embedded store: a file of their own, `accounts.db`, that only its user may read.

It is separate from `opq.db`, whose Measurements other users of this machine may read. Deleted data is
overwritten (`secure_delete`). After an account is deleted the write-ahead log is emptied, so that its data
leaves the disk.
"""

import contextlib
import sqlite3
import threading
from pathlib import Path

from opq_cloud.store.embedded.embedded_driver import SqliteDriver
from opq_cloud.store.embedded.schema import DAMAGED
from opq_proto.kit.sqlite_database import SqliteDatabase

ACCOUNTS_FILE = "accounts.db"
ACCOUNTS_APPLICATION_ID = int.from_bytes(b"opqa")
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
    CREATE INDEX opq_audit_subject ON opq_audit (json_extract(document, '$.subject'));
    CREATE TABLE opq_notification_rules (key TEXT PRIMARY KEY, document TEXT NOT NULL) WITHOUT ROWID;
    CREATE INDEX opq_notification_rules_account_id
        ON opq_notification_rules (json_extract(document, '$.account_id'));
    CREATE TABLE opq_notifications (key TEXT PRIMARY KEY, document TEXT NOT NULL) WITHOUT ROWID;
    CREATE INDEX opq_notifications_account_id ON opq_notifications (json_extract(document, '$.account_id'));
    CREATE INDEX opq_notifications_state ON opq_notifications (json_extract(document, '$.state'));
    CREATE TABLE opq_secrets (key TEXT PRIMARY KEY, document TEXT NOT NULL) WITHOUT ROWID;
    CREATE TABLE opq_incident_announcements (key TEXT PRIMARY KEY, document TEXT NOT NULL) WITHOUT ROWID;
    CREATE TABLE opq_seen_incidents (key TEXT PRIMARY KEY, document TEXT NOT NULL) WITHOUT ROWID;
    CREATE TABLE opq_leases (key TEXT PRIMARY KEY, document TEXT NOT NULL) WITHOUT ROWID;
    CREATE TABLE opq_gateway_updates (key TEXT PRIMARY KEY, document TEXT NOT NULL) WITHOUT ROWID;
    CREATE TABLE laha_stats (key TEXT PRIMARY KEY, document TEXT NOT NULL) WITHOUT ROWID;
    CREATE TABLE health (key TEXT PRIMARY KEY, document TEXT NOT NULL) WITHOUT ROWID;
    """,
)
"""Script k changes schema k to k + 1; a published script is never changed. The first is that of 0.2.0."""


class AccountsDriver(SqliteDriver):
    """`PeopleDriver` on the file at `path`; the first write makes the file."""

    def __init__(self, path: Path, busy_s: float) -> None:
        super().__init__(self._open)
        self._path, self._busy_s = path, busy_s
        self._lock = threading.Lock()
        self._database: SqliteDatabase | None = None

    @property
    def lost_file(self) -> str | None:
        database = self._database  # no lock: health must not wait while it opens
        return None if database is None else database.lost()

    def exists(self) -> bool:
        return self._path.exists()

    def version(self, counted: str) -> tuple[int] | None:
        foreign = self._opened().foreign_version()
        return None if foreign is None else (foreign,)

    def close(self) -> None:
        with self._lock:
            if self._database is not None:
                self._database.close()

    def empty_log(self) -> None:
        """Empties the write-ahead log, which has the deleted data too; another reader may delay that."""
        with contextlib.suppress(sqlite3.Error), contextlib.closing(sqlite3.connect(self._path)) as own:
            own.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def _open(self) -> SqliteDatabase:
        with self._lock:
            if self._database is None:
                self._database = SqliteDatabase(
                    self._path,
                    ACCOUNTS_MIGRATIONS,
                    application_id=ACCOUNTS_APPLICATION_ID,
                    busy_s=self._busy_s,
                    pragmas=("secure_delete = ON",),
                    name="accounts-writer",
                    damaged=DAMAGED,
                )
            return self._database
