"""Stores the facts that Boxes state with their Measurements: nominal values, starts, gateway."""

from opq_cloud.store.box_record import BoxRecord
from opq_cloud.store.stated_starts import Stated, StatedStart, with_stated
from opq_cloud.store.store import CloudStore
from opq_proto.measurement.batch import Measurements

NOTHING: Stated = (None, None, None)
Starts = tuple[StatedStart, ...]


class BoxNominals:
    """Keeps nominal values, starts and gateway in `opq_boxes` at what the Boxes send, for Mauka and View.

    The store is written only when a Box's values are first seen or changed, not at every Measurement.
    """

    def __init__(self, store: CloudStore) -> None:
        self._store = store
        self._stated: dict[str, Stated] = {}
        """Box -> what its newest Measurement stated."""
        self._starts: dict[str, Starts] = {}
        self._gateways: dict[str, int] = {}

    def read(self, columns: Measurements) -> int:
        """Stores what is new in these; returns how many Boxes were written. Raises StoreError.

        A Measurement from a Box's disk is older, so it may state a start but not present values.
        The record of a Box that states no values (the original) stays as it is.
        """
        self._read_gateways(columns)
        newest: dict[str, Stated] = {}
        starts: dict[str, Starts] = {}
        rows = zip(
            columns.ids,
            columns.sequence.tolist(),
            columns.start_id.tolist(),
            columns.nominal_v.tolist(),
            columns.nominal_hz.tolist(),
            strict=True,
        )
        for box_id, number, start_id, volts, hz in rows:
            stated = (start_id or None, volts or None, hz or None)
            if stated == NOTHING:
                continue
            if not columns.backfilled:
                if newest.get(box_id, self._stated.get(box_id)) == stated:
                    continue
                newest[box_id] = stated
            if number >= 0:
                before = starts.get(box_id) or self._starts_of(box_id)
                after = with_stated(before, number, stated)
                if after is not before:
                    starts[box_id] = after
        changed = [box_id for box_id in {**newest, **starts} if self._write(box_id, newest, starts)]
        return len(changed)

    def forget(self, box_id: str) -> None:
        """Forgets a deleted Box: what it states is stored again if its number returns."""
        for known in (self._stated, self._starts, self._gateways):
            known.pop(box_id, None)

    def _read_gateways(self, columns: Measurements) -> None:
        for row in () if columns.backfilled else columns.extra.values():
            if row.gateway_id is not None and self._gateways.get(row.box_id) != row.gateway_id:
                self._store.put_box(BoxRecord(row.box_id, "", gateway_id=row.gateway_id))
                self._gateways[row.box_id] = row.gateway_id

    def _starts_of(self, box_id: str) -> Starts:
        if box_id not in self._starts:
            record = self._store.box(box_id)
            self._starts[box_id] = () if record is None else record.starts
        return self._starts[box_id]

    def _write(self, box_id: str, newest: dict[str, Stated], starts: dict[str, Starts]) -> bool:
        _, volts, hz = newest.get(box_id, NOTHING)
        record = self._store.box(box_id)
        has_values = (
            record is not None and volts in (None, record.nominal_v) and hz in (None, record.nominal_hz)
        )
        if not has_values or box_id in starts:  # the other fields of the record stay
            new_starts = starts.get(box_id, ())
            self._store.put_box(BoxRecord(box_id, "", nominal_v=volts, nominal_hz=hz, starts=new_starts))
        if box_id in newest:
            self._stated[box_id] = newest[box_id]
        if box_id in starts:
            self._starts[box_id] = starts[box_id]
        return not has_values or box_id in starts
