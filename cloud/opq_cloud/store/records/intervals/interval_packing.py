"""Packs new intervals into blocks, and makes the summaries of their days and months.

A new row or a block that is damaged is moved to DAMAGED, whole and with the reason, and the rest is packed:
one that stayed would stop each packing from then on.
"""

from typing import Any

from opq_cloud.store.driver import Documents, Fields, Table
from opq_cloud.store.intervals.distribution import (
    IntervalSummary,
    pack_summary,
    summary_of,
    summed,
    unpack_summary,
)
from opq_cloud.store.intervals.interval_block import pack_block, unpack_block
from opq_cloud.store.intervals.interval_rows import columns_of
from opq_cloud.store.records.intervals.interval_reading import (
    BLOCK_MS,
    DAY,
    MONTH,
    ROWS,
    BoxIntervals,
    month_after,
    month_of,
)
from opq_cloud.store.records.tables import INTERVAL_BLOCKS, INTERVALS_DUE
from opq_cloud.store.records.tables import INTERVALS_DAMAGED as DAMAGED
from opq_cloud.store.records.tables import INTERVALS_NEW as NEW
from opq_proto.errors import StoreError
from opq_proto.measurement.intervals import LENGTHS_MS
from opq_proto.time_units import DAY_MS, DAY_NS, HOUR_MS


def due_marks(documents: Documents, over_ms: int, limit: int) -> list[Fields]:
    """Returns marks of blocks that end before a moment; the shorter ones end earlier."""
    found: list[Fields] = []
    for span_ms, lengths in ((HOUR_MS, [*BLOCK_MS]), (DAY_MS, [n for n in LENGTHS_MS if n not in BLOCK_MS])):
        where: list[Any] = [("start_ms", "<=", over_ms - span_ms), ("length_ms", "in", lengths)]
        found += documents.find(INTERVALS_DUE, where, limit=limit)
    return found[:limit]


def pack_marked(documents: Documents, mark: Fields, over_ms: int) -> list[Fields]:
    """Makes the block of a mark, its day, and its month where that ended before `over_ms`: until then its
    days are read. Returns what was damaged, as it is in DAMAGED now."""
    packing = _Packing(documents, str(mark["box_id"]), int(mark["length_ms"]), int(mark["start_ms"]))
    try:
        packing.pack(mark, over_ms)
    except StoreError:
        packing.set_blocks_aside()
        packing.pack(mark, over_ms)
    return [*packing.damaged.values()]


class _Packing:
    """One block in the documents of a job."""

    def __init__(self, documents: Documents, box_id: str, length_ms: int, start_ms: int) -> None:
        self._documents = documents
        self._stored = BoxIntervals(documents, box_id, length_ms, self._set_row_aside)
        self._start_ms = start_ms
        self._day_ms = start_ms // DAY_MS * DAY_MS
        self._month_ms = month_of(self._day_ms)
        self.damaged: dict[tuple[int, str], Fields] = {}

    def pack(self, mark: Fields, over_ms: int) -> None:
        """Raises StoreError: a block of this day, or the summary of a day of this month, is damaged."""
        documents, stored = self._documents, self._stored
        span_ns = self._start_ms * 1_000_000, (self._start_ms + stored.block_ms) * 1_000_000
        if new := stored.new_rows(*span_ns):
            rows = stored.with_new(stored.block(self._start_ms), new)
            if rows:
                block = pack_block(columns_of(stored.box_id, stored.length_ms, rows))
                documents.put(INTERVAL_BLOCKS, [{**self._place(ROWS, self._start_ms), "packed": block}])
        day = summary_of(stored.blocks(self._day_ms * 1_000_000, self._day_ms * 1_000_000 + DAY_NS))
        self._put_summary(DAY, self._day_ms, day)
        after_ms = month_after(self._month_ms)
        if after_ms <= over_ms:
            days = stored.stored_summaries(DAY, self._month_ms, after_ms)
            self._put_summary(MONTH, self._month_ms, summed(days.values()))
        for each in new:
            documents.remove(NEW, _key(NEW, each))
        documents.remove(INTERVALS_DUE, _key(INTERVALS_DUE, mark))
        if not documents.atomic and stored.new_rows(*span_ns):
            documents.put(INTERVALS_DUE, [mark])  # a row came while the block was made

    def set_blocks_aside(self) -> None:
        """Moves the damaged blocks of the day to DAMAGED.

        Damaged summaries of the month's days are removed, and marked to be made again of their rows.
        """
        documents, stored = self._documents, self._stored
        for block in [*stored.level(ROWS, self._day_ms, self._day_ms + DAY_MS)]:
            try:
                unpack_block(stored.box_id, stored.length_ms, block["packed"])
            except StoreError as error:
                start_ns = int(block["start_ms"]) * 1_000_000
                self._set_aside(start_ns, "block", block["packed"], error)
                documents.remove(INTERVAL_BLOCKS, _key(INTERVAL_BLOCKS, block))
        for day in [*stored.level(DAY, self._month_ms, month_after(self._month_ms))]:
            try:
                unpack_summary(day["packed"])
            except StoreError:
                documents.put(INTERVALS_DUE, [{name: day[name] for name in INTERVALS_DUE.key}])
                documents.remove(INTERVAL_BLOCKS, _key(INTERVAL_BLOCKS, day))

    def _set_row_aside(self, row: Fields, error: StoreError) -> None:
        self._set_aside(int(row["start_ns"]), f"row {row.get('sequence')}", row.get("body"), error)

    def _set_aside(self, start_ns: int, part: str, body: object, error: StoreError) -> None:
        stored = self._stored
        place = {"box_id": stored.box_id, "length_ms": stored.length_ms, "start_ns": start_ns, "part": part}
        damaged = {**place, "body": body, "why": str(error)}
        self._documents.put(DAMAGED, [damaged])
        self.damaged[start_ns, part] = damaged

    def _put_summary(self, level: int, start_ms: int, summary: IntervalSummary) -> None:
        place = self._place(level, start_ms)
        if summary.intervals:
            self._documents.put(INTERVAL_BLOCKS, [{**place, "packed": pack_summary(summary)}])
        else:
            self._documents.remove(INTERVAL_BLOCKS, _key(INTERVAL_BLOCKS, place))

    def _place(self, level: int, start_ms: int) -> Fields:
        stored = self._stored
        return {
            "box_id": stored.box_id,
            "length_ms": stored.length_ms,
            "level": level,
            "start_ms": start_ms,
        }


def _key(table: Table, document: Fields) -> list[Any]:
    return [(name, "=", document.get(name)) for name in table.key]
