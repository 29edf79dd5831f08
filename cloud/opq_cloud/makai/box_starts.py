"""BoxStarts: with which Measurement each Box's present start began, by the index of its samples.

A Measurement does not name the start of the Box that its index belongs to. Where the index falls while the
numbers rise, the Box has begun again. A file of its own: arrivals (`boxes`) and starts share no state.
"""

import numpy as np

from opq_cloud.makai.judging.quiet_rows import ids_of
from opq_proto.messages import Measurement
from opq_proto.wire.measurement_columns import NumberedColumns

FALLS_BY = 60_000
"""Samples, 5 s at 12 kS/s. A crossing overtakes the windows before it, and a gateway that was started again
measures its last seconds once more: then the index falls by less."""
NONE = (-1, -1)


class BoxStarts:
    """Belongs to the triggering service's loop; knows Boxes whose Measurements have number and index."""

    def __init__(self) -> None:
        self._newest: dict[str, tuple[int, int]] = {}
        """Box -> index of its first sample, and number, of its newest Measurement."""
        self._began: dict[str, int] = {}

    def began_with(self, box_id: str) -> int | None:
        """Returns the number of the first Measurement of the Box's present start; None: none before it."""
        return self._began.get(box_id)

    def note_measurement(self, row: Measurement) -> None:
        """Notes a live Measurement."""
        first, number = row.first_sample, row.sequence
        if first is None or number is None:
            return
        known_first, known_number = self._newest.get(row.box_id, NONE)
        if number <= known_number:
            return
        if known_first - first > FALLS_BY:
            self._began[row.box_id] = number
        self._newest[row.box_id] = first, number

    def note_columns(self, columns: NumberedColumns) -> None:
        """Notes live Measurements, at most one of each Box, each with a higher number than the one before."""
        ids, firsts = ids_of(columns), columns.samples[:, 0]
        known = np.array([self._newest.get(box_id, NONE)[0] for box_id in ids], np.int64)
        pairs = zip(firsts.tolist(), columns.sequence.tolist(), strict=True)
        self._newest.update(zip(ids, pairs, strict=True))
        for at in np.flatnonzero((firsts >= 0) & (known - firsts > FALLS_BY)).tolist():
            self._began[ids[at]] = int(columns.sequence[at])
