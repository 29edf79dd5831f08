"""HistoryIntervals: class A of a history's Boxes, stored as the cloud stores what arrives from a gateway.

The rows have no sequence numbers, so that they never conflict with a live Box of the same id. A resumed
history begins at the last two hours that are not stored whole, and stores what is missing.
"""

from dataclasses import replace

from opq_cloud.store.store import CloudStore
from opq_proto.measurement.intervals import TEN_MINUTES_MS, TWO_HOURS_MS
from opq_proto.messages import Measurement
from opq_sim.fleet.network_outages import NetworkOutages
from opq_sim.fleet.outlets import FleetGrid
from opq_sim.fleet.virtual_intervals import VirtualIntervals
from opq_tools.sim.history.progress_file import HistoryProgress

STEP_S = 600.0
"""The Boxes of a network advance together, since it remembers its changes for an hour."""
LENGTHS_MS = (TEN_MINUTES_MS, TWO_HOURS_MS)
"""Lengths of the intervals that a history stores."""
EARLIER_S = 120.0
"""A resumed run begins this much before two hours, so that all of them is as it was."""


class HistoryIntervals:
    """Call `store_until` with each time that is to be noted, and `finish` at the end."""

    def __init__(
        self, grid: FleetGrid, progress: HistoryProgress, store: CloudStore, outages: NetworkOutages | None
    ) -> None:
        self._store, self._start_ns, self._outages = store, progress.start_ns, outages
        self._box_ids = [outlet.box_id for outlet in grid.outlets]
        self._newest_ns = {
            (box_id, length_ms): -1
            if (found := store.intervals.newest_ns(box_id, length_ms)) is None
            else found
            for box_id in self._box_ids
            for length_ms in LENGTHS_MS
        }
        from_s = self._resumed_from_s() if progress.done_s else 0.0
        self._made = VirtualIntervals(grid, progress.start_ns, from_s)
        self._at_s = from_s
        self._rows: list[Measurement] = []
        self._held: dict[str, list[Measurement]] = {}

    def store_until(self, until_s: float) -> None:
        """Stores what was measured by then, seconds after the history's start. Raises StoreError."""
        while self._at_s < until_s:
            self._at_s = min(until_s, self._at_s + STEP_S)
            self._accept(self._made.advance(self._at_s))
        self._put()

    def finish(self) -> None:
        """Stores what is under way at the end. Raises StoreError."""
        self._accept(self._made.end())
        for rows in self._held.values():
            self._rows += rows
        self._put()

    def _resumed_from_s(self) -> float:
        """Two hours of which a row is missing begin then at the earliest."""
        earliest_ns = min(self._newest_ns[box_id, LENGTHS_MS[0]] for box_id in self._box_ids)
        two_hours_ns = TWO_HOURS_MS * 10**6
        begin_ns = (earliest_ns + LENGTHS_MS[0] * 10**6) // two_hours_ns * two_hours_ns
        return max(0.0, (begin_ns - self._start_ns) / 1e9 - EARLIER_S)

    def _accept(self, rows: list[Measurement]) -> None:
        for box, out in self._outages.changes(self._at_s) if self._outages is not None else ():
            box_id = self._box_ids[box]
            if out:
                self._held[box_id] = []
            else:
                self._rows += self._held.pop(box_id)
        for row in _whole(rows):
            if row.interval is not None:
                newest_ns = self._newest_ns[row.box_id, row.interval.length_ms]
                if (row.start_ns or 0) <= newest_ns:
                    continue
            self._held.get(row.box_id, self._rows).append(row)

    def _put(self) -> None:
        self._store.intervals.append(self._rows)
        self._rows = []
        now_ms = (self._start_ns + round(self._at_s * 1e9)) // 10**6
        while self._store.intervals.settle(now_ms):
            pass


def _whole(rows: list[Measurement]) -> list[Measurement]:
    """Joins the flicker of an interval to its other values: rows without a number are one."""
    found: list[Measurement] = []
    places: dict[tuple[str, int, int | None], int] = {}
    for row in rows:
        interval = row.interval
        if interval is None:
            found.append(row)
            continue
        key = row.box_id, interval.length_ms, row.start_ns
        if key not in places:
            places[key] = len(found)
            found.append(row)
            continue
        first = found[places[key]]
        assert first.interval is not None
        of_windows, flicker = (first, row) if interval.coverage is None else (row, first)
        assert of_windows.interval is not None and flicker.interval is not None
        values = {**of_windows.interval.values, **flicker.interval.values}
        found[places[key]] = replace(of_windows, interval=replace(of_windows.interval, values=values))
    return found
