"""Tables of the embedded store, its schema number, and the way from older ones to the present.

Measurements lie twice, never at the same time: `measurements` takes rows in the order they
come, with no index (113 B written per row against 5,089 B with a (box, time) key at 10,000
Boxes); a sealing pass moves all of them to `blocks`, one packed blob per Box, in Box order.
Both are written front to back. Documents keep the original's field names (opq-interop, part D).
"""

import sqlite3
import time
from pathlib import Path

from opq_proto.errors import StoreError

APPLICATION_ID = 0x4F50_5153
"""`OPQS`: tells our files from any other SQLite database."""

MIGRATIONS = (
    """
    CREATE TABLE counters (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
    CREATE TABLE opq_boxes (box_id TEXT PRIMARY KEY, document TEXT NOT NULL) WITHOUT ROWID;

    CREATE TABLE box_marks (
        box INTEGER PRIMARY KEY, box_id TEXT NOT NULL UNIQUE,
        spans BLOB NOT NULL DEFAULT x'', plain_high_ms INTEGER, newest BLOB);
    CREATE TABLE measurements (
        id INTEGER PRIMARY KEY, box INTEGER NOT NULL, timestamp_ms INTEGER NOT NULL, sequence INTEGER,
        voltage REAL, frequency REAL, thd REAL, transient REAL, more BLOB NOT NULL);
    CREATE TABLE segments (
        segment INTEGER PRIMARY KEY, start_ms INTEGER NOT NULL, end_ms INTEGER NOT NULL,
        rows INTEGER NOT NULL, expire_at INTEGER NOT NULL);
    CREATE TABLE blocks (
        block INTEGER PRIMARY KEY, start_ms INTEGER NOT NULL, end_ms INTEGER NOT NULL,
        rows INTEGER NOT NULL, packed BLOB NOT NULL);
    CREATE TABLE trends (
        box_id TEXT NOT NULL, start_ms INTEGER NOT NULL, length_ms INTEGER NOT NULL DEFAULT 60000,
        location TEXT NOT NULL,
        voltage_min REAL, voltage_max REAL, voltage_average REAL,
        frequency_min REAL, frequency_max REAL, frequency_average REAL,
        thd_min REAL, thd_max REAL, thd_average REAL,
        transient_min REAL, transient_max REAL, transient_average REAL,
        other TEXT, PRIMARY KEY (box_id, start_ms)) WITHOUT ROWID;
    CREATE INDEX trends_by_time ON trends (length_ms, start_ms);

    CREATE TABLE events (
        event_id INTEGER PRIMARY KEY, token TEXT NOT NULL UNIQUE, start_ns INTEGER NOT NULL,
        end_ns INTEGER NOT NULL, finished INTEGER NOT NULL DEFAULT 0,
        analysed INTEGER NOT NULL DEFAULT 0, expire_at INTEGER NOT NULL, document TEXT NOT NULL);
    CREATE INDEX events_unfinished ON events (event_id) WHERE finished = 0;
    CREATE INDEX events_unanalysed ON events (event_id) WHERE finished = 1 AND analysed = 0;
    CREATE INDEX events_expire ON events (expire_at);
    CREATE TABLE box_events (
        event_id INTEGER NOT NULL, box_id TEXT NOT NULL, document TEXT NOT NULL,
        PRIMARY KEY (event_id, box_id)) WITHOUT ROWID;
    CREATE TABLE files (
        file INTEGER PRIMARY KEY, filename TEXT NOT NULL UNIQUE, length INTEGER NOT NULL,
        sha256 TEXT NOT NULL, metadata TEXT NOT NULL);
    CREATE TABLE chunks (
        file INTEGER NOT NULL, n INTEGER NOT NULL, data BLOB NOT NULL, PRIMARY KEY (file, n));

    CREATE TABLE incidents (
        incident_id INTEGER PRIMARY KEY, group_id INTEGER NOT NULL, start_ns INTEGER NOT NULL,
        end_ns INTEGER NOT NULL, expire_at INTEGER NOT NULL, document TEXT NOT NULL);
    CREATE INDEX incidents_by_group ON incidents (group_id);
    CREATE INDEX incidents_by_end ON incidents (end_ns);
    CREATE INDEX incidents_expire ON incidents (expire_at);
    """,
)
"""Script k leads from schema k to k + 1; a published one is never changed."""


BOXES_PER_SEGMENT = 1 << 24
"""`blocks.block` = segment * this + box: one whole number as key, so that blocks of 1 to 4 kB lie
in one page (a composite key without rowid would spill them above 1 kB)."""


def prepare(connection: sqlite3.Connection, path: Path, busy_s: float) -> None:
    """Set WAL, check whose file it is, and run the migrations that it lacks.

    Raises:
        StoreError: the file belongs to another program, or to a newer version of this one.
        sqlite3.Error: SQLite refuses.
    """
    _enter_wal(connection, busy_s)
    connection.execute("BEGIN IMMEDIATE")
    try:
        version = int(connection.execute("PRAGMA user_version").fetchone()[0])
        owner = int(connection.execute("PRAGMA application_id").fetchone()[0])
        tables = int(connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0])
        if owner != APPLICATION_ID and tables:
            raise StoreError(f"{path}: is the database of another program; choose another --data-dir")
        if version > len(MIGRATIONS):
            raise StoreError(
                f"{path}: has schema {version}, this program knows up to {len(MIGRATIONS)}; "
                "use the newer opq-toolkit that wrote it, or another --data-dir"
            )
        if not tables:
            connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        for script in MIGRATIONS[version:]:
            for statement in script.split(";"):
                if statement.strip():
                    connection.execute(statement)
        connection.execute(f"PRAGMA user_version = {len(MIGRATIONS)}")
        connection.execute("COMMIT")
    finally:
        if connection.in_transaction:
            connection.execute("ROLLBACK")


def _enter_wal(connection: sqlite3.Connection, busy_s: float) -> None:
    deadline = time.monotonic() + busy_s
    while True:  # SQLite does not call its busy handler for this one
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            break
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > deadline:
                raise
            time.sleep(0.02)
    connection.execute("PRAGMA journal_size_limit = 67108864")  # a WAL grown once shrinks to 64 MB


def next_number(connection: sqlite3.Connection, name: str) -> int:
    """The next whole number of a counter, from 1; one upsert, so that it rises over processes."""
    connection.execute(
        "INSERT INTO counters VALUES (?, 1) ON CONFLICT (name) DO UPDATE SET value = value + 1", (name,)
    )
    return int(connection.execute("SELECT value FROM counters WHERE name = ?", (name,)).fetchone()[0])
