"""Findings in the original's `incidents` collection (D.6), joined under one lock document.

It uses no transaction: only the holder of the lock (see `server.StoreLock`) writes a plan, and each
step can be repeated. First the incidents' facts are marked stale. Then findings are moved, the latest first,
and written, merged ones are removed, and the new facts are written last. A process killed in between leaves
its event unanalysed; its next analysis completes the rest.
"""

from collections.abc import Collection, Iterable, Iterator, Sequence
from heapq import merge
from itertools import groupby, islice
from typing import Any

from bson.int64 import Int64
from pymongo import ASCENDING, DESCENDING
from pymongo.errors import DuplicateKeyError

from opq_cloud.store.documents import Document
from opq_cloud.store.documents.events import counts_to_bytes, meets
from opq_cloud.store.documents.findings import incident_document, known_from_document
from opq_cloud.store.incidents.join_plan import (
    CarriedOut,
    FindingOnset,
    GivenNumbers,
    IncidentFacts,
    JoinPlan,
    KnownFinding,
    carried_out,
    incident_of,
    onset,
    with_facts,
    with_label,
)
from opq_cloud.store.mongo.incident_parts import MongoParts
from opq_cloud.store.mongo.server import LockLostError, MongoServer, StoreLock, store_errors, upsert
from opq_cloud.store.records.waveforms import read_waveform
from opq_cloud.store.tables import BOX_EVENTS
from opq_proto.errors import StoreError
from opq_proto.messages import Incident

SLICE_MARGIN_SAMPLES = 12
"""Samples that the original adds on both sides of an incident's slice (D.6)."""
_NO_BULK = {"measurements": 0}
"""Leaves out the field that may be large and is not needed."""
_OURS_ALONE = ("annotations", "metadata")
"""Fields that are kept when a finding is written again; people fill them."""


class NumberTakenError(Exception):
    """Another service has stored its own incident with a number that was just given to a finding of ours."""


class MongoFindings(MongoParts):
    """Findings and incidents in MongoDB; the samples of a finding come from its events."""

    def __init__(self, server: MongoServer) -> None:
        super().__init__(server)
        self._incidents = server.db.incidents
        self._events = server.db.events

    @store_errors
    def join_revision(self) -> int:
        found = self._db.opq_counters.find_one({"_id": "joins"})
        return 0 if found is None else int(found["value"])

    @store_errors
    def findings_of_box(self, box_id: str, start_ns: int, end_ns: int) -> list[KnownFinding]:
        near = {"box_id": box_id, "end_ns": {"$gte": start_ns}, "start_ns": {"$lte": end_ns}}
        return self._read_findings(self._incidents.find(near, _NO_BULK))

    @store_errors
    def findings_of_boxes(self, box_ids: Collection[str], start_ns: int, end_ns: int) -> list[KnownFinding]:
        near = {"box_id": {"$in": list(box_ids)}, "end_ns": {"$gte": start_ns}, "start_ns": {"$lte": end_ns}}
        return self._read_findings(self._incidents.find(near, _NO_BULK))

    @store_errors
    def findings_of_incident(self, incident_id: int) -> list[KnownFinding]:
        return self._read_findings(self._incidents.find({"group_id": incident_id}, _NO_BULK))

    def _read_findings(self, found: Iterable[Document]) -> list[KnownFinding]:
        return list(self._readable.read_all("incidents", known_from_document, found))

    @store_errors
    def onsets(self, start_ns: int, end_ns: int, leading: bool = False) -> list[FindingOnset]:
        near: Document = {"start_ns": {"$gte": start_ns, "$lte": end_ns}}
        if leading:
            near["leads"] = {"$ne": False}
        return [onset(known) for known in self._read_findings(self._incidents.find(near, _NO_BULK))]

    @store_errors
    def incident_facts(self, incident_id: int) -> IncidentFacts | None:
        return self._facts([incident_id]).get(incident_id)

    def _facts(self, numbers: Sequence[int]) -> dict[int, IncidentFacts]:
        found = self._db.opq_incident_facts.find({"_id": {"$in": list(numbers)}, "stale": False})
        return {int(document["_id"]): IncidentFacts.of_document(document) for document in found}

    @store_errors
    def carry_out(self, plan: JoinPlan) -> CarriedOut | None:
        try:
            with self._server.lock("findings") as lock:
                if self.join_revision() != plan.revision:
                    return None
                if plan.changes:
                    self._count_join()
                numbers = GivenNumbers(
                    [self.next_finding_id() for _ in range(plan.new_findings())],
                    [self._server.next_number("group_id") for _ in range(plan.new_incidents())],
                )
                self._write_plan(plan, numbers, lock)
                return carried_out(plan, numbers)
        except (LockLostError, NumberTakenError):
            return None  # the steps done stay valid; the next plan completes the rest

    def _count_join(self) -> None:
        """Raises the revision first, so that a plan that another process made meanwhile is refused."""
        upsert(
            lambda: self._db.opq_counters.update_one({"_id": "joins"}, {"$inc": {"value": 1}}, upsert=True)
        )

    @store_errors
    def next_finding_id(self) -> int:
        return self._server.next_number("incident_id")

    def _write_plan(self, plan: JoinPlan, numbers: GivenNumbers, lock: StoreLock) -> None:
        expire_at = self._expires(self._ttls.incidents)
        facts = self._db.opq_incident_facts
        successors, changed = self._successors(plan), self._left_by(plan)
        stored = [one.finding_id for one in plan.written if one.finding_id > 0]
        placed = [*stored, *(one.finding_id for one in plan.moved), *plan.removed]
        pairs = self._pairs_of(placed)
        stale = [one.incident_id for one in plan.facts if one.incident_id > 0]
        if stale:
            lock.beat()
            facts.update_many({"_id": {"$in": stale}}, {"$set": {"stale": True}})
        for move in plan.moved:
            lock.beat()
            place = {"group_id": numbers.incident(move.incident_id), "leads": move.leads}
            self._incidents.update_one({"incident_id": move.finding_id}, {"$set": place})
        for planned in plan.written:
            known = numbers.known(planned)
            exists = self._incidents.find_one({"incident_id": known.finding_id}, {"_id": 1}) is not None
            if exists and planned.finding_id <= 0:
                self._server.note_foreign(known.finding_id)
                raise NumberTakenError
            document = self._document(known, expire_at)
            lock.beat()
            if not exists:
                self._insert(document)
                continue
            changes = {key: value for key, value in document.items() if key not in _OURS_ALONE}
            self._incidents.update_one({"incident_id": known.finding_id}, {"$set": changes})
        for gone in plan.removed:
            lock.beat()
            self._incidents.delete_one({"incident_id": gone})
            self._delete_slice(gone)
        for one in map(numbers.facts, plan.facts):
            lock.beat()
            facts.replace_one(
                {"_id": one.incident_id}, {**_wide(one.as_document()), "stale": False}, upsert=True
            )
        if plan.gone:
            facts.delete_many({"_id": {"$in": list(plan.gone)}})
        lock.beat()
        entered = [numbers.facts(one) for one in plan.facts]
        added = [(known.incident_id, known.finding.box_id) for known in map(numbers.known, plan.written)]
        changed |= {numbers.incident(one.incident_id) for one in plan.moved}
        self._index_plan(entered, added, sorted(changed - {*plan.gone}), plan.gone, successors)
        self._enter_parts([*pairs, *self._pairs_of(placed), *added], lock.beat)
        self._events.update_many(
            {"event_id": {"$in": [plan.event_id, *plan.more_events]}}, {"$max": {"expire_at": expire_at}}
        )  # the events of an incident are kept as long as the incident

    def _insert(self, document: Document) -> None:
        try:
            self._incidents.insert_one(document)
        except DuplicateKeyError:
            self._server.note_foreign(int(document["incident_id"]))
            raise NumberTakenError from None

    def _left_by(self, plan: JoinPlan) -> set[int]:
        """Returns the incidents of the findings that a plan changes, whose Boxes may change."""
        stored = [one.finding_id for one in plan.written if one.finding_id > 0]
        every = [*stored, *(one.finding_id for one in plan.moved)]
        query: Document = {"incident_id": {"$in": [*every, *plan.removed]}, "group_id": {"$exists": True}}
        return {int(each["group_id"]) for each in self._incidents.find(query, {"group_id": 1})}

    def _document(self, known: KnownFinding, expire_at: Int64) -> Document:
        box_id = known.finding.box_id
        document = incident_document(known, expire_at, self._box_location(box_id))
        for name in ("start_ns", "end_ns", "uncertainty_ns", "clock_id", "samples_began_ns"):
            if document[name] is not None:
                document[name] = Int64(document[name])
        span = {"$gte": document["start_timestamp_ms"], "$lte": document["end_timestamp_ms"]}
        rows = self._db.measurements.find({"box_id": box_id, "timestamp_ms": span}, {"_id": 0})
        document["measurements"] = list(rows.sort("timestamp_ms", ASCENDING))
        document["gridfs_filename"] = self._put_slice(known)
        return document

    def _put_slice(self, known: KnownFinding) -> str:
        """Stores the finding's samples, with the original's margin, as a file; returns its name, "" for none.

        Where several events contain the finding, the one with most of it is used.
        """
        finding = known.finding
        where = [("event_id", "in", list(known.event_ids)), ("box_id", "=", finding.box_id)]
        waves = []
        with self._driver.read() as documents:
            for part in documents.find(BOX_EVENTS, where, sort=("event_id",)):
                try:
                    waves.append(read_waveform(documents, part))
                except StoreError:
                    continue  # reading the event reports it; the finding is stored without these samples
        if not waves:
            return ""
        wave = max(
            waves, key=lambda one: min(one.end_ns, finding.end_ns) - max(one.start_ns, finding.start_ns)
        )
        per_ns = wave.rate_millihz / 1e12
        first = max(0, round((finding.start_ns - wave.start_ns) * per_ns) - SLICE_MARGIN_SAMPLES)
        last = round((finding.end_ns - wave.start_ns) * per_ns) + SLICE_MARGIN_SAMPLES
        data = counts_to_bytes(wave)[2 * first : 2 * max(last, 0)]
        name = self._delete_slice(known.finding_id)
        self._server.fs.put(data, filename=name, metadata={"incident_id": known.finding_id})
        return name

    def _delete_slice(self, finding_id: int) -> str:
        name = f"incident_{finding_id}"
        self._server.delete_files({"filename": name})
        return name

    @store_errors
    def incident(self, incident_id: int) -> Incident | None:
        return next(iter(self.incidents_of([incident_id])), None)

    @store_errors
    def incidents_of(self, incident_ids: Sequence[int]) -> list[Incident]:
        """Reads incidents; one that the original stored has no group and is an incident of its own."""
        groups: dict[int, list[Document]] = {}
        for document in self._incidents.find({"group_id": {"$in": list(incident_ids)}}):
            groups.setdefault(int(document["group_id"]), []).append(document)
        others = [number for number in incident_ids if number not in groups]
        if others:
            theirs = {"incident_id": {"$in": others}, "group_id": {"$exists": False}}
            for document in self._incidents.find(theirs):
                groups.setdefault(int(document["incident_id"]), []).append(document)
        facts, given = self._facts(list(groups)), self._labels(list(groups))
        known = {number: self._read_findings(groups.get(number, ())) for number in incident_ids}
        return [
            with_label(incident_of(findings, facts.get(number)), given.get(number))
            for number, findings in known.items()
            if findings
        ]

    @store_errors
    def incidents(
        self, after_id: int = 0, start_ns: int | None = None, end_ns: int | None = None, limit: int = 100
    ) -> list[Incident]:
        above = {"$gt": after_id}
        ours = self._incidents.find({"group_id": above}).sort("group_id", DESCENDING)
        theirs = self._incidents.find({"incident_id": above, "group_id": {"$exists": False}})
        newest_first = merge(
            self._readable.read_all("incidents", known_from_document, ours),
            self._readable.read_all("incidents", known_from_document, theirs.sort("incident_id", DESCENDING)),
            key=lambda known: -known.incident_id,
        )
        found = (incident for incident in _grouped(newest_first) if meets(incident, start_ns, end_ns))
        incidents = list(islice(found, limit))
        numbers = [one.incident_id for one in incidents]
        facts, given = self._facts(numbers), self._labels(numbers)
        return [
            with_label(with_facts(one, facts.get(one.incident_id)), given.get(one.incident_id))
            for one in incidents
        ]

    def _expire_findings(self, now_s: int, slice_rows: int) -> int:
        fields = {"incident_id": 1, "group_id": 1, "box_id": 1}
        due = list(self._incidents.find({"expire_at": {"$lte": now_s}}, fields).limit(slice_rows))
        for document in due:
            self._delete_slice(int(document["incident_id"]))
        ids = [document["_id"] for document in due]
        gone = self._incidents.delete_many({"_id": {"$in": ids}}).deleted_count if ids else 0
        for number in {document["group_id"] for document in due if "group_id" in document}:
            if self._incidents.find_one({"group_id": number}, {"_id": 1}) is None:
                self._db.opq_incident_facts.delete_one({"_id": number})
                self._forget_incident(int(number))
        self._enter_parts((int(each["group_id"]), str(each["box_id"])) for each in due if "group_id" in each)
        return gone


def _wide(value: Any) -> Any:
    """Converts all whole numbers in a value to 64-bit integers: nanoseconds and sums do not fit into 32."""
    if isinstance(value, bool):
        return value
    if isinstance(value, int):
        return Int64(value)
    if isinstance(value, dict):
        return {key: _wide(each) for key, each in value.items()}
    return [_wide(each) for each in value] if isinstance(value, list | tuple) else value


def _grouped(newest_first: Iterator[KnownFinding]) -> Iterator[Incident]:
    for _, group in groupby(newest_first, key=lambda known: known.incident_id):
        yield incident_of(list(group))
