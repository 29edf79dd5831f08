"""The index of incidents and the notes of people, in added collections of MongoDB."""

import re
import time
from collections.abc import Iterable, Sequence

from bson.int64 import Int64
from pymongo import ASCENDING, DESCENDING

from opq_cloud.store.documents import Document
from opq_cloud.store.documents.findings import known_from_document
from opq_cloud.store.incidents.index import (
    MAX_NOTES,
    NO_AUTHOR,
    IncidentFilter,
    IncidentNote,
    IndexedIncident,
    IndexPlace,
    cell_of,
    entry_of_facts,
    entry_of_incident,
    label_of,
    tags_of,
    words_of,
)
from opq_cloud.store.incidents.join_plan import IncidentFacts, JoinPlan, incident_of
from opq_cloud.store.mongo.part import MongoPart
from opq_cloud.store.mongo.server import MongoServer, store_errors, upsert
from opq_proto.errors import StoreError

FILLED = "incident_index"
_SORTED_BY = {"newest": "start_ns", "severe": "severity_key", "long": "length_ns"}
_PLAIN = {"_id": 0}


class MongoIndex(MongoPart):
    """`opq_incident_index` (with the tags of class and Box), `opq_incident_notes`, `opq_incident_heirs`."""

    def __init__(self, server: MongoServer) -> None:
        super().__init__(server)
        self._entries = server.db.opq_incident_index
        self._notes = server.db.opq_incident_notes
        self._gone = server.db.opq_incident_heirs
        self._filled_s = 0.0

    @store_errors
    def find_incidents(
        self, wanted: IncidentFilter, limit: int, beyond: IndexPlace | None = None, back: bool = False
    ) -> list[IndexedIncident]:
        self._fill_index()
        query = _query(wanted)
        key, turn = _SORTED_BY[wanted.order], ASCENDING if back else DESCENDING
        less = "$gt" if back else "$lt"
        if beyond is not None:
            value = beyond.value if key == "severity_key" else Int64(beyond.value)
            query["$or"] = [{key: {less: value}}, {key: value, "_id": {less: beyond.number}}]
        found = self._entries.find(query).sort([(key, turn), ("_id", turn)]).limit(limit)
        return [entry_of_document(document) for document in found]

    @store_errors
    def count_incidents(self, wanted: IncidentFilter, most: int) -> int:
        self._fill_index()
        return int(self._entries.count_documents(_query(wanted), limit=most))

    @store_errors
    def incident_cells(self, wanted: IncidentFilter) -> dict[int, int]:
        self._fill_index()
        counts: dict[int, int] = {}
        for document in self._entries.find(_query(wanted), {"cell": 1}):
            if document.get("cell") is not None:
                counts[int(document["cell"])] = counts.get(int(document["cell"]), 0) + 1
        return counts

    @store_errors
    def put_note(self, note: IncidentNote) -> IncidentNote:
        self._fill_index()
        number = note.incident_id
        if self._entries.find_one({"_id": number}, {"_id": 1}) is None:
            raise StoreError(f"there is no incident {number}; it may have been joined with another")
        if self._notes.count_documents({"incident_id": number}, limit=MAX_NOTES) >= MAX_NOTES:
            raise StoreError(f"incident {number} has {MAX_NOTES} notes, and no more are kept")
        note_id = self._server.next_number("note_id")
        stored = IncidentNote(note_id, number, note.at_ms, note.account_id, note.kind, note.text)
        document = {**stored.as_document(), "_id": note_id, "at_ms": Int64(stored.at_ms)}
        self._notes.insert_one(document)
        self._write_notes(number)
        return stored

    @store_errors
    def notes(self, incident_id: int) -> list[IncidentNote]:
        found = self._notes.find({"incident_id": incident_id}, _PLAIN).sort("note_id", ASCENDING)
        return [_note(document) for document in found]

    @store_errors
    def notes_of(self, account_id: str) -> list[IncidentNote]:
        found = self._notes.find({"account_id": account_id}, _PLAIN).sort("note_id", ASCENDING)
        return [_note(document) for document in found]

    @store_errors
    def successor(self, incident_id: int) -> int | None:
        found = self._gone.find_one({"_id": incident_id})
        return None if found is None else int(found["heir"])

    @store_errors
    def forget_author(self, account_id: str) -> None:
        self._notes.update_many({"account_id": account_id}, {"$set": {"account_id": NO_AUTHOR}})

    def _labels(self, numbers: Sequence[int]) -> dict[int, str]:
        """Returns incident -> the class that a person gave it."""
        query: Document = {"_id": {"$in": list(numbers)}, "label": {"$ne": None}}
        found = self._entries.find(query, {"label": 1})
        return {int(each["_id"]): str(each["label"]) for each in found if each.get("label")}

    # Writing the index

    def _successors(self, plan: JoinPlan) -> dict[int, int]:
        """Returns ending incident -> one of its findings; the new incident of that finding gets its notes."""
        found = {}
        for number in plan.gone:
            kept: Document = {"group_id": number, "incident_id": {"$nin": list(plan.removed)}}
            document = self._db.incidents.find_one(kept, {"incident_id": 1}, sort=[("start_ns", ASCENDING)])
            if document is not None:
                found[number] = int(document["incident_id"])
        return found

    def _index_plan(
        self,
        facts: Sequence[IncidentFacts],
        added: Iterable[tuple[int, str]],
        changed: Iterable[int],
        gone: Iterable[int],
        successors: dict[int, int],
    ) -> None:
        """Indexes what a plan has written, as `index_plan` of the embedded store does."""
        for one in facts:
            self._enter(entry_of_facts(one), ())
        boxes: dict[int, set[str]] = {}
        every = list(added)
        self._enter_stored({number for number, _ in every} - {one.incident_id for one in facts})
        for number, box_id in every:
            boxes.setdefault(number, set()).add(f"box:{box_id}")
        for number, tags in boxes.items():
            self._entries.update_one({"_id": number}, {"$addToSet": {"tags": {"$each": sorted(tags)}}})
        for number in changed:
            found = self._db.incidents.find({"group_id": number}, {"box_id": 1})
            own = {f"box:{each['box_id']}" for each in found}
            before = self._entries.find_one({"_id": number}, {"tags": 1})
            if before is not None:
                kept = {tag for tag in before["tags"] if not tag.startswith("box:")}
                self._entries.update_one({"_id": number}, {"$set": {"tags": sorted(kept | own)}})
        for number in gone:
            self._entries.delete_one({"_id": number})
            successor = self._db.incidents.find_one(
                {"incident_id": successors.get(number, 0)}, {"group_id": 1}
            )
            if successor is None:
                self._gone.delete_many({"heir": number})
            else:
                named: Document = {"$set": {"heir": int(successor["group_id"])}}
                self._gone.update_many({"heir": number}, named)
                self._gone.update_one({"_id": number}, named, upsert=True)
                moved = self._notes.update_many(
                    {"incident_id": number}, {"$set": {"incident_id": int(successor["group_id"])}}
                )
                if moved.matched_count:
                    self._write_notes(int(successor["group_id"]))

    def _enter_foreign(self, number: int, box_id: str) -> None:
        """Writes the row by Box of an incident that an original Mauka stored; see `incident_parts`."""

    def _forget_incident(self, number: int) -> None:
        """Deletes the entry, notes and other rows of an expired incident."""
        self._entries.delete_one({"_id": number})
        self._notes.delete_many({"incident_id": number})
        self._gone.delete_many({"heir": number})

    def _enter(self, entry: IndexedIncident, box_ids: Sequence[str]) -> None:
        """Writes an entry; a class from a label stays."""
        number = entry.incident_id
        before = self._entries.find_one({"_id": number}, {"label": 1, "tags": 1}) or {"tags": []}
        kind = before.get("label") or entry.kind
        tags = {tag for tag in before["tags"] if tag.startswith("box:")} | {*tags_of(kind)}
        cell = cell_of(entry.residual_percent, entry.start_ns, entry.end_ns)
        fields: Document = {
            "start_ns": Int64(entry.start_ns), "end_ns": Int64(entry.end_ns),
            "length_ns": Int64(entry.end_ns - entry.start_ns), "kind": kind, "machine_kind": entry.kind,
            "residual_percent": entry.residual_percent, "severity": entry.severity,
            "severity_key": float(entry.severity or 0.0), "scope": entry.scope, "cell": cell,
            "tags": sorted(tags | {f"box:{box_id}" for box_id in box_ids}),
        }  # fmt: skip
        first: Document = {"$set": fields, "$setOnInsert": {"words": "", "label": None}}
        upsert(lambda: self._entries.update_one({"_id": number}, first, upsert=True))

    def _write_notes(self, number: int) -> None:
        """Updates the searched words, the label and the class of an incident from its notes."""
        found = self._notes.find({"incident_id": number}, _PLAIN).sort("note_id", ASCENDING)
        notes = [_note(document) for document in found]
        before = self._entries.find_one({"_id": number}, {"machine_kind": 1, "tags": 1})
        if before is None:
            return
        kind = label_of(notes) or str(before["machine_kind"])
        tags = {tag for tag in before["tags"] if tag.startswith("box:")} | {*tags_of(kind)}
        change = {"words": words_of(notes), "label": label_of(notes), "kind": kind, "tags": sorted(tags)}
        self._entries.update_one({"_id": number}, {"$set": change})

    def _fill_index(self) -> None:
        """Indexes incidents that a version without the index stored, and those of an original Mauka."""
        if time.monotonic() - self._filled_s < 2.0:
            return
        done = self._db.opq_counters.find_one({"_id": FILLED})
        mark = 0 if done is None else int(done["value"])
        if done is None:
            for key in ("severity_key", "length_ns"):
                self._entries.create_index([(key, DESCENDING), ("_id", DESCENDING)])
            self._notes.create_index("incident_id")
            self._notes.create_index("account_id")
            self._notes.create_index("note_id")
            numbers = self._db.incidents.distinct("group_id")
            self._enter_stored(
                number
                for number in numbers
                if number is not None and self._entries.find_one({"_id": number}, {"_id": 1}) is None
            )
        theirs: Document = {"group_id": {"$exists": False}, "incident_id": {"$gt": mark}}
        for document in self._db.incidents.find(theirs, {"measurements": 0}).sort("incident_id", ASCENDING):
            one = incident_of([known_from_document(document)])
            self._enter(entry_of_incident(one), one.box_ids)
            self._enter_foreign(one.incident_id, one.box_ids[0])
            mark = max(mark, int(document["incident_id"]))
        if done is None or mark > int(done["value"]):
            change = {"$max": {"value": Int64(mark)}}
            upsert(lambda: self._db.opq_counters.update_one({"_id": FILLED}, change, upsert=True))
        self._filled_s = time.monotonic()

    def _enter_stored(self, numbers: Iterable[object]) -> None:
        """Indexes stored incidents, from their findings."""
        for number in numbers:
            known = [
                known_from_document(each)
                for each in self._db.incidents.find({"group_id": number}, {"measurements": 0})
            ]
            facts = self._db.opq_incident_facts.find_one({"_id": number, "stale": False})
            if known:
                one = incident_of(known, IncidentFacts.of_document(facts) if facts else None)
                self._enter(entry_of_incident(one), one.box_ids)


def _query(wanted: IncidentFilter) -> Document:
    every: list[Document] = [{"tags": tag} for tag in wanted.tags]
    if wanted.box_ids is not None:
        every.append({"tags": {"$in": [f"box:{box_id}" for box_id in wanted.box_ids]}})
    if wanted.scope:
        every.append({"scope": wanted.scope})
    if wanted.least_severity is not None:
        every.append({"severity": {"$gte": wanted.least_severity}})
    if wanted.start_ns is not None:
        every.append({"end_ns": {"$gt": Int64(wanted.start_ns)}})
    if wanted.end_ns is not None:
        every.append({"start_ns": {"$lt": Int64(wanted.end_ns)}})
    if wanted.began_ns is not None:
        every.append({"start_ns": {"$gte": Int64(wanted.began_ns)}})
    if wanted.cell is not None:
        every.append({"cell": wanted.cell})
    every += [{"words": {"$regex": re.escape(word)}} for word in wanted.searched]
    return {"$and": every} if every else {}


def entry_of_document(document: Document) -> IndexedIncident:
    return IndexedIncident(
        int(document["_id"]), int(document["start_ns"]), int(document["end_ns"]), str(document["kind"]),
        document["residual_percent"], document["severity"], document["scope"], document.get("label"),
        document.get("machine_kind"),
    )  # fmt: skip


def _note(document: Document) -> IncidentNote:
    return IncidentNote(
        int(document["note_id"]), int(document["incident_id"]), int(document["at_ms"]),
        str(document["account_id"]), str(document["kind"]), str(document["text"]),
    )  # fmt: skip
