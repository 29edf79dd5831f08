"""The store's documents in SQLite: a job is one transaction of the writer thread (`SqliteDatabase`)."""

import hashlib
import json
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from functools import lru_cache
from heapq import merge
from typing import Any, TypeVar

import msgspec

from opq_cloud.store.documents.readable import ReadableDocuments
from opq_cloud.store.driver import Changed, EarliestStart, ExpirySlice, Fields, Key, Table, Where
from opq_cloud.store.embedded.parcel_slots import LIVE
from opq_cloud.store.embedded.statements import (
    count_statement,
    delete_statement,
    earliest_statement,
    find_statement,
    get_statement,
    insert_statement,
    put_statement,
    read_columns,
    remove_statement,
    set_statement,
    tally_statement,
    to_json,
    update_statement,
)
from opq_cloud.store.embedded.trend_rows import SqliteTrendRows
from opq_proto.errors import StoreError
from opq_proto.kit.sqlite_database import SqliteDatabase

CHUNK_BYTES = 255 * 1024
"""As in GridFS; small, so that the write lock is not held long for one chunk."""
FEW_VALUES = 100
"""For a sorted search, up to this many values of a list are each read by the index, and merged."""
NEWEST_ROWS = 1000
ROW_BYTES: Mapping[str, str] = {
    "measurements": "SELECT * FROM (SELECT length(packed) bytes, rows FROM blocks ORDER BY block DESC "
    f"LIMIT {NEWEST_ROWS}) UNION ALL SELECT length(packed), rows FROM parcels WHERE {LIVE} "
    "UNION ALL SELECT 113, 1 FROM measurements",
    "trends": "SELECT 8 * 15 + length(box_id || location || coalesce(other, '')) bytes, 1 rows FROM "
    "(SELECT box_id, location, other FROM trends_new UNION ALL SELECT box_id, location, other FROM trends)",
    "events": "SELECT 80 + length(document) bytes, 1 rows FROM events ORDER BY event_id DESC",
    "box_events": "SELECT 10 + length(document) bytes, 1 rows FROM box_events ORDER BY event_id DESC",
    "incidents": "SELECT 40 + length(document) bytes, 1 rows FROM incidents ORDER BY incident_id DESC",
}
"""Collection -> bytes of its rows: SQLite would read the whole file to know the size of a table."""
_DECODER = msgspec.json.Decoder()
_ADD = "INSERT INTO counters VALUES (?1, ?2) ON CONFLICT (name) DO UPDATE SET value = value + ?2"
T = TypeVar("T")


class SqliteDocuments:
    """`driver.Documents` on one connection, inside its transaction."""

    atomic, original = True, False

    def __init__(self, connection: sqlite3.Connection, readable: ReadableDocuments) -> None:
        self.connection = connection
        self._readable = readable
        self._run = connection.execute

    @property
    def trends(self) -> SqliteTrendRows:
        return SqliteTrendRows(self.connection, self._readable)

    def get(self, table: Table, *key: object) -> Fields | None:
        row = self._run(get_statement(table), key).fetchone()
        return None if row is None else _read(table, row)

    def find(
        self,
        table: Table,
        where: Where = (),
        *,
        sort: Sequence[str] = (),
        beyond: Key = (),
        limit: int | None = None,
        fields: Sequence[str] = (),
        batch: int | None = None,
    ) -> Iterator[Fields]:
        chosen = fields if all(name in table.columns or name in table.derived for name in fields) else ()
        split = _split(where, sort)
        if len(split) > 1:
            split = _split([(name, operator, self._known(value)) for name, operator, value in where], sort)
        searches = [find_statement(table, each, sort, beyond, limit, chosen) for each in split]
        if len(searches) > 1:
            yield from self._merged(searches, sort, chosen)
            return
        text, values = searches[0]
        if chosen:
            for row in self._run(text, values):
                yield dict(zip(chosen, row, strict=True))
        else:
            for row in self._run(text, values):
                yield _read(table, row)

    def _known(self, value: object) -> object:
        """Reads an EarliestStart once for several statements; if nothing ends after it, nothing is found."""
        if not isinstance(value, EarliestStart):
            return value
        (found,) = self._run(*earliest_statement(value)).fetchone()
        return value.after_ns if found is None else found

    def _merged(
        self, searches: Sequence[tuple[str, list[object]]], sort: Sequence[str], fields: Sequence[str]
    ) -> Iterator[Fields]:
        names = [name.removeprefix("-") for name in sort]
        assert list(fields[: len(names)]) == names, "a merged search selects its sort fields first"
        rows = merge(*(self._run(text, values) for text, values in searches), reverse=sort[0].startswith("-"))
        for row in rows:
            yield dict(zip(fields, row, strict=True))

    def count(self, table: Table, where: Where = (), most: int | None = None) -> int:
        return int(self._run(*count_statement(table, where, most)).fetchone()[0])

    def tally(self, table: Table, where: Where, field: str) -> dict[Any, int]:
        return dict(self._run(*tally_statement(table, where, field)).fetchall())

    def distinct(self, table: Table, field: str, above: int, limit: int) -> list[int]:
        column = table.columns[field]
        text = f"SELECT DISTINCT {column} FROM {table.name} WHERE {column} > ? ORDER BY {column} LIMIT ?"
        return [int(value) for (value,) in self._run(text, (above, limit))]

    def insert(self, table: Table, document: Fields) -> bool:
        text = insert_statement(table)
        if not table.key:
            self._run(text, _row(table, document))
            return True
        new = self._run(f"{text} ON CONFLICT DO NOTHING", _row(table, document)).rowcount == 1
        if new and table.values is not None:
            self.add_values(table, document[table.key[0]], document.get(table.values[0], ()))
        return new

    def put(self, table: Table, documents: Iterable[Fields]) -> None:
        self.connection.executemany(put_statement(table), (_row(table, each) for each in documents))

    def add(self, table: Table, documents: Sequence[Fields]) -> int:
        return sum(self.insert(table, each) for each in documents)

    def change(self, table: Table, key: Key, changed: Changed) -> bool:
        before = self.get(table, *key)
        after = changed(None if before is None else dict(before))
        if after is None or after == before:
            return False
        if before is None:
            return self.insert(table, after)
        fields = tuple(name for name in table.columns if before.get(name) != after.get(name))
        texts = () if table.in_columns else (_text(table, after),)
        self._run(update_statement(table, fields), (*map(after.get, fields), *texts, *key))
        return True

    def set_fields(self, table: Table, where: Where, values: Mapping[str, Any]) -> int:
        moment = None if table.values is None else table.values[2]
        if moment in values:
            self._move_values(table, where, values[str(moment)])
        return self._run(*set_statement(table, where, values)).rowcount

    def _move_values(self, table: Table, where: Where, moment: object) -> None:
        """Changes the sort field of a document's texts, all of which are read, where it differs."""
        assert table.values is not None
        _, texts, field = table.values
        column, key = table.columns[field], table.columns[table.key[0]]
        for each in list(self.find(table, [*where, (field, "!=", moment)], fields=(table.key[0],))):
            text = f"UPDATE {texts} SET {column} = ? WHERE {key} = ? AND {column} != ?"
            self._run(text, (moment, each[table.key[0]], moment))

    def add_values(self, table: Table, key: object, texts: Iterable[str]) -> None:
        assert table.values is not None
        _, name, moment = table.values
        column = table.columns[table.key[0]]
        self.connection.executemany(
            f"INSERT OR IGNORE INTO {name} SELECT ?2, {table.columns[moment]}, {column} FROM {table.name} "
            f"WHERE {column} = ?1",
            ((key, text) for text in texts),
        )

    def remove_values(self, table: Table, key: object, texts: Iterable[str]) -> None:
        assert table.values is not None
        _, name, moment = table.values
        column, sort = table.columns[table.key[0]], table.columns[moment]
        self.connection.executemany(
            f"DELETE FROM {name} WHERE tag = ?2 AND {column} = ?1 AND {sort} = "
            f"(SELECT {sort} FROM {table.name} WHERE {column} = ?1)",
            ((key, text) for text in texts),
        )

    def remove(self, table: Table, where: Where, limit: int | None = None) -> int:
        if table.values is not None:
            column = table.columns[table.key[0]]
            gone = [each[table.key[0]] for each in self.find(table, where, fields=table.key)]
            text = f"DELETE FROM {table.values[1]} WHERE {column} = ?"
            self.connection.executemany(text, ((key,) for key in gone))
        return self._run(*remove_statement(table, where, limit)).rowcount

    def take(self, table: Table, *key: object) -> Fields | None:
        row = self._run(delete_statement(table), key).fetchone()
        return None if row is None else _read(table, row)

    def number(self, name: str) -> int | None:
        row = self._run("SELECT value FROM counters WHERE name = ?", (name,)).fetchone()
        return None if row is None else int(row[0])

    def next_numbers(self, name: str, count: int = 1) -> list[int]:
        """Makes one upsert, so that it is right across processes."""
        if count == 0:
            return []
        self._run(_ADD, (name, count))
        last = self.number(name) or 0
        return list(range(last - count + 1, last + 1))

    def note_taken(self, number: int) -> None: ...

    def raise_number(self, name: str, value: int | None = None) -> None:
        if value is None:
            self._run(_ADD, (name, 1))
            return
        self._run(
            "INSERT INTO counters VALUES (?1, ?2) ON CONFLICT (name) DO UPDATE SET value = max(value, ?2)",
            (name, value),
        )

    def first_number(self, name: str, drawn: int) -> int:
        self._run("INSERT OR IGNORE INTO counters VALUES (?, ?)", (name, drawn))
        return self.number(name) or 0

    def put_file(self, name: str, data: bytes, metadata: Fields) -> object:
        """Replaces a file of this name: it is not seen before the transaction ends."""
        self.delete_files([name])
        digest = hashlib.sha256(data).hexdigest()
        file = self._run(
            "INSERT INTO files (filename, length, sha256, metadata) VALUES (?, ?, ?, ?)",
            (name, len(data), digest, json.dumps(metadata)),
        ).lastrowid
        chunks = range(0, len(data), CHUNK_BYTES)
        self.connection.executemany(
            "INSERT INTO chunks VALUES (?, ?, ?)",
            ((file, n, data[offset : offset + CHUNK_BYTES]) for n, offset in enumerate(chunks)),
        )
        return None

    def keep_file(self, name: str, file: object) -> None: ...

    def drop_file(self, file: object) -> None: ...

    def read_file(self, names: Sequence[str], file: object = None, box_id: str = "") -> bytes:
        name = names[0]
        row = self._run("SELECT file, length, sha256 FROM files WHERE filename = ?", (name,)).fetchone()
        if row is None:
            raise StoreError(f"file {name}: is not in the store")
        number, length, digest = row
        chunks = self._run("SELECT data FROM chunks WHERE file = ? ORDER BY n", (number,))
        data = b"".join(chunk for (chunk,) in chunks)
        if len(data) != length or hashlib.sha256(data).hexdigest() != digest:
            raise StoreError(
                f"file {name}: is damaged ({len(data)} of {length} bytes, sha256 differs); "
                "restore it from a copy of the store"
            )
        return data

    def delete_files(self, names: Iterable[str]) -> None:
        for name in names:
            self._run("DELETE FROM chunks WHERE file = (SELECT file FROM files WHERE filename = ?)", (name,))
            self._run("DELETE FROM files WHERE filename = ?", (name,))

    def count_files(self) -> int:
        return int(self._run("SELECT count(*) FROM files").fetchone()[0])

    def beat(self) -> None: ...


class OwnNumbers:
    """`driver.NumberService`: no other program writes the file."""

    def await_service(self) -> None: ...

    def number_here(self, bound_s: float, asked: bool) -> bool:
        return True

    def number_at(self, address: str) -> int | None:
        return None

    def restate(self) -> None: ...


class SqliteDriver:
    """`driver.Driver` on the store's file."""

    original = SqliteDocuments.original
    foreign_numbers = None  # no other program writes the file
    numbers = OwnNumbers()
    expired_at_once = ExpirySlice(rows=1000, events=10, files=10_000, findings=1000)
    """One transaction, for which all other writes wait; an event has files of megabytes."""

    def __init__(self, opened: Callable[[], SqliteDatabase]) -> None:
        self._opened = opened
        self.readable = ReadableDocuments()

    @property
    def read_only(self) -> bool:
        return self._opened().read_only

    @property
    def lost_file(self) -> str | None:
        return self._opened().lost()

    def lost_incidents(self) -> int:
        return 0

    def others(self, known: Iterable[str]) -> dict[str, int]:
        return {}

    def bytes_of(self, counts: Mapping[str, int]) -> dict[str, int]:
        with self._opened().read() as connection:
            found = {"fs.chunks": int(connection.execute("SELECT total(length) FROM files").fetchone()[0])}
            for name in counts.keys() & ROW_BYTES.keys():
                rows = f"SELECT total(bytes), total(rows) FROM ({ROW_BYTES[name]} LIMIT {NEWEST_ROWS})"
                size, of = connection.execute(rows).fetchone()
                found[name] = round(counts[name] * size / of) if of else 0
        return found

    @contextmanager
    def read(self) -> Iterator[SqliteDocuments]:
        with self._opened().read() as connection:
            yield SqliteDocuments(connection, self.readable)

    def write(self, job: Callable[[SqliteDocuments], T]) -> T:
        return self.submit(job).result()

    def submit(self, job: Callable[[SqliteDocuments], T]) -> Future[T]:
        return self._opened().submit(lambda connection: job(SqliteDocuments(connection, self.readable)))

    def exclusive(self, name: str, job: Callable[[SqliteDocuments], T | None]) -> T | None:
        return self.write(job)  # one transaction writes at a time

    def close(self) -> None:
        self._opened().close()


def _split(where: Where, sort: Sequence[str]) -> list[Where]:
    """Returns the searches whose merged rows are those of a sorted search with a list of a few values."""
    for place, (name, operator, value) in enumerate(where):
        if sort and operator == "in" and isinstance(value, list | tuple) and len(value) <= FEW_VALUES:
            return [[*where[:place], (name, "=", each), *where[place + 1 :]] for each in value] or [where]
    return [where]


def _row(table: Table, document: Fields) -> tuple[object, ...]:
    columns = [document.get(name) for name in table.columns]
    return tuple(columns) if table.in_columns else (*columns, _text(table, document))


def _text(table: Table, document: Fields) -> str:
    """Returns the JSON of a document, without a key that is not a field."""
    if table.key and table.key[0].startswith("_"):
        document = {name: each for name, each in document.items() if name != table.key[0]}
    return to_json(document)


def _read(table: Table, row: tuple[Any, ...]) -> Fields:
    if table.in_columns:
        return dict(zip(read_columns(table), row, strict=True))
    if table.remembered:
        return _remembered(row[-1])
    document = _document(row[-1])
    if table.ahead:
        document.update(zip(read_columns(table), row, strict=False))
    return document


@lru_cache(20_000)
def _remembered(text: str) -> Fields:
    return _document(text)


def _document(text: str) -> Fields:
    """Reads JSON; msgspec takes a third of the time, but refuses NaN, which a document may have."""
    try:
        document: Fields = _DECODER.decode(text)
        return document
    except msgspec.DecodeError:
        return dict(json.loads(text))
