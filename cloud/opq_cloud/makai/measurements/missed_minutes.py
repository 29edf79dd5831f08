"""MissedMinutes: minutes of which a kill of the service left the Measurements in the store, and no trend.

Open minutes are in memory for up to a minute, those of a Box that is backfilled for longer. A Box does not
send again what is stored, so after a start they are found by the Measurements that the store holds: first the
last minutes of each Box, then the rest of its last day.
"""

import time
from collections import deque
from collections.abc import Iterable, Iterator

from opq_cloud.makai.measurements.sequence_tracker import LostNumbers
from opq_cloud.store.box_record import BoxLoss
from opq_cloud.store.store import CloudStore
from opq_proto.kit.log import BoundLogger
from opq_proto.kit.rate_limit import RateLimitedLog
from opq_proto.measurement.batch import Measurements
from opq_proto.messages import TREND_MS, Measurement
from opq_proto.time_units import DAY_MS, HOUR_MS

LAST_MS = 3 * TREND_MS
"""The minutes that may have been open when the service was killed."""
KEPT_MS = DAY_MS
"""Measurements are kept for so long at least."""
WHOLE_MS = TREND_MS - 2_000
"""A trend that covers less may be of a part of its minute."""

LATEST_MS = 2**43
"""No Measurement is of the year 2248."""
SEARCHED_HOURS = 1000
"""Hours before lost Measurements in which a Box's last trend is searched."""


class MissedMinutes:
    """Belongs to one thread. `begin` and `next` raise StoreError, and may be called again."""

    def __init__(self, store: CloudStore) -> None:
        self._store = store
        self._newest_ms: dict[str, int] = {}
        """By Box that has not been heard since the start: its newest stored Measurement."""
        self._spans: deque[tuple[str, int, int]] = deque()
        self._days: deque[tuple[str, int, int]] = deque()
        self._found: deque[tuple[str, int]] = deque()

    def begin(self) -> None:
        """Notes what is stored of each Box."""
        newest = self._store.latest_measurements()
        self._newest_ms = {box_id: row.timestamp_ms for box_id, row in newest.items()}

    def note_heard(self, columns: Measurements) -> None:
        """Notes Boxes that are heard: their minutes before the open one are over."""
        if not self._newest_ms or columns.backfilled:
            return
        for box_id, at_ms in zip(columns.ids, columns.timestamp_ms.tolist(), strict=True):
            if box_id in self._newest_ms:
                self._end(box_id, at_ms // TREND_MS * TREND_MS)

    def note_silent(self) -> None:
        """Notes that the others are not heard: their last minutes are over, too."""
        for box_id in list(self._newest_ms):
            self._end(box_id, None)

    def _end(self, box_id: str, open_ms: int | None) -> None:
        last_ms = self._newest_ms.pop(box_id) // TREND_MS * TREND_MS
        end_ms = last_ms if last_ms == open_ms else last_ms + TREND_MS
        self._spans.append((box_id, end_ms - LAST_MS, end_ms))
        self._days.append((box_id, end_ms - KEPT_MS, end_ms - LAST_MS))

    def next(self) -> tuple[str, int] | None:
        """Returns (Box, start) of a minute whose trend is not stored, or of a part; None: all are found."""
        while not self._found and (spans := self._spans or self._days):
            self._found.extend(self._within(*spans[0]))
            spans.popleft()
        return self._found.popleft() if self._found else None

    def _within(self, box_id: str, start_ms: int, end_ms: int) -> Iterator[tuple[str, int]]:
        rows = self._store.trend_rows(box_id, start_ms, end_ms, TREND_MS)
        whole = {row.start_ms for row in rows if row.length_ms == TREND_MS and row.time_ms >= WHOLE_MS}
        known = {row.start_ms for row in rows if row.length_ms == TREND_MS}
        is_last = end_ms - start_ms == LAST_MS
        missing_ms: int | None = None
        for minute_ms in range(start_ms, end_ms + TREND_MS, TREND_MS):
            if minute_ms < end_ms and minute_ms not in (whole if is_last else known):
                missing_ms = minute_ms if missing_ms is None else missing_ms
            elif missing_ms is not None:
                yield from self._measured(box_id, missing_ms, minute_ms)
                missing_ms = None

    def _measured(self, box_id: str, start_ms: int, end_ms: int) -> Iterator[tuple[str, int]]:
        """Yields the minutes of a span that have a Measurement; reads one for each, and one for the end."""
        while start_ms < end_ms:
            rows = self._store.measurements(box_id, start_ms, end_ms, 1)
            if not rows:
                return
            minute_ms = rows[0].timestamp_ms // TREND_MS * TREND_MS
            if minute_ms >= end_ms:
                return
            yield box_id, minute_ms
            start_ms = minute_ms + TREND_MS


class GatewayLosses:
    """What gateways state that they lost of their intervals."""

    def __init__(self, store: CloudStore, log: BoundLogger) -> None:
        self._store, self._log = store, RateLimitedLog(log)

    def note(self, rows: Iterable[Measurement]) -> None:
        """Names it in the store, each Box once, and in the log. Raises StoreError."""
        found: dict[str, list[BoxLoss]] = {}
        for row in rows:
            if (loss := loss_of(row)) is not None:
                found.setdefault(row.box_id, []).append(loss)
        for box_id, losses in found.items():
            self._store.note_lost(box_id, losses)
            self._log.error("values.lost", key=box_id, box_id=box_id, lost=losses[-1].words)


def loss_of(row: Measurement) -> BoxLoss | None:
    """What a gateway states in a row that it lost; None where the row is another one."""
    if row.lost is None or row.start_ns is None or row.end_ns is None:
        return None
    span_ms = row.start_ns // 1_000_000, row.end_ns // 1_000_000
    return BoxLoss(row.lost.rows, *span_ms, row.lost.kind or "value", row.lost.place)


def lost_between(store: CloudStore, box_id: str, numbers: LostNumbers) -> BoxLoss:
    """Finds the times of the Measurements before and after lost numbers of a Box. Raises StoreError."""
    before_ms, after_ms = _times_around(store, box_id, numbers.first)
    if numbers.count <= numbers.last - numbers.first:  # some between them are stored
        _, after_ms = _times_around(store, box_id, numbers.last + 1)
    if before_ms is None and after_ms is not None:
        before_ms = _end_of_trends(store, box_id, after_ms)
    known = [each for each in (before_ms, after_ms) if each is not None] or [time.time_ns() // 1_000_000]
    return BoxLoss(numbers.count, known[0], known[-1])


def _times_around(store: CloudStore, box_id: str, number: int) -> tuple[int | None, int | None]:
    """The times of the last Measurement below a number, and of the first from it on.

    Halves the span of time. A store may read all rows of the span that it is asked for, so each step asks for
    the later half of what is left.
    """
    before_ms: int | None = None
    after_ms: int | None = None
    start_ms, end_ms = 0, LATEST_MS
    while start_ms < end_ms:
        middle_ms = (start_ms + end_ms) // 2
        row = next(iter(store.measurements(box_id, middle_ms, end_ms, 1)), None)
        if row is not None and (row.sequence or 0) < number:
            before_ms = row.timestamp_ms
            start_ms = before_ms + 1
        else:
            after_ms = after_ms if row is None else row.timestamp_ms
            end_ms = middle_ms
    return before_ms, after_ms


def _end_of_trends(store: CloudStore, box_id: str, until_ms: int) -> int | None:
    """The end of a Box's last minute before a time, whose Measurements expired; None: it is not known."""
    hour_ms = until_ms // HOUR_MS * HOUR_MS
    hours = store.trend_rows(box_id, hour_ms - SEARCHED_HOURS * HOUR_MS, hour_ms, HOUR_MS)
    for start_ms in (hour_ms, *(row.start_ms for row in hours[-1:])):
        end_ms = min(start_ms + HOUR_MS, until_ms // TREND_MS * TREND_MS)
        if start_ms < end_ms and (rows := store.trend_rows(box_id, start_ms, end_ms, TREND_MS)):
            return rows[-1].start_ms + TREND_MS
    return hours[-1].start_ms + HOUR_MS if hours else None
