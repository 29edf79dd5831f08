"""The rows of the index by incident and Box, in MongoDB: `opq_incident_boxes`, as in `embedded/`."""

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence

from bson.int64 import Int64
from pymongo import ASCENDING, DESCENDING

from opq_cloud.store.documents import Document
from opq_cloud.store.documents.findings import known_from_document
from opq_cloud.store.incidents.index import IncidentFilter, IndexPlace
from opq_cloud.store.incidents.parts import BoxPart, IndexedParts, Row, in_order, part_of, row_boxes
from opq_cloud.store.mongo.incident_index import MongoIndex, entry_of_document
from opq_cloud.store.mongo.server import MongoServer, store_errors, upsert

FILLED = "incident_boxes"
ROWS_AT_ONCE = 200
_FIELDS = ("start_ns", "end_ns", "length_ns", "worst_start_ns", "worst_id")

Pair = tuple[int, str]


class MongoParts(MongoIndex):
    """The collection with one document per incident and Box."""

    def __init__(self, server: MongoServer) -> None:
        super().__init__(server)
        self._places = server.db.opq_incident_boxes
        self._parts_filled = False

    def incident_parts(
        self,
        seen: Collection[str],
        wanted: IncidentFilter,
        beyond: IndexPlace | None = None,
        back: bool = False,
    ) -> Iterator[IndexedParts]:
        """Reads ROWS_AT_ONCE rows at a time, so that no cursor stays open while they are used."""
        self._fill_index()
        self._fill_parts()
        rows = self._part_rows(seen, wanted, beyond, back)
        return in_order(rows, lambda numbers: self._read_parts(numbers, seen, wanted), beyond, back)

    def _part_rows(
        self, seen: Collection[str], wanted: IncidentFilter, beyond: IndexPlace | None, back: bool
    ) -> Iterator[Row]:
        """Yields rows in order, as `embedded/incident_parts` does."""
        boxes, among_boxes = row_boxes(seen, wanted, beyond, back)
        query: Document = {"box_id": {"$in": list(boxes)}}
        if among_boxes:
            there: Document = {"box_id": {"$in": list(among_boxes)}}
            query["incident_id"] = {"$in": self._places.distinct("incident_id", there)}
        among: Document = {} if beyond is None else {"$gte" if back else "$lte": Int64(beyond.value)}
        if wanted.began_ns is not None:
            among["$gte"] = Int64(max(wanted.began_ns, int(among.get("$gte", 0))))
        if wanted.end_ns is not None:
            among["$lt"] = Int64(wanted.end_ns)
        if among:
            query["start_ns"] = among
        turn, less = (ASCENDING, "$gt") if back else (DESCENDING, "$lt")
        here = query
        while True:
            found = self._some_rows(here, turn)
            yield from found
            if len(found) < ROWS_AT_ONCE:
                return
            start_ns, number = found[-1]
            further = [
                {"start_ns": {less: Int64(start_ns)}},
                {"start_ns": Int64(start_ns), "incident_id": {less: number}},
            ]
            here = {"$and": [query, {"$or": further}]}

    @store_errors
    def _some_rows(self, query: Document, turn: int) -> list[Row]:
        found = self._places.find(query, {"start_ns": 1, "incident_id": 1})
        found = found.sort([("start_ns", turn), ("incident_id", turn)]).limit(ROWS_AT_ONCE)
        return [(int(row["start_ns"]), int(row["incident_id"])) for row in found]

    @store_errors
    def _read_parts(
        self, numbers: Sequence[int], seen: Collection[str], wanted: IncidentFilter
    ) -> list[IndexedParts]:
        """Returns these incidents with their rows, if the whole incident overlaps the wanted span."""
        query: Document = {"incident_id": {"$in": list(numbers)}, "box_id": {"$in": list(seen)}}
        parts: dict[int, list[BoxPart]] = {}
        for row in self._places.find(query).sort("box_id", ASCENDING):
            parts.setdefault(int(row["incident_id"]), []).append(_part(row))
        found = []
        for entry in self._entries.find({"_id": {"$in": list(parts)}}, {"tags": 0}):
            after = wanted.start_ns is None or int(entry["end_ns"]) > wanted.start_ns
            if after and (wanted.end_ns is None or int(entry["start_ns"]) < wanted.end_ns):
                words, boxes = str(entry.get("words") or ""), int(entry.get("boxes") or 0)
                own = tuple(parts[int(entry["_id"])])
                found.append(IndexedParts(entry_of_document(entry), words, boxes, own))
        return found

    def _enter_parts(self, pairs: Iterable[Pair], beat: Callable[[], object] = lambda: None) -> None:
        """Writes the rows of these incidents and Boxes from their findings, after the entries are written.

        `beat` renews the plan's lock: a plan may have thousands of Boxes.
        """
        every = sorted(set(pairs))
        for number, box_id in every:
            beat()
            own: list[Document] = [
                {"group_id": number},
                {"group_id": {"$exists": False}, "incident_id": number},
            ]
            found = self._db.incidents.find({"box_id": box_id, "$or": own}, {"measurements": 0})
            known = [known_from_document(document) for document in found]
            key = {"incident_id": number, "box_id": box_id}
            if not known:
                self._places.delete_one(key)
                continue
            part = part_of(known)
            wide = {name: Int64(getattr(part, name)) for name in _FIELDS}
            document = {**key, **wide, "kind": part.kind, "residual_percent": part.residual_percent}
            name = f"{number}:{box_id}"
            upsert(lambda: self._places.replace_one({"_id": name}, document, upsert=True))  # noqa: B023
        for number in {number for number, _ in every}:
            boxes = self._places.count_documents({"incident_id": number})
            self._entries.update_one({"_id": number}, {"$set": {"boxes": boxes}})

    def _pairs_of(self, finding_ids: Sequence[int]) -> list[Pair]:
        """Returns the stored incident and Box of each of these findings."""
        query: Document = {"incident_id": {"$in": list(finding_ids)}, "group_id": {"$exists": True}}
        found = self._db.incidents.find(query, {"group_id": 1, "box_id": 1})
        return [(int(each["group_id"]), str(each["box_id"])) for each in found]

    def _forget_incident(self, number: int) -> None:
        super()._forget_incident(number)
        self._places.delete_many({"incident_id": number})

    def _enter_foreign(self, number: int, box_id: str) -> None:
        self._enter_parts([(number, box_id)])

    def _fill_parts(self) -> None:
        """Writes the rows of incidents that a version without these rows stored."""
        if self._parts_filled:
            return
        if self._db.opq_counters.find_one({"_id": FILLED}) is None:
            self._places.create_index([("incident_id", DESCENDING)])
            fields = {"group_id": 1, "incident_id": 1, "box_id": 1}
            for document in self._db.incidents.find({}, fields):
                number = int(document.get("group_id") or document["incident_id"])
                if self._places.find_one({"_id": f"{number}:{document['box_id']}"}, {"_id": 1}) is None:
                    self._enter_parts([(number, str(document["box_id"]))])
            change = {"$max": {"value": Int64(1)}}
            upsert(lambda: self._db.opq_counters.update_one({"_id": FILLED}, change, upsert=True))
        self._parts_filled = True


def _part(row: Document) -> BoxPart:
    return BoxPart(
        str(row["box_id"]), int(row["start_ns"]), int(row["end_ns"]), str(row["kind"]),
        row["residual_percent"], int(row["length_ns"]), int(row["worst_start_ns"]), int(row["worst_id"]),
    )  # fmt: skip
