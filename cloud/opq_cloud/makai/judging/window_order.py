"""The order in which one Box's windows are judged: by their samples' time, whatever the order of arrival.

    follows the last one  --> judged at once, and after it those that waited for it
    after a hole          --> waits for the missing ones, WAIT_S at most
    before the last one   --> came later than that: judged at once, and counted

A trigger compares a window with the one before, so a window of the dip that comes after that of the recovery
would be a second disturbance. The number of a Measurement, where it has one, shows better than its time
whether one is missing: a hole in the samples is none in the numbers. Crossings overtake, and do not wait.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import compress

import numpy as np
from numpy.typing import NDArray

from opq_cloud.core.service import ServiceCounters
from opq_cloud.makai.judging.quiet_rows import ids_of
from opq_proto.decision import window_ns
from opq_proto.messages import Measurement
from opq_proto.wire.measurement_columns import NumberedColumns

WAIT_S = 2.0
"""Longest wait for a missing window, of all windows behind it together."""
HOLE_NS = 500_000_000
"""Windows of an original Box begin by its millisecond clock, a second before they end."""
SET_BACK_NS = 5 * 10**9
"""A window that is older than the last one by more comes from a clock that was set back."""
MAX_WAITING = 100
"""Limit of one Box's waiting windows; beyond it they are judged at once."""
NO_NUMBER = -1


@dataclass(slots=True)
class WaitingWindows:
    """Windows of one Box behind a hole, in the order of time, and when they are judged without the others."""

    due_s: float
    rows: list[Measurement] = field(default_factory=list)


class WindowOrder:
    """Knows the last window of each Box. Counts `windows_late` and `sequence_holes`."""

    def __init__(self, counters: ServiceCounters) -> None:
        self._counters = counters
        self._last: dict[str, tuple[int, int]] = {}
        """Box -> the end of its last live window, UTC ns, and the number of its last Measurement."""
        self._apart_ns: dict[str, int] = {}
        """Original Box -> the time from the end of one window to the next, which it does not state."""
        self._waiting: dict[str, WaitingWindows] = {}

    def accept(self, row: Measurement, now_s: float) -> list[Measurement]:
        """Returns the Measurements that are to be judged now, in this order; none while this one waits."""
        if row.backfilled:
            return [row]
        last = self._last.get(row.box_id)
        if row.crossing:
            if last is not None:
                self._last[row.box_id] = last[0], max(last[1], _number(row))
            return [row]
        if last is not None and _is_late(row, last):
            self._counters.add("windows_late", label=row.box_id)
            return [row]
        waiting = self._waiting.get(row.box_id)
        if last is None or self._follows(row, last):
            self._note(row)
            return [row] if waiting is None else [row, *self._released(row.box_id, waiting)]
        if waiting is None:
            waiting = self._waiting[row.box_id] = WaitingWindows(now_s + WAIT_S)
        waiting.rows.append(row)
        waiting.rows.sort(key=lambda each: window_ns(each)[1])
        return self._all_of(row.box_id) if len(waiting.rows) > MAX_WAITING else []

    def due(self, now_s: float) -> Iterator[Measurement]:
        """Yields the windows that have waited long enough, in the order of time."""
        for box_id in [box_id for box_id, each in self._waiting.items() if now_s >= each.due_s]:
            yield from self._all_of(box_id)

    def in_order(self, columns: NumberedColumns) -> NDArray[np.bool_]:
        """Returns (n,) which of these live windows, at most one of each Box, may be judged now, and notes
        those; each other one has to be accepted by itself.
        """
        ids, last, none = ids_of(columns), self._last, (0, NO_NUMBER)
        known = np.array([last.get(box_id, none) for box_id in ids], np.int64).reshape(-1, 2)
        numbers = columns.sequence
        numbered = (numbers >= 0) & (known[:, 1] >= 0)
        next_one = (columns.start_ns - known[:, 0] <= HOLE_NS) & (columns.end_ns > known[:, 0])
        free: NDArray[np.bool_] = np.where(numbered, numbers == known[:, 1] + 1, next_one)
        free |= known[:, 0] == 0
        if self._waiting:
            free &= np.array([box_id not in self._waiting for box_id in ids], np.bool_)
        ends = zip(ids, zip(columns.end_ns.tolist(), numbers.tolist(), strict=True), strict=True)
        last.update(ends if free.all() else compress(ends, free.tolist()))
        return free

    def _follows(self, row: Measurement, last: tuple[int, int]) -> bool:
        if _number(row) >= 0 and last[1] >= 0:
            return _number(row) <= last[1] + 1
        start_ns, end_ns = window_ns(row)
        apart_ns = self._apart_ns.get(row.box_id, 0) if row.start_ns is None else 0
        return start_ns - last[0] <= HOLE_NS or end_ns - last[0] <= apart_ns + HOLE_NS

    def _note(self, row: Measurement) -> None:
        end_ns, last = window_ns(row)[1], self._last.get(row.box_id)
        if last is not None and last[1] >= 0 and (missing := _number(row) - last[1] - 1) > 0:
            self._counters.add("sequence_holes", missing, label=row.box_id)
        if row.start_ns is None and last is not None:
            self._apart_ns[row.box_id] = end_ns - last[0]
        self._last[row.box_id] = end_ns, _number(row)

    def _released(self, box_id: str, waiting: WaitingWindows) -> Iterator[Measurement]:
        """Yields the waiting ones that now follow, and notes them."""
        while waiting.rows and self._follows(waiting.rows[0], self._last[box_id]):
            row = waiting.rows.pop(0)
            self._note(row)
            yield row
        if not waiting.rows:
            del self._waiting[box_id]

    def _all_of(self, box_id: str) -> list[Measurement]:
        rows = self._waiting.pop(box_id).rows
        for row in rows:
            self._note(row)
        return rows


def _number(row: Measurement) -> int:
    return NO_NUMBER if row.sequence is None else row.sequence


def _is_late(row: Measurement, last: tuple[int, int]) -> bool:
    """Returns True if it is older than the last one, unless its clock was set back since."""
    is_newer = _number(row) > last[1] >= 0
    return not is_newer and last[0] - SET_BACK_NS <= window_ns(row)[1] <= last[0]
