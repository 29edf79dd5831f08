"""What was defined: streams, tables, rules, settings; in SQLite, so that a restart finds it again.

One row per object: (kind, name) -> body. Durable when a call returns (WAL, fsync per commit).
"""

import sqlite3
import threading
from collections.abc import Iterable, Mapping
from pathlib import Path

from opq_rules.errors import IO_ERROR, RuleError

_SCHEMA = """
CREATE TABLE IF NOT EXISTS object (
    kind TEXT NOT NULL, name TEXT NOT NULL, body TEXT NOT NULL, PRIMARY KEY (kind, name)
) WITHOUT ROWID
"""


class Store:
    """Thread-safe. Raises RuleError (IO) where the disk does not do its part."""

    def __init__(self, path: Path) -> None:
        self._lock = threading.Lock()
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch(mode=0o600)  # rules hold passwords, emissions what people measured
            self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.execute("PRAGMA synchronous=FULL")
            self._db.execute(_SCHEMA)
        except (OSError, sqlite3.Error) as error:
            raise RuleError(f"{path} cannot be used: {error}", IO_ERROR, 400) from error

    def put(self, kind: str, name: str, body: str) -> None:
        self.put_many(kind, {name: body})

    def put_many(self, kind: str, bodies: Mapping[str, str]) -> None:
        """All or nothing."""
        self._write(
            "INSERT INTO object VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET body = excluded.body",
            [(kind, name, body) for name, body in bodies.items()],
        )

    def delete(self, kind: str, names: Iterable[str]) -> None:
        self._write("DELETE FROM object WHERE kind = ? AND name = ?", [(kind, name) for name in names])

    def get(self, kind: str, name: str) -> str | None:
        with self._lock:
            found = self._db.execute(
                "SELECT body FROM object WHERE kind = ? AND name = ?", (kind, name)
            ).fetchone()
        return str(found[0]) if found else None

    def all(self, kind: str) -> dict[str, str]:
        """Name -> body, in order of the names."""
        with self._lock:
            rows = self._db.execute(
                "SELECT name, body FROM object WHERE kind = ? ORDER BY name", (kind,)
            ).fetchall()
        return dict(rows)

    def close(self) -> None:
        with self._lock:
            self._db.close()

    def _write(self, statement: str, rows: list[tuple[str, ...]]) -> None:
        with self._lock:
            try:
                self._db.execute("BEGIN IMMEDIATE")
                try:
                    self._db.executemany(statement, rows)
                    self._db.execute("COMMIT")
                except BaseException:
                    if self._db.in_transaction:
                        self._db.execute("ROLLBACK")
                    raise
            except sqlite3.Error as error:
                raise RuleError(f"the rules' database refuses: {error}", IO_ERROR) from error
