"""The rows of the index by incident and Box: `incident_boxes`."""

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from itertools import islice

from opq_cloud.store.documents.findings import known_from_document
from opq_cloud.store.driver import Condition, Documents, EarliestStart, Fields
from opq_cloud.store.incidents.index import IncidentFilter, IndexedIncident, IndexPlace, cell_of
from opq_cloud.store.incidents.join_plan import KnownFinding
from opq_cloud.store.incidents.parts_seen import (
    BoxPart,
    IndexedParts,
    Row,
    SeesThen,
    in_order,
    part_of,
    row_boxes,
)
from opq_cloud.store.incidents.severity import highest_severity
from opq_cloud.store.records.incidents.incident_index import (
    REVISION,
    IncidentIndex,
    entry_of,
    unseen_conditions,
    write_notes,
)
from opq_cloud.store.records.tables import INCIDENTS, INDEX, NOTES, PARTS

ROW_FIELDS = ("start_ns", "incident_id", "box_id")
Pair = tuple[int, str]


class IncidentParts(IncidentIndex):
    """The table with one row per incident and Box; the tags of Boxes in the index follow it."""

    def index_revision(self) -> int:
        self._fill_parts()
        with self._driver.read() as documents:
            return documents.number(REVISION) or 0

    def find_incidents(
        self, wanted: IncidentFilter, limit: int, beyond: IndexPlace | None = None, back: bool = False
    ) -> list[IndexedIncident]:
        if wanted.at is None:
            return self._find_entries(wanted, limit, beyond, back)
        if wanted.order == "newest":
            return list(islice(self._there(wanted, beyond, back), limit))
        found = sorted(self._there(wanted), key=lambda one: one.place(wanted.order).key, reverse=not back)
        if beyond is not None:
            found = [
                one
                for one in found
                if (one.place(wanted.order).key > beyond.key) is back
                and one.place(wanted.order).key != beyond.key
            ]
        return found[:limit]

    def count_incidents(self, wanted: IncidentFilter, most: int) -> int:
        if wanted.at is None:
            return self._count_entries(wanted, most)
        return sum(1 for _ in islice(self._there(wanted), most))

    def incident_cells(self, wanted: IncidentFilter) -> dict[int, int]:
        if wanted.at is None:
            return self._entry_cells(wanted)
        cells = (cell_of(one.residual_percent, one.length_ns) for one in self._there(wanted))
        return dict(Counter(cell for cell in cells if cell is not None))

    def _there(
        self, wanted: IncidentFilter, beyond: IndexPlace | None = None, back: bool = False
    ) -> Iterator[IndexedIncident]:
        """Yields what was at the Boxes of a filter, by its start there."""
        for parts in self.incident_parts(None, wanted, beyond, back):
            one = parts.seen()
            if parts.fits(one, wanted):
                yield one

    def incident_parts(
        self,
        seen: Collection[str] | None,
        wanted: IncidentFilter,
        beyond: IndexPlace | None = None,
        back: bool = False,
        sees: SeesThen | None = None,
    ) -> Iterator[IndexedParts]:
        self._fill_parts()
        with self._driver.read() as documents:

            def read(numbers: Sequence[int]) -> Iterator[IndexedParts]:
                found = _read_parts(documents, numbers, seen, wanted, sees)
                return self._with_severity(documents, found) if wanted.by_severity else found

            yield from in_order(_rows(documents, seen, wanted, beyond, back, sees), read, beyond, back)

    def _with_severity(self, documents: Documents, found: Iterable[IndexedParts]) -> Iterator[IndexedParts]:
        """Yields them with the severity at the Boxes that the reader sees in the list, where not at all."""
        entries = list(found)
        there = {
            one.entry.incident_id: box_ids
            for one in entries
            if len(box_ids := {part.box_id for part in one.there}) < one.boxes
        }
        most: dict[int, float] = {}
        if there:
            boxes = sorted(set().union(*there.values()))
            own: list[Condition] = [("group_id", "in", list(there)), ("box_id", "in", boxes)]
            for each in self._read_all(INCIDENTS, known_from_document, documents.find(INCIDENTS, own)):
                number, severity = each.incident_id, highest_severity([each.finding])
                if each.finding.box_id in there.get(number, ()):
                    most[number] = max(severity, most.get(number, severity))
        for one in entries:
            number = one.entry.incident_id
            yield replace(one, severity=most.get(number)) if number in there else one

    def seen_whole(self, numbers: Sequence[int], sees: SeesThen) -> list[int]:
        self._fill_parts()
        with self._driver.read() as documents:
            where = [("incident_id", "in", list(numbers))]
            rows = list(documents.find(PARTS, where, fields=ROW_FIELDS))
        hidden = {row["incident_id"] for row in rows if not sees(row["box_id"], row["start_ns"])}
        whole = {row["incident_id"] for row in rows} - hidden
        return [number for number in numbers if number in whole]

    def _index_all(self) -> None:
        """Indexes every incident that is not indexed yet, with the words and labels of its notes."""
        self._fill_parts(copied=True)
        with self._driver.read() as documents:
            noted = {int(each["incident_id"]) for each in documents.find(NOTES)}
        for number in noted:
            self._driver.write(partial(write_notes, number=number))

    def _fill_parts(self, copied: bool = False) -> None:
        self._fill_index(copied)
        self._fill_table(PARTS, self._enter_copied, copied)

    def _enter_copied(self, documents: Documents, numbers: Sequence[int]) -> None:
        """Writes the rows of incidents that were copied without these rows."""
        fields = ("incident_id", "group_id", "box_id")
        found: list[Fields] = []
        if numbers:
            among = [("group_id", ">=", numbers[0]), ("group_id", "<=", numbers[-1])]
            found += documents.find(INCIDENTS, among, fields=fields)
        pairs = {(int(each.get("group_id") or each["incident_id"]), str(each["box_id"])) for each in found}
        self._enter_parts(documents, pairs)

    def _enter_parts(
        self,
        documents: Documents,
        pairs: Iterable[Pair],
        written: Iterable[KnownFinding] = (),
        whole: Collection[int] = (),
    ) -> None:
        """Writes the rows and tags of these incidents and Boxes, after the entries are written.

        Findings just `written` are not read back: that would take a third of the commit of thousands.

        Args:
            whole: incidents of which every finding is in `written`, and that have no rows yet.
        """
        fresh = {one.finding_id: one for one in written}
        of_pair: dict[Pair, list[KnownFinding]] = {}
        for one in fresh.values():
            of_pair.setdefault((one.incident_id, one.finding.box_id), []).append(one)
        rows: list[Fields] = []
        tags: dict[bool, dict[int, list[str]]] = {True: {}, False: {}}
        more: Counter[int] = Counter()
        for pair in sorted(set(pairs)):
            number, box_id = pair
            is_new = number in whole
            known = of_pair.get(pair, []) if is_new else self._of_pair(documents, pair, fresh)
            existed = not is_new and documents.get(PARTS, number, box_id) is not None
            if known:
                rows.append(part_row(number, part_of(known)))
            elif existed:
                documents.remove(PARTS, [("incident_id", "=", number), ("box_id", "=", box_id)])
            if not (known and existed):
                tags[bool(known)].setdefault(number, []).append(f"box:{box_id}")
            more[number] += bool(known) - existed
        for number, texts in tags[True].items():
            documents.add_values(INDEX, number, texts)
        for number, texts in tags[False].items():
            documents.remove_values(INDEX, number, texts)
        documents.put(PARTS, rows)  # after the tags: where a kill leaves no row, both are written again
        for number, count in more.items():
            if count or not documents.atomic:
                _count_boxes(documents, number, count)
        if more:
            documents.raise_number(REVISION)

    def _enter_left(self, documents: Documents, pairs: Sequence[Pair]) -> None:
        """Indexes again incidents that keep other findings than the deleted ones of these Boxes."""
        for number in sorted({number for number, _ in pairs}):
            self._enter_stored(documents, number)
        self._enter_parts(documents, pairs)

    def _of_pair(
        self, documents: Documents, pair: Pair, fresh: dict[int, KnownFinding]
    ) -> list[KnownFinding]:
        number, box_id = pair
        found = list(documents.find(INCIDENTS, [("group_id", "=", number), ("box_id", "=", box_id)]))
        if documents.original:
            alone: list[Condition] = [("incident_id", "=", number), ("group_id", "=", None)]
            found += documents.find(INCIDENTS, [*alone, ("box_id", "=", box_id)])
        known = [fresh[each["incident_id"]] for each in found if each["incident_id"] in fresh]
        others = [each for each in found if each["incident_id"] not in fresh]
        return known + self._read_all(INCIDENTS, known_from_document, others)

    def _pairs_of(self, documents: Documents, finding_ids: Sequence[int]) -> list[Pair]:
        """Returns the stored incident and Box of each of these findings."""
        if not finding_ids:
            return []
        where = [("incident_id", "in", list(finding_ids)), ("group_id", "!=", None)]
        found = documents.find(INCIDENTS, where, fields=("group_id", "box_id"))
        return [(int(each["group_id"]), str(each["box_id"])) for each in found]


def _count_boxes(documents: Documents, number: int, more: int) -> None:
    """Counts all Boxes of an incident only once, then adds the difference, where no step can be lost."""
    entry = documents.get(INDEX, number)
    if entry is not None:
        known = int(entry.get("boxes") or 0) if documents.atomic else 0
        boxes = known + more if known else documents.count(PARTS, [("incident_id", "=", number)])
        documents.set_fields(INDEX, [("incident_id", "=", number)], {"boxes": boxes})


def row_conditions(
    seen: Collection[str] | None, wanted: IncidentFilter, beyond: IndexPlace | None, back: bool
) -> list[Condition]:
    """Returns the conditions for the rows at these Boxes, from `beyond` on."""
    boxes = row_boxes(seen, wanted)
    found: list[Condition] = [] if boxes is None else [("box_id", "in", list(boxes))]
    since = None if wanted.start_ns is None else EarliestStart(INDEX, wanted.start_ns)
    plain: tuple[Condition, ...] = (
        ("start_ns", ">=", since),
        ("start_ns", ">=", wanted.began_ns),
        ("start_ns", "<", wanted.end_ns),
        ("start_ns", ">=" if back else "<=", None if beyond is None else int(beyond.value)),
    )
    if wanted.unseen is not None:
        found += unseen_conditions(wanted.unseen)
    return [*found, *(each for each in plain if each[2] is not None)]


def row_order(back: bool) -> tuple[str, str]:
    return ("start_ns", "incident_id") if back else ("-start_ns", "-incident_id")


def _rows(
    documents: Documents,
    seen: Collection[str] | None,
    wanted: IncidentFilter,
    beyond: IndexPlace | None,
    back: bool,
    sees: SeesThen | None,
) -> Iterator[Row]:
    """Yields the start and number of incidents at these Boxes, in order."""
    where = row_conditions(seen, wanted, beyond, back)
    for row in documents.find(PARTS, where, sort=row_order(back), fields=ROW_FIELDS):
        if sees is None or sees(row["box_id"], row["start_ns"]):
            yield row["start_ns"], row["incident_id"]


def _read_parts(
    documents: Documents,
    numbers: Sequence[int],
    seen: Collection[str] | None,
    wanted: IncidentFilter,
    sees: SeesThen | None,
) -> Iterator[IndexedParts]:
    """Yields these incidents with their rows, if the whole incident overlaps the wanted span."""
    parts: dict[int, list[BoxPart]] = {}
    shown = row_boxes(None, wanted) if seen is None else seen
    where: list[Condition] = [("incident_id", "in", list(numbers))]
    where += [] if shown is None else [("box_id", "in", list(shown))]
    for row in documents.find(PARTS, where):
        if sees is None or sees(row["box_id"], row["start_ns"]):
            parts.setdefault(row["incident_id"], []).append(_part(row))
    for entry in documents.find(INDEX, [("incident_id", "in", list(parts))]):
        after = wanted.start_ns is None or entry["end_ns"] > wanted.start_ns
        if after and (wanted.end_ns is None or entry["start_ns"] < wanted.end_ns):
            own = sorted(parts[entry["incident_id"]], key=lambda part: part.box_id)
            words, boxes = str(entry.get("words") or ""), int(entry.get("boxes") or 0)
            found = IndexedParts(entry_of(entry), words, boxes, tuple(own), seen is None, wanted)
            if not wanted.stays or found.there:
                yield found


def part_row(number: int, part: BoxPart) -> Fields:
    return {
        "incident_id": number,
        "box_id": part.box_id,
        "start_ns": part.start_ns,
        "end_ns": part.end_ns,
        "kind": part.kind,
        "residual_percent": part.residual_percent,
        "length_ns": part.length_ns,
        "worst_start_ns": part.worst_start_ns,
        "worst_id": part.worst_id,
    }


def _part(row: Fields) -> BoxPart:
    return BoxPart(
        row["box_id"],
        row["start_ns"],
        row["end_ns"],
        row["kind"],
        row["residual_percent"],
        row["length_ns"],
        row["worst_start_ns"],
        row["worst_id"],
    )
