"""What each Box is meant to measure, from its Measurements into the store, for Mauka and View.

Not at every Measurement: the store is written when a Box's nominal values are first seen or changed.
"""

from collections.abc import Iterable

from opq_cloud.store.store import BoxRecord, CloudStore
from opq_proto.messages import Measurement


class Nominals:
    """Keeps `opq_boxes.nominal_v` and `nominal_hz` at what the Boxes say."""

    def __init__(self, store: CloudStore) -> None:
        self._store = store
        self._known: dict[str, tuple[float | None, float | None]] = {}

    def learn(self, rows: Iterable[Measurement]) -> int:
        """Store what the newest of these say, where that is new; how many Boxes were written.

        What comes from a Box's disk is of another time and says nothing of today. A Box that
        tells none (the original) leaves its record as it is.
        """
        said: dict[str, tuple[float | None, float | None]] = {}
        for row in rows:
            told = row.nominal_v, row.nominal_hz
            if told != (None, None) and not row.backfilled:
                said[row.box_id] = told
        written = 0
        for box_id, told in said.items():
            if self._known.get(box_id) != told:
                written += self._put(box_id, *told)
                self._known[box_id] = told
        return written

    def _put(self, box_id: str, volts: float | None, hz: float | None) -> bool:
        record = self._store.box(box_id)
        if record is None:
            self._store.put_box(BoxRecord(box_id, f"Box {box_id}", nominal_v=volts, nominal_hz=hz))
            return True
        if volts in (None, record.nominal_v) and hz in (None, record.nominal_hz):
            return False
        changed = BoxRecord(box_id, record.name, nominal_v=volts, nominal_hz=hz, unplugged=record.unplugged)
        self._store.put_box(changed)  # what is None stays as it is
        return True
