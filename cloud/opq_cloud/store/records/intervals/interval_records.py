"""Intervals and disturbances of class A, as Boxes send them in fields 1010 and 1011 of a Measurement.

    append -> NEW, a row each; DUE, a mark of its block
    settle -> BLOCKS, level ROWS: a day's intervals as columns, all in order, each once (`interval_block`)
              BLOCKS, levels DAY and MONTH: how its values are distributed (`distribution`);
              a month that is not over has none, and is read from its days

A reader sees the rows of NEW and of the blocks as one. A row that comes late makes its block, day and month
again. Each step of a job is atomic: rows are put before the mark, the mark before their numbers, the block
before its rows are removed; so a process that is killed leaves nothing undone that a repeat does not do.
"""

import time
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Any

from opq_cloud.store.documents.retention import UNSET_CLOCK_S
from opq_cloud.store.driver import Documents, Driver, Fields, Table
from opq_cloud.store.intervals.distribution import IntervalSummary, summed, unpack_summary
from opq_cloud.store.intervals.interval_block import unpack_block
from opq_cloud.store.intervals.new_rows import add_new_row, new_row, place_of
from opq_cloud.store.records.intervals.disturbances import KINDS, disturbance_of, put_disturbance
from opq_cloud.store.records.intervals.interval_packing import due_marks, pack_marked
from opq_cloud.store.records.intervals.interval_reading import (
    DAY,
    MONTH,
    ROWS,
    BoxIntervals,
    block_start_ms,
    first_day,
    month_of,
)
from opq_cloud.store.records.tables import (
    BOXES,
    DISTURBANCES,
    INTERVAL_BLOCKS,
    INTERVAL_NUMBERS,
    INTERVALS_DUE,
)
from opq_cloud.store.records.tables import INTERVALS_DAMAGED as DAMAGED
from opq_cloud.store.records.tables import INTERVALS_NEW as NEW
from opq_cloud.store.site_key import is_owners_key
from opq_proto.errors import StoreError
from opq_proto.measurement.intervals import DAY_MS, LENGTHS_MS, IntervalColumns
from opq_proto.messages import Disturbance, Measurement

SETTLE_MS = 30 * 60_000
"""A block is made this long after its time is over, so that it is made once."""
NUMBERS_KEPT_S = 90 * 86_400
"""Numbers of stored rows are known for this long: a gateway's queue is shorter. A later repeat changes
nothing either, but is counted as new."""
MOST_COUNTED = 1000
"""Damaged rows are counted so far."""
DELETED_AT_ONCE = 2000
UNDATED = "undated_intervals_s"
"""Counter: the last sweep that found nothing of a clock that was not set, Unix seconds."""
KEPT_DAYS = 3653
"""Ten years."""
LAST_S = (2**63 - 1) // 10**9
"""Times in ns end here, in 2262."""


def _begun_between(first_ms: int, last_ms: int) -> Iterator[tuple[Table, list[Any]]]:
    """What begins from a moment on and is over before another: tables, each with its conditions."""
    for level, before in ((ROWS, last_ms - DAY_MS), (DAY, last_ms - DAY_MS), (MONTH, month_of(last_ms))):
        span = [("start_ms", ">=", first_ms), ("start_ms", "<", before), ("level", "=", level)]
        yield INTERVAL_BLOCKS, span
    for table in (DISTURBANCES, DAMAGED):
        yield table, [("start_ns", ">=", first_ms * 1_000_000), ("start_ns", "<", last_ms * 1_000_000)]


@dataclass(frozen=True, slots=True)
class SummaryRow:
    """How the intervals of a day or month were distributed."""

    start_ms: int
    end_ms: int
    summary: IntervalSummary


class IntervalRecords:
    """The store's intervals and disturbances; from any thread. Raises StoreError as the store does."""

    def __init__(self, driver: Driver) -> None:
        self._driver = driver
        self._kept_days = KEPT_DAYS
        self._swept_hour: int | None = None

    def keep(self, days: int) -> None:
        """Sets how long intervals and disturbances are kept; 0: for ever."""
        self._kept_days = days

    def append(self, rows: Iterable[Measurement]) -> int:
        """Stores the intervals and disturbances of these Measurements; returns how many are new.

        Unique by (box_id, sequence). On disk when it returns. Other Measurements, and lengths and kinds that
        are not stored, only have their number noted.
        """
        wanted = list(rows)
        if not wanted:
            return 0
        strangers = self._strangers(wanted)
        expire_at = int(time.time()) + NUMBERS_KEPT_S

        def job(documents: Documents) -> int:
            fresh = _without_known(documents, wanted)
            new = [
                document
                for each in fresh
                if (each.box_id, place_of(each)) not in strangers and (document := new_row(each)) is not None
            ]
            documents.put(NEW, new)
            documents.put(INTERVALS_DUE, _marks(new))
            for each in fresh:
                if each.disturbance is not None and each.disturbance.kind in KINDS:
                    put_disturbance(documents, each.disturbance, each.end_ns or 0)
            documents.put(
                INTERVAL_NUMBERS,
                [
                    {"box_id": each.box_id, "sequence": each.sequence, "expire_at": expire_at}
                    for each in fresh
                    if each.sequence is not None
                ],
            )
            return len(fresh)

        return self._driver.write(job)

    def _strangers(self, rows: Iterable[Measurement]) -> set[tuple[str, str]]:
        """Returns (Box, place) of rows that are not stored: the place has the name of a Box, or it is a site
        that other Boxes state, or may state later because it has an owner, and this one does not."""
        places = {(each.box_id, place) for each in rows if (place := place_of(each))}
        if not places:
            return places
        with self._driver.read() as documents:
            sites = {each["box_id"]: each.get("site") for each in documents.find(BOXES)}
        return {
            (box_id, place)
            for box_id, place in places
            if place.isdecimal()
            or (sites.get(box_id) != place and (is_owners_key(place) or place in sites.values()))
        }

    def sequences(self, box_id: str, first: int, last: int) -> list[int]:
        """Returns the numbers of stored rows of a Box in [first, last], rising."""
        span = [("box_id", "=", box_id), ("sequence", ">=", first), ("sequence", "<=", last)]
        with self._driver.read() as documents:
            found = documents.find(INTERVAL_NUMBERS, span, sort=("sequence",), fields=("sequence",))
            return [int(each["sequence"]) for each in found]

    def highest_sequence(self, box_id: str) -> int | None:
        with self._driver.read() as documents:
            of_box = [("box_id", "=", box_id)]
            found = documents.find(
                INTERVAL_NUMBERS, of_box, sort=("-sequence",), limit=1, fields=("sequence",)
            )
            return next((int(each["sequence"]) for each in found), None)

    # Reading
    def read(
        self,
        box_id: str,
        length_ms: int,
        start_ns: int,
        end_ns: int,
        names: Collection[str] | None = None,
    ) -> IntervalColumns:
        """Returns the intervals of a Box that begin in [start_ns, end_ns), in time order, each once.

        Args:
            length_ms: one of LENGTHS_MS.
            names: quantities that are wanted; None: all. One that no interval has is not in the columns.
        Raises:
            ValueError: the length is not one of LENGTHS_MS.
        """
        if length_ms not in LENGTHS_MS:
            raise ValueError(f"{length_ms} ms is not a length of intervals; want one of {LENGTHS_MS}")
        with self._driver.read() as documents:
            return self._of_box(documents, box_id, length_ms).read(start_ns, end_ns, names)

    def newest_ns(self, box_id: str, length_ms: int) -> int | None:
        """Returns the start of the newest interval of a Box; None without any."""
        span = self.span_ns(box_id, length_ms)
        return None if span is None else span[1]

    def span_ns(self, box_id: str, length_ms: int) -> tuple[int, int] | None:
        """Returns the starts of the first and of the newest interval of a Box; None without any."""
        of_box: list[Any] = [("box_id", "=", box_id), ("length_ms", "=", length_ms)]
        blocks = [*of_box, ("level", "=", ROWS)]
        found: list[int] = []
        with self._driver.read() as documents:
            for turn in ("", "-"):
                new = documents.find(NEW, of_box, sort=(f"{turn}start_ns",), limit=1, fields=("start_ns",))
                found += (int(each["start_ns"]) for each in new)
                for each in documents.find(INTERVAL_BLOCKS, blocks, sort=(f"{turn}start_ms",), limit=1):
                    starts = unpack_block(box_id, length_ms, each["packed"], ()).start_ns
                    found += (int(starts[0]), int(starts[-1]))
        return (min(found), max(found)) if found else None

    def box_ids(self) -> list[str]:
        """Returns the Boxes of which intervals are stored."""
        with self._driver.read() as documents:
            of_days: list[Any] = [("box_id", ">", ""), ("level", "=", DAY)]  # so that an index is enough
            found = set(documents.tally(INTERVAL_BLOCKS, of_days, "box_id"))
            return sorted(found | set(documents.tally(INTERVALS_DUE, (), "box_id")))

    def disturbances(self, box_id: str | None, start_ns: int, end_ns: int) -> list[Disturbance]:
        """Returns disturbances that begin in [start_ns, end_ns), by time and Box; None: of all Boxes.

        One that cannot be true is left out and counted.
        """
        return self._disturbances(box_id, [[("start_ns", ">=", start_ns), ("start_ns", "<", end_ns)]])

    def disturbances_during(self, box_id: str | None, start_ns: int, end_ns: int) -> list[Disturbance]:
        """Returns the same with those that began before and had not ended, however long before."""
        before = ("start_ns", "<", start_ns)
        return self._disturbances(
            box_id,
            [
                [before, ("end_ns", ">", start_ns)],
                [before, ("end_ns", "<=", start_ns), ("closed", "=", 0)],
                [("start_ns", ">=", start_ns), ("start_ns", "<", end_ns)],
            ],
        )

    def _disturbances(self, box_id: str | None, wheres: Sequence[Sequence[Any]]) -> list[Disturbance]:
        of_box = [] if box_id is None else [("box_id", "=", box_id)]
        with self._driver.read() as documents:
            found = [
                each
                for where in wheres
                for document in documents.find(DISTURBANCES, [*of_box, *where])
                if (each := self._disturbance(document))
            ]
        return sorted(found, key=lambda each: (each.start_ns, each.box_id, each.kind))

    def _disturbance(self, document: Fields) -> Disturbance | None:
        try:
            return disturbance_of(document)
        except ValueError as error:
            place = f"Box {document['box_id']} at {document['start_ns']} ns"
            self._driver.readable.note(DISTURBANCES.collection, {"_id": place}, error)
            return None

    def summary(
        self,
        box_id: str,
        length_ms: int,
        start_ns: int,
        end_ns: int,
        names: Collection[str] | None = None,
    ) -> IntervalSummary:
        """Returns how the intervals that begin in [start_ns, end_ns) are distributed; `names` as in `read`.

        Whole months and days (UTC) are read from their summaries, the rest from the intervals.
        """
        with self._driver.read() as documents:
            return summed(self._of_box(documents, box_id, length_ms).summaries(start_ns, end_ns, names))

    def days(
        self,
        box_id: str,
        length_ms: int,
        start_ns: int,
        end_ns: int,
        names: Collection[str] | None = None,
    ) -> list[SummaryRow]:
        """Returns a summary for each day (UTC) that begins in [start_ns, end_ns) and has intervals."""
        with self._driver.read() as documents:
            of_box = self._of_box(documents, box_id, length_ms)
            rows = of_box.day_summaries(first_day(start_ns), first_day(end_ns), names)
        return [SummaryRow(at_ms, at_ms + DAY_MS, rows[at_ms]) for at_ms in sorted(rows)]

    def _of_box(self, documents: Documents, box_id: str, length_ms: int) -> BoxIntervals:
        def pass_over(row: Fields, error: StoreError) -> None:
            self._note(NEW, {**row, "part": f"row {row.get('sequence')}"}, error)

        return BoxIntervals(documents, box_id, length_ms, pass_over)

    def _note(self, table: Table, damaged: Fields, error: Exception) -> None:
        """Counts what is damaged, and logs it by its place."""
        self._driver.readable.note(table.collection, {"_id": _place_words(damaged)}, error)

    # Upkeep
    def settle(self, now_ms: int, limit: int = 50) -> int:
        """Makes blocks, and their days and months, of rows whose time is over; returns how many blocks."""
        over = now_ms - SETTLE_MS
        with self._driver.read() as documents:
            due = due_marks(documents, over, limit)
        for mark in due:
            for damaged in self._driver.write(partial(pack_marked, mark=mark, over_ms=over)):
                self._note(DAMAGED, damaged, StoreError(damaged["why"]))
        return len(due)

    def damaged_words(self) -> str | None:
        """Returns a sentence about what is damaged and set aside; None where nothing is."""
        with self._driver.read() as documents:
            newest = next(documents.find(DAMAGED, sort=("-start_ns",), limit=1), None)
            count = documents.count(DAMAGED, (), MOST_COUNTED) if newest else 0
        if newest is None:
            return None
        number = f"{count} or more" if count == MOST_COUNTED else str(count)
        return (
            f"{number} rows or blocks of intervals are damaged and set aside, the newest is "
            f"{_place_words(newest)}; opq-tools store check names each"
        )

    def expire(self, now_s: int, limit: int) -> int:
        """Removes a slice of what is too old, once an hour; returns how much.

        What a clock stamped that was not set has no age: it is kept as long from the sweep that found it
        first.
        """
        if self._swept_hour == now_s // 3600:
            return 0
        kept_s = self._kept_days * 86_400
        kept_ms = (min(now_s, LAST_S) - kept_s) * 1000

        def job(documents: Documents) -> int:
            gone = documents.remove(INTERVAL_NUMBERS, [("expire_at", "<", now_s)], limit)
            if not kept_s or now_s < UNSET_CLOCK_S:
                return gone
            for table, old in _begun_between(UNSET_CLOCK_S * 1000, kept_ms):
                gone += documents.remove(table, old, limit)
            undated = [*_begun_between(0, UNSET_CLOCK_S * 1000)]
            since_s = documents.number(UNDATED) or 0
            if since_s < UNSET_CLOCK_S or not any(documents.count(*each, 1) for each in undated):
                documents.raise_number(UNDATED, now_s)
            elif now_s - since_s > kept_s:
                gone += sum(documents.remove(*each, limit) for each in undated)
            return gone

        gone = self._driver.write(job)
        if not gone:
            self._swept_hour = now_s // 3600
        return gone

    def delete_box(self, box_id: str) -> None:
        """Deletes all of a Box; what a site has of its Boxes together stays."""
        of_box = [("box_id", "=", box_id)]

        def job(documents: Documents) -> int:
            gone = documents.remove(INTERVALS_DUE, of_box)  # first, so that no block is made of what goes
            gone += documents.remove(NEW, of_box)
            for table in (INTERVAL_BLOCKS, DAMAGED, DISTURBANCES, INTERVAL_NUMBERS):
                gone += documents.remove(table, of_box, DELETED_AT_ONCE)
            return gone

        while self._driver.write(job):
            continue

    def counts(self) -> dict[str, int]:
        """Returns the number of documents by table."""
        with self._driver.read() as documents:
            return {
                table.name: documents.count(table) for table in (NEW, INTERVAL_BLOCKS, DAMAGED, DISTURBANCES)
            }


def _place_words(damaged: Fields) -> str:
    seconds = int(damaged["start_ns"]) / 1e9
    since = datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    return f"{damaged['part']} of Box {damaged['box_id']}, {damaged['length_ms']} ms, from {since}"


def check_block(level: int, packed: bytes) -> None:
    """Raises ValueError: a block or summary is not what was packed."""
    try:
        if level == ROWS:
            unpack_block("", 0, packed, ())
        else:
            unpack_summary(packed)
    except StoreError as error:
        raise ValueError(str(error)) from error


def check_new_row(document: Fields) -> None:
    """Raises ValueError: a new row is not what was appended."""
    try:
        add_new_row({}, document)
    except StoreError as error:
        raise ValueError(str(error)) from error


def _without_known(documents: Documents, wanted: Sequence[Measurement]) -> list[Measurement]:
    """Returns those whose number is not stored yet, each once."""
    by_box: dict[str, set[int]] = {}
    for each in wanted:
        if each.sequence is not None:
            by_box.setdefault(each.box_id, set()).add(each.sequence)
    known: set[tuple[str, int]] = set()
    for box_id, numbers in by_box.items():
        span: list[Any] = [("box_id", "=", box_id), ("sequence", "in", sorted(numbers))]
        known |= {
            (box_id, int(each["sequence"]))
            for each in documents.find(INTERVAL_NUMBERS, span, fields=("sequence",))
        }
    fresh = []
    for each in wanted:
        if each.sequence is not None:
            if (each.box_id, each.sequence) in known:
                continue
            known.add((each.box_id, each.sequence))
        fresh.append(each)
    return fresh


def _marks(rows: Iterable[Fields]) -> list[Fields]:
    places = {
        (block_start_ms(each["length_ms"], each["start_ns"]), each["length_ms"], each["box_id"])
        for each in rows
    }
    return [
        {"start_ms": start_ms, "length_ms": length_ms, "box_id": box_id}
        for start_ms, length_ms, box_id in sorted(places)
    ]
