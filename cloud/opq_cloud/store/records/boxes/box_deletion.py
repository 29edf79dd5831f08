"""What the store holds of one Box, and its deletion.

Incidents and phenomena that other Boxes share stay as they are until they expire: they are of the grid, and
hold numbers of this Box, not its waveform. All else of the Box goes, its record last, so that a deletion that
was killed can be repeated.
"""

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import TypeVar

from opq_cloud.store.box_record import BoxHoldings
from opq_cloud.store.documents import text_of
from opq_cloud.store.documents.event_documents import half_cycles_name
from opq_cloud.store.driver import Documents, Fields
from opq_cloud.store.records.accounts.account_records import AccountRecords
from opq_cloud.store.records.boxes.box_records import BoxRecords
from opq_cloud.store.records.boxes.makai_records import MakaiRecords
from opq_cloud.store.records.events.event_records import changed_event
from opq_cloud.store.records.events.waveforms import DELETED, file_names
from opq_cloud.store.records.incidents.findings import REVISION as JOINS
from opq_cloud.store.records.incidents.findings import FindingRecords, incident_number
from opq_cloud.store.records.intervals.interval_records import IntervalRecords
from opq_cloud.store.records.tables import BOX_EVENTS, BOXES, DISTURBANCES, DUE, EVENTS, INCIDENTS, PHENOMENA

SLICE = 200
"""Documents that one job deletes."""
T = TypeVar("T")
_FINDING = ("incident_id", "group_id", "box_id", "expire_at")


class BoxDeletion(FindingRecords, BoxRecords, MakaiRecords):
    """Deletes what the store has of a Box; methods raise StoreError."""

    people: AccountRecords
    intervals: IntervalRecords

    def box_holdings(self, box_id: str) -> BoxHoldings:
        with self._driver.read() as documents:
            alone, shared = _findings(documents, box_id)
            phenomena, shared_phenomena = _phenomena(documents, box_id)
            return BoxHoldings(
                sum(1 for _ in _events_of(documents, box_id)),
                documents.count(DISTURBANCES, [("box_id", "=", box_id)]),
                len({incident_number(each) for each in alone}),
                len({incident_number(each) for each in shared}),
                max((int(each["expire_at"]) for each in shared), default=None),
                len(phenomena),
                len(shared_phenomena),
            )

    def delete_box(self, box_id: str) -> None:
        self._delete_log(box_id)
        self._delete_of_events(box_id)
        self._delete_findings(box_id)
        self._delete_phenomena(box_id)
        self.intervals.delete_box(box_id)
        while self._driver.write(lambda documents: documents.trends.remove_box(box_id, SLICE)):
            continue
        self._driver.write(lambda documents: documents.remove(DUE, [("box_id", "=", box_id)]))
        limits = self.makai_config()
        if limits is not None and box_id in limits.overrides:
            others = {name: each for name, each in limits.overrides.items() if name != box_id}
            self.put_makai_config(replace(limits, overrides=others))
        self.people.forget_box(box_id)

        def remove(documents: Documents) -> bool:
            documents.remove(BOXES, [("box_id", "=", box_id)])
            return True  # View forgets also a Box without a record

        self._write_counted(remove)

    def _delete_of_events(self, box_id: str) -> None:
        with self._driver.read() as documents:
            numbers = list(_events_of(documents, box_id))
        for event_id in numbers:
            self._driver.write(partial(_delete_of_event, event_id=event_id, box_id=box_id))

    def _delete_findings(self, box_id: str) -> None:
        with self._driver.read() as documents:
            alone, shared = _findings(documents, box_id)

        def remove(documents: Documents, part: Sequence[Fields]) -> None:
            documents.raise_number(JOINS)  # what was planned with these findings is planned again
            self._remove_findings(documents, part)

        for part in _slices(alone):
            self._driver.write(partial(remove, part=part))
        for part in _slices(shared):
            self._driver.write(partial(self._remove_copies, part=part))

    def _delete_phenomena(self, box_id: str) -> None:
        with self._driver.read() as documents:
            alone, _ = _phenomena(documents, box_id)
        for part in _slices(alone):
            self._driver.write(partial(_remove_phenomena, part=part))

    def _remove_copies(self, documents: Documents, part: Sequence[Fields]) -> None:
        """Removes what a database of the original has of the samples of these findings."""
        if self._copies is None:
            return
        numbers = [int(each["incident_id"]) for each in part]
        nothing = {"measurements": [], "gridfs_filename": ""}
        documents.set_fields(INCIDENTS, [("incident_id", "in", numbers)], nothing)
        for number in numbers:
            self._copies.delete(documents, number)

    @abstractmethod
    def _delete_log(self, box_id: str) -> None:
        """Deletes the Measurements of a Box, and their numbers."""


def _slices(rows: Sequence[T]) -> Iterator[Sequence[T]]:
    return (rows[first : first + SLICE] for first in range(0, len(rows), SLICE))


def _findings(documents: Documents, box_id: str) -> tuple[list[Fields], list[Fields]]:
    """Returns the Box's findings in incidents of this Box alone, and in those that others share."""
    own = list(documents.find(INCIDENTS, [("box_id", "=", box_id)], fields=_FINDING))
    groups = sorted({int(each["group_id"]) for each in own if each.get("group_id")})
    shared: set[int] = set()
    for part in _slices(groups):
        others = documents.find(INCIDENTS, [("group_id", "in", part)], fields=_FINDING)
        shared |= {int(each["group_id"]) for each in others if each["box_id"] != box_id}
    alone = [each for each in own if incident_number(each) not in shared]
    return alone, [each for each in own if incident_number(each) in shared]


def _phenomena(documents: Documents, box_id: str) -> tuple[list[int], list[int]]:
    """Returns the numbers of phenomena of this Box alone, and of those that name others too."""
    found = documents.find(
        PHENOMENA, [("affected_opq_boxes", "has", box_id)], fields=("phenomena_id", "affected_opq_boxes")
    )
    alone, shared = list[int](), list[int]()
    for each in found:
        is_alone = set(each["affected_opq_boxes"]) == {box_id}
        (alone if is_alone else shared).append(int(each["phenomena_id"]))
    return alone, shared


def _remove_phenomena(documents: Documents, part: Sequence[int]) -> None:
    documents.remove(PHENOMENA, [("phenomena_id", "in", part)])


def _events_of(documents: Documents, box_id: str) -> Iterator[int]:
    """Yields the events with samples or half cycles of a Box."""
    parts = documents.find(BOX_EVENTS, [("box_id", "=", box_id)], fields=("event_id",))
    numbers = {int(each["event_id"]) for each in parts}
    every = documents.find(EVENTS, fields=("event_id", "half_cycles"))
    numbers |= {int(each["event_id"]) for each in every if _has_half_cycles(each, box_id)}
    yield from sorted(numbers)


def _has_half_cycles(event: Fields, box_id: str) -> bool:
    """Whether the event has half cycles of a Box, or a reason other than that it was deleted."""
    return bool((event.get("half_cycles") or {}).get(box_id, DELETED) != DELETED)


def _delete_of_event(documents: Documents, event_id: int, box_id: str) -> None:
    """Deletes the files, the document and the event's entries of a Box."""
    part = documents.get(BOX_EVENTS, event_id, box_id)
    common = f"event_{event_id}"  # one file of all its Boxes, which only some of the original's writers make
    names = [] if part is None else [each for each in file_names(part) if each != common]
    documents.delete_files([*names, half_cycles_name(event_id, box_id)])

    def changed(event: Fields) -> Fields:
        received, half_cycles = event.get("boxes_received") or (), dict(event.get("half_cycles", {}))
        if half_cycles.pop(box_id, None) is not None or event.get("half_cycles_ns") is not None:
            half_cycles[box_id] = DELETED
        return {
            **event,
            "boxes_received": [each for each in received if text_of(each) != box_id],
            "half_cycles": half_cycles,
            "missing": {**event.get("missing", {}), box_id: DELETED},
        }

    if documents.get(EVENTS, event_id) is not None:
        changed_event(documents, event_id, changed)
    documents.remove(BOX_EVENTS, [("event_id", "=", event_id), ("box_id", "=", box_id)])
