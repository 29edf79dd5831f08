"""What Boxes declare of themselves with their Measurements, into the store: nominal values, their gateway."""

from opq_cloud.store.box_record import BoxRecord
from opq_cloud.store.store import CloudStore
from opq_proto.decision import NS_PER_MS
from opq_proto.wire.measurement_columns import MeasurementColumns

NONE = (0.0, 0.0)
"""Of a Box that states no values."""


class BoxNominals:
    """Keeps `opq_boxes.nominal_v`, `nominal_hz` and `gateway_id` at what the Boxes send, for Mauka and View.

    The store is written only when a Box's values are first seen or changed, not at every Measurement.
    """

    def __init__(self, store: CloudStore) -> None:
        self._store = store
        self._known: dict[str, tuple[float, float]] = {}
        self._gateways: dict[str, int] = {}

    def read(self, columns: MeasurementColumns) -> int:
        """Stores the newest values in these, where they are new; returns how many Boxes were written.

        A Measurement from a Box's disk is from another time and is ignored. The record of a Box that
        sends no values (the original) stays as it is.
        """
        if columns.backfilled:
            return 0
        for row in columns.others.values():
            if row.gateway_id is not None and self._gateways.get(row.box_id) != row.gateway_id:
                self._store.put_box(BoxRecord(row.box_id, "", gateway_id=row.gateway_id))
                self._gateways[row.box_id] = row.gateway_id
        known = self._known
        begins_ms = (columns.start_ns // NS_PER_MS).tolist()
        declared = dict(zip(columns.ids, zip(columns.declared_values(), begins_ms, strict=True), strict=True))
        new = [each for each in declared.items() if each[1][0] != NONE and known.get(each[0]) != each[1][0]]
        written = 0
        for box_id, ((volts, hz), begin_ms) in new:
            written += self._write(box_id, volts or None, hz or None, begin_ms)
            known[box_id] = volts, hz
        return written

    def _write(self, box_id: str, volts: float | None, hz: float | None, begin_ms: int) -> bool:
        record = self._store.box(box_id)
        if record is not None and volts in (None, record.nominal_v) and hz in (None, record.nominal_hz):
            return False
        others = record is not None and (record.nominal_v, record.nominal_hz) != (None, None)
        since_ms = begin_ms if others else None
        made = BoxRecord(box_id, "", nominal_v=volts, nominal_hz=hz, nominal_since_ms=since_ms)
        self._store.put_box(made)  # the rest stays
        return True
