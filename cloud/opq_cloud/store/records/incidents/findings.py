"""Findings and their incidents, as the original's documents (docs/reference/opq-interop.md, D.6).

Only one process writes a plan at a time. Where the steps of a job are seen one by one, the incidents' facts
are marked stale first; then findings are moved, the latest first, and written, merged ones are removed, and
the new facts are written last. A process killed in between leaves its event unanalysed; its next analysis
completes the rest.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import suppress
from functools import partial
from heapq import merge
from itertools import groupby, islice
from operator import itemgetter
from typing import Protocol

from opq_cloud.store.documents.box_documents import box_from_document
from opq_cloud.store.documents.event_documents import start_of, waveform_from_document
from opq_cloud.store.documents.findings import incident_document, known_from_document, shown_from_document
from opq_cloud.store.documents.readable import READ_ERRORS
from opq_cloud.store.driver import Documents, Fields, Where
from opq_cloud.store.incidents.join_plan import (
    CarriedOut,
    FindingOnset,
    GivenNumbers,
    IncidentFacts,
    JoinPlan,
    KnownFinding,
    carried_out,
    incident_of,
    with_label,
)
from opq_cloud.store.records.incidents.incident_index import REVISION as INDEX_REVISION
from opq_cloud.store.records.incidents.original_index import OriginalIndex
from opq_cloud.store.records.part import box_locations, expires
from opq_cloud.store.records.removals import complete_removals, never, remove_whole
from opq_cloud.store.records.tables import BOXES, EVENTS, FACTS, INCIDENTS
from opq_proto.errors import StoreError
from opq_proto.messages import Incident, Waveform
from opq_proto.wire.waveforms import ORIGINAL_RATE_MILLIHZ

REVISION = "joins"
"""Counter of the plans that changed something."""
COPIED_MARGIN_SAMPLES = 12
"""Samples that the original adds on both sides of an incident in its file `incident_N`."""
_ONSET = (
    "incident_id",
    "group_id",
    "box_id",
    "class",
    "start_ns",
    "end_ns",
    "uncertainty_ns",
    "clock_id",
    "leads",
    "by_hand",
    "samples_began_ns",
    "start_id",
)


class FindingCopies(Protocol):
    """What the original stores of the samples with each finding, for its own programs.

    A file is written after its finding's document is stored: a number that another service has taken is
    refused there, and that service's file of the same name stays as it is.
    """

    def add(self, known: KnownFinding, document: Fields) -> None:
        """Adds the finding's Measurements to its document."""

    def put_samples(self, documents: Documents, known: KnownFinding) -> None:
        """Stores the samples of a stored finding as a file, and names it in the finding's document."""

    def delete(self, documents: Documents, finding_id: int) -> None:
        """Deletes the file that was written here; one of another service stays."""


def samples_file(finding_id: int) -> str:
    """Returns the name of the file with the samples of a finding."""
    return f"incident_{finding_id}"


class NumberTakenError(Exception):
    """Another service has stored its own incident with a number that was just given to a finding of ours."""


class FindingRecords(OriginalIndex):
    """`incidents`, one document per finding; `group_id` is the incident, with facts in `incident_facts`."""

    _copies: FindingCopies | None = None

    def join_revision(self) -> int:
        with self._driver.read() as documents:
            return documents.number(REVISION) or 0

    def findings_of_box(self, box_id: str, start_ns: int, end_ns: int) -> list[KnownFinding]:
        return self._findings(
            [("box_id", "=", box_id), ("end_ns", ">=", start_ns), ("start_ns", "<=", end_ns)]
        )

    def findings_of_boxes(self, box_ids: Collection[str], start_ns: int, end_ns: int) -> list[KnownFinding]:
        near = [("box_id", "in", list(box_ids)), ("end_ns", ">=", start_ns), ("start_ns", "<=", end_ns)]
        return self._findings(near)

    def findings_of_incident(self, incident_id: int) -> list[KnownFinding]:
        return self._findings([("group_id", "=", incident_id)])

    def _findings(self, where: Where) -> list[KnownFinding]:
        with self._driver.read() as documents:
            return self._read_all(INCIDENTS, known_from_document, documents.find(INCIDENTS, where))

    def onsets(self, start_ns: int, end_ns: int, leading: bool = False) -> list[FindingOnset]:
        near: Where = [("start_ns", ">=", start_ns), ("start_ns", "<=", end_ns)]
        only: Where = [("leads", "!=", False)] if leading else ()
        with self._driver.read() as documents:
            return self._read_all(INCIDENTS, _onset, documents.find(INCIDENTS, [*near, *only], fields=_ONSET))

    def incident_facts(self, incident_id: int) -> IncidentFacts | None:
        with self._driver.read() as documents:
            return _facts(documents, [incident_id]).get(incident_id)

    def next_finding_id(self) -> int:
        return self._driver.write(lambda documents: self._draw_numbers(documents, "incident_id")[0])

    def carry_out(self, plan: JoinPlan) -> CarriedOut | None:
        expire_at = expires(self._ttls.incidents)

        def job(documents: Documents) -> CarriedOut | None:
            if (documents.number(REVISION) or 0) != plan.revision:
                return None
            if plan.changes:  # first, so that a plan that another process made meanwhile is refused
                documents.raise_number(REVISION)
            numbers = _numbers_for(plan, documents.original, partial(self._draw_numbers, documents))
            try:
                self._write_plan(documents, plan, numbers, expire_at)
            except NumberTakenError:
                return None  # the steps done stay valid; the next plan completes the rest
            return carried_out(plan, numbers)

        return self._driver.exclusive("findings", job)

    def _write_plan(
        self, documents: Documents, plan: JoinPlan, numbers: GivenNumbers, expire_at: int
    ) -> None:
        successors = self._successors(documents, plan)
        stored = [one.finding_id for one in plan.written if one.finding_id > 0]
        placed = [*stored, *(one.finding_id for one in plan.moved), *plan.removed]
        pairs = self._pairs_of(documents, placed)
        stale = [one.incident_id for one in plan.facts if one.incident_id > 0]
        if stale and not documents.atomic:
            documents.set_fields(FACTS, [("incident_id", "in", stale)], {"stale": True})
        self._leave_notes(documents, plan, numbers, successors)
        for move in plan.moved:
            place = {"group_id": numbers.incident(move.incident_id), "leads": move.leads}
            documents.set_fields(INCIDENTS, [("incident_id", "=", move.finding_id)], place)
        written = [numbers.known(one) for one in plan.written]
        self._write_findings(documents, written, {*stored}, expire_at)
        if plan.removed:
            documents.remove(INCIDENTS, [("incident_id", "in", list(plan.removed))])
        if self._copies is not None:
            for gone in plan.removed:
                self._copies.delete(documents, gone)
        facts = [numbers.facts(one) for one in plan.facts]
        documents.put(FACTS, ({**one.as_document(), "stale": False} for one in facts))
        if plan.gone:
            documents.remove(FACTS, [("incident_id", "in", list(plan.gone))])
        added = [(known.incident_id, known.finding.box_id) for known in written]
        self._index_plan(documents, facts, {number for number, _ in added}, plan.gone, successors)
        moved = {numbers.incident(one.incident_id) for one in plan.moved}
        every = [*pairs, *self._pairs_of(documents, placed), *added]
        self._enter_parts(documents, every, written, {*numbers.incidents} - moved)
        if facts and not every:
            documents.raise_number(INDEX_REVISION)  # with rows of Boxes it was raised after them
        events = [("event_id", "in", [plan.event_id, *plan.more_events]), ("expire_at", "<", expire_at)]
        documents.set_fields(EVENTS, events, {"expire_at": expire_at})  # kept as long as the incident

    def _write_findings(
        self, documents: Documents, written: Sequence[KnownFinding], stored: Collection[int], expire_at: int
    ) -> None:
        locations = box_locations(documents, {one.finding.box_id for one in written})
        made = (
            (known, incident_document(known, expire_at, locations.get(known.finding.box_id, "")))
            for known in written
        )
        if not documents.original:
            documents.put(INCIDENTS, (document for _, document in made))
            return
        for known, document in made:
            if self._copies is not None:
                self._copies.add(known, document)
            if known.finding_id in stored:  # what was copied stays where its source has expired
                copied = ("measurements", "gridfs_filename")
                documents.put(INCIDENTS, [{k: v for k, v in document.items() if v or k not in copied}])
            elif not documents.insert(INCIDENTS, document):
                documents.note_taken(known.finding_id)
                raise NumberTakenError
            if self._copies is not None:
                self._copies.put_samples(documents, known)

    def incident(self, incident_id: int) -> Incident | None:
        return next(iter(self.incidents_of([incident_id])), None)

    def incidents_of(self, incident_ids: Sequence[int]) -> list[Incident]:
        with self._driver.read() as documents:
            return self._incidents(documents, incident_ids)

    def incidents(
        self, after_id: int = 0, start_ns: int | None = None, end_ns: int | None = None, limit: int = 100
    ) -> list[Incident]:
        with self._driver.read() as documents:
            spans = _spans(documents, after_id, self._readable_findings)
            found = (number for number, span in spans if _overlaps(span, start_ns, end_ns))
            return self._incidents(documents, list(islice(found, limit)))

    def _readable_findings(self, found: Iterable[Fields]) -> Iterator[KnownFinding]:
        return self._driver.readable.read_all(INCIDENTS.name, known_from_document, found)

    def _incidents(self, documents: Documents, numbers: Sequence[int]) -> list[Incident]:
        """Reads incidents, in this order; one of the original has no group and is an incident of its own."""
        if not numbers:
            return []
        groups: dict[int, list[Fields]] = {}
        for document in documents.find(INCIDENTS, [("group_id", "in", list(numbers))]):
            groups.setdefault(int(document["group_id"]), []).append(document)
        others = [number for number in numbers if number not in groups]
        if others and documents.original:
            theirs = [("incident_id", "in", others), ("group_id", "=", None)]
            for document in documents.find(INCIDENTS, theirs):
                groups.setdefault(int(document["incident_id"]), []).append(document)
        facts, given = _facts(documents, list(groups)), self._labels(documents, list(groups))
        known = {
            number: self._read_all(INCIDENTS, shown_from_document, groups.get(number, ()))
            for number in numbers
        }
        return [
            with_label(incident_of(findings, facts.get(number)), given.get(number))
            for number, findings in known.items()
            if findings
        ]

    def copied_samples(self, incident: Incident) -> list[Waveform]:
        """Returns the samples that are stored with each finding; they are kept as long as the incident."""
        numbers = [item.finding_id for item in incident.findings]
        named: Where = [("incident_id", "in", numbers), ("gridfs_filename", "!=", "")]
        fields = ("incident_id", "box_id", "start_timestamp_ms", "gridfs_filename", "samples")
        with self._driver.read() as documents:
            found = list(documents.find(INCIDENTS, named, fields=fields)) if documents.original else []
            boxes = {str(each.get("box_id")): documents.get(BOXES, each.get("box_id")) for each in found}
            waves = []
            for each in found:
                name, box = str(each.get("gridfs_filename")), boxes[str(each.get("box_id"))]
                with suppress(StoreError, *READ_ERRORS):  # the page says that there is none
                    place = each.get("samples") or {"start_ns": _original_start_ns(each)}
                    placed = {"box_id": each["box_id"], **place}
                    then = None if box is None else box_from_document(box).at(start_of(placed))
                    constant = None if then is None else then.calibration_constant
                    waves.append(waveform_from_document(placed, documents.read_file([name]), constant))
        return waves

    def complete_copy(self) -> None:
        self._index_all()
        copies = self._copies
        if copies is None:
            return
        with self._driver.read() as documents:
            for document in documents.find(INCIDENTS, [("gridfs_filename", "=", "")]):
                for known in self._readable_findings([document]):
                    copies.add(known, document)
                    documents.put(INCIDENTS, [document])
                    copies.put_samples(documents, known)

    def _expire_findings(
        self, documents: Documents, now_s: int, slice_rows: int, stopped: Callable[[], bool]
    ) -> int:
        complete_removals(documents, INCIDENTS, self._clear_findings, stopped)
        fields = ("incident_id", "group_id", "box_id")
        expired: Where = [("expire_at", "<=", now_s)]
        due = list(documents.find(INCIDENTS, expired, limit=slice_rows, fields=fields))
        return self._remove_findings(documents, due, now_s, stopped) if due else 0

    def _remove_findings(
        self,
        documents: Documents,
        due: Sequence[Fields],
        due_s: int | None = None,
        stopped: Callable[[], bool] = never,
    ) -> int:
        """Removes findings that expire up to `due_s`, or all, and incidents without another finding."""
        rows = [
            {
                "incident_id": each["incident_id"],
                "incident": incident_number(each),
                "box_id": str(each["box_id"]),
            }
            for each in due
        ]
        return remove_whole(documents, INCIDENTS, rows, due_s, self._clear_findings, stopped)

    def _clear_findings(self, documents: Documents, gone: Sequence[Fields]) -> Iterator[None]:
        """Removes the files of findings that are gone, and the incidents that have no other finding."""
        if documents.original:
            documents.delete_files([samples_file(int(each["incident_id"])) for each in gone])
            yield
        pairs = [(int(each["incident"]), str(each["box_id"])) for each in gone]
        numbers = sorted({number for number, _ in pairs})
        left = documents.find(INCIDENTS, [("group_id", "in", numbers)], fields=("group_id",))
        kept = {int(each["group_id"]) for each in left}
        yield
        if ended := [number for number in numbers if number not in kept]:
            yield from self._forget_incidents(documents, ended)
        self._enter_left(documents, [pair for pair in pairs if pair[0] in kept])


def incident_number(finding: Fields) -> int:
    """Returns the incident of a finding; one of the original is an incident of its own."""
    return int(finding.get("group_id") or finding["incident_id"])


def _numbers_for(plan: JoinPlan, original: bool, draw: Callable[..., list[int]]) -> GivenNumbers:
    """Gives a plan its numbers.

    Beside the original, an incident has the number of its first finding: of all numbers given to findings,
    also at 9777, each is given once, so an incident of ours never has the number of one of the original.
    """
    findings = draw("incident_id", plan.new_findings())
    count = plan.new_incidents()
    if not original:
        return GivenNumbers(findings, draw("group_id", count))
    given, first = GivenNumbers(findings), plan.first_findings()
    incidents = [
        given.finding(first[-place]) if -place in first else draw("group_id")[0]
        for place in range(1, count + 1)
    ]
    return GivenNumbers(findings, incidents)


def _onset(document: Fields) -> FindingOnset:
    leads = document.get("leads")
    return FindingOnset(
        document["incident_id"],
        document["group_id"],
        document["box_id"],
        document["class"],
        document["start_ns"],
        document["end_ns"],
        document["uncertainty_ns"],
        document.get("clock_id"),
        None if leads is None else bool(leads),
        bool(document.get("by_hand")),
        document.get("samples_began_ns"),
        document.get("start_id"),
    )


def _original_start_ns(document: Fields) -> int:
    """Returns the time of the first sample of an incident's file that the original wrote."""
    margin_ns = COPIED_MARGIN_SAMPLES * 10**12 // ORIGINAL_RATE_MILLIHZ
    return round(float(document["start_timestamp_ms"]) * 1e6) - margin_ns


def _facts(documents: Documents, numbers: Sequence[int]) -> dict[int, IncidentFacts]:
    """Returns incident -> facts, for incidents that have any that are not stale."""
    found = documents.find(FACTS, [("incident_id", "in", list(numbers))])
    return {
        int(each["incident_id"]): IncidentFacts.of_document(each) for each in found if not each.get("stale")
    }


Span = tuple[int, int]


def _spans(
    documents: Documents, after_id: int, read: Callable[[Iterable[Fields]], Iterable[KnownFinding]]
) -> Iterator[tuple[int, Span]]:
    """Yields (incident, its span), the highest number first."""
    fields = ("group_id", "start_ns", "end_ns")
    ours = documents.find(INCIDENTS, [("group_id", ">", after_id)], sort=("-group_id",), fields=fields)
    rows = ((int(each["group_id"]), each["start_ns"], each["end_ns"]) for each in ours)
    if documents.original:
        where = [("group_id", "=", None), ("incident_id", ">", after_id)]
        theirs = read(documents.find(INCIDENTS, where, sort=("-incident_id",)))
        known = ((one.incident_id, one.finding.start_ns, one.finding.end_ns) for one in theirs)
        rows = merge(rows, known, key=itemgetter(0), reverse=True)
    for number, group in groupby(rows, key=itemgetter(0)):
        starts, ends = zip(*((start_ns, end_ns) for _, start_ns, end_ns in group), strict=True)
        yield number, (min(starts), max(ends))


def _overlaps(span: Span, start_ns: int | None, end_ns: int | None) -> bool:
    return (start_ns is None or span[1] > start_ns) and (end_ns is None or span[0] < end_ns)
