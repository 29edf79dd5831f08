"""Which plug-ins are installed, and which version of each is the current one: one sqlite file.

The folder of a version is complete before its row is written; the switch is one transaction.
"""

import sqlite3
import threading
from dataclasses import dataclass
from pathlib import Path

SCHEMA = """
CREATE TABLE IF NOT EXISTS version (
  name TEXT NOT NULL, version TEXT NOT NULL, manifest TEXT NOT NULL, sha256 TEXT NOT NULL,
  signed_by TEXT, installed_ms INTEGER NOT NULL, PRIMARY KEY (name, version)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS current (
  name TEXT PRIMARY KEY, version TEXT NOT NULL, previous TEXT) WITHOUT ROWID;
"""


@dataclass(frozen=True, slots=True)
class Installed:
    """One version. `manifest`: the name of its manifest's file; `signed_by`: a key's fingerprint."""

    name: str
    version: str
    manifest: str
    sha256: str
    signed_by: str | None
    installed_ms: int


class Store:
    """Thread-safe."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._lock = threading.Lock()
        self._db = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("PRAGMA synchronous=FULL")
        self._db.executescript(SCHEMA)

    def currents(self) -> dict[str, tuple[str, str | None]]:
        """Name -> (current version, the one before)."""
        with self._lock:
            rows = self._db.execute("SELECT name, version, previous FROM current ORDER BY name").fetchall()
        return {name: (version, previous) for name, version, previous in rows}

    def versions(self, name: str) -> dict[str, Installed]:
        """In the order of their installation."""
        with self._lock:
            rows = self._db.execute(
                "SELECT name, version, manifest, sha256, signed_by, installed_ms FROM version"
                " WHERE name = ? ORDER BY installed_ms",
                (name,),
            ).fetchall()
        return {row[1]: Installed(*row) for row in rows}

    def add(self, installed: Installed) -> None:
        """A version that is on disk; nobody uses it yet."""
        row = (
            installed.name,
            installed.version,
            installed.manifest,
            installed.sha256,
            installed.signed_by,
            installed.installed_ms,
        )
        with self._lock:
            self._db.execute("INSERT OR REPLACE INTO version VALUES (?, ?, ?, ?, ?, ?)", row)

    def switch(self, name: str, version: str, previous: str | None) -> None:
        with self._lock:
            self._db.execute("INSERT OR REPLACE INTO current VALUES (?, ?, ?)", (name, version, previous))

    def drop_version(self, name: str, version: str) -> None:
        with self._lock:
            self._db.execute("DELETE FROM version WHERE name = ? AND version = ?", (name, version))

    def drop(self, name: str) -> None:
        with self._lock:
            self._db.execute("BEGIN IMMEDIATE")
            self._db.execute("DELETE FROM current WHERE name = ?", (name,))
            self._db.execute("DELETE FROM version WHERE name = ?", (name,))
            self._db.execute("COMMIT")

    def close(self) -> None:
        with self._lock:
            self._db.close()
