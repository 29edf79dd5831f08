"""The store's documents in MongoDB: a job runs step by step, and each step is atomic by itself.

A document of ours has its key, or a text made from it, as `_id`, so that any server refuses a repeated
insert. Each change of a document raises its `_revision`; where that changed meanwhile, it is read again.
"""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from functools import partial
from math import inf, prod
from typing import Any, TypeVar

from bson.int64 import Int64
from gridfs.errors import CorruptGridFile, NoFile
from gridfs.grid_file import GridOut
from pymongo import ASCENDING, DESCENDING, UpdateOne
from pymongo.collection import Collection
from pymongo.errors import BulkWriteError, DuplicateKeyError, OperationFailure, PyMongoError

from opq_cloud.store.documents import box_text
from opq_cloud.store.documents.readable import ReadableDocuments
from opq_cloud.store.driver import Changed, EarliestStart, ExpirySlice, Fields, Key, Table, Where
from opq_cloud.store.mongo.filters import REVISION, among, filter_of, following, needed
from opq_cloud.store.mongo.mongo_server import (
    DELETED_AT_ONCE,
    FINDINGS,
    SHARED,
    LockLostError,
    MongoServer,
    StoreLock,
    delete_by_id,
    delete_where,
    explain,
    insert_new,
    store_errors,
    upsert,
)
from opq_cloud.store.mongo.number_service import MongoNumbers
from opq_cloud.store.mongo.trend_rows import MongoTrendRows
from opq_proto.errors import StoreError

T = TypeVar("T")
DOCUMENTS_PER_REQUEST = 100
"""Documents that one request puts."""
FEW_DOCUMENTS = 5000
"""If fewer documents end after a moment, a search since then starts at the earliest start of these."""
OWN = frozenset(
    {
        "measurements",
        "trends",
        "opq_rollups",
        "opq_counters",
        "opq_crossings",
        "opq_locks",
        "opq_schema",
        "opq_set_back",
        "fs.files",
        "fs.chunks",
        "system.views",
        "system.profile",
    }
)
"""Collections that are not tables."""
LONG_ENDINGS = ("_ns", "_ms")
LONG_FIELDS = frozenset({"expire_at", "first_sample", "gateway_id", "clock_id", "start_id", "worst_id"})
"""Whole numbers of these names have 64 bits, however small they are."""


class MongoDocuments:
    """`driver.Documents` on an open database, with the lock of `exclusive` where there is one."""

    atomic, original = False, True

    def __init__(self, server: MongoServer, numbers: MongoNumbers, lock: StoreLock | None = None) -> None:
        self._server, self._db, self._lock = server, server.db, lock
        self._numbers = numbers
        self.trends = MongoTrendRows(server)

    def _of(self, table: Table) -> Collection[Fields]:
        return self._db[table.collection or table.name]

    def get(self, table: Table, *key: object) -> Fields | None:
        return _plain(table, self._one(table, key, needed(table)))

    def _one(self, table: Table, key: Key, fields: Fields | None = None) -> Fields | None:
        """Returns the document of a key; of a Box's text and its number the text's, which others read."""
        order = [("box_id", DESCENDING)] if table.foreign_boxes and "box_id" in table.key else None
        return self._of(table).find_one(self._wanted(table, key), fields, sort=order)

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
        query = following(table, self._filter(table, where), sort, beyond)
        found = self._of(table).find(query, needed(table, fields))
        if sort:
            turn = DESCENDING if sort[0].startswith("-") else ASCENDING
            found = found.sort([(_name(table, each.removeprefix("-")), turn) for each in sort])
        for document in found.limit(limit or 0).batch_size(batch or 0):
            plain = _plain(table, document)
            assert plain is not None
            yield plain

    def _filter(self, table: Table, where: Where) -> Fields:
        return filter_of(table, [(name, operator, self._known(value)) for name, operator, value in where])

    def _known(self, value: object) -> object:
        """Reads an EarliestStart; if nothing ends after it, nothing is found."""
        if not isinstance(value, EarliestStart):
            return value
        later = {"end_ns": {"$gt": value.after_ns}}
        found = self._of(value.table).find(later, {"_id": 0, "start_ns": 1}).limit(FEW_DOCUMENTS)
        starts = [int(each["start_ns"]) for each in found]
        return min(starts, default=value.after_ns) if len(starts) < FEW_DOCUMENTS else 0

    def _wanted(self, table: Table, key: Key) -> Fields:
        return filter_of(table, [(name, "=", value) for name, value in zip(table.key, key, strict=True)])

    def count(self, table: Table, where: Where = (), most: int | None = None) -> int:
        if not where and most is None:
            return int(self._of(table).estimated_document_count())
        bounded: Fields = {} if most is None else {"limit": most}
        return int(self._of(table).count_documents(self._filter(table, where), **bounded))

    def tally(self, table: Table, where: Where, field: str) -> dict[Any, int]:
        counts: dict[Any, int] = {}
        name = _name(table, field)  # without `_id` an index that has all of it is enough
        for document in self._of(table).find(
            self._filter(table, where), {"_id": int(name == "_id"), name: 1}
        ):
            if (value := document.get(name)) is not None:
                counts[value] = counts.get(value, 0) + 1
        return counts

    def distinct(self, table: Table, field: str, above: int, limit: int) -> list[int]:
        found = self._of(table).distinct(_name(table, field), {_name(table, field): {"$gt": above}})
        return sorted(int(value) for value in found)[:limit]

    def insert(self, table: Table, document: Fields) -> bool:
        if table.indexed:
            self._server.index_once(table.name, table.indexed)
        self.beat()
        try:
            self._of(table).insert_one(_stored(table, document))
        except DuplicateKeyError:
            return False
        return True

    def put(self, table: Table, documents: Iterable[Fields]) -> None:
        every = list(documents)
        for first_at in range(0, len(every), DOCUMENTS_PER_REQUEST):
            some = every[first_at : first_at + DOCUMENTS_PER_REQUEST]
            self.beat()
            changes = [_change(table, each) for each in some]
            if not table.kept:
                self._upsert(table, changes)
            elif self._of(table).bulk_write([UpdateOne(*each) for each in changes]).matched_count < len(some):
                (key,) = table.key
                there = self.tally(table, [(key, "in", [each[key] for each in some])], key)
                self.add(table, [each for each in some if each[key] not in there])

    def _upsert(self, table: Table, changes: Sequence[tuple[Fields, Fields]]) -> None:
        """Upserts in one request; where another process inserts one of them meanwhile, one by one."""
        collection = self._of(table)
        if len(changes) > 1:
            with suppress(BulkWriteError):
                collection.bulk_write([UpdateOne(*each, upsert=True) for each in changes])
                return
        for where, change in changes:
            upsert(partial(collection.update_one, where, change, upsert=True))

    def add(self, table: Table, documents: Sequence[Fields]) -> int:
        self.beat()
        return insert_new(self._of(table), [_stored(table, each) for each in documents])

    def change(self, table: Table, key: Key, changed: Changed) -> bool:
        collection = self._of(table)
        while True:
            found = self._one(table, key)
            before = _plain(table, found)
            after = changed(None if before is None else dict(before))
            if after is None:
                return False
            if found is None or before is None:
                if self.insert(table, after):
                    return True
                continue
            values = {
                name: each for name, each in after.items() if name not in before or before[name] != each
            }
            gone = {name: "" for name in before if name not in after and name != "_id"}
            if not values and not gone:
                return False
            same, change = _same(table, found, [*values, *gone]), {"$set": _wide(table, values)}
            if table.versioned:
                change["$set"][REVISION] = int(found.get(REVISION) or 0) + 1
            if gone:
                change["$unset"] = gone
            if not change["$set"]:
                del change["$set"]
            if collection.update_one(same, change).matched_count == 1:
                return True

    def set_fields(self, table: Table, where: Where, values: Mapping[str, Any]) -> int:
        change: Fields = {"$set": _wide(table, dict(values))}
        if table.versioned:
            change["$inc"] = {REVISION: 1}
        self.beat()
        return int(self._of(table).update_many(self._filter(table, where), change).matched_count)

    def add_values(self, table: Table, key: object, texts: Iterable[str]) -> None:
        assert table.values is not None
        if added := sorted(texts):
            change = {"$addToSet": {table.values[0]: {"$each": added}}}
            self._of(table).update_one(_key(table, (key,)), change)

    def remove_values(self, table: Table, key: object, texts: Iterable[str]) -> None:
        assert table.values is not None
        if gone := sorted(texts):
            change = {"$pullAll": {table.values[0]: gone}}
            self._of(table).update_one(_key(table, (key,)), change)

    def remove(self, table: Table, where: Where, limit: int | None = None) -> int:
        self.beat()
        collection, query = self._of(table), self._filter(table, where)
        if limit is not None:
            return delete_by_id(
                collection, [each["_id"] for each in collection.find(query, {"_id": 1}).limit(limit)]
            )
        if _most(table, where) <= DELETED_AT_ONCE:
            return int(collection.delete_many(query).deleted_count)
        return delete_where(collection, query)

    def take(self, table: Table, *key: object) -> Fields | None:
        found = self._one(table, key)
        if found is None or self._of(table).delete_one(_this(table, found)).deleted_count != 1:
            return None
        return _plain(table, found)

    def number(self, name: str) -> int | None:
        found = self._db.opq_counters.find_one({"_id": SHARED.get(name, name)})
        return None if found is None else int(found["value"])

    def next_numbers(self, name: str, count: int = 1) -> list[int]:
        if count and SHARED.get(name, name) == FINDINGS and (address := self._numbers.address()):
            self.beat()
            return self._numbers.draw(address, count)
        return [self._server.next_number(name) for _ in range(count)]

    def note_taken(self, number: int) -> None:
        self._server.note_taken(number)

    def raise_number(self, name: str, value: int | None = None) -> None:
        change = {"$inc": {"value": Int64(1)}} if value is None else {"$max": {"value": Int64(value)}}
        counters, name = self._db.opq_counters, SHARED.get(name, name)
        upsert(lambda: counters.update_one({"_id": name}, change, upsert=True))

    def first_number(self, name: str, drawn: int) -> int:
        counters, first = self._db.opq_counters, {"$setOnInsert": {"value": Int64(drawn)}}
        name = SHARED.get(name, name)
        upsert(lambda: counters.update_one({"_id": name}, first, upsert=True))
        found = self.number(name)
        if found is None:
            raise StoreError(f"opq_counters: {name}, which was just created, is missing")
        return found

    def put_file(self, name: str, data: bytes, metadata: Fields) -> object:
        digest = hashlib.sha256(data).hexdigest()
        return self._server.fs.put(data, filename=name, metadata={**metadata, "sha256": digest})

    def keep_file(self, name: str, file: object) -> None:
        self._server.delete_files({"filename": name}, keep=file)

    def drop_file(self, file: object) -> None:
        self._server.delete_files({"_id": file})

    def delete_files(self, names: Iterable[str]) -> None:
        if listed := list(names):
            self._server.delete_files({"filename": among(listed)})

    def read_file(self, names: Sequence[str], file: object = None, box_id: str = "") -> bytes:
        found = self._file(names, file, box_id)
        try:
            data: bytes = found.read()
        except CorruptGridFile as error:
            raise StoreError(f"file {found.filename}: is damaged ({error})") from error
        digest = (found.metadata or {}).get("sha256")
        if digest is not None and hashlib.sha256(data).hexdigest() != digest:
            raise StoreError(
                f"file {found.filename}: is damaged (sha256 differs); restore it from a copy of the store"
            )
        return data

    def _file(self, names: Sequence[str], file: object, box_id: str) -> GridOut:
        if file is not None:
            try:
                found: GridOut = self._server.fs.get(file)
                return found
            except NoFile:
                raise StoreError(f"file {names[0]}: is not in the store") from None
        for name in names:
            every: list[GridOut] = list(self._server.fs.find({"filename": name}))
            if box_id:
                every = [each for each in every if (each.metadata or {}).get("box_id", box_id) == box_id]
            if every:  # where both services stored one, ours: the original's document was refused
                return max(every, key=lambda each: "sha256" in (each.metadata or {}))
        raise StoreError(f"file {names[0]}: is not in the store")

    def count_files(self) -> int:
        return int(self._db["fs.files"].estimated_document_count())

    def beat(self) -> None:
        if self._lock is not None:
            self._lock.beat()


class MongoDriver:
    """`driver.Driver` on an open database."""

    original = MongoDocuments.original
    expired_at_once = ExpirySlice(rows=20_000, events=5000, files=20_000, findings=20_000)
    """Many, because FerretDB reads a whole collection for each statement; no other write waits for them.
    """

    def __init__(self, server: MongoServer) -> None:
        self._server = server
        self.numbers = MongoNumbers(server)
        self._documents = MongoDocuments(server, self.numbers)

    @property
    def readable(self) -> ReadableDocuments:
        return self._server.readable

    @property
    def read_only(self) -> bool:
        return False

    @property
    def lost_file(self) -> str | None:
        """Returns None: it is not a file of this machine, and each call reports what fails."""
        return None

    @property
    def foreign_numbers(self) -> str | None:
        return self._server.numbers_problem

    @store_errors
    def lost_incidents(self) -> int:
        return self._server.lost_incidents()

    @store_errors
    def others(self, known: Iterable[str]) -> dict[str, int]:
        db = self._server.db
        names = sorted({*db.list_collection_names()} - {*known, *OWN})
        return {name: count for name in names if (count := db[name].estimated_document_count())}

    def bytes_of(self, counts: Mapping[str, int]) -> dict[str, int]:
        found = {}
        with self.read():
            for name in counts:
                with suppress(
                    OperationFailure
                ):  # another server with MongoDB's protocol may lack the command
                    stats = self._server.db.command("collStats", name)
                    found[name] = int(stats["size"]) + int(stats.get("totalIndexSize", 0))
        return found

    @contextmanager
    def read(self) -> Iterator[MongoDocuments]:
        try:
            yield self._documents
        except PyMongoError as error:
            raise explain(error) from error

    def write(self, job: Callable[[MongoDocuments], T]) -> T:
        with self.read() as documents:
            return job(documents)

    def submit(self, job: Callable[[MongoDocuments], T]) -> Future[T]:
        done: Future[T] = Future()
        try:
            done.set_result(self.write(job))
        except StoreError as error:
            done.set_exception(error)
        return done

    def exclusive(self, name: str, job: Callable[[MongoDocuments], T | None]) -> T | None:
        try:
            with self.read(), self._server.lock(name) as lock:
                return job(MongoDocuments(self._server, self.numbers, lock))
        except LockLostError:
            return None  # the steps done stay valid; the next run of the job completes the rest

    def close(self) -> None:
        self._server.client.close()


def _name(table: Table, field: str) -> str:
    return "_id" if field == table.id_field else field


def _key(table: Table, key: Sequence[object]) -> Fields:
    return {_name(table, name): value for name, value in zip(table.key, key, strict=True)}


def _most(table: Table, where: Where) -> float:
    """Returns the most documents that these conditions find, by the key's values; infinite: not known."""
    counts = {
        name: len(value) if operator == "in" else 1
        for name, operator, value in where
        if operator in ("=", "in")
    }
    return prod(counts.get(name, inf) for name in table.key)


def _this(table: Table, found: Fields) -> Fields:
    """Returns the filter of one document, with its shard key (docs/schema.md): the key begins with that."""
    names = [_name(table, name) for name in table.key]
    return {"_id": found["_id"], **{name: found[name] for name in names if name in found}}


def _stored(table: Table, document: Fields) -> Fields:
    """Returns a document as it is inserted."""
    stored = _wide(table, document)
    if table.id_field:
        stored = {"_id": stored.pop(table.id_field), **stored}
    elif table.identity is not None:
        stored = {"_id": table.identity(document), **stored}
    return stored


def _change(table: Table, document: Fields) -> tuple[Fields, Fields]:
    """Returns the filter and the change that put a document.

    One with kept fields is inserted whole where it is new: FerretDB drops an empty list of $setOnInsert.
    """
    stored = _stored(table, document)
    identity = stored.pop("_id", None)
    values = {name: value for name, value in stored.items() if name not in (*table.kept, REVISION)}
    where = _key(table, [document[name] for name in table.key])
    return (where if identity is None else {"_id": identity, **where}), {"$set": values}


def _plain(table: Table, found: Fields | None) -> Fields | None:
    if found is None:
        return None
    plain = {name: value for name, value in found.items() if name != REVISION}
    if table.id_field:
        plain[table.id_field] = plain.pop("_id")
    if table.foreign_boxes and "box_id" in plain:
        plain["box_id"] = box_text(plain["box_id"])
    return plain


def _same(table: Table, found: Fields, changed: Sequence[str]) -> Fields:
    """Returns the filter that finds a document only if it was not changed meanwhile.

    A document without a revision is compared by the texts and numbers that change.
    """
    same = _this(table, found)
    if table.versioned:
        return same | {REVISION: found.get(REVISION)}
    for name in changed:
        if name not in found:
            same[name] = {"$exists": False}
        elif not isinstance(found[name], list | dict):
            same[name] = found[name]
    return same


def _wide(table: Table, document: Fields) -> Fields:
    """Returns a copy with whole numbers of 64 bits where their name or the table asks for it."""
    return {name: _widened(value, table.wide or _is_long(name)) for name, value in document.items()}


def _is_long(name: str) -> bool:
    return name.endswith(LONG_ENDINGS) or name in LONG_FIELDS


def _widened(value: Any, long: bool) -> Any:
    if isinstance(value, bool):
        return value
    if isinstance(value, int):
        return Int64(value) if long else value
    if isinstance(value, dict):
        return {name: _widened(each, long or _is_long(name)) for name, each in value.items()}
    return [_widened(each, long) for each in value] if isinstance(value, list | tuple) else value
