"""RuleStore: streams, tables, rules and settings in SQLite.

One row per object: (kind, name) -> body. Durable when a call returns (WAL, fsync per commit).
"""

import fcntl
import os
import sqlite3
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

import msgspec

from opq_proto.errors import StoreError
from opq_proto.kit.sqlite_file import FILE_ERRORS, SqliteFile, store_error
from opq_proto.kit.whole_file import open_private, private_folder
from opq_rules.engine.definitions.rule_definition import RuleDefinition, definition, no_rule
from opq_rules.errors import IO_ERROR, RuleError
from opq_rules.values.batch import JsonObject

RULE_KIND = "rule"
_MIGRATIONS = (
    """
    CREATE TABLE object (
        kind TEXT NOT NULL, name TEXT NOT NULL, body TEXT NOT NULL, PRIMARY KEY (kind, name)
    ) WITHOUT ROWID
    """,
)
_APPLICATION_ID = int.from_bytes(b"opqr")


class ObjectStore(Protocol):
    """Named bodies by kind: the RuleStore, or a Draft of it."""

    def all(self, kind: str) -> dict[str, str]: ...
    def get(self, kind: str, name: str) -> str | None: ...
    def put(self, kind: str, name: str, body: str) -> None: ...
    def delete(self, kind: str, names: Iterable[str]) -> None: ...


class RuleStore:
    """Thread-safe. Raises RuleError (IO) where the disk refuses. Temporary rules are kept in memory."""

    def __init__(self, path: Path) -> None:
        self._changing = threading.RLock()
        self._temporary: dict[str, str] = {}
        self._file = open_engine_file(path, _MIGRATIONS, _APPLICATION_ID)

    @contextmanager
    def changing(self) -> Iterator[None]:
        """The engine's one lock: definitions, and which rules run, are changed by one thread at a time."""
        with self._changing:
            yield

    def put(self, kind: str, name: str, body: str) -> None:
        self.put_many(kind, {name: body})

    def put_many(self, kind: str, bodies: Mapping[str, str]) -> None:
        """Stores all of them, or none."""
        self._write(
            "INSERT INTO object VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET body = excluded.body",
            [(kind, name, body) for name, body in bodies.items()],
        )

    def delete(self, kind: str, names: Iterable[str]) -> None:
        self._write("DELETE FROM object WHERE kind = ? AND name = ?", [(kind, name) for name in names])

    def get(self, kind: str, name: str) -> str | None:
        found = self._file.query_row("SELECT body FROM object WHERE kind = ? AND name = ?", (kind, name))
        return str(found[0]) if found else None

    def all(self, kind: str) -> dict[str, str]:
        """Name -> body, sorted by name."""
        return dict(self._file.query("SELECT name, body FROM object WHERE kind = ? ORDER BY name", (kind,)))

    def close(self) -> None:
        self._file.close()

    # -- rules

    def put_rules(self, rules: Sequence[RuleDefinition]) -> None:
        """Stores all of them, or none."""
        self.put_many(RULE_KIND, {each.id: each.text for each in rules if not each.temporary})
        self._temporary |= {each.id: each.text for each in rules if each.temporary}

    def delete_rule(self, rule_id: str) -> None:
        if self._temporary.pop(rule_id, None) is None:
            self.delete(RULE_KIND, [rule_id])

    def rule_body(self, rule_id: str) -> JsonObject:
        """Returns the rule as it was given, with its secrets. Raises RuleError 404 if it is unknown."""
        text = self._temporary.get(rule_id) or self.get(RULE_KIND, rule_id)
        if text is None:
            raise no_rule(rule_id)
        body: JsonObject = msgspec.json.decode(text)
        return body

    def rule(self, rule_id: str) -> RuleDefinition:
        return definition(self.rule_body(rule_id))

    def stored_rules(self) -> dict[str, str]:
        """Id -> JSON of the rules that survive a restart, sorted by id."""
        return self.all(RULE_KIND)

    def rules(self) -> dict[str, str]:
        """Id -> JSON of all rules, sorted by id."""
        return dict(sorted({**self.stored_rules(), **self._temporary}.items()))

    def _write(self, statement: str, rows: list[tuple[str, ...]]) -> None:
        try:
            self._file.execute_many(statement, rows)
        except sqlite3.Error as error:
            raise RuleError(f"the rules' database refuses: {error}", IO_ERROR) from error


class Draft:
    """A store with unwritten changes: it reads unchanged objects from `below`."""

    def __init__(self, below: ObjectStore) -> None:
        self._below = below
        self._put: dict[str, dict[str, str | None]] = {}

    def all(self, kind: str) -> dict[str, str]:
        found = {**self._below.all(kind), **self._put.get(kind, {})}
        return {name: body for name, body in sorted(found.items()) if body is not None}

    def get(self, kind: str, name: str) -> str | None:
        put = self._put.get(kind, {})
        return put[name] if name in put else self._below.get(kind, name)

    def put(self, kind: str, name: str, body: str) -> None:
        self._put.setdefault(kind, {})[name] = body

    def delete(self, kind: str, names: Iterable[str]) -> None:
        self._put.setdefault(kind, {}).update(dict.fromkeys(names))


def open_engine_file(path: Path, migrations: Sequence[str], application_id: int) -> SqliteFile:
    """Opens a file of the engine's. It may hold passwords (rules) and measured values (emissions)."""
    try:
        return SqliteFile(path, migrations, application_id=application_id)
    except (*FILE_ERRORS, StoreError) as error:
        named = error if isinstance(error, StoreError) else store_error(path, error)
        raise RuleError(str(named), IO_ERROR) from error


def lock_folder(data_dir: Path) -> int:
    """Locks the folder for this engine; the lock holds as long as the returned file descriptor is open."""
    try:
        private_folder(data_dir)
        file = open_private(data_dir / "rules.lock", os.O_RDWR | os.O_CREAT)
    except OSError as error:
        raise RuleError(f"{data_dir} cannot be used: {error.strerror or error}", IO_ERROR) from error
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(file)
        raise RuleError(f"{data_dir} is used by another rule engine", IO_ERROR) from error
    except OSError as error:
        os.close(file)
        raise RuleError(f"{data_dir} cannot be locked: {error.strerror or error}", IO_ERROR) from error
    return file
