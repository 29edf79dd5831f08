"""The Measurements of the last minutes, for triggers that begin: from the store, and from its queue."""

from collections import deque
from collections.abc import Collection, Iterable, Iterator, Sequence

import numpy as np

from opq_cloud.store.stated_starts import of_their_starts
from opq_cloud.store.store import QUERY_ROWS, CloudStore
from opq_proto.measurement.batch import Measurements
from opq_proto.measurement.wire import NominalOf, batches_of
from opq_proto.messages import Measurement

SEE_AGAIN_S = 120.0
"""Age of stored Measurements that triggers read again at a start."""
SHOWN_TOGETHER = 50_000
"""About so many rows of different Boxes are made to batches together."""
LAST_MEASUREMENTS = 5000
"""Limit of those on their way into the store; older ones are stored, unless the disk is away."""


class LastMinutes:
    """The last minutes' Measurements, for a trigger that begins: stored, or on their way there."""

    def __init__(self, seconds: float) -> None:
        self._back_ms = round(seconds * 1000)
        self._columns: deque[Measurements] = deque()
        self._waiting = 0
        """Rows in `_columns`."""

    def add(self, columns: Measurements) -> None:
        """Adds Measurements that the triggers have judged."""
        self._columns.append(columns)
        self._waiting += len(columns)
        while self._waiting - len(self._columns[0]) >= LAST_MEASUREMENTS:
            self._waiting -= len(self._columns.popleft())

    def forget(self, box_ids: Collection[str]) -> None:
        """Forgets deleted Boxes."""
        parts = list[Measurements]()
        for each in self._columns:
            if kept := [at for at, box_id in enumerate(each.ids) if box_id not in box_ids]:
                parts.append(each if len(kept) == len(each) else each.part(np.array(kept)))
        self._columns, self._waiting = deque(parts), sum(map(len, parts))

    def batches(self, store: CloudStore, nominal_of: NominalOf) -> Iterator[Measurements]:
        """Yields Measurements, each once, a Box's in the order of time. Raises StoreError."""
        shown: list[Measurement] = []
        for rows in self._rows_by_box(store):
            shown += rows
            if len(shown) >= SHOWN_TOGETHER:
                yield from batches_of(shown, nominal_of)
                shown = []
        yield from batches_of(shown, nominal_of)

    def _rows_by_box(self, store: CloudStore) -> Iterator[list[Measurement]]:
        """Yields the same, Box by Box.

        The store is read in one pass: a query for each Box costs five times as much, and nothing is judged
        meanwhile. Each is judged by what its own start stated.
        """
        waiting: dict[str, list[Measurement]] = {}
        for row in (row for each in self._columns for row in each.rows()):
            waiting.setdefault(row.box_id, []).append(row)
        starts = {box.box_id: box.starts for box in store.boxes()}
        for stored in store.last_minutes(self._back_ms, QUERY_ROWS):
            box_id = stored[0].box_id
            known = list(of_their_starts(starts.get(box_id, ()), stored))
            yield self._merged(known, waiting.pop(box_id, ()))
        for rows in waiting.values():
            yield self._merged((), rows)

    def _merged(self, stored: Sequence[Measurement], waiting: Iterable[Measurement]) -> list[Measurement]:
        """Returns one Box's Measurements of the last minutes, each once, in the order of time."""
        newest = [*stored, *(row for row in waiting if not row.backfilled)]
        begin_ms = max((row.timestamp_ms for row in newest), default=0) - self._back_ms
        found = {_identity(row): row for row in newest if row.timestamp_ms >= begin_ms}
        return sorted(found.values(), key=lambda row: row.timestamp_ms)


def _identity(row: Measurement) -> tuple[int, int | None, bool]:
    return row.timestamp_ms, row.start_ns, row.crossing
