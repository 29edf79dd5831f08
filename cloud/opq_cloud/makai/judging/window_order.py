"""The order in which one Box's windows are judged: by their samples' time, whatever the order of arrival.

    follows the last one  --> judged at once, and after it those that waited for it
    after a hole          --> waits for the missing ones, WAIT_S at most
    before the last one   --> came later than that: judged at once, and counted

A trigger compares a window with the one before. If the window of a dip came after that of the recovery, it
would be a second disturbance. The number of a Measurement, where it has one, shows better than its time
whether one is missing: a hole in the samples is not one in the numbers. Crossings overtake, and do not wait.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from opq_cloud.core.service import ServiceCounters
from opq_proto.decision import window_ns
from opq_proto.measurement.batch import Measurements, split
from opq_proto.measurement.wire import MeasurementReader, NominalOf, batches_of
from opq_proto.messages import Measurement

WAIT_S = 2.0
"""Longest wait for a missing window, of all windows behind it together."""
HOLE_NS = 500_000_000
"""Windows of an original Box begin by its millisecond clock, a second before they end."""
SET_BACK_NS = 5 * 10**9
"""A window that is older than the last one by more comes from a clock that was set back."""
MAX_WAITING = 100
"""Limit of one Box's waiting windows; beyond it they are judged at once."""
NO_NUMBER = -1
_NONE = (0, NO_NUMBER)


@dataclass(slots=True)
class WaitingWindows:
    """Windows of one Box that wait for a missing one before them, by time; `due_s`: the end of their wait."""

    due_s: float
    rows: list[Measurement] = field(default_factory=list)


class WindowOrder:
    """Knows the last window of each Box. Counts `windows_late` and `sequence_holes`."""

    def __init__(self, counters: ServiceCounters, nominal_of: NominalOf) -> None:
        self._counters = counters
        self._nominal_of = nominal_of
        self._last: dict[str, tuple[int, int]] = {}
        """Box -> the end of its last live window, UTC ns, and the number of its last Measurement."""
        self._apart_ns: dict[str, int] = {}
        """Original Box -> the time from the end of one window to the next, which it does not state."""
        self._waiting: dict[str, WaitingWindows] = {}

    def accept_read(
        self, read: MeasurementReader, now_s: float, without_stored: Callable[[Measurements], Measurements]
    ) -> list[Measurements]:
        """Returns the batches of what was read that are to be judged now.

        The Boxes with a Measurement that may begin an event come first. `without_stored` leaves out rows that
        were sent again and are stored.
        """
        ready: list[Measurements] = []
        for columns in split(read.batches(self._nominal_of), read.pressing):
            if columns.backfilled:
                self._counters.add("backfilled", len(columns))
                columns = without_stored(columns)
            if len(columns):
                ready += self.accept(columns, now_s)
        return ready

    def accept(self, columns: Measurements, now_s: float) -> list[Measurements]:
        """Returns the batches that are to be judged now, in this order; not what waits.

        columns: at most one row of each Box.
        """
        if columns.backfilled:
            return [columns]
        free = self._in_order(columns)
        if free.all():
            return [columns]
        ready = [columns.part(free)] if free.any() else []
        return ready + self._batches(
            each for row in columns.part(~free).rows() for each in self._accept(row, now_s)
        )

    def forget(self, box_id: str) -> None:
        """Forgets a deleted Box, and its windows that wait."""
        for known in (self._last, self._apart_ns, self._waiting):
            known.pop(box_id, None)

    def due(self, now_s: float) -> list[Measurements]:
        """Returns the windows that have waited long enough; a Box's in the order of time."""
        late = [box_id for box_id, each in self._waiting.items() if now_s >= each.due_s]
        return self._batches(row for box_id in late for row in self._all_of(box_id)) if late else []

    def _batches(self, rows: Iterable[Measurement]) -> list[Measurements]:
        return batches_of(rows, self._nominal_of)

    def _accept(self, row: Measurement, now_s: float) -> list[Measurement]:
        """Returns the windows of its Box that must be judged now; empty while this one waits."""
        last = self._last.get(row.box_id)
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

    def _in_order(self, columns: Measurements) -> NDArray[np.bool_]:
        """Returns (n,) which of these may be judged now, and notes those."""
        last, waiting, free = self._last, self._waiting, []
        rows = zip(
            columns.ids,
            columns.start_ns.tolist(),
            columns.end_ns.tolist(),
            columns.sequence.tolist(),
            columns.stated.tolist(),
            strict=True,
        )
        for at, (box_id, start_ns, end_ns, number, stated) in enumerate(rows):
            known_ns, known = last.get(box_id, _NONE)
            if at in columns.extra and columns.extra[at].crossing:
                free.append(True)
                if known_ns:
                    last[box_id] = known_ns, max(known, number)
                continue
            if not known_ns:
                follows = True
            elif number >= 0 and known >= 0:
                follows = number == known + 1
            else:
                follows = start_ns - known_ns <= HOLE_NS and end_ns > known_ns
            free.append(is_free := follows and box_id not in waiting)
            if is_free:
                last[box_id] = end_ns, number
                if not stated and known_ns:
                    self._apart_ns[box_id] = end_ns - known_ns
        return np.array(free)

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
