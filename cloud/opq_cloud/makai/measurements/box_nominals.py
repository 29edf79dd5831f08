"""What Boxes declare of themselves with their Measurements, into the store: nominal values, their gateway."""

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from opq_cloud.store.box_record import BoxRecord
from opq_cloud.store.store import CloudStore
from opq_proto.messages import Measurement
from opq_proto.wire.measurement_columns import MeasuredBoxes, MeasurementColumns, NumberedColumns


class BoxNominals:
    """Keeps `opq_boxes.nominal_v`, `nominal_hz` and `gateway_id` at what the Boxes send, for Mauka and View.

    The store is written only when a Box's values are first seen or changed, not at every Measurement.
    """

    def __init__(self, store: CloudStore) -> None:
        self._store = store
        self._known: dict[str, tuple[float | None, float | None]] = {}
        self._gateways: dict[str, int] = {}
        self._boxes: MeasuredBoxes | None = None
        self._seen: NDArray[np.bool_] = np.zeros(0, np.bool_)
        """(boxes,) of `_boxes`: whether its values are stored."""

    def read_measurements(self, rows: Iterable[Measurement]) -> int:
        """Stores the values in the newest of these, where they are new; returns how many Boxes were written.

        A Measurement from a Box's disk is from another time and is ignored. The record of a Box that
        sends no values (the original) stays as it is.
        """
        declared: dict[str, tuple[float | None, float | None]] = {}
        for row in rows:
            nominal = row.nominal_v, row.nominal_hz
            if row.backfilled:
                continue
            if nominal != (None, None):
                declared[row.box_id] = nominal
            if row.gateway_id is not None and self._gateways.get(row.box_id) != row.gateway_id:
                self._store.put_box(BoxRecord(row.box_id, "", gateway_id=row.gateway_id))
                self._gateways[row.box_id] = row.gateway_id
        return self._read(declared)

    def read_columns(self, columns: MeasurementColumns) -> int:
        """Does the same for the Boxes of these columns."""
        if columns.backfilled:
            return 0
        boxes = columns.boxes
        if boxes is not self._boxes:
            self._boxes, self._seen = boxes, np.zeros(len(boxes.ids), np.bool_)
        which, first = np.unique(columns.which, return_index=True)
        if (new := ~self._seen[which]).any():
            declared: dict[str, tuple[float | None, float | None]] = {}
            for box, at in zip(which[new].tolist(), first[new].tolist(), strict=True):
                volts, hz = boxes.nominals[box].volts, boxes.nominals[box].hz
                if isinstance(columns, NumberedColumns):
                    own = columns.declared[at].tolist()
                    volts, hz = own[0] or None, own[1] or None
                if (volts, hz) != (None, None):
                    declared[boxes.ids[box]] = volts, hz
            written = self._read(declared)
            self._seen[which] = True
            return written
        return 0

    def _read(self, declared: dict[str, tuple[float | None, float | None]]) -> int:
        written = 0
        for box_id, nominal in declared.items():
            if self._known.get(box_id) != nominal:
                written += self._write(box_id, *nominal)
                self._known[box_id] = nominal
        return written

    def _write(self, box_id: str, volts: float | None, hz: float | None) -> bool:
        record = self._store.box(box_id)
        if record is not None and volts in (None, record.nominal_v) and hz in (None, record.nominal_hz):
            return False
        self._store.put_box(BoxRecord(box_id, "", nominal_v=volts, nominal_hz=hz))  # the rest stays
        return True
