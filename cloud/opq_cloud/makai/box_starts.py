"""BoxStarts: with which Measurement each Box's present start began, by the index of its samples.

A Measurement does not name the start of the Box that its index belongs to. Where the index falls while the
numbers rise, the Box has begun again. A file of its own: arrivals (`boxes`) and starts share no state.
"""

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

    def note_columns(self, columns: NumberedColumns) -> None:
        """Notes live Measurements, at most one of each Box."""
        rows = zip(columns.ids, columns.samples[:, 0].tolist(), columns.sequence.tolist(), strict=True)
        for box_id, first, number in rows:
            known_first, known_number = self._newest.get(box_id, NONE)
            if first < 0 or number <= known_number:
                continue
            if known_first - first > FALLS_BY:
                self._began[box_id] = number
            self._newest[box_id] = first, number
