"""Delivery: what of qos >= 1 survives a kill. Offsets of sources, states of queries, emissions not yet sent.

One transaction moves all three (`commit`), so that after a kill the source goes on behind exactly
those records whose effect is stored. An emission is a row here from its commit until its sink has
taken it, under the id that the sink is told: what is sent again is sent with the same id.
"""

import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from opq_rules.batch import Emission
from opq_rules.engine.packing import packed, unpacked
from opq_rules.errors import IO_ERROR, RuleError

_SCHEMA = """
CREATE TABLE IF NOT EXISTS state (name TEXT PRIMARY KEY, body BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS outbox (
    n INTEGER PRIMARY KEY AUTOINCREMENT, rule TEXT NOT NULL, sequence INTEGER NOT NULL, outlet TEXT NOT NULL,
    body BLOB NOT NULL
);
CREATE INDEX IF NOT EXISTS outbox_by_outlet ON outbox (outlet, n);
"""

Posted = tuple[int, str, int, Emission]
"""Row of the outbox, rule, sequence, emission."""


class Delivery:
    """One owner, one thread: the engine's. Durable when `commit` returns."""

    def __init__(self, path: Path) -> None:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch(mode=0o600)  # rules hold passwords, emissions what people measured
            self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.execute("PRAGMA synchronous=FULL")
            self._db.executescript(_SCHEMA)
            found = self._db.execute("SELECT seq FROM sqlite_sequence WHERE name = 'outbox'").fetchone()
        except (OSError, sqlite3.Error) as error:
            raise RuleError(f"{path} cannot be used: {error}", IO_ERROR) from error
        self._last = int(found[0]) if found else 0

    def commit(
        self,
        states: Mapping[str, Any],
        emissions: Sequence[tuple[str, int, str, Emission]],
        taken: Iterable[int],
    ) -> list[int]:
        """All or nothing; the rows' numbers of `emissions` (rule, sequence, outlet, emission).

        `states`: name -> JSON-able; None deletes it. `taken`: rows that their sinks have taken.
        Raises sqlite3.Error: nothing was written, the same may be tried again.
        """
        first = self._last + 1
        rows = [
            (first + k, rule, sequence, outlet, packed(emission))
            for k, (rule, sequence, outlet, emission) in enumerate(emissions)
        ]
        kept = [(name, packed(state)) for name, state in states.items() if state is not None]
        gone = [(name,) for name, state in states.items() if state is None]
        self._db.execute("BEGIN IMMEDIATE")
        try:
            self._db.executemany("DELETE FROM outbox WHERE n = ?", ((n,) for n in taken))
            self._db.executemany("DELETE FROM state WHERE name = ?", gone)
            self._db.executemany(
                "INSERT INTO state VALUES (?, ?) ON CONFLICT DO UPDATE SET body = excluded.body", kept
            )
            self._db.executemany("INSERT INTO outbox VALUES (?, ?, ?, ?, ?)", rows)
            self._db.execute("COMMIT")
        except BaseException:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            raise
        self._last += len(rows)
        return [row[0] for row in rows]

    def state(self, name: str) -> Any:
        """What was stored last, or None."""
        found = self._db.execute("SELECT body FROM state WHERE name = ?", (name,)).fetchone()
        return unpacked(found[0]) if found else None

    def waiting(self, outlet: str, after: int, most: int) -> list[Posted]:
        """The next `most` emissions of an outlet behind row `after`, in order."""
        rows = self._db.execute(
            "SELECT n, rule, sequence, body FROM outbox WHERE outlet = ? AND n > ? ORDER BY n LIMIT ?",
            (outlet, after, most),
        )
        return [(n, rule, sequence, unpacked(body)) for n, rule, sequence, body in rows]

    def count(self, outlet: str) -> int:
        """Emissions that wait for this outlet."""
        found = self._db.execute("SELECT COUNT(*) FROM outbox WHERE outlet = ?", (outlet,)).fetchone()
        return int(found[0])

    def readdress(self, rule: str, outlets: Sequence[str]) -> int:
        """What waits for sinks that the rule has no more goes to its first one, behind all that is there."""
        marks = ", ".join("?" * len(outlets))
        rows = self._db.execute(
            f"SELECT n FROM outbox WHERE rule = ? AND outlet NOT IN ({marks}) ORDER BY n", (rule, *outlets)
        ).fetchall()
        self._db.execute("BEGIN IMMEDIATE")
        self._db.executemany(
            "UPDATE outbox SET outlet = ?, n = ? WHERE n = ?",
            [(outlets[0], self._last + k, n) for k, (n,) in enumerate(rows, start=1)],
        )
        self._db.execute("COMMIT")
        self._last += len(rows)
        return len(rows)

    def forget(self, rule: str) -> None:
        """A rule that is deleted: its states and what it has not sent."""
        self._db.execute("BEGIN IMMEDIATE")
        self._db.execute("DELETE FROM outbox WHERE rule = ?", (rule,))
        self._db.execute(
            "DELETE FROM state WHERE name = ? OR substr(name, 1, ?) = ?",
            (f"rule {rule}", len(f"feed {rule} "), f"feed {rule} "),
        )
        self._db.execute("COMMIT")

    def close(self) -> None:
        self._db.close()
