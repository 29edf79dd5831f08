"""The store in MongoDB: the original's collections, fields and file names (docs/reference/opq-interop.md,
part D).

An original database can be opened unchanged, and original tools can read this store's. This project adds
fields, and the collections `opq_counters`, `opq_crossings`, `opq_locks`, `opq_removals`, `opq_rollups`,
`opq_rollups_due`, `opq_schema`, `opq_set_back`, `opq_trigger_settings`, those of the incidents' index and
those of accounts (`account_records.TABLES`). This module has Measurements (D.1) alone; all else is written
once, in `records/`.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from heapq import merge
from itertools import chain, groupby, islice
from operator import itemgetter
from pathlib import Path
from typing import Any

from bson.int64 import Int64
from pymongo import ASCENDING, DESCENDING
from pymongo.collection import Collection
from pymongo.errors import PyMongoError

from opq_cloud.store.documents import Document, box_id_of
from opq_cloud.store.documents.event_documents import measurement_fields
from opq_cloud.store.mongo.filters import NUMBERS, TEXTS, of_boxes
from opq_cloud.store.mongo.finding_copies import MongoFindingCopies
from opq_cloud.store.mongo.mongo_accounts import MongoAccountsDriver, MongoOriginalUsers
from opq_cloud.store.mongo.mongo_driver import MongoDriver
from opq_cloud.store.mongo.mongo_server import (
    MongoServer,
    delete_where,
    expire,
    explain,
    insert_new,
    store_errors,
    upsert,
)
from opq_cloud.store.records.accounts.account_records import AccountRecords
from opq_cloud.store.records.part import expires
from opq_cloud.store.records.store_records import StoreRecords
from opq_cloud.store.store import QUERY_ROWS, LogPlace
from opq_proto.measurement.batch import Measurements
from opq_proto.measurement.fields import ORIGINAL_FIELDS, STORED
from opq_proto.messages import Measurement, Metric, TimeSource

COPIED_ROWS = 1000
OLDER_ROWS = 10
"""Rows of a Box that are tried for its latest Measurement, where the newest one cannot be read."""
WHOLE = tuple(each.name for each in STORED if each.kind in ("whole", "bound") and each.name != "timestamp_ms")
FLAGS = tuple(each.name for each in STORED if each.kind == "flag")
"""Fields of a Measurement that a document has where they are known, or set."""


class MongoStore(StoreRecords):
    """`store.CloudStore` on the database of a `mongodb://…` address (its path, else `opq`)."""

    def __init__(self, uri: str, untouched: bool = False, answer_s: float | None = None) -> None:
        server = MongoServer(uri, untouched, answer_s)
        super().__init__(MongoDriver(server))
        self.place = uri, Path(), True
        self._server, self._db, self._readable = server, server.db, server.readable
        self._rows = self._db.measurements
        self._crossings = self._db.opq_crossings
        """Measurements of a crossing, with `rms` alone: the original reads each row's frequency."""
        self._both = self._rows, self._crossings
        self._set_back = self._db.opq_set_back
        """By Box without numbers whose clock was set back: time of its last row, and its latest time."""
        self._numbers: dict[str, int] = {}
        """By Box the number of its latest row, at the last call of `latest_measurements`."""
        self._copies = MongoFindingCopies(server)
        self.people = AccountRecords(MongoAccountsDriver(server), MongoOriginalUsers(server))

    @store_errors
    def append_measurements(self, rows: Iterable[Measurement], columns: Iterable[Measurements] = ()) -> int:
        expire_at = Int64(expires(self._ttls.measurements))
        all_rows = chain(rows, *(each.rows() for each in columns))
        fresh = {d["_id"]: d for d in (_document(row, expire_at) for row in all_rows)}
        set_back = self._drop_repeated(fresh)
        if not fresh:
            return 0
        for box_id, place in set_back.items():
            upsert(partial(self._set_back.replace_one, {"_id": box_id}, place, upsert=True))
        crossings = [each for each in fresh.values() if each.get("crossing")]
        whole = [each for each in fresh.values() if not each.get("crossing")]
        return insert_new(self._rows, whole) + insert_new(self._crossings, crossings)

    def _drop_repeated(self, fresh: dict[str, Document]) -> dict[str, Document]:
        """Drops stored rows without a number; returns the place of Boxes whose last row is not their latest.

        An original row has another `_id`, so they are searched by time.
        """
        latest_ms: dict[str, int] = {}
        set_back: dict[str, Document] = {}
        for document in [each for each in fresh.values() if "sequence" not in each]:
            box_id, at_ms = document["box_id"], int(document["timestamp_ms"])
            plain = {**of_boxes([box_id]), "sequence": {"$exists": False}}
            since = {**plain, "timestamp_ms": {"$gte": at_ms}}
            found = self._rows.find_one(since, {"timestamp_ms": 1}, sort=[("timestamp_ms", DESCENDING)])
            stored_ms = at_ms - 1 if found is None else int(found["timestamp_ms"])
            if stored_ms == at_ms or (stored_ms > at_ms and self._has({**plain, "timestamp_ms": at_ms})):
                del fresh[document["_id"]]
                continue
            known_ms = latest_ms[box_id] = max(stored_ms, latest_ms.get(box_id, at_ms), at_ms)
            if known_ms > at_ms:
                set_back[box_id] = {"timestamp_ms": Int64(at_ms), "latest_ms": Int64(known_ms)}
            else:
                set_back.pop(box_id, None)
        return set_back

    def _has(self, wanted: Document) -> bool:
        return self._rows.find_one(wanted, {"_id": 1}) is not None

    def append_columns(self, columns: Measurements) -> int:
        return self.append_measurements(columns.rows())

    @store_errors
    def measurements(
        self, box_id: str, start_ms: int, end_ms: int, limit: int = QUERY_ROWS
    ) -> list[Measurement]:
        span = {**of_boxes([box_id]), "timestamp_ms": {"$gte": start_ms, "$lt": end_ms}}
        every = (rows.find(span).sort("timestamp_ms", ASCENDING).limit(limit) for rows in self._both)
        return self._read_rows(islice(merge(*every, key=itemgetter("timestamp_ms")), limit))

    @store_errors
    def latest_measurements(self) -> dict[str, Measurement]:
        """Makes one indexed query per Box and collection, from the last Box to the first."""
        newest: dict[str, Measurement] = {}
        for found in self._latest_of_each(self._rows):
            older = self._rows.find({"box_id": found["box_id"]}).sort("timestamp_ms", DESCENDING)
            every = chain([found], older.skip(1).limit(OLDER_ROWS))  # the others only if it cannot be read
            row = next(self._readable.read_all("measurements", measurement_from_document, every), None)
            if row is not None:
                _note_later(newest, row)
        for row in self._read_rows(self._latest_of_each(self._crossings)):
            _note_later(newest, row)
        self._use_order_of_writing(newest)
        return newest

    def _latest_of_each(
        self, rows: Collection[Document], fields: Sequence[str] | None = None
    ) -> Iterator[Document]:
        """Yields the document of each Box that has the latest time, by one indexed query per Box.

        A Box that some documents name by its text and others by its number has two.
        """
        order = [("box_id", DESCENDING), ("timestamp_ms", DESCENDING)]
        for each_of_type in (TEXTS, NUMBERS):
            found = rows.find_one({"box_id": each_of_type}, fields, sort=order)
            while found is not None:
                yield found
                found = rows.find_one({"box_id": {"$lt": found["box_id"]}}, fields, sort=order)

    @store_errors
    def newest_ms(self) -> int | None:
        every = self._latest_of_each(self._rows, ("box_id", "timestamp_ms"))
        times = (each.get("timestamp_ms") for each in every)
        return max((int(each) for each in times if isinstance(each, int | float)), default=None)

    def _use_order_of_writing(self, newest: dict[str, Measurement]) -> None:
        """Replaces latest rows after which others with earlier times were written: the clock was set back.

        One query looks for the next numbers of all Boxes. A Box is searched by itself where it has that, or
        still the latest row of the last call: there numbers may be missing.
        """
        numbers = {row.box_id: row.sequence for row in newest.values() if row.sequence is not None}
        following = [f"{box_id}:{number + 1}" for box_id, number in numbers.items()]
        later = {
            str(each["box_id"])
            for rows in self._both
            for each in rows.find({"_id": {"$in": following}}, {"box_id": 1})
        }
        known, self._numbers = self._numbers, numbers
        later |= {box_id for box_id, number in numbers.items() if known.get(box_id, number) == number}
        order = [("sequence", DESCENDING)]
        for box_id in later:
            after = {"box_id": box_id, "sequence": {"$gt": Int64(numbers[box_id])}}
            last = [each for rows in self._both for each in rows.find(after).sort(order).limit(1)]
            for row in self._read_rows(sorted(last, key=itemgetter("sequence"))):
                newest[box_id] = row
        for place in self._set_back.find():
            latest = newest.get(str(place["_id"]))
            if latest is None or latest.sequence is not None or latest.timestamp_ms > place["latest_ms"]:
                continue
            plain = {"box_id": latest.box_id, "timestamp_ms": place["timestamp_ms"]}
            for row in self._read_rows(self._rows.find({**plain, "sequence": {"$exists": False}}).limit(1)):
                newest[row.box_id] = row

    def last_minutes(self, length_ms: int, limit: int) -> Iterator[list[Measurement]]:
        for box_id, newest in self.latest_measurements().items():
            yield self._last_of(box_id, newest.timestamp_ms, length_ms, limit)

    @store_errors
    def _last_of(self, box_id: str, newest_ms: int, length_ms: int, limit: int) -> list[Measurement]:
        times = {"$gte": newest_ms - length_ms, "$lte": newest_ms}
        span = {**of_boxes([box_id]), "timestamp_ms": times}
        every = (rows.find(span).sort("timestamp_ms", DESCENDING).limit(limit) for rows in self._both)
        found = merge(*every, key=itemgetter("timestamp_ms"), reverse=True)
        return self._read_rows(islice(found, limit))[::-1]

    def _read_rows(self, found: Iterable[Document]) -> list[Measurement]:
        return list(self._readable.read_all("measurements", measurement_from_document, found))

    def all_measurements(
        self, damaged: Callable[[str], None], after: LogPlace = (), box_id: str | None = None
    ) -> Iterator[tuple[LogPlace, list[Measurement]]]:
        """Reads in the order of an index, with one query; those of one Box and moment stand together.

        Boxes that are named by a number come first.
        """
        order = [("box_id", ASCENDING), ("timestamp_ms", ASCENDING)]
        in_order: Callable[[Document], Any] = _in_order
        where: Document = {"timestamp_ms": NUMBERS, "$or": [{"box_id": NUMBERS}, {"box_id": TEXTS}]}
        if box_id is not None:
            at_ms = {"$gt": int(after[1])} if after else NUMBERS
            where = {**of_boxes([box_id]), "timestamp_ms": at_ms}
            order, in_order = order[1:], itemgetter("timestamp_ms")
        elif after:
            of_box = {"box_id": after[0], "timestamp_ms": {"$gt": int(after[1])}}
            texts = [] if isinstance(after[0], str) else [{"box_id": TEXTS}]
            where["$or"] = [of_box, {"box_id": {"$gt": after[0]}}, *texts]
        found: list[Document] = []
        try:
            rows = merge(*(each.find(where).sort(order) for each in self._both), key=in_order)
            for _, group in groupby(rows, in_order):
                found += group
                if len(found) >= COPIED_ROWS:
                    yield self._copied(found, damaged)
                    found = []
        except PyMongoError as error:
            raise explain(error) from error
        if found:
            yield self._copied(found, damaged)

    def _copied(
        self, found: list[Document], damaged: Callable[[str], None]
    ) -> tuple[LogPlace, list[Measurement]]:
        rows, last = self._read_rows(found), found[-1]
        if unread := len(found) - len(rows):
            damaged(f"{unread} Measurements up to {last['_id']}: cannot be read")
        return (last["box_id"], int(last["timestamp_ms"])), rows

    @store_errors
    def sequences(self, box_id: str, first: int, last: int) -> list[int]:
        span = {"box_id": box_id, "sequence": {"$gte": Int64(first), "$lte": Int64(last)}}
        found = (rows.find(span, {"_id": 0, "sequence": 1}) for rows in self._both)
        return sorted(int(document["sequence"]) for document in chain(*found))

    @store_errors
    def highest_sequence(self, box_id: str) -> int | None:
        numbered: Document = {"box_id": box_id, "sequence": {"$gte": 0}}
        order = [("sequence", DESCENDING)]
        found = (rows.find_one(numbered, {"sequence": 1}, sort=order) for rows in self._both)
        return max((int(each["sequence"]) for each in found if each is not None), default=None)

    @store_errors
    def _expire_log(self, now_s: int, slice_rows: int) -> int:
        return sum(expire(rows, now_s, slice_rows) for rows in self._both)

    @store_errors
    def _delete_log(self, box_id: str) -> None:
        for rows in self._both:
            delete_where(rows, of_boxes([box_id]))
        self._set_back.delete_one({"_id": box_id})

    @store_errors
    def _count_log(self) -> int:
        return sum(int(rows.estimated_document_count()) for rows in self._both)


def _note_later(newest: dict[str, Measurement], row: Measurement) -> None:
    known = newest.get(row.box_id)
    if known is None or row.timestamp_ms > known.timestamp_ms:
        newest[row.box_id] = row


def _in_order(document: Document) -> tuple[bool, Any, Any]:
    """The order of an index by Box and time: numbers before texts."""
    box_id = document["box_id"]
    return isinstance(box_id, str), box_id, document["timestamp_ms"]


def _document(row: Measurement, expire_at: Int64) -> Document:
    sequenced = row.sequence is not None
    document: Document = {
        "_id": f"{row.box_id}:{row.sequence}" if sequenced else f"{row.box_id}@{row.timestamp_ms}",
        **measurement_fields(row),
        "expire_at": expire_at,
        "metrics": {
            key: {"min": float(m.min), "max": float(m.max), "average": float(m.average)}
            for key, m in row.metrics.items()
        },
        "time_source": int(row.source),
    }
    document["timestamp_ms"] = Int64(row.timestamp_ms)
    for name in WHOLE:
        if (value := getattr(row, name)) is not None:
            document[name] = Int64(value)
    for name in FLAGS:
        if getattr(row, name):
            document[name] = True
    return document


def measurement_from_document(document: Document) -> Measurement:
    """Reads a Measurement; an original one has only averages, which become minimum and maximum too."""
    metrics = {
        key: Metric(float(three["min"]), float(three["max"]), float(three["average"]))
        for key, three in document.get("metrics", {}).items()
    }
    if "metrics" not in document:
        for key, field in ORIGINAL_FIELDS.items():
            if (average := document.get(field)) is not None:
                metrics[key] = Metric(float(average), float(average), float(average))
    known: dict[str, Any] = {
        name: None if document.get(name) is None else int(document[name]) for name in WHOLE
    }
    known |= {name: bool(document.get(name, False)) for name in FLAGS}
    return Measurement(
        box_id=box_id_of(document),
        timestamp_ms=int(document["timestamp_ms"]),
        metrics=metrics,
        source=TimeSource(int(document.get("time_source", 0))),
        **known,
    )
