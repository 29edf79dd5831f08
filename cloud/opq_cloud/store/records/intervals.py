"""Intervals and disturbances of class A, as Boxes send them in fields 1010 and 1011 of a Measurement.

    append -> NEW, a row each; DUE, a mark of its block
    settle -> BLOCKS, level ROWS: a day's intervals as columns, all in order, each once (`interval_block`)
              BLOCKS, levels DAY and MONTH: how its values are distributed (`distribution`);
              a month that is not over has none, and is read from its days

A reader sees the rows of NEW and of the blocks as one. A row that comes late makes its block, day and month
again. Each step of a job is atomic: rows are put before the mark, the mark before their numbers, the block
before its rows are removed; so a process that is killed leaves nothing undone that a repeat does not do.
"""

import calendar
import time
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from opq_cloud.store.driver import Documents, Driver, Fields
from opq_cloud.store.intervals.distribution import (
    IntervalSummary,
    pack_summary,
    summary_of,
    summed,
    unpack_summary,
)
from opq_cloud.store.intervals.interval_block import DAY_NS, pack_block, unpack_block
from opq_cloud.store.intervals.interval_rows import (
    IntervalRow,
    add_columns,
    columns_of,
    joined,
    within,
)
from opq_cloud.store.intervals.new_rows import add_new_row, new_row, place_of
from opq_cloud.store.records.disturbances import KINDS, disturbance_of, put_disturbance
from opq_cloud.store.records.tables import (
    BOXES,
    DISTURBANCES,
    INTERVAL_BLOCKS,
    INTERVAL_NUMBERS,
    INTERVALS_DUE,
)
from opq_cloud.store.records.tables import INTERVALS_NEW as NEW
from opq_proto.errors import StoreError
from opq_proto.measurement.intervals import LENGTHS_MS, IntervalColumns
from opq_proto.messages import Disturbance, Measurement

ROWS = 0
"""Level of INTERVAL_BLOCKS: the intervals themselves."""
DAY = 1
"""Level of INTERVAL_BLOCKS: how a day's values are distributed."""
MONTH = 2
"""Level of INTERVAL_BLOCKS: how a month's values are distributed."""
DAY_MS = DAY_NS // 1_000_000
HOUR_MS = 3_600_000
BLOCK_MS = {3_000: HOUR_MS, 10_000: HOUR_MS}
"""Length of interval -> time that a block spans; the others span a day."""
SETTLE_MS = 30 * 60_000
"""A block is made this long after its time is over, so that it is made once."""
NUMBERS_KEPT_S = 90 * 86_400
"""Numbers of stored rows are known for this long: a gateway's queue is shorter. A later repeat changes
nothing either, but is counted as new."""
KEPT_DAYS = 3653
"""Ten years."""
LAST_S = (2**63 - 1) // 10**9
"""Times in ns end here, in 2262."""


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
        that other Boxes state, and this one does not."""
        places = {(each.box_id, place) for each in rows if (place := place_of(each))}
        if not places:
            return places
        with self._driver.read() as documents:
            sites = {each["box_id"]: each.get("site") for each in documents.find(BOXES)}
        return {
            (box_id, place)
            for box_id, place in places
            if place.isdecimal() or (sites.get(box_id) != place and place in sites.values())
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
            return _read(documents, box_id, length_ms, start_ns, end_ns, names)

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
        """Returns disturbances that begin in [start_ns, end_ns), by time and Box; None: of all Boxes."""
        where: list[Any] = [("start_ns", ">=", start_ns), ("start_ns", "<", end_ns)]
        if box_id is not None:
            where = [("box_id", "=", box_id), *where]
        with self._driver.read() as documents:
            found = [disturbance_of(each) for each in documents.find(DISTURBANCES, where)]
        return sorted(found, key=lambda each: (each.start_ns, each.box_id, each.kind))

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
            return summed(_summaries(documents, box_id, length_ms, start_ns, end_ns, names))

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
            first, last = _days(start_ns), _days(end_ns)
            unsettled = _unsettled_days(documents, box_id, length_ms, first * DAY_NS, last * DAY_NS)
            span = first * DAY_MS, last * DAY_MS
            rows = _stored_summaries(documents, box_id, length_ms, DAY, *span, names)
            for day in unsettled:
                columns = _read(documents, box_id, length_ms, day * DAY_NS, (day + 1) * DAY_NS, names)
                rows[day * DAY_MS] = summary_of(columns)
        return [SummaryRow(at_ms, at_ms + DAY_MS, rows[at_ms]) for at_ms in sorted(rows)]

    # Upkeep
    def settle(self, now_ms: int, limit: int = 50) -> int:
        """Makes blocks, and their days and months, of rows whose time is over; returns how many blocks."""
        over = now_ms - SETTLE_MS
        with self._driver.read() as documents:
            due = _due(documents, over, limit)
        for mark in due:
            self._driver.write(lambda documents, mark=mark: _settle(documents, mark, over))  # type: ignore[misc]
        return len(due)

    def expire(self, now_s: int, limit: int) -> int:
        """Removes a slice of what is too old, once an hour; returns how much."""
        if self._swept_hour == now_s // 3600:
            return 0
        kept_ms = (min(now_s, LAST_S) - self._kept_days * 86_400) * 1000 if self._kept_days else None

        def job(documents: Documents) -> int:
            gone = documents.remove(INTERVAL_NUMBERS, [("expire_at", "<", now_s)], limit)
            if kept_ms is not None:
                whole = _month_of(kept_ms)
                for level, before in ((ROWS, kept_ms - DAY_MS), (DAY, kept_ms - DAY_MS), (MONTH, whole)):
                    old: list[Any] = [("start_ms", "<", before), ("level", "=", level)]
                    gone += documents.remove(INTERVAL_BLOCKS, old, limit)
                gone += documents.remove(DISTURBANCES, [("start_ns", "<", kept_ms * 1_000_000)], limit)
            return gone

        gone = self._driver.write(job)
        if not gone:
            self._swept_hour = now_s // 3600
        return gone

    def counts(self) -> dict[str, int]:
        """Returns the number of documents by table."""
        with self._driver.read() as documents:
            return {table.name: documents.count(table) for table in (NEW, INTERVAL_BLOCKS, DISTURBANCES)}


def check_block(level: int, packed: bytes) -> None:
    """Raises ValueError: a block or summary is not what was packed."""
    try:
        if level == ROWS:
            unpack_block("", 0, packed, ())
        else:
            unpack_summary(packed)
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
        (_block_ms(each["length_ms"], each["start_ns"]), each["length_ms"], each["box_id"]) for each in rows
    }
    return [
        {"start_ms": start_ms, "length_ms": length_ms, "box_id": box_id}
        for start_ms, length_ms, box_id in sorted(places)
    ]


def _block_ms(length_ms: int, start_ns: int) -> int:
    """Start of the block of an interval."""
    span_ms = BLOCK_MS.get(length_ms, DAY_MS)
    return start_ns // 1_000_000 // span_ms * span_ms


def _due(documents: Documents, over_ms: int, limit: int) -> list[Fields]:
    """Returns marks of blocks that end before a moment; the shorter ones end earlier."""
    found: list[Fields] = []
    for span_ms, lengths in ((HOUR_MS, [*BLOCK_MS]), (DAY_MS, [n for n in LENGTHS_MS if n not in BLOCK_MS])):
        where: list[Any] = [("start_ms", "<=", over_ms - span_ms), ("length_ms", "in", lengths)]
        found += documents.find(INTERVALS_DUE, where, limit=limit)
    return found[:limit]


def _settle(documents: Documents, mark: Fields, over_ms: int) -> None:
    """Makes the block of a mark, its day, and its month where that ended before `over_ms`: until then its
    days are read."""
    box_id, length_ms, start_ms = str(mark["box_id"]), int(mark["length_ms"]), int(mark["start_ms"])
    end_ms = start_ms + BLOCK_MS.get(length_ms, DAY_MS)
    new = _new_rows(documents, box_id, length_ms, start_ms * 1_000_000, end_ms * 1_000_000)
    place = {"box_id": box_id, "length_ms": length_ms}
    if new:
        rows = _block_rows(documents, box_id, length_ms, start_ms, new)
        block = pack_block(columns_of(box_id, length_ms, rows))
        documents.put(INTERVAL_BLOCKS, [{**place, "level": ROWS, "start_ms": start_ms, "packed": block}])
    day_ms = start_ms // DAY_MS * DAY_MS
    day = summary_of(
        _blocks(documents, box_id, length_ms, day_ms * 1_000_000, day_ms * 1_000_000 + DAY_NS, None)
    )
    documents.put(INTERVAL_BLOCKS, [{**place, "level": DAY, "start_ms": day_ms, "packed": pack_summary(day)}])
    month_ms = _month_of(day_ms)
    if _month_after(month_ms) <= over_ms:
        days = _stored_summaries(documents, box_id, length_ms, DAY, month_ms, _month_after(month_ms))
        month = pack_summary(summed(days.values()))
        documents.put(INTERVAL_BLOCKS, [{**place, "level": MONTH, "start_ms": month_ms, "packed": month}])
    for each in new:
        key = [(name, "=", each[name]) for name in NEW.key]
        documents.remove(NEW, key)
    key = [(name, "=", mark[name]) for name in INTERVALS_DUE.key]
    documents.remove(INTERVALS_DUE, key)
    if not documents.atomic and _new_rows(
        documents, box_id, length_ms, start_ms * 1_000_000, end_ms * 1_000_000
    ):
        documents.put(INTERVALS_DUE, [mark])  # a row came while the block was made


def _of(box_id: str, length_ms: int, *further: tuple[str, str, Any]) -> list[Any]:
    """The condition that finds documents of a Box and a length of interval."""
    return [("box_id", "=", box_id), ("length_ms", "=", length_ms), *further]


def _new_rows(documents: Documents, box_id: str, length_ms: int, start_ns: int, end_ns: int) -> list[Fields]:
    where = _of(
        box_id,
        length_ms,
        ("start_ns", ">=", start_ns),
        ("start_ns", "<", end_ns),
    )
    return list(documents.find(NEW, where))


def _block_rows(
    documents: Documents, box_id: str, length_ms: int, start_ms: int, new: Iterable[Fields]
) -> dict[int, IntervalRow]:
    rows: dict[int, IntervalRow] = {}
    block = documents.get(INTERVAL_BLOCKS, start_ms, box_id, length_ms, ROWS)
    if block is not None:
        add_columns(rows, unpack_block(box_id, length_ms, block["packed"]))
    for each in new:
        add_new_row(rows, each)
    return rows


def _read(
    documents: Documents,
    box_id: str,
    length_ms: int,
    start_ns: int,
    end_ns: int,
    names: Collection[str] | None,
) -> IntervalColumns:
    span_ns = BLOCK_MS.get(length_ms, DAY_MS) * 1_000_000
    first_ns = start_ns // span_ns * span_ns
    by_block: dict[int, list[Fields]] = {}
    # before the blocks: what becomes part of one meanwhile is read twice, and counts once
    for each in _new_rows(documents, box_id, length_ms, first_ns, -(-end_ns // span_ns) * span_ns):
        by_block.setdefault(_block_ms(length_ms, int(each["start_ns"])), []).append(each)
    if not by_block:
        return within(_blocks(documents, box_id, length_ms, first_ns, end_ns, names), start_ns, end_ns)
    parts, at_ns = [], first_ns
    for block_ms, new in sorted(by_block.items()):
        parts.append(_blocks(documents, box_id, length_ms, at_ns, block_ms * 1_000_000, names))
        rows = _block_rows(documents, box_id, length_ms, block_ms, new)
        parts.append(_chosen(columns_of(box_id, length_ms, rows), names))
        at_ns = block_ms * 1_000_000 + span_ns
    parts.append(_blocks(documents, box_id, length_ms, at_ns, end_ns, names))
    parts = [part for part in parts if len(part.start_ns)]
    return within(joined(box_id, length_ms, parts), start_ns, end_ns)


def _chosen(columns: IntervalColumns, names: Collection[str] | None) -> IntervalColumns:
    if names is None:
        return columns
    values = {name: value for name, value in columns.values.items() if name in names}
    return IntervalColumns(
        columns.box_id,
        columns.length_ms,
        columns.start_ns,
        columns.end_ns,
        columns.flagged,
        columns.coverage,
        values,
        columns.sequences,
    )


def _blocks(
    documents: Documents,
    box_id: str,
    length_ms: int,
    start_ns: int,
    end_ns: int,
    names: Collection[str] | None,
) -> IntervalColumns:
    """Returns the rows of whole blocks that begin in a span."""
    where = _of(
        box_id,
        length_ms,
        ("level", "=", ROWS),
        ("start_ms", ">=", start_ns // 1_000_000),
        ("start_ms", "<", -(-end_ns // 1_000_000)),
    )
    found = documents.find(INTERVAL_BLOCKS, where, sort=("start_ms",))
    parts = [unpack_block(box_id, length_ms, each["packed"], names) for each in found]
    return joined(box_id, length_ms, parts)


def _stored_summaries(
    documents: Documents,
    box_id: str,
    length_ms: int,
    level: int,
    start_ms: int,
    end_ms: int,
    names: Collection[str] | None = None,
) -> dict[int, IntervalSummary]:
    """Returns start -> summary of a level that begins in [start_ms, end_ms)."""
    where = _of(
        box_id,
        length_ms,
        ("level", "=", level),
        ("start_ms", ">=", start_ms),
        ("start_ms", "<", end_ms),
    )
    found = documents.find(INTERVAL_BLOCKS, where, sort=("start_ms",))
    return {int(each["start_ms"]): unpack_summary(each["packed"], names) for each in found}


def _unsettled_days(
    documents: Documents, box_id: str, length_ms: int, start_ns: int, end_ns: int
) -> list[int]:
    """Returns the days, from 1970, of which rows are not in a block yet."""
    where = _of(
        box_id,
        length_ms,
        ("start_ms", ">=", start_ns // 1_000_000),
        ("start_ms", "<", -(-end_ns // 1_000_000)),
    )
    found = documents.find(INTERVALS_DUE, where, fields=("start_ms",))
    return sorted({int(each["start_ms"]) // DAY_MS for each in found})


def _days(at_ns: int) -> int:
    """Number of the first day, from 1970, that begins at or after a moment."""
    return -(-at_ns // DAY_NS)


def _summaries(
    documents: Documents,
    box_id: str,
    length_ms: int,
    start_ns: int,
    end_ns: int,
    names: Collection[str] | None,
) -> list[IntervalSummary]:
    first, last = _days(start_ns), end_ns // DAY_NS

    def raw(begin_ns: int, until_ns: int) -> IntervalSummary:
        return summary_of(_read(documents, box_id, length_ms, begin_ns, until_ns, names))

    if first >= last:
        return [raw(start_ns, end_ns)]
    found = []
    if start_ns < first * DAY_NS:
        found.append(raw(start_ns, first * DAY_NS))
    if last * DAY_NS < end_ns:
        found.append(raw(last * DAY_NS, end_ns))
    unsettled = _unsettled_days(documents, box_id, length_ms, first * DAY_NS, last * DAY_NS)
    found += [raw(day * DAY_NS, (day + 1) * DAY_NS) for day in unsettled]
    first_ms, last_ms = first * DAY_MS, last * DAY_MS
    whole = _whole_months(first_ms, last_ms, {_month_of(day * DAY_MS) for day in unsettled})
    stored = _stored_summaries(documents, box_id, length_ms, MONTH, first_ms, last_ms, names) if whole else {}
    months = [month_ms for month_ms in whole if month_ms in stored]
    found += (stored[month_ms] for month_ms in months)
    for begin_ms, until_ms in _between(first_ms, last_ms, months):
        days = _stored_summaries(documents, box_id, length_ms, DAY, begin_ms, until_ms, names)
        found += [each for at_ms, each in days.items() if at_ms // DAY_MS not in unsettled]
    return found


def _whole_months(first_ms: int, last_ms: int, without: Collection[int]) -> list[int]:
    """Returns the months that lie wholly in a span of days."""
    month_ms, found = _month_of(first_ms), []
    while (after_ms := _month_after(month_ms)) <= last_ms:
        if month_ms >= first_ms and month_ms not in without:
            found.append(month_ms)
        month_ms = after_ms
    return found


def _between(first_ms: int, last_ms: int, months: Iterable[int]) -> list[tuple[int, int]]:
    """Returns the parts of a span that these months leave."""
    found, at_ms = [], first_ms
    for month_ms in months:
        if at_ms < month_ms:
            found.append((at_ms, month_ms))
        at_ms = _month_after(month_ms)
    return [*found, (at_ms, last_ms)] if at_ms < last_ms else found


def _month_of(at_ms: int) -> int:
    year, month, *_ = time.gmtime(at_ms // 1000)
    return calendar.timegm((year, month, 1, 0, 0, 0)) * 1000


def _month_after(month_ms: int) -> int:
    return _month_of(month_ms + 32 * DAY_MS)
