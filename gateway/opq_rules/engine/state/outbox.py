"""Outbox: the file that survives a kill, with offsets of sources, states of queries, and unsent emissions.

One transaction stores all three (`commit`), so that after a kill the source continues after exactly those
records whose effect is stored. An emission is a row here from its commit until its sink has taken it. The
sink gets it under the same id each time it is sent.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from opq_rules.engine.definitions.rule_store import open_engine_file
from opq_rules.values.batch import Emission, JsonObject

_MIGRATIONS = (
    """
    CREATE TABLE state (name TEXT PRIMARY KEY, body BLOB NOT NULL) WITHOUT ROWID;
    CREATE TABLE outbox (
        n INTEGER PRIMARY KEY AUTOINCREMENT, rule TEXT NOT NULL, sequence INTEGER NOT NULL,
        outlet TEXT NOT NULL, body BLOB NOT NULL
    );
    CREATE INDEX outbox_by_outlet ON outbox (outlet, n)
    """,
)
_APPLICATION_ID = int.from_bytes(b"opqo")
Posted = tuple[int, str, int, Emission]
"""Row of the outbox, rule, sequence, emission."""


class Outbox:
    """The database file. Only the engine's thread uses it; data is durable when `commit` returns."""

    def __init__(self, path: Path) -> None:
        """Raises RuleError: the file cannot be used."""
        self._file = open_engine_file(path, _MIGRATIONS, _APPLICATION_ID)
        found = self._file.query_row("SELECT seq FROM sqlite_sequence WHERE name = 'outbox'")
        self._last = int(found[0]) if found else 0

    def commit(
        self,
        states: Mapping[str, object],
        emissions: Sequence[tuple[str, int, str, Emission]],
        sent: Iterable[int],
    ) -> list[int]:
        """Stores everything or nothing, and returns the row numbers of `emissions`.

        Args:
            states: name -> JSON-able value; None deletes the state.
            emissions: (rule, sequence, sink's key, emission) each.
            sent: rows that their sinks have taken; they are deleted.
        Raises:
            sqlite3.Error: nothing was written; the same call may be tried again.
        """
        first = self._last + 1
        rows = [
            (first + k, rule, sequence, sink, packed(emission))
            for k, (rule, sequence, sink, emission) in enumerate(emissions)
        ]
        kept = [(name, packed(state)) for name, state in states.items() if state is not None]
        gone = [(name,) for name, state in states.items() if state is None]
        with self._file.transaction() as database:
            database.executemany("DELETE FROM outbox WHERE n = ?", ((n,) for n in sent))
            database.executemany("DELETE FROM state WHERE name = ?", gone)
            database.executemany(
                "INSERT INTO state VALUES (?, ?) ON CONFLICT DO UPDATE SET body = excluded.body", kept
            )
            database.executemany("INSERT INTO outbox VALUES (?, ?, ?, ?, ?)", rows)
        self._last += len(rows)
        return [row[0] for row in rows]

    def state(self, name: str) -> JsonObject | None:
        """The state that was stored last under this name, or None."""
        found = self._file.query_row("SELECT body FROM state WHERE name = ?", (name,))
        state: JsonObject | None = unpacked(found[0]) if found else None
        return state

    def waiting(self, sink: str, after: int, most: int) -> list[Posted]:
        """The next `most` emissions of a sink after row `after`, in order."""
        rows = self._file.query(
            "SELECT n, rule, sequence, body FROM outbox WHERE outlet = ? AND n > ? ORDER BY n LIMIT ?",
            (sink, after, most),
        )
        return [(n, rule, sequence, unpacked(body)) for n, rule, sequence, body in rows]

    def count(self, sink: str) -> int:
        """Emissions that wait for this sink."""
        found = self._file.query_row("SELECT COUNT(*) FROM outbox WHERE outlet = ?", (sink,))
        return int(found[0]) if found else 0

    def readdress(self, rule: str, sinks: Sequence[str]) -> int:
        """Moves emissions for sinks that the rule no longer has to its first one; returns how many."""
        marks = ", ".join("?" * len(sinks))
        with self._file.transaction() as database:
            rows = database.execute(
                f"SELECT n FROM outbox WHERE rule = ? AND outlet NOT IN ({marks}) ORDER BY n", (rule, *sinks)
            ).fetchall()
            database.executemany(
                "UPDATE outbox SET outlet = ?, n = ? WHERE n = ?",
                [(sinks[0], self._last + k, n) for k, (n,) in enumerate(rows, start=1)],
            )
        self._last += len(rows)
        return len(rows)

    def delete_rule(self, rule: str) -> None:
        """Deletes the states and unsent emissions of a deleted rule."""
        with self._file.transaction() as database:
            database.execute("DELETE FROM outbox WHERE rule = ?", (rule,))
            database.execute(
                "DELETE FROM state WHERE name = ? OR substr(name, 1, ?) = ?",
                (f"rule {rule}", len(f"feed {rule} "), f"feed {rule} "),
            )

    def close(self) -> None:
        self._file.close()


# JSON-able values are stored as MessagePack, or as JSON where a whole number exceeds 64 bits. A value
# of a foreign type (a plug-in's) is stored as its text.
_ENCODE = msgspec.msgpack.Encoder(enc_hook=str).encode
_DECODE = msgspec.msgpack.Decoder().decode
_JSON = b"J"
"""First byte of the JSON form: in MessagePack that is the number 74, which is never packed alone."""


def packed(value: object) -> bytes:
    """The stored form of a value of JSON, bytes and datetimes."""
    try:
        data = _ENCODE(value)
    except (OverflowError, ValueError):
        return _JSON + json.dumps(value, default=str).encode()
    return data if data != _JSON else b"J74"


def unpacked(data: bytes) -> Any:
    return json.loads(data[1:]) if data[:1] == _JSON else _DECODE(data)
