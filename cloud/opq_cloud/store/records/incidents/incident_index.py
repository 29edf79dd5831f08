"""The index of incidents (with the tags of class and Box), the notes of people, and joined incidents."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence

from opq_cloud.store.documents.findings import known_from_document
from opq_cloud.store.driver import Condition, Documents, EarliestStart, Fields, Table
from opq_cloud.store.incidents.index import (
    MAX_NOTES,
    NO_AUTHOR,
    OPEN,
    IncidentFilter,
    IncidentNote,
    IncidentWork,
    IndexedIncident,
    IndexPlace,
    SeenMarks,
    cell_of,
    entry_of_facts,
    entry_of_incident,
    label_of,
    tags_of,
    words_of,
    work_of,
)
from opq_cloud.store.incidents.join_plan import GivenNumbers, IncidentFacts, JoinPlan, incident_of
from opq_cloud.store.records.part import StorePart
from opq_cloud.store.records.tables import FACTS, HEIRS, INCIDENTS, INDEX, INDEX_COUNTERS, NOTES, PARTS
from opq_proto.errors import StoreError

FILL_ROWS = 500
"""Incidents of a copied store that are indexed in one write."""
REVISION = "incident_index_revision"
"""Counter that rises after each write to the index, so that a reader may keep what it read under a value."""
_SORTED_BY = {"newest": "start_ns", "severe": "severity_key", "long": "length_ns"}
ENTRY = (
    "incident_id",
    "start_ns",
    "end_ns",
    "kind",
    "residual_percent",
    "severity",
    "scope",
    "label",
    "machine_kind",
    "work",
    "assigned_to",
    "known_cause",
    "length_ns",
)


class IncidentIndex(StorePart, ABC):
    """`incident_index`, `incident_notes` and `incident_heirs`."""

    _filled: frozenset[str] = frozenset()
    """Counters of the tables that have every copied incident."""

    def _find_entries(
        self, wanted: IncidentFilter, limit: int, beyond: IndexPlace | None = None, back: bool = False
    ) -> list[IndexedIncident]:
        self._fill_index()
        with self._driver.read() as documents:
            found = documents.find(
                INDEX,
                conditions(wanted),
                sort=order(wanted, back),
                beyond=() if beyond is None else beyond.key,
                limit=limit,
                fields=ENTRY,
            )
            return [IndexedIncident(**each) for each in found]

    def _count_entries(self, wanted: IncidentFilter, most: int) -> int:
        self._fill_index()
        with self._driver.read() as documents:
            return documents.count(INDEX, conditions(wanted), most)

    def _entry_cells(self, wanted: IncidentFilter) -> dict[int, int]:
        self._fill_index()
        with self._driver.read() as documents:
            return documents.tally(INDEX, conditions(wanted), "cell")

    def put_note(self, note: IncidentNote) -> IncidentNote:
        self._fill_index()
        number = note.incident_id

        def job(documents: Documents) -> IncidentNote:
            if documents.get(INDEX, number) is None:
                raise StoreError(f"there is no incident {number}; it may have been joined with another")
            if documents.count(NOTES, [("incident_id", "=", number)], MAX_NOTES) >= MAX_NOTES:
                raise StoreError(f"incident {number} has {MAX_NOTES} notes, the most that are kept")
            (note_id,) = self._draw_numbers(documents, "note_id")
            stored = IncidentNote(note_id, number, note.at_ms, note.account_id, note.kind, note.text)
            documents.insert(NOTES, stored.as_document())
            write_notes(documents, number)
            return stored

        return self._driver.write(job)

    def successor(self, incident_id: int) -> int | None:
        with self._driver.read() as documents:
            found = documents.get(HEIRS, incident_id)
        return None if found is None else int(found["heir"])

    def notes(self, incident_id: int) -> list[IncidentNote]:
        with self._driver.read() as documents:
            return _notes(documents, ("incident_id", "=", incident_id))

    def notes_of(self, account_id: str) -> list[IncidentNote]:
        with self._driver.read() as documents:
            return _notes(documents, ("account_id", "=", account_id))

    def forget_author(self, account_id: str) -> None:
        named = f"named:{account_id}"

        def job(documents: Documents) -> None:
            documents.set_fields(NOTES, [("account_id", "=", account_id)], {"account_id": NO_AUTHOR})
            entries = documents.find(INDEX, [("tags", "has", named)], fields=("incident_id",))
            for number in [int(each["incident_id"]) for each in entries]:
                for note in _notes(documents, ("incident_id", "=", number)):
                    if note.kind == "assign" and note.text == account_id:
                        documents.set_fields(NOTES, [("note_id", "=", note.note_id)], {"text": NO_AUTHOR})
                write_notes(documents, number)
                documents.remove_values(INDEX, number, [named])

        self._driver.write(job)

    def incident_work(self, numbers: Sequence[int]) -> dict[int, IncidentWork]:
        self._fill_index()
        with self._driver.read() as documents:
            found = documents.find(INDEX, [("incident_id", "in", list(numbers))], fields=ENTRY)
            return {int(each["incident_id"]): _work(each) for each in found}

    def _labels(self, documents: Documents, numbers: Sequence[int]) -> dict[int, str]:
        """Returns incident -> the class that a person gave it."""
        where = [("incident_id", "in", list(numbers)), ("label", "!=", None)]
        found = documents.find(INDEX, where, fields=("incident_id", "label"))
        return {int(each["incident_id"]): str(each["label"]) for each in found if each.get("label")}

    # Writing the index

    def _successors(self, documents: Documents, plan: JoinPlan) -> dict[int, int]:
        """Returns ending incident -> one of its findings; the new incident of that finding gets its notes."""
        found = {}
        for number in plan.gone:
            own = documents.find(INCIDENTS, [("group_id", "=", number)], fields=("incident_id", "start_ns"))
            rows = [(each["start_ns"], int(each["incident_id"])) for each in own]
            if kept := [row for row in rows if row[1] not in plan.removed]:
                found[number] = min(kept)[1]
        return found

    def _leave_notes(
        self, documents: Documents, plan: JoinPlan, numbers: GivenNumbers, successors: dict[int, int]
    ) -> None:
        """Gives the notes of ending incidents to their heirs, before an empty number is forgotten."""
        placed = {one.finding_id: one.incident_id for one in plan.moved}
        placed |= {one.finding_id: one.incident_id for one in plan.written}
        for number, finding_id in successors.items():
            if not documents.atomic and finding_id in placed:
                _inherit(documents, number, numbers.incident(placed[finding_id]))

    def _index_plan(
        self,
        documents: Documents,
        facts: Sequence[IncidentFacts],
        written: Collection[int],
        gone: Sequence[int],
        successors: dict[int, int],
    ) -> None:
        """Indexes what a plan has written: incidents with facts and others; forgets those that are gone."""
        for one in facts:
            enter_incident(documents, entry_of_facts(one), ())
        for number in {*written} - {one.incident_id for one in facts}:
            self._enter_stored(documents, number)  # the plan does not have its facts
        for number in gone:
            documents.remove(INDEX, [("incident_id", "=", number)])
            kept = documents.get(INCIDENTS, successors.get(number, 0))
            if kept is None:
                documents.remove(HEIRS, [("heir", "=", number)])
            else:
                _inherit(documents, number, int(kept["group_id"]))

    def _forget_incidents(self, documents: Documents, numbers: Sequence[int]) -> Iterator[None]:
        """Deletes the entries, notes and other rows of expired incidents; yields between statements."""
        for table in (INDEX, NOTES, PARTS, FACTS):
            documents.remove(table, [("incident_id", "in", numbers)])
            yield
        documents.remove(HEIRS, [("heir", "in", numbers)])
        documents.raise_number(REVISION)

    def _enter_stored(self, documents: Documents, number: int, work: IncidentWork = OPEN) -> None:
        """Indexes a stored incident, from its findings."""
        found = documents.find(INCIDENTS, [("group_id", "=", number)])
        facts = documents.get(FACTS, number)
        if known := self._read_all(INCIDENTS, known_from_document, found):
            fresh = None if facts is None or facts.get("stale") else IncidentFacts.of_document(facts)
            incident = incident_of(known, fresh)
            enter_incident(documents, entry_of_incident(incident), incident.box_ids, work)

    def _fill_index(self, copied: bool = False) -> None:
        """Indexes incidents that were copied without the index, and new ones of an original Mauka.

        `copied`: some have just been copied, also where all were indexed before.
        """

        def enter(documents: Documents, numbers: Sequence[int]) -> None:
            for number in numbers:
                if documents.get(INDEX, number) is None:
                    self._enter_stored(documents, number, IncidentWork())

        self._fill_table(INDEX, enter, copied)
        self._index_foreign()

    @abstractmethod
    def _index_foreign(self) -> None:
        """Indexes some of the original's incidents, the others in the background; see `original_index`."""

    @abstractmethod
    def _enter_parts(self, documents: Documents, pairs: Iterable[tuple[int, str]]) -> None:
        """Writes the rows by incident and Box; see `incident_parts`."""

    def _fill_table(
        self, table: Table, enter: Callable[[Documents, Sequence[int]], None], copied: bool = False
    ) -> None:
        """Enters incidents that were copied without this table, once, in slices; a stop loses no slice."""
        counter = INDEX_COUNTERS[table]
        if counter in self._filled and not copied:
            return

        reached = 0

        def fill_slice(documents: Documents) -> int | None:
            begun = reached if copied else documents.number(f"{counter}_to") or 0
            numbers = documents.distinct(INCIDENTS, "group_id", begun, FILL_ROWS)
            enter(documents, numbers)
            ended = len(numbers) < FILL_ROWS
            documents.raise_number(REVISION)
            documents.raise_number(counter if ended else f"{counter}_to", 0 if ended else numbers[-1])
            return None if ended else numbers[-1]

        with self._driver.read() as documents:
            unnumbered = documents.original and documents.number("incident_id") is None  # none of ours
            done = unnumbered or (documents.number(counter) is not None and not copied)
            if not done and self._driver.read_only:
                done = not _is_missing(documents, table)
        while not done:
            last = self._driver.write(fill_slice)
            done, reached = last is None, last or 0
        self._filled |= {counter}


def conditions(wanted: IncidentFilter) -> list[Condition]:
    """Returns the conditions of a filter for the index; the rarest tag comes first."""
    found: list[Condition] = [("tags", "has", tag) for tag in wanted.tags]
    if wanted.box_ids is not None:
        found.append(("tags", "has any", [f"box:{box_id}" for box_id in wanted.box_ids]))
    since = None if wanted.start_ns is None else EarliestStart(INDEX, wanted.start_ns)
    plain: tuple[Condition, ...] = (
        ("scope", "=", wanted.scope or None),
        ("severity", ">=", wanted.least_severity),
        ("end_ns", ">", wanted.start_ns),
        ("start_ns", ">=", since),
        ("start_ns", ">=", wanted.began_ns),
        ("start_ns", "<", wanted.end_ns),
        ("cell", "=", wanted.cell),
    )
    found += [each for each in plain if each[2] is not None]
    if wanted.unseen is not None:
        found += unseen_conditions(wanted.unseen)
        found.append(("start_ns", ">=", wanted.unseen.since_ns))
    return [*found, *(("words", "contains", word) for word in wanted.searched)]


def unseen_conditions(marks: SeenMarks) -> list[Condition]:
    """Returns the conditions for the numbers of incidents that are not seen."""
    seen = sorted(number for number in marks.numbers if number > marks.up_to)
    return [("incident_id", ">", marks.up_to), *([("incident_id", "not in", seen)] if seen else [])]


def order(wanted: IncidentFilter, back: bool) -> tuple[str, str]:
    """Returns the sort fields of a filter's order; `back` reverses it."""
    turn = "" if back else "-"
    return f"{turn}{_SORTED_BY[wanted.order]}", f"{turn}incident_id"


def entry_of(document: Fields) -> IndexedIncident:
    values: Fields = {name: document.get(name) for name in ENTRY}
    return IndexedIncident(**values)


def _is_missing(documents: Documents, table: Table) -> bool:
    """Whether the table lacks an incident."""
    after = 0
    while numbers := documents.distinct(INCIDENTS, "group_id", after, FILL_ROWS):
        for number in numbers:
            if not documents.count(table, [("incident_id", "=", number)], 1):
                return True
        after = numbers[-1]
    return False


def new_entry(entry: IndexedIncident, box_ids: Sequence[str], work: IncidentWork) -> Fields:
    """Returns the document of an incident that is not indexed yet."""
    tags = [*tags_of(entry.kind), *(f"box:{box_id}" for box_id in box_ids), *work.tags]
    new = {**_entry_values(entry), "incident_id": entry.incident_id, "words": "", "label": None}
    return {**new, "boxes": 0, "tags": tags, **_work_fields(work)}


def _entry_values(entry: IndexedIncident) -> Fields:
    return {
        "start_ns": entry.start_ns,
        "end_ns": entry.end_ns,
        "length_ns": entry.length_ns,
        "kind": entry.kind,
        "machine_kind": entry.kind,
        "residual_percent": entry.residual_percent,
        "severity": entry.severity,
        "severity_key": float(entry.severity or 0.0),
        "scope": entry.scope,
        "cell": cell_of(entry.residual_percent, entry.length_ns),
    }


def enter_incident(
    documents: Documents, entry: IndexedIncident, box_ids: Sequence[str], work: IncidentWork = OPEN
) -> None:
    """Writes an entry; a class from a label stays, and so does the work of one that is there."""
    number, boxes = entry.incident_id, [f"box:{box_id}" for box_id in box_ids]
    values = _entry_values(entry)
    before = documents.get(INDEX, number)
    if before is None:
        if documents.insert(INDEX, new_entry(entry, box_ids, work)):
            return
        before = documents.get(INDEX, number) or {}  # another process was faster
    kind = str(before.get("label") or entry.kind)
    documents.set_fields(INDEX, [("incident_id", "=", number)], {**values, "kind": kind})
    _retag(documents, number, tags_of(str(before.get("kind") or kind)), tags_of(kind))
    documents.add_values(INDEX, number, boxes)


def _work(entry: Fields) -> IncidentWork:
    return IncidentWork(entry.get("work"), entry.get("assigned_to") or "", entry.get("known_cause") or "")


def _work_fields(work: IncidentWork) -> Fields:
    return {
        "work": work.state,
        "assigned_to": work.assigned_to or None,
        "known_cause": work.known_cause or None,
    }


def _retag(documents: Documents, number: int, before: Iterable[str], after: Iterable[str]) -> None:
    """Replaces the tags of the incident's class and work."""
    known, wanted = {*before}, {*after}
    documents.remove_values(INDEX, number, known - wanted)
    documents.add_values(INDEX, number, wanted - known)


def _notes(documents: Documents, where: Condition) -> list[IncidentNote]:
    return [
        IncidentNote(
            int(each["note_id"]),
            int(each["incident_id"]),
            int(each["at_ms"]),
            str(each["account_id"]),
            str(each["kind"]),
            str(each["text"]),
        )
        for each in documents.find(NOTES, [where], sort=("note_id",))
    ]


def write_notes(documents: Documents, number: int) -> None:
    """Updates the searched words, the label, the class and the work of an incident from its notes."""
    before = documents.get(INDEX, number)
    if before is None:
        return
    notes = _notes(documents, ("incident_id", "=", number))
    kind = label_of(notes) or str(before["machine_kind"])
    documents.add_values(INDEX, number, {f"named:{note.text}" for note in notes if note.kind == "assign"})
    was = _work(before)
    work = work_of(notes, was.state)
    values = {"words": words_of(notes), "label": label_of(notes), "kind": kind, **_work_fields(work)}
    documents.set_fields(INDEX, [("incident_id", "=", number)], values)
    _retag(documents, number, {*tags_of(str(before["kind"])), *was.tags}, {*tags_of(kind), *work.tags})
    documents.raise_number(REVISION)


def _inherit(documents: Documents, number: int, successor: int) -> None:
    """Gives the notes and the number of an incident to the incident that it is part of now."""
    documents.set_fields(HEIRS, [("heir", "=", number)], {"heir": successor})
    documents.put(HEIRS, [{"incident_id": number, "heir": successor}])
    if documents.set_fields(NOTES, [("incident_id", "=", number)], {"incident_id": successor}):
        write_notes(documents, successor)
