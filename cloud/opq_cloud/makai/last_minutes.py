"""The last minutes' Measurements, for a trigger that begins: what is stored, and what is on its way there."""

from collections import deque
from collections.abc import Iterator

from opq_cloud.store.store import CloudStore
from opq_proto.messages import Measurement

KEPT = 5000
"""On their way into the store; what is pushed out of here is stored long since, unless the disk is away."""


class LastMinutes:
    """Of the triggering service's loop."""

    def __init__(self, seconds: float) -> None:
        self._back_ms = round(seconds * 1000)
        self._newest: deque[Measurement] = deque(maxlen=KEPT)

    def note(self, measurement: Measurement) -> None:
        """One that the triggers have judged."""
        self._newest.append(measurement)

    def rows(self, store: CloudStore) -> Iterator[Measurement]:
        """Box by Box, in the order of time, each once. Raises StoreError."""
        waiting: dict[str, list[Measurement]] = {}
        for row in self._newest:
            waiting.setdefault(row.box_id, []).append(row)
        last_ms = {box_id: row.timestamp_ms for box_id, row in store.latest_measurements().items()}
        for box_id in sorted(last_ms.keys() | waiting.keys()):
            newest = [row for row in waiting.get(box_id, ()) if not row.backfilled]
            end_ms = max([last_ms.get(box_id, 0), *(row.timestamp_ms for row in newest)])
            begin_ms = end_ms - self._back_ms
            found = {_key(row): row for row in store.measurements(box_id, begin_ms, end_ms + 1)}
            found |= {_key(row): row for row in newest if row.timestamp_ms >= begin_ms}
            yield from sorted(found.values(), key=lambda row: row.timestamp_ms)


def _key(row: Measurement) -> tuple[int, int | None, bool]:
    return row.timestamp_ms, row.start_ns, row.crossing
