"""Measurements of one turn of the reader, decoded by the batches that the brokers use too (`opq_proto`).

Of 10,000 Boxes that takes half the CPU of one message after the other. The order stays.
"""

from collections.abc import Sequence

from opq_proto.errors import FrameError
from opq_proto.measurement_batch import LEAST_ALIKE, MeasurementBatch, WireRows
from opq_proto.measurement_columns import METRIC_NAMES
from opq_proto.messages import Measurement, Metric, TimeSource
from opq_proto.wire import measurement_from_wire

_SOURCES = tuple(TimeSource)


class FeedDecoder:
    """Used by one thread."""

    def __init__(self) -> None:
        self._batch = MeasurementBatch()

    def read(self, bodies: Sequence[bytes]) -> tuple[list[Measurement], list[FrameError]]:
        """Those that could be read, in their order; why others could not."""
        rows: list[Measurement | None] = [None] * len(bodies)
        wire, others = (
            self._batch.read(bodies) if len(bodies) >= LEAST_ALIKE else (None, list(range(len(bodies))))
        )
        malformed: list[FrameError] = []
        for place in others:
            try:
                rows[place] = measurement_from_wire(bodies[place])
            except FrameError as error:
                malformed.append(error)
        if wire is not None:
            for place, row in zip(wire.at.tolist(), _measurements(wire), strict=True):
                rows[place] = row
        return [row for row in rows if row is not None], malformed


def _measurements(wire: WireRows) -> list[Measurement]:
    """As `measurement_from_wire` gives them."""
    names = METRIC_NAMES
    columns = (
        wire.box, wire.told_ms, wire.metrics, wire.start_ns, wire.end_ns, wire.uncertainty_ns, wire.source,
        wire.sequence, wire.oldest, wire.nominal_v, wire.nominal_hz, wire.clock_id,
    )  # fmt: skip
    return [
        Measurement(
            str(box), told_ms, {name: Metric(*row) for name, row in zip(names, values, strict=True)},
            start_ns, end_ns, uncertainty_ns, _SOURCES[source], None if sequence < 0 else sequence,
            None if oldest < 0 else oldest, False, False, nominal_v or None, nominal_hz or None,
            clock_id or None,
        )
        for box, told_ms, values, start_ns, end_ns, uncertainty_ns, source, sequence, oldest, nominal_v,
        nominal_hz, clock_id in zip(*(column.tolist() for column in columns), strict=True)
    ]  # fmt: skip
