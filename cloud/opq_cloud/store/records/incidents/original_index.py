"""The index of the original's incidents: made by slices in the background, and kept as it changes them.

Incidents of before the first start are indexed from the newest to the oldest: FIRST is the number after the
newest one, and BACK says how far below it the index goes. Those above NEWEST are new.
"""

import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import partial
from itertools import islice
from typing import NamedTuple

from opq_cloud.store.documents import text_of
from opq_cloud.store.documents.findings import START_FIELDS, known_from_document, start_if_known
from opq_cloud.store.driver import Condition, Documents, Driver, Fields
from opq_cloud.store.incidents.index import OPEN, IncidentWork, IndexProgress, entry_of_incident
from opq_cloud.store.incidents.join_plan import KnownFinding, incident_of
from opq_cloud.store.incidents.parts_seen import part_of
from opq_cloud.store.records.incidents.incident_index import (
    REVISION,
    enter_incident,
    new_entry,
)
from opq_cloud.store.records.incidents.incident_parts import IncidentParts, part_row
from opq_cloud.store.records.tables import INCIDENTS, INDEX, PARTS
from opq_proto.errors import StoreError
from opq_proto.kit import log

FOLLOW_S = 20.0
"""What the original changed and deleted is followed at this interval."""
FOREIGN_S = 2.0
"""Incidents that an original Mauka stores are indexed after this time."""
END_S = 5.0
"""Longest wait for the thread when the store is closed."""
FRESH_S = 60.0
"""A list has all new incidents if they were searched within this time; retention searches each minute."""
FIRST_SLICE_S = 0.5
"""Longest wait of a request for the first slice, because a list has 2 s; a server that uses no index for it
takes longer."""
SLICE = 400
"""Incidents that are indexed at once."""
LATE = 200
"""Incidents of the original, below its newest one, among which one may still be stored: its plug-ins draw a
number, copy samples, and store the incident then, side by side. Numbers of ours between them do not count."""
NEWER_PAUSES = 9.0
"""While older incidents are indexed, one tenth of the time goes to the search for new ones."""
FIRST = f"{INDEX.name}_first"
"""Counter: the highest number of the original at the first start, plus one."""
NEWEST = f"{INDEX.name}_newest"
"""Counter: the highest number of the original that is indexed."""
BACK = f"{INDEX.name}_back"
"""Counter: how far below FIRST the index goes."""
CHECKED = 1000
"""Rows of the index that are compared with their incidents at once: the oldest, because the original's
collector deletes them, and the next ones in turn, because retention may be shortened, or an outage long."""
PASSES = 10
"""Most times that rows are compared at once: again where as many were deleted, as in an expiry of years."""
COMPLETED = 200
"""Newest findings of ours that are indexed at a start: a killed process left the last without an entry."""
OUTAGES = 200
"""Newest outages whose end is read again: the original changes it while they last."""


class NewIncidents(NamedTuple):
    """What a search for new incidents of the original found."""

    began_s: float
    """When it began (monotonic)."""
    numbers: list[int]
    """The newest ones, in order, also those that are indexed."""
    found: list[Fields]
    """The documents of those that are not indexed."""


class OriginalIndex(IncidentParts):
    """What the original stored, changed and deleted, in the index."""

    _indexing: threading.Thread | None = None
    _older: Iterator[Fields] | None = None
    """One search of the incidents of before the first start, the newest first; each slice reads on.

    A MongoDB goes along the index of `group_id` and `incident_id`, and reads no more than a slice at once.
    """
    _asked_s = -FOREIGN_S
    """When `_indexing` was started last (monotonic)."""
    _searched_s: float | None = None
    """When the last search began of which all new incidents are indexed (monotonic)."""
    _newer_due_s = 0.0
    _late_above: int | None = None
    """The LATE newest incidents of the original are above this number; None: not searched yet."""
    _tried: frozenset[int] | set[int] = frozenset()
    """Numbers of the last search for new ones: one that cannot be read is not tried again."""
    _followed_s = 0.0
    _is_completed = False
    """Whether the newest findings of ours were searched for those without an index."""
    _checked: tuple[int, int] | None = None
    """Start and number of the last row that was checked in turn; None: the next ones follow the oldest."""
    _is_closing = False

    def __init__(self, driver: Driver) -> None:
        super().__init__(driver)
        self._slices = threading.Lock()
        """Held while a slice is indexed, by one thread of this process."""
        self._starting = threading.Lock()
        """Held while the thread is started; who does not get it goes on without waiting."""

    def index_progress(self) -> IndexProgress | None:
        """Starts a search for new incidents, whose first slice it waits for; 0 of 1 until it is known."""
        if not self._driver.original:
            return None
        self._index_foreign()
        with self._driver.read() as documents:
            older = _older_progress(documents)
        if older or (self._searched_s is not None and time.monotonic() < self._searched_s + FRESH_S):
            return older
        return IndexProgress(99, 100, are_new=True)

    def index_slice(self) -> int:
        """Indexes a slice; 0 also where another process took the lock over, as `index_progress` shows."""
        if not self._driver.original:
            return 0
        with self._driver.read() as documents:
            is_first = documents.number(FIRST) is None
        with self._slices:
            done, began_s = None, time.monotonic()
            try:
                older = self._read_older()
                enter = partial(self._index_slice, older=older, newer=self._read_newer(len(older)))
                done = self._driver.exclusive("incident_index", enter)
                if is_first and done is not None:
                    self._searched_s = began_s  # it begins with the newest one
            finally:
                if done is None:  # an error, or a lost lock: the next call reads this slice again
                    self._older = None
        return done or 0

    def _index_foreign(self) -> None:
        """Has a thread index them; waits for its first slice, so that a new incident is listed at once."""
        if not (self._driver.original and self._starting.acquire(blocking=False)):
            return
        try:
            if time.monotonic() < self._asked_s + FOREIGN_S:
                return
            if self._indexing is not None and self._indexing.is_alive():
                return
            self._asked_s = time.monotonic()
            first_slice = threading.Event()
            self._indexing = threading.Thread(
                target=self._index_rest, args=(first_slice,), name="incident-index", daemon=True
            )
            self._indexing.start()
        finally:
            self._starting.release()
        first_slice.wait(FIRST_SLICE_S)

    def _index_rest(self, first_slice: threading.Event) -> None:
        try:
            while not self._is_closing and self.index_slice():
                first_slice.set()
            first_slice.set()
            if (
                not self._has_older()
                and not self._is_closing
                and time.monotonic() > self._followed_s + FOLLOW_S
            ):
                self._followed_s = time.monotonic()
                self.follow_original()
        except StoreError as error:  # the next request goes on
            if not self._is_closing:
                log.get(service="store").warning("incident_index.failed", error=str(error))
        finally:
            first_slice.set()

    def _end_indexing(self) -> None:
        """Ends the thread after its present slice; the next store goes on there."""
        self._is_closing = True
        if self._indexing is not None:
            self._indexing.join(END_S)

    def _read_older(self) -> list[Fields]:
        """Returns the next slice of the incidents of before the first start; empty where all are indexed."""
        with self._driver.read() as documents:
            first, back = documents.number(FIRST), documents.number(BACK) or 0
            if first is not None and back >= first:
                self._older = None
                return []
            if self._older is None:
                where: list[Condition] = [("group_id", "=", None), ("incident_id", ">", 0)]
                if first is not None:
                    where.append(("incident_id", "<", first - back))
                self._older = documents.find(INCIDENTS, where, sort=("-incident_id",), batch=SLICE)
            return list(islice(self._older, SLICE))

    def _index_slice(self, documents: Documents, older: Sequence[Fields], newer: NewIncidents | None) -> int:
        """Enters what was read before the lock, because reading may take longer than the lock is kept."""
        known = documents.number(FIRST)
        drawn = max((int(each["incident_id"]) + 1 for each in older), default=0)
        first = documents.first_number(FIRST, drawn) if known is None else known
        if known is None or documents.number(NEWEST) is None:
            documents.raise_number(NEWEST, first - 1 if first else 0)
        if newer is not None:
            self._enter_newer(documents, newer)
        if first and (documents.number(BACK) or 0) < first:
            self._enter_foreign(documents, older, IncidentWork())
            reached = int(older[-1]["incident_id"]) if len(older) == SLICE else 0
            documents.raise_number(BACK, first - max(0, reached))
        return len(older) + (0 if newer is None else len(newer.found))

    def _read_newer(self, older: int) -> NewIncidents | None:
        """Searches those above NEWEST, and those below it that were stored late; None: not due.

        `older` is the number of older ones in this slice.
        """
        began_s, fields = time.monotonic(), ("incident_id",)
        with self._driver.read() as documents:
            first = documents.number(FIRST)
            if first is None or (older == SLICE and began_s < self._newer_due_s):
                return None
            if self._late_above is None:
                newest = documents.number(NEWEST)
                self._late_above = self._find_late(documents, first - 1 if newest is None else newest)
            indexed_from = first - (documents.number(BACK) or 0)
            above = max(self._late_above, indexed_from - 1)
            where: list[Condition] = [("group_id", "=", None), ("incident_id", ">", above)]
            found = documents.find(INCIDENTS, where, sort=fields, limit=SLICE + LATE, fields=fields)
            numbers = [int(each["incident_id"]) for each in found]
            there = documents.find(INDEX, [("incident_id", "in", numbers)], fields=("incident_id",))
            done = self._tried | {int(each["incident_id"]) for each in there}
            new = [number for number in numbers if number not in done]
            wanted: list[Condition] = [("group_id", "=", None), ("incident_id", "in", new)]
            entered = list(documents.find(INCIDENTS, wanted)) if new else []
        self._newer_due_s = time.monotonic() + max(FOREIGN_S, NEWER_PAUSES * (time.monotonic() - began_s))
        return NewIncidents(began_s, numbers, entered)

    def _enter_newer(self, documents: Documents, newer: NewIncidents) -> None:
        self._enter_foreign(documents, newer.found, OPEN)
        numbers = newer.numbers
        self._tried = {*numbers}  # after the writes: numbers whose write failed are tried again
        if numbers:
            documents.raise_number(NEWEST, numbers[-1])
        if len(numbers) > LATE:
            self._late_above = numbers[-LATE - 1]
        if len(numbers) < SLICE + LATE:
            self._searched_s = newer.began_s

    def _find_late(self, documents: Documents, newest: int) -> int:
        """Returns the number above which the LATE newest incidents of the original are."""
        where: list[Condition] = [("group_id", "=", None), ("incident_id", "<=", newest)]
        fields = ("incident_id",)
        found = list(documents.find(INCIDENTS, where, sort=("-incident_id",), limit=LATE + 1, fields=fields))
        return int(found[-1]["incident_id"]) if len(found) > LATE else 0

    def _enter_foreign(self, documents: Documents, found: Sequence[Fields], work: IncidentWork) -> None:
        """Indexes those of these that are not there; one that is keeps its class and work of people."""
        known = self._read_all(INCIDENTS, known_from_document, found)
        if known:
            documents.add(PARTS, [part_row(one.incident_id, part_of([one])) for one in known])
            documents.add(INDEX, [{**_entry(one, work), "boxes": 1} for one in known])
            documents.raise_number(REVISION)

    def follow_original(self) -> int:
        """Follows outages whose end was stored later, and forgets what was deleted; returns what changed."""
        if not self._driver.original:
            return 0
        changed = 0
        if not self._is_completed:
            done = self._driver.exclusive("findings", self._complete_newest)
            changed, self._is_completed = done or 0, done is not None
        for _ in range(PASSES):
            done = self._driver.exclusive("incident_index", self._follow) or 0
            changed += done
            if done < CHECKED:
                break
        return changed

    def _complete_newest(self, documents: Documents) -> int:
        fields = ("group_id", "box_id")
        ours = [("group_id", ">", 0)]
        every = [("incident_id", ">", 0)]  # a late finding has a new number, its incident an old one
        found = [
            *documents.find(INCIDENTS, ours, sort=("-group_id",), limit=COMPLETED, fields=fields),
            *documents.find(INCIDENTS, every, sort=("-incident_id",), limit=COMPLETED, fields=fields),
        ]
        pairs = {(int(each["group_id"]), str(each["box_id"])) for each in found if each.get("group_id")}
        where = [("incident_id", "in", sorted({number for number, _ in pairs}))]
        rows = documents.find(PARTS, where, fields=("incident_id", "box_id"))
        there = {(int(each["incident_id"]), str(each["box_id"])) for each in rows}
        counts = Counter(number for number, _ in there)
        entries = documents.find(INDEX, where, fields=("incident_id", "boxes"))
        whole = {number for each in entries if each["boxes"] == counts[number := int(each["incident_id"])]}
        missing = {pair for pair in pairs if pair not in there or pair[0] not in whole}
        self._enter_left(documents, sorted(missing))
        return len(missing)

    def _follow(self, documents: Documents) -> int:
        rows = self._rows_in_turn(documents)
        tagged = [("tags", "has", "class:outage")]
        ends = ("incident_id", "end_ns")
        entries = documents.find(
            INDEX, tagged, sort=("-start_ns", "-incident_id"), limit=OUTAGES, fields=ends
        )
        outages = [each for each in rows if each["kind"] == "outage"]
        indexed = {int(each["incident_id"]): int(each["end_ns"]) for each in (*outages, *entries)}
        theirs = [("incident_id", "in", list(indexed)), ("group_id", "=", None)]
        stored = self._read_all(INCIDENTS, known_from_document, documents.find(INCIDENTS, theirs))
        changed = [one for one in stored if one.finding.end_ns != indexed[one.incident_id]]
        for one in changed:
            enter_incident(documents, entry_of_incident(incident_of([one])), [one.finding.box_id])
            documents.put(PARTS, [part_row(one.incident_id, part_of([one]))])
        if changed:
            documents.raise_number(REVISION)
        return len(changed) + self._forget_deleted(documents, rows)

    def _rows_in_turn(self, documents: Documents) -> list[Fields]:
        """Returns the oldest rows, and as many of the others as the last call did not return."""
        order = ("start_ns", "incident_id")
        read = partial(
            documents.find, PARTS, sort=order, limit=CHECKED, fields=(*order, "box_id", "end_ns", "kind")
        )
        rows = list(read())
        if len(rows) == CHECKED:
            rows += read(beyond=self._checked or _reached(rows))
        self._checked = _reached(rows) if len(rows) == 2 * CHECKED else None
        return rows

    def _forget_deleted(self, documents: Documents, rows: Sequence[Fields]) -> int:
        pairs = {(int(each["incident_id"]), str(each["box_id"])): int(each["end_ns"]) for each in rows}
        numbers = sorted({number for number, _ in pairs})
        starts = {(int(each["incident_id"]), str(each["box_id"])): int(each["start_ns"]) for each in rows}
        fields = ("group_id", "box_id", "end_ns")
        ends_ns: dict[tuple[int, str], int] = {}
        """The last end of our findings, by incident and Box."""
        for each in documents.find(INCIDENTS, [("group_id", "in", numbers)], fields=fields):
            pair = int(each["group_id"]), text_of(each.get("box_id"))
            end_ns = each.get("end_ns")
            if not isinstance(end_ns, int):  # it cannot be read, so its row stays
                end_ns = pairs.get(pair, 0)
            ends_ns[pair] = max(end_ns, ends_ns.get(pair, 0))
        theirs: list[Condition] = [("incident_id", "in", numbers), ("group_id", "=", None)]
        of_theirs: set[tuple[int, str]] = set()
        for each in documents.find(INCIDENTS, theirs, fields=START_FIELDS):
            pair = int(each["incident_id"]), text_of(each.get("box_id"))
            if start_if_known(each) in (starts.get(pair), None):  # one whose start cannot be read stays
                of_theirs.add(pair)
        gone = [
            pair for pair, end_ns in pairs.items() if pair not in of_theirs and ends_ns.get(pair) != end_ns
        ]
        kept = {number for number, _ in ends_ns}
        if ended := sorted({number for number, _ in gone} - kept):
            for _ in self._forget_incidents(documents, ended):
                continue
            again: list[Condition] = [("incident_id", "in", ended), ("group_id", "=", None)]
            self._enter_foreign(documents, list(documents.find(INCIDENTS, again)), OPEN)
        self._enter_left(documents, [pair for pair in gone if pair[0] in kept])
        if gone:
            documents.raise_number(REVISION)
            self._tried = frozenset()  # the original may give the number of its newest incident again
        return len(gone)

    def _index_all(self) -> None:
        while self.index_slice() or self._has_older():  # a lost lock ends one slice, not all
            continue
        super()._index_all()

    def _has_older(self) -> bool:
        """Whether incidents of before the first start are not indexed; another process may do it."""
        if not self._driver.original:
            return False
        with self._driver.read() as documents:
            return _older_progress(documents) is not None


def _older_progress(documents: Documents) -> IndexProgress | None:
    """Needs no search: 0 of 1 until the first slice knows the highest number."""
    first, done = documents.number(FIRST), documents.number(BACK) or 0
    every = 1 if first is None else first
    return None if done >= every else IndexProgress(done, every)


def _entry(one: KnownFinding, work: IncidentWork) -> Fields:
    incident = incident_of([one])
    return new_entry(entry_of_incident(incident), incident.box_ids, work)


def _reached(rows: Sequence[Fields]) -> tuple[int, int]:
    """Returns the place in order after which the next rows are read; the last incident may have more rows."""
    places = [(int(each["start_ns"]), int(each["incident_id"])) for each in rows]
    return next((place for place in reversed(places) if place != places[-1]), places[-1])
