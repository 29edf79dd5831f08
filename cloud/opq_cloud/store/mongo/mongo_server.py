"""An open MongoDB database with the original's collections: its client, counters, settings and errors.

Nothing here needs a replica set or a transaction. This project's documents have natural keys as `_id` (the
original's have an ObjectId), so that any server refuses a repeated insert.
"""

import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import wraps
from typing import ParamSpec, TypeVar

import pymongo
from bson.int64 import Int64
from gridfs import GridFS
from pymongo import ASCENDING, DESCENDING, MongoClient, ReturnDocument, WriteConcern
from pymongo.collection import Collection
from pymongo.database import Database
from pymongo.errors import (
    BulkWriteError,
    ConnectionFailure,
    DuplicateKeyError,
    InvalidURI,
    NetworkTimeout,
    OperationFailure,
    PyMongoError,
)

from opq_cloud.store.documents import Document
from opq_cloud.store.documents.readable import ReadableDocuments
from opq_cloud.store.mongo.filters import among
from opq_cloud.store.mongo.first_documents import (
    ROLLUPS_FILL,
    check_schema,
    put_first_documents,
    put_schema,
    put_whole_indexes,
)
from opq_cloud.store.mongo.lost_incidents import LostIncidents
from opq_proto.errors import StoreError
from opq_proto.kit import log
from opq_proto.kit.rate_limit import RateLimitedLog

DEFAULT_DATABASE = "opq"
ANSWER_MS = 5000
"""Time limit to find a server, and of its first answer: one that accepts connections may not answer."""
LEASE_S = 5.0
"""A lock that its holder did not renew for this time may be taken over."""
LOCK_WAIT_S = 30.0
DUPLICATE_KEY = 11000
FILES_AT_ONCE = 10_000
"""Files whose chunks are deleted together."""
DELETED_AT_ONCE = 30_000
"""Documents that one statement deletes: FerretDB names each as a parameter, of which SQLite takes 32,766 and
PostgreSQL 65,535."""
OTHERS_NUMBERS = 1_000_000
"""Incident numbers that are left to another service in the same store; it gives them one by one."""
LARGEST_NUMBER = 2**31 - 1
"""The original's numbers are 32 bits wide."""
FOREIGN_SHOWN_S = 3600.0

SILENT = "found yet, Timeout"
"""PyMongo's words where neither an answer nor a refusal came."""
FOREIGN_NUMBERS = (
    "another service numbers incidents in this store too; both may use the same number, and one incident is "
    "lost; set mauka.incident_id_endpoint to its address (the original's "
    "zmq.incident_id_provider.rep.interface), so that ours are numbered there"
)
FINDINGS = "incident_id"
"""The counter of findings. The original's incident is one finding, so ours have numbers of this counter."""
SHARED: Mapping[str, str] = {"group_id": FINDINGS}
"""Numbers that another counter gives."""
NUMBERED: Mapping[str, Sequence[tuple[str, str, Document]]] = {
    "event_id": (("events", "event_id", {}),),
    "incident_id": (("incidents", "incident_id", {}), ("incidents", "group_id", {})),
    "note_id": (("opq_incident_notes", "note_id", {}),),
    "phenomena_id": (("phenomena", "phenomena_id", {}),),
}
"""Counter -> collections, fields and filters of the documents that have its numbers."""
INDEXES: Mapping[str, Sequence[Sequence[str]]] = {
    "measurements": (("box_id", "timestamp_ms"), ("expire_at",)),
    "opq_crossings": (("box_id", "timestamp_ms"), ("box_id", "sequence"), ("expire_at",)),
    "trends": (("box_id", "timestamp_ms"), ("expire_at",)),
    "opq_rollups": (("box_id", "length_ms", "start_ms"), ("expire_at",)),
    "opq_rollups_due": (("length_ms", "start_ms", "box_id"),),
    "events": (
        ("expire_at",),
        ("finished", "analysed"),
        ("token",),
        ("-target_event_start_timestamp_ms", "-event_id"),
        ("requests",),
    ),
    "box_events": (("event_id",), ("box_id", "-event_id")),
    "makai_metrics": (("timestamp_ms",), ("expire_at",)),
    "incidents": (
        ("expire_at",),
        ("group_id", "incident_id"),
        ("end_ns",),
        ("start_ns",),
        ("box_id", "end_ns"),
    ),
    "opq_incident_heirs": (("heir",),),
    "opq_incident_index": (
        ("-severity_key", "-_id"),
        ("-length_ns", "-_id"),
        ("-start_ns", "-_id"),
        ("end_ns", "start_ns"),
        ("tags", "-start_ns", "-_id"),
    ),
    "opq_incident_notes": (("incident_id",), ("account_id",), ("note_id",)),
    "opq_incident_boxes": (
        ("-incident_id",),
        ("-start_ns", "-incident_id"),
        ("box_id", "-start_ns", "-incident_id"),
    ),
    "opq_intervals_new": (("box_id", "length_ms", "start_ns"),),
    "opq_intervals_damaged": (("start_ns", "box_id", "length_ms", "part"),),
    "opq_intervals_due": (("start_ms", "length_ms", "box_id"),),
    "opq_interval_numbers": (("box_id", "sequence"), ("expire_at",)),
    "opq_interval_blocks": (("box_id", "length_ms", "level", "start_ms"), ("start_ms",)),
    "opq_disturbances": (("box_id", "start_ns"), ("start_ns",)),
    "phenomena": (
        ("phenomena_id",),
        ("end_ts_ms",),
        ("affected_opq_boxes", "end_ts_ms"),
        ("expire_at",),
    ),
}
"""Collection -> fields of each index, `-` before one that falls."""
P = ParamSpec("P")
T = TypeVar("T")


def store_errors(call: Callable[P, T]) -> Callable[P, T]:
    """Decorates a method: a PyMongoError becomes a StoreError with one line that says what to do."""

    @wraps(call)
    def inner(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return call(*args, **kwargs)
        except PyMongoError as error:
            raise explain(error) from error

    return inner


def upsert(call: Callable[[], T]) -> T:
    """Calls an upsert, again after a duplicate key: two processes may both find nothing and both insert."""
    try:
        return call()
    except DuplicateKeyError:
        return call()


def explain(error: PyMongoError) -> StoreError:
    """Makes a StoreError, never with the address, which may contain a password."""
    text = str(error).partition(", full error:")[0].partition("(configured timeouts")[0].strip()
    if isinstance(error, NetworkTimeout) or SILENT in text:
        return StoreError(
            "MongoDB: the server does not answer in time: look at its log and its disk, start it again, or "
            "correct mongo_uri"
        )
    if isinstance(error, ConnectionFailure):
        return StoreError(f"MongoDB: {text[:200]}: start the server, or correct mongo_uri")
    if isinstance(error, InvalidURI):
        return StoreError("MongoDB: mongo_uri is not an address; want mongodb://host:port/database")
    if isinstance(error, OperationFailure) and error.code in (13, 18):
        return StoreError(f"MongoDB: {text[:200]}: check user and password in mongo_uri")
    return StoreError(f"MongoDB: {text[:300]}")


def expire(collection: Collection[Document], now_s: int, limit: int) -> int:
    """Deletes expired documents, the oldest first, some `limit` at most; returns how many.

    They are named by their time, because FerretDB compares each document with each `_id` that a statement
    names; by `_id` too where more expire in one second. So one that is kept for longer meanwhile stays.
    """
    query: Document = {"expire_at": {"$lte": now_s}}
    order = [("expire_at", ASCENDING)]
    due = list(collection.find(query, {"expire_at": 1}).sort(order).limit(limit + 1))
    if len(due) > limit:
        first, beyond = due[0]["expire_at"], due[limit]["expire_at"]
        query = {"expire_at": {"$lt": beyond}}
        if first == beyond:
            query = {"expire_at": first, "_id": {"$in": [each["_id"] for each in due[:limit]]}}
    return int(collection.delete_many(query).deleted_count) if due else 0


def delete_by_id(collection: Collection[Document], ids: Sequence[object]) -> int:
    """Deletes documents by as few statements as there may be; returns how many.

    FerretDB commits 5000 single ones for minutes.
    """
    slices = (ids[first : first + DELETED_AT_ONCE] for first in range(0, len(ids), DELETED_AT_ONCE))
    return sum(collection.delete_many({"_id": among(some)}).deleted_count for some in slices)


def delete_where(collection: Collection[Document], where: Document) -> int:
    """Deletes all documents that a filter finds, however many; returns how many."""
    deleted, last = 0, DELETED_AT_ONCE
    while last == DELETED_AT_ONCE:
        ids = [each["_id"] for each in collection.find(where, {"_id": 1}).limit(DELETED_AT_ONCE)]
        deleted, last = deleted + delete_by_id(collection, ids), len(ids)
    return deleted


def insert_new(collection: Collection[Document], documents: Sequence[Document]) -> int:
    """Inserts those of the documents that are not there, by one request; returns how many."""
    if not documents:
        return 0
    try:
        return len(collection.insert_many(documents, ordered=False).inserted_ids)
    except BulkWriteError as error:
        if any(write["code"] != DUPLICATE_KEY for write in error.details["writeErrors"]):
            raise
        return int(error.details["nInserted"])


def _key_of(field: str) -> tuple[str, int]:
    return field.removeprefix("-"), DESCENDING if field.startswith("-") else ASCENDING


class MongoServer:
    """The database at a `mongodb://…` address."""

    @store_errors
    def __init__(self, uri: str, untouched: bool = False, answer_s: float | None = None) -> None:
        """Connects, and creates missing indexes, counters and settings, unless `untouched`.

        `answer_s`: how long an answer is waited for; without it for ever, but for the first one.

        Raises:
            StoreError: no server answers, it refuses the connection, `uri` is not an address, or the
                database has another form or schema.
        """
        patience: Document = {"serverSelectionTimeoutMS": ANSWER_MS}
        if "serverselectiontimeoutms" in uri.lower():
            patience = {}  # the address sets it itself
        if answer_s is not None and "sockettimeoutms" not in uri.lower():
            patience |= {"socketTimeoutMS": int(answer_s * 1000), "retryReads": False}
        try:
            self.client: MongoClient[Document] = MongoClient(uri, appname="opq", **patience)
        except ValueError as error:  # pymongo's own parser lets through: "[", a port that is not a number
            raise InvalidURI(str(error)) from error
        try:
            chosen = self.client.get_default_database(DEFAULT_DATABASE)
            self.db: Database[Document] = chosen.with_options(write_concern=WriteConcern("majority", j=True))
            self.fs = GridFS(self.db)
            with pymongo.timeout(self.client.options.server_selection_timeout):
                is_ours = check_schema(self.db)
            if not untouched:
                if not is_ours:
                    put_schema(self.db)
                self._prepare()
                put_first_documents(self.db)
                if not is_ours:
                    put_whole_indexes(self.db)
        except (PyMongoError, StoreError):
            self.client.close()
            raise
        self._indexing, self._indexed = threading.Lock(), set[str]()
        self._numbered: set[str] = set()
        """Counters of which this process gave a number."""
        self._foreign_seen: tuple[int, float] | None = None
        self._lost, self._leave_numbers = LostIncidents(self.db), False
        """`_leave_numbers`: the next number given to a finding is OTHERS_NUMBERS higher."""
        self.draw_problem: str | None = None
        """Why the original's service gave no number at the last try."""
        self._limited = RateLimitedLog(log.get(service="store"))
        self.readable = ReadableDocuments()

    def _prepare(self) -> None:
        db, there = self.db, set(self.db.list_collection_names())
        known = {
            name: db[name].index_information() if name in there else {} for name in (*INDEXES, "opq_boxes")
        }
        for name, details in known["measurements"].items():
            if details.get("unique") and any(key == "timetstamp_ms" for key, _ in details["key"]):
                db.measurements.drop_index(name)  # by a typo, it allows only one measurement per Box
        made = {name: [details["key"] for details in found.values()] for name, found in known.items()}
        sequences = [("box_id", ASCENDING), ("sequence", ASCENDING)]
        if sequences not in made["measurements"]:
            self._unique_sequences(sequences)
        for name, indexes in INDEXES.items():
            for fields in indexes:
                # One a request: another process may make them too, and FerretDB 1.24 then breaks off at two
                if (wanted := [_key_of(field) for field in fields]) not in made[name]:
                    db[name].create_index(wanted)
        nothing = db.trends.find_one({}, {"_id": 1}) is None
        first: Document = {"$setOnInsert": {"box_id": "", "timestamp_ms": 0, "done": nothing}}
        upsert(lambda: db.opq_counters.update_one({"_id": ROLLUPS_FILL}, first, upsert=True))
        for name, key in (("events", "event_id"), ("incidents", "incident_id"), ("opq_boxes", "box_id")):
            if [(key, ASCENDING)] not in made[name]:  # the original may have one
                self._unique_index(db[name], key)

    def _unique_sequences(self, keys: list[tuple[str, int]]) -> None:
        """Makes the index of `sequences`, unique as a second guard after `_id`; old rows have no sequence."""
        try:
            self.db.measurements.create_index(
                keys, unique=True, partialFilterExpression={"sequence": {"$exists": True}}
            )
        except OperationFailure as error:
            if error.code != 238:  # NotImplemented: a stand-in without partial indexes
                raise
            self.db.measurements.create_index(keys)

    def _unique_index(self, collection: Collection[Document], key: str) -> None:
        """Creates a unique index.

        The original's event ids could start again at 1 (its weakness 9). A database with such duplicates can
        be opened too; it gets an index that is not unique.
        """
        try:
            collection.create_index(key, unique=True)
        except OperationFailure:  # a server with another reason refuses this call too
            collection.create_index(key)

    def index_once(self, collection: str, fields: tuple[str, ...]) -> None:
        """Makes indexes, before the first document only: a store without accounts has no such collections."""
        with self._indexing:
            if collection not in self._indexed:
                for name in fields:
                    self.db[collection].create_index(name, unique=name == "email")
                self._indexed.add(collection)

    def next_number(self, name: str) -> int:
        """Returns the next number of a counter, above all numbers that other programs have stored (NUMBERED).

        So a first run continues where the original stopped. A stored number of the original's incident that
        the counter did not give is another service's, which is noted; from then on OTHERS_NUMBERS numbers are
        left to it. One process draws at a time, because FerretDB 1.24 gives two the same number at once.
        """
        name = SHARED.get(name, name)
        with self.lock(f"number {name}"):
            return self._next_number(name)

    def _next_number(self, name: str) -> int:
        counters = self.db.opq_counters
        while True:
            upsert(lambda: counters.update_one({"_id": name}, {"$setOnInsert": {"value": 0}}, upsert=True))
            document = counters.find_one_and_update(
                {"_id": name}, {"$inc": {"value": 1}}, return_document=ReturnDocument.AFTER
            )
            value = int(document["value"]) if document is not None else 0
            in_use = self.highest_number(name)
            findings = name == FINDINGS
            is_free = in_use < value or value < in_use <= self._counted(name)  # or another of ours is faster
            if findings and not is_free and name in self._numbered:
                self.note_taken(in_use)
            if findings and self._leave_numbers:
                self._leave_numbers = False
                in_use = max(in_use, value)
                in_use += OTHERS_NUMBERS if in_use + OTHERS_NUMBERS <= LARGEST_NUMBER else 0
            elif is_free:
                self._numbered.add(name)
                return value
            counters.update_one({"_id": name}, {"$max": {"value": Int64(in_use)}})

    def _counted(self, name: str) -> int:
        found = self.db.opq_counters.find_one({"_id": name})
        return 0 if found is None else int(found["value"])

    def note_taken(self, number: int) -> None:
        """Notes another service, if the incident that has a number which ours did not expect is its own."""
        if self.db.incidents.find_one({"incident_id": number, "group_id": None}, {"_id": 1}) is not None:
            self.note_foreign(number)

    def note_foreign(self, number: int) -> None:
        """Notes a number of an incident that our counter did not give; the next numbers are left to it."""
        self._foreign_seen, self._leave_numbers = (number, time.monotonic()), True
        self._limited.warning("incident_numbers.foreign", number=number, problem=FOREIGN_NUMBERS)

    def lost_incidents(self) -> int:
        """Counts the incidents that the original has lost, and notes those of the last hour."""
        if lost := self._lost.read_new(FOREIGN_SHOWN_S):
            self.note_foreign(max(lost))
        return len(self._lost.numbers)

    @property
    def numbers_problem(self) -> str | None:
        if self.draw_problem is not None:
            return self.draw_problem
        seen, lost = self._foreign_seen, len(self._lost.numbers)
        if seen is None or time.monotonic() > seen[1] + FOREIGN_SHOWN_S:
            return None
        named = "1 incident of the original is" if lost == 1 else f"{lost} incidents of the original are"
        counted = f", and {named} lost or not listed" if lost else ""
        return f"{FOREIGN_NUMBERS} (number {seen[0]}{counted})"

    def highest_number(self, name: str) -> int:
        """Returns the highest stored number of a counter, whoever gave it."""
        return max(self.highest(*place) for place in NUMBERED[name])

    def highest(self, collection: str, field: str, where: Document) -> int:
        """Returns the largest number in a field, of any BSON type; 0 if no document has a number there."""
        query = {field: {"$gte": 0}, **where}
        found = self.db[collection].find_one(query, {field: 1}, sort=[(field, DESCENDING)])
        return 0 if found is None else int(found[field])

    def delete_files(self, where: Document, keep: object = None) -> None:
        """Deletes these files of GridFS, except `keep`; a missing file is not an error.

        Their chunks go first: without their file, they would never be found.
        """
        files, chunks = self.db["fs.files"], self.db["fs.chunks"]
        gone = [each["_id"] for each in files.find(where, {"_id": 1}) if each["_id"] != keep]
        for first in range(0, len(gone), FILES_AT_ONCE):
            some = gone[first : first + FILES_AT_ONCE]
            delete_where(chunks, {"files_id": among(some)})
            delete_by_id(files, some)

    @contextmanager
    def lock(self, name: str) -> Iterator["StoreLock"]:
        """Holds a lock that one of all processes has at a time; see `StoreLock`."""
        lock = StoreLock(self.db, name)
        lock.acquire()
        try:
            yield lock
        finally:
            lock.release()


class LockLostError(Exception):
    """Another process took the lock over, because this one did not renew it; the caller starts again."""


class StoreLock:
    """A lock: a document that one process holds, without transactions or a clock shared between machines.

    The holder changes `beat` before each of its writes. A waiting process that sees the same beat for
    `LEASE_S` on its own monotonic clock takes the lock by compare-and-set, so a killed holder blocks the
    others no longer than that. The next holder's work completes what it left half done.
    """

    def __init__(self, db: Database[Document], name: str) -> None:
        self._locks = db.opq_locks
        self._name = name
        self._holder = uuid.uuid4().hex
        self._beat = 0

    def acquire(self) -> None:
        """Waits for the lock; raises StoreError after `LOCK_WAIT_S`."""
        deadline = time.monotonic() + LOCK_WAIT_S
        seen: tuple[str, int] | None = None
        since = 0.0
        pause_s = 0.002
        while not self._insert():
            now = time.monotonic()
            held = self._locks.find_one({"_id": self._name})
            if held is None:
                continue
            beat = (str(held["holder"]), int(held["beat"]))
            if beat != seen:
                seen, since = beat, now
            elif now - since > LEASE_S and self._take_over(beat):
                return
            if now > deadline:
                raise StoreError(
                    f"MongoDB: lock {self._name} is held by another process for {LOCK_WAIT_S:g} s"
                )
            time.sleep(pause_s)
            pause_s = min(pause_s * 1.5, 0.05)

    def _insert(self) -> bool:
        try:
            self._locks.insert_one({"_id": self._name, "holder": self._holder, "beat": 0})
        except DuplicateKeyError:
            return False
        return True

    def _take_over(self, beat: tuple[str, int]) -> bool:
        done = self._locks.update_one(
            {"_id": self._name, "holder": beat[0], "beat": beat[1]},
            {"$set": {"holder": self._holder, "beat": 0}},
        )
        return done.modified_count == 1

    def beat(self) -> None:
        """Renews the lock; raises LockLostError where another process has it now."""
        self._beat += 1
        done = self._locks.update_one(
            {"_id": self._name, "holder": self._holder}, {"$set": {"beat": self._beat}}
        )
        if done.matched_count != 1:
            raise LockLostError

    def release(self) -> None:
        self._locks.delete_one({"_id": self._name, "holder": self._holder})
