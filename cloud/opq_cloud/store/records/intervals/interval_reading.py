"""Reads the intervals of one Box: rows of NEW and of the blocks as one, and summaries of days and months.

The same reading serves a report and the packing of blocks (`interval_packing`).
"""

import calendar
import time
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, replace
from typing import Any

from opq_cloud.store.driver import Documents, Fields
from opq_cloud.store.intervals.distribution import IntervalSummary, summary_of, unpack_summary
from opq_cloud.store.intervals.interval_block import unpack_block
from opq_cloud.store.intervals.interval_rows import IntervalRow, add_columns, columns_of, joined, within
from opq_cloud.store.intervals.new_rows import add_new_row
from opq_cloud.store.records.tables import INTERVAL_BLOCKS, INTERVALS_DUE
from opq_cloud.store.records.tables import INTERVALS_NEW as NEW
from opq_proto.errors import StoreError
from opq_proto.measurement.intervals import TEN_SECONDS_MS, THREE_SECONDS_MS, IntervalColumns
from opq_proto.time_units import DAY_MS, DAY_NS, HOUR_MS

ROWS = 0
"""Level of INTERVAL_BLOCKS: the intervals themselves."""
DAY = 1
"""Level of INTERVAL_BLOCKS: how a day's values are distributed."""
MONTH = 2
"""Level of INTERVAL_BLOCKS: how a month's values are distributed."""
BLOCK_MS = {THREE_SECONDS_MS: HOUR_MS, TEN_SECONDS_MS: HOUR_MS}
"""Length of interval -> time that a block spans; the others span a day."""


@dataclass(frozen=True, slots=True)
class BoxIntervals:
    """The intervals of one length of a Box, in the documents of one reading or job."""

    documents: Documents
    box_id: str
    length_ms: int
    pass_over: Callable[[Fields, StoreError], None]
    """Is called with each new row that is damaged; the others are read."""

    @property
    def block_ms(self) -> int:
        return BLOCK_MS.get(self.length_ms, DAY_MS)

    def new_rows(self, start_ns: int, end_ns: int) -> list[Fields]:
        where = self._where(("start_ns", ">=", start_ns), ("start_ns", "<", end_ns))
        return list(self.documents.find(NEW, where))

    def with_new(self, block: Fields | None, new: Iterable[Fields]) -> dict[int, IntervalRow]:
        """Returns the rows of a block, if there is one, and of these new ones, by their start.

        Raises:
            StoreError: the block is damaged.
        """
        rows: dict[int, IntervalRow] = {}
        if block is not None:
            add_columns(rows, unpack_block(self.box_id, self.length_ms, block["packed"]))
        for each in new:
            try:
                add_new_row(rows, each)
            except StoreError as error:
                self.pass_over(each, error)
        return rows

    def block(self, start_ms: int) -> Fields | None:
        return self.documents.get(INTERVAL_BLOCKS, start_ms, self.box_id, self.length_ms, ROWS)

    def read(self, start_ns: int, end_ns: int, names: Collection[str] | None) -> IntervalColumns:
        """Returns the intervals that begin in [start_ns, end_ns)."""
        span_ns = self.block_ms * 1_000_000
        first_ns = start_ns // span_ns * span_ns
        by_block: dict[int, list[Fields]] = {}
        # before the blocks: what becomes part of one meanwhile is read twice, and counts once
        for each in self.new_rows(first_ns, -(-end_ns // span_ns) * span_ns):
            by_block.setdefault(block_start_ms(self.length_ms, int(each["start_ns"])), []).append(each)
        if not by_block:
            return within(self.blocks(first_ns, end_ns, names), start_ns, end_ns)
        parts, at_ns = [], first_ns
        for start_ms, new in sorted(by_block.items()):
            parts.append(self.blocks(at_ns, start_ms * 1_000_000, names))
            rows = self.with_new(self.block(start_ms), new)
            parts.append(_chosen(columns_of(self.box_id, self.length_ms, rows), names))
            at_ns = start_ms * 1_000_000 + span_ns
        parts.append(self.blocks(at_ns, end_ns, names))
        parts = [part for part in parts if len(part.start_ns)]
        return within(joined(self.box_id, self.length_ms, parts), start_ns, end_ns)

    def blocks(self, start_ns: int, end_ns: int, names: Collection[str] | None = None) -> IntervalColumns:
        """Returns the rows of whole blocks that begin in a span."""
        found = self.level(ROWS, start_ns // 1_000_000, -(-end_ns // 1_000_000))
        parts = [unpack_block(self.box_id, self.length_ms, each["packed"], names) for each in found]
        return joined(self.box_id, self.length_ms, parts)

    def stored_summaries(
        self, level: int, start_ms: int, end_ms: int, names: Collection[str] | None = None
    ) -> dict[int, IntervalSummary]:
        """Returns start -> summary of a level that begins in [start_ms, end_ms)."""
        found = self.level(level, start_ms, end_ms)
        return {int(each["start_ms"]): unpack_summary(each["packed"], names) for each in found}

    def day_summaries(
        self, first: int, last: int, names: Collection[str] | None
    ) -> dict[int, IntervalSummary]:
        """Returns start in ms -> summary of the days [first, last) from 1970 that have intervals."""
        found = self.stored_summaries(DAY, first * DAY_MS, last * DAY_MS, names)
        for day in self._unsettled_days(first, last):
            found[day * DAY_MS] = summary_of(self.read(day * DAY_NS, (day + 1) * DAY_NS, names))
        return found

    def summaries(self, start_ns: int, end_ns: int, names: Collection[str] | None) -> list[IntervalSummary]:
        """Returns summaries whose sum is that of [start_ns, end_ns).

        Those of whole months and days are stored; the rest is made of the rows.
        """

        def raw(begin_ns: int, until_ns: int) -> IntervalSummary:
            return summary_of(self.read(begin_ns, until_ns, names))

        first, last = first_day(start_ns), end_ns // DAY_NS
        if first >= last:
            return [raw(start_ns, end_ns)]
        found = []
        if start_ns < first * DAY_NS:
            found.append(raw(start_ns, first * DAY_NS))
        if last * DAY_NS < end_ns:
            found.append(raw(last * DAY_NS, end_ns))
        unsettled = self._unsettled_days(first, last)
        found += [raw(day * DAY_NS, (day + 1) * DAY_NS) for day in unsettled]
        first_ms, last_ms = first * DAY_MS, last * DAY_MS
        whole = _whole_months(first_ms, last_ms, {month_of(day * DAY_MS) for day in unsettled})
        stored = self.stored_summaries(MONTH, first_ms, last_ms, names) if whole else {}
        months = [month_ms for month_ms in whole if month_ms in stored]
        found += (stored[month_ms] for month_ms in months)
        for begin_ms, until_ms in _between(first_ms, last_ms, months):
            days = self.stored_summaries(DAY, begin_ms, until_ms, names)
            found += [each for at_ms, each in days.items() if at_ms // DAY_MS not in unsettled]
        return found

    def _unsettled_days(self, first: int, last: int) -> list[int]:
        """Returns the days in [first, last) from 1970 of which rows are not in a block yet."""
        where = self._where(("start_ms", ">=", first * DAY_MS), ("start_ms", "<", last * DAY_MS))
        found = self.documents.find(INTERVALS_DUE, where, fields=("start_ms",))
        return sorted({int(each["start_ms"]) // DAY_MS for each in found})

    def level(self, level: int, start_ms: int, end_ms: int) -> Iterable[Fields]:
        """Returns the documents of a level that begin in [start_ms, end_ms), in time order."""
        where = self._where(("level", "=", level), ("start_ms", ">=", start_ms), ("start_ms", "<", end_ms))
        return self.documents.find(INTERVAL_BLOCKS, where, sort=("start_ms",))

    def _where(self, *further: tuple[str, str, Any]) -> list[Any]:
        return [("box_id", "=", self.box_id), ("length_ms", "=", self.length_ms), *further]


def _chosen(columns: IntervalColumns, names: Collection[str] | None) -> IntervalColumns:
    if names is None:
        return columns
    values = {name: value for name, value in columns.values.items() if name in names}
    return replace(columns, values=values)


def block_start_ms(length_ms: int, start_ns: int) -> int:
    """Returns the start of the block of an interval."""
    span_ms = BLOCK_MS.get(length_ms, DAY_MS)
    return start_ns // 1_000_000 // span_ms * span_ms


def first_day(at_ns: int) -> int:
    """Returns the number of the first day, from 1970, that begins at or after a moment."""
    return -(-at_ns // DAY_NS)


def _whole_months(first_ms: int, last_ms: int, without: Collection[int]) -> list[int]:
    """Returns the months that lie wholly in a span of days."""
    month_ms, found = month_of(first_ms), []
    while (after_ms := month_after(month_ms)) <= last_ms:
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
        at_ms = month_after(month_ms)
    return [*found, (at_ms, last_ms)] if at_ms < last_ms else found


def month_of(at_ms: int) -> int:
    """Returns the start of the month (UTC) of a moment."""
    year, month, *_ = time.gmtime(at_ms // 1000)
    return calendar.timegm((year, month, 1, 0, 0, 0)) * 1000


def month_after(month_ms: int) -> int:
    return month_of(month_ms + 32 * DAY_MS)
