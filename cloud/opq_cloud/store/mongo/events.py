"""Events in the original's `events`, `box_events` and GridFS (D.3 to D.5).

A waveform is stored in three steps: its file, its `box_events` document (unique by its `_id`), and the
event's lists. If the process is killed between them, putting the waveform again completes them.
"""

import hashlib
import time
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Future
from itertools import islice

from bson.int64 import Int64
from gridfs.errors import CorruptGridFile
from gridfs.grid_file import GridOut
from pymongo import ASCENDING, DESCENDING
from pymongo.errors import DuplicateKeyError

from opq_cloud.store.documents import Document
from opq_cloud.store.documents.events import (
    by_box,
    counts_to_bytes,
    event_document,
    event_record,
    file_name,
    half_cycles_bytes,
    half_cycles_name,
    half_cycles_of_bytes,
    meets,
    moved_fields,
    waveform_document,
    waveform_from_document,
    waveform_place,
)
from opq_cloud.store.documents.sample_requests import (
    ANALYSIS_ASKED,
    LONGER,
    REQUESTS_READ,
    WAITING,
    SamplesAnswer,
    StoredSampleRequest,
    answered_request,
    new_requests,
    request_document,
    requests_of,
)
from opq_cloud.store.event_record import EventRecord
from opq_cloud.store.incidents.index import IndexPlace
from opq_cloud.store.mongo.part import MongoPart
from opq_cloud.store.mongo.server import MongoServer, store_errors
from opq_cloud.store.readable import READ_ERRORS
from opq_cloud.store.waveform_parts import joined_waveform
from opq_cloud.store.waveform_place import WaveformPlace
from opq_proto.decision import NS_PER_MS
from opq_proto.errors import StoreError
from opq_proto.messages import Event, Trigger, Waveform
from opq_proto.wire.half_cycles import HalfCycleRms

_LONG = ("target_event_start_timestamp_ms", "target_event_end_timestamp_ms", "start_ns", "end_ns")


class MongoEvents(MongoPart):
    """Events and waveforms in MongoDB."""

    def __init__(self, server: MongoServer) -> None:
        super().__init__(server)
        self._events = server.db.events
        self._parts = server.db.box_events

    @store_errors
    def next_event_id(self) -> int:
        return self._server.next_number("event_id")

    @store_errors
    def open_event(self, trigger: Trigger, description: str, event_id: int | None = None) -> int:
        key = f"token {trigger.token}"
        while True:
            known = self._events.find_one({"_id": key}, {"event_id": 1})
            if known is not None:
                return int(known["event_id"])
            number, event_id = event_id or self.next_event_id(), None
            expire_at = self._expires(self._ttls.events)
            document = event_document(number, trigger, description, expire_at)
            document.update({name: Int64(document[name]) for name in _LONG})
            try:
                self._events.insert_one({"_id": key, **document})
            except DuplicateKeyError:  # another process opened it, or the original took the id
                continue
            return number

    @store_errors
    def widen_event(
        self, event_id: int, asked_as: Mapping[str, Sequence[str]], not_asked: Mapping[str, int]
    ) -> None:
        same: Document = {"event_id": event_id}
        for reason, boxes in asked_as.items():
            for box_id in boxes:  # each step is atomic and can be repeated: other processes write too
                new = {"$push": {"boxes_triggered": box_id, f"asked_as.{reason}": box_id}}
                again = {"$unset": {f"missing.{box_id}": ""}}
                open_again: Document = {"$set": {"finished": False}}
                where = {**same, "boxes_triggered": {"$ne": box_id}}
                if self._events.update_one(where, new | open_again).matched_count == 0:
                    owing = {**same, f"missing.{box_id}": {"$exists": True}}
                    self._events.update_one(owing, again | open_again)
        self._events.update_one(same, {"$set": {"not_asked": dict(not_asked)}})

    @store_errors
    def move_event(self, event_id: int, by_ns: int) -> None:
        self._require(event_id)
        document = self._events.find_one({"event_id": event_id}) or {}
        same: Document = {"event_id": event_id, "moved_ns": {"$exists": False}}
        self._events.update_one(same, {"$set": moved_fields(document, by_ns)})

    @store_errors
    def request_samples(self, event_id: int, wanted: Sequence[StoredSampleRequest], most_rounds: int) -> int:
        while True:
            document = self._events.find_one({"event_id": event_id})
            known = {} if document is None else requests_of(document)
            new = {} if document is None else new_requests(known, wanted, most_rounds)
            if not new:
                return 0
            where: Document = {"event_id": event_id, f"more.{min(new)}": {"$exists": False}}
            made = {f"more.{number}": request_document(each) for number, each in new.items()}
            done = self._events.update_one(where, {"$set": made, "$inc": {"requests": len(new)}})
            if done.matched_count:  # else another process has added requests meanwhile
                return len(new)

    @store_errors
    def events_with_requests(self) -> list[EventRecord]:
        found = self._events.find({"requests": {"$gt": 0}}).sort("event_id", ASCENDING).limit(REQUESTS_READ)
        return self._read_events(found)

    @store_errors
    def answer_request(self, event_id: int, number: int, answer: SamplesAnswer) -> bool:
        document = self._events.find_one({"event_id": event_id})
        request = None if document is None else requests_of(document).get(number)
        if document is None or request is None or request.state != WAITING:
            return False
        change: Document = {f"more.{number}": request_document(answered_request(request, answer))}
        update: Document = {"$set": change, "$inc": {"requests": -1}}
        if answer.spans:
            own = document["start_ns"], document["end_ns"]
            change["finished"] = False
            change |= {f"owed.{box}": list(span) for box, span in answer.spans.items() if span != own}
            received = document["boxes_received"]
            change |= {f"missing.{box}": LONGER for box in answer.spans if box in received}
            if gone := {f"missing.{box}": "" for box in answer.spans if box not in received}:
                update["$unset"] = gone
            boxes = {"$each": list(answer.spans)}
            update["$addToSet"] = {"boxes_triggered": boxes}
            if new := [box for box in answer.spans if box not in document["boxes_triggered"]]:
                update["$addToSet"][f"asked_as.{ANALYSIS_ASKED}"] = {"$each": new}
        where = {"event_id": event_id, f"more.{number}.state": WAITING}
        return self._events.update_one(where, update).matched_count == 1

    @store_errors
    def put_waveform(self, event_id: int, wave: Waveform) -> bool:
        self._require(event_id)
        key = file_name(event_id, wave.box_id)
        new = None
        while new is None:  # another process may put a part at the same time
            part = self._parts.find_one({"_id": key})
            new = self._claim(event_id, wave, key) if part is None else self._extend(part, wave, key)
        where: Document = {"event_id": event_id}
        if not new:  # needed only if the process that put it was killed before this step
            where["boxes_received"] = {"$ne": wave.box_id}
        change: Document = {
            "$addToSet": {"boxes_received": wave.box_id},
            "$inc": {"revision": 1},
            "$set": {"analysed": False},
            "$unset": {f"missing.{wave.box_id}": ""},
        }
        self._events.update_one(where, change)
        return new

    def begin_waveform(self, event_id: int, wave: Waveform) -> Future[bool]:
        stored: Future[bool] = Future()
        try:
            stored.set_result(self.put_waveform(event_id, wave))
        except StoreError as error:
            stored.set_exception(error)
        return stored

    def _claim(self, event_id: int, wave: Waveform, key: str) -> bool | None:
        """Puts a Box's first part; None where another process was faster."""
        document, file_id = self._put_file(event_id, wave, key)
        try:
            self._parts.insert_one({"_id": key, **document})
        except DuplicateKeyError:
            self._server.delete_files({"_id": file_id})
            return None
        # Deletes files of processes that were killed before their claim, or lost it just now.
        self._server.delete_files({"filename": key}, keep=file_id)
        return True

    def _extend(self, part: Document, wave: Waveform, key: str) -> bool | None:
        """Adds what is new to a stored part; False if nothing is, None if another process changed it."""
        try:
            held = self._read_waveform(part)
        except StoreError:
            whole = wave  # replaces what cannot be read
        else:
            whole = joined_waveform(held, wave)
            if whole is held:
                return False
        document, file_id = self._put_file(int(part["event_id"]), whole, key)
        same = {"_id": key, "data_fs_id": part.get("data_fs_id")}
        if self._parts.update_one(same, {"$set": document}).matched_count == 0:
            self._server.delete_files({"_id": file_id})
            return None
        self._server.delete_files({"filename": key}, keep=file_id)
        return True

    def _put_file(self, event_id: int, wave: Waveform, key: str) -> tuple[Document, object]:
        """Stores the samples as a new file; returns the document that names it, and the file's id."""
        document = waveform_document(event_id, wave, self._box_location(wave.box_id))
        document["stored_ns"] = time.time_ns()
        for name in ("event_start_timestamp_ms", "event_end_timestamp_ms", "start_ns", "first_sample"):
            document[name] = Int64(document[name])
        data = counts_to_bytes(wave)
        digest = hashlib.sha256(data).hexdigest()
        metadata = {"event_id": event_id, "box_id": wave.box_id, "sha256": digest}
        file_id = self._server.fs.put(data, filename=key, metadata=metadata)
        return {**document, "data_fs_id": file_id}, file_id

    @store_errors
    def put_half_cycles(self, event_id: int, found: HalfCycleRms) -> bool:
        """Stores the file, then changes the event; a process killed between leaves a file to be replaced."""
        self._require(event_id)
        name = f"half_cycles.{found.box_id}"
        there: Document = {"event_id": event_id, name: ""}
        if self._events.find_one(there, {"_id": 1}) is not None:
            return False
        data, key = half_cycles_bytes(found), half_cycles_name(event_id, found.box_id)
        digest = hashlib.sha256(data).hexdigest()
        metadata = {"event_id": event_id, "box_id": found.box_id, "sha256": digest}
        file_id = self._server.fs.put(data, filename=key, metadata=metadata)
        change: Document = {"$set": {name: "", "analysed": False}, "$inc": {"revision": 1}}
        new = self._events.update_one({"event_id": event_id, name: {"$ne": ""}}, change).matched_count == 1
        if new:
            self._server.delete_files({"filename": key}, keep=file_id)
        else:  # another process was faster
            self._server.delete_files({"_id": file_id})
        return new

    @store_errors
    def mark_no_half_cycles(self, event_id: int, box_id: str, why: str) -> None:
        self._require(event_id)
        name = f"half_cycles.{box_id}"
        self._events.update_one({"event_id": event_id, name: {"$ne": ""}}, {"$set": {name: why}})

    @store_errors
    def half_cycles(self, event_id: int) -> dict[str, HalfCycleRms]:
        document = self._events.find_one({"event_id": event_id}, {"half_cycles": 1}) or {}
        found = {}
        for box_id in (box_id for box_id, why in document.get("half_cycles", {}).items() if not why):
            for file in self._server.fs.find({"filename": half_cycles_name(event_id, box_id)}):
                data = file.read()
                if hashlib.sha256(data).hexdigest() == (file.metadata or {}).get("sha256"):
                    found[box_id] = half_cycles_of_bytes(box_id, data)
        return found

    @store_errors
    def mark_missing(self, event_id: int, box_id: str, why: str) -> None:
        self._require(event_id)
        self._events.update_one({"event_id": event_id}, {"$set": {f"missing.{box_id}": why}})

    @store_errors
    def finish_event(self, event_id: int) -> bool:
        self._require(event_id)
        done = self._events.update_one(
            {"event_id": event_id, "finished": {"$ne": True}},
            {"$set": {"finished": True, "analysed": False, "finished_ns": time.time_ns()}},
        )
        return done.modified_count == 1

    @store_errors
    def mark_analysed(self, event_id: int, revision: int | None = None) -> bool:
        self._require(event_id)
        where: Document = {"event_id": event_id}
        if revision:  # an event of the original or an older version has none, read as 0
            where["revision"] = revision
        elif revision == 0:
            where["revision"] = {"$in": [0, None]}
        change = {"$set": {"analysed": True, "analysed_ns": time.time_ns()}}
        return self._events.update_one(where, change).matched_count == 1

    @store_errors
    def unmark_analysed(self, event_id: int) -> None:
        self._require(event_id)
        change = {"$set": {"analysed": False}, "$inc": {"revision": 1}}
        self._events.update_one({"event_id": event_id}, change)

    def _require(self, event_id: int) -> None:
        if self._events.find_one({"event_id": event_id}, {"_id": 1}) is None:
            raise StoreError(f"event {event_id}: is not in the store; open it first")

    def unfinished_events(self) -> list[EventRecord]:
        return self._records({"finished": False})

    def unanalysed_events(self) -> list[EventRecord]:
        return self._records({"finished": True, "analysed": False})

    @store_errors
    def _records(self, query: Document) -> list[EventRecord]:
        return self._read_events(self._events.find(query).sort("event_id", ASCENDING))

    def _read_events(self, found: Iterable[Document]) -> list[EventRecord]:
        return list(self._readable.read_all("events", event_record, found))

    @store_errors
    def event_record(self, event_id: int) -> EventRecord | None:
        document = self._events.find_one({"event_id": event_id})
        return self._readable.read_one("events", event_record, document)

    @store_errors
    def waveform_times(self, event_id: int) -> dict[str, int]:
        found = self._parts.find({"event_id": event_id, "stored_ns": {"$exists": True}})
        return {str(part["box_id"]): int(part["stored_ns"]) for part in found}

    @store_errors
    def waveform_places(self, box_id: str, event_id: int, limit: int) -> list[WaveformPlace]:
        same: Document = {"box_id": box_id, "event_id": {"$lte": event_id}}
        found = self._parts.find(same).sort("event_id", DESCENDING).limit(limit)
        return list(self._readable.read_all("box_events", waveform_place, found))

    @store_errors
    def waveform(self, event_id: int, box_id: str) -> Waveform | None:
        part = self._parts.find_one({"event_id": event_id, "box_id": box_id})
        if part is None:
            return None
        try:
            return self._read_waveform(part)
        except StoreError:
            return None
        except READ_ERRORS as error:
            self._readable.note("box_events", part, error)
            return None

    @store_errors
    def events(
        self, start_ns: int | None = None, end_ns: int | None = None, limit: int = 100
    ) -> list[EventRecord]:
        """Selects by the original's milliseconds, which every event has, then by nanoseconds."""
        found = self._events.find(_span_query(start_ns, end_ns)).sort("event_id", DESCENDING)
        return self._met(found, start_ns, end_ns, limit)

    @store_errors
    def events_by_start(
        self,
        limit: int,
        beyond: IndexPlace | None = None,
        start_ns: int | None = None,
        end_ns: int | None = None,
    ) -> list[EventRecord]:
        query, key = _span_query(start_ns, end_ns), "target_event_start_timestamp_ms"
        if beyond is not None:
            start_ms = Int64(beyond.value)
            query[key] = {"$lte": min(start_ms, query.get(key, {}).get("$lte", start_ms))}
            query["$or"] = [{key: {"$lt": start_ms}}, {key: start_ms, "event_id": {"$lt": beyond.number}}]
        found = self._events.find(query).sort([(key, DESCENDING), ("event_id", DESCENDING)])
        return self._met(found, start_ns, end_ns, limit)

    @store_errors
    def event(self, event_id: int) -> Event | None:
        record = self.event_record(event_id)
        if record is None:
            return None
        missing = dict(record.missing)
        waves = []
        for part in self._parts.find({"event_id": event_id}):
            try:
                waves.append(self._read_waveform(part))
            except StoreError as error:
                missing[str(part.get("box_id"))] = str(error)
            except READ_ERRORS as error:
                self._readable.note("box_events", part, error)
                missing[str(part.get("box_id"))] = "its document in box_events cannot be read"
        return Event(record.event_id, record.start_ns, record.end_ns, by_box(waves), missing)

    def _read_waveform(self, part: Document) -> Waveform:
        """Returns the waveform of a `box_events` document, also of one that the original wrote.

        Raises:
            StoreError: the file is missing or empty, or its bytes are damaged.
        """
        file = self._file(part)
        name = file.filename
        try:
            data = file.read()
        except CorruptGridFile as error:
            raise StoreError(f"file {name}: is damaged ({error})") from error
        digest = (file.metadata or {}).get("sha256")
        if digest is not None and hashlib.sha256(data).hexdigest() != digest:
            raise StoreError(f"file {name}: is damaged (sha256 differs); restore it from a copy of the store")
        # the original stores one if a Box has no samples of the span (docs/reference/opq-interop.md H.14)
        if not data:
            raise StoreError(f"file {name}: has no samples")
        if len(data) % 2:
            raise StoreError(f"file {name}: has an odd number of bytes")
        box = self._db.opq_boxes.find_one({"box_id": part["box_id"]}) or {}
        return waveform_from_document(part, data, box.get("calibration_constant"))

    def _file(self, part: Document) -> GridOut:
        """Finds the file of a waveform, under all names that the original's writers use (D.5)."""
        if "data_fs_id" in part:
            file: GridOut = self._server.fs.get(part["data_fs_id"])
            return file
        box_id = str(part["box_id"])
        event_id = int(part["event_id"])
        for name in (part.get("data_fs_filename"), file_name(event_id, box_id), f"event_{event_id}"):
            for file in self._server.fs.find({"filename": name}) if name else ():
                if (file.metadata or {}).get("box_id", box_id) == box_id:
                    return file
        raise StoreError(f"file {file_name(event_id, box_id)}: is not in the store")

    def _expire_events(self, now_s: int, slice_rows: int) -> int:
        wanted = {"event_id": 1, "half_cycles": 1}
        due = list(self._events.find({"expire_at": {"$lte": now_s}}, wanted).limit(slice_rows))
        for event in due:
            for part in self._parts.find({"event_id": event["event_id"]}):
                self._server.delete_files({"filename": part.get("data_fs_filename")})
                self._parts.delete_one({"_id": part["_id"]})
            for box_id in event.get("half_cycles", {}):
                self._server.delete_files({"filename": half_cycles_name(event["event_id"], box_id)})
            self._events.delete_one({"_id": event["_id"]})
        return len(due)

    def _met(
        self, found: Iterable[Document], start_ns: int | None, end_ns: int | None, limit: int
    ) -> list[EventRecord]:
        records = self._readable.read_all("events", event_record, found)
        return list(islice((record for record in records if meets(record, start_ns, end_ns)), limit))


def _span_query(start_ns: int | None, end_ns: int | None) -> Document:
    query: Document = {}
    if start_ns is not None:
        query["target_event_end_timestamp_ms"] = {"$gte": start_ns // NS_PER_MS}
    if end_ns is not None:
        query["target_event_start_timestamp_ms"] = {"$lte": end_ns // NS_PER_MS}
    return query
