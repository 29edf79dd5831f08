"""Measurements in columns, a row at a time: what a trigger with a memory of each Box compares and remembers.

Beside `MeasurementColumns`, which knows nothing of triggers. In `is_quiet` and `note_quiet` each reads
one metric, as `decide` reads it of an object.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from opq_proto.decision import Nominal
from opq_proto.measurement_columns import METRIC_NAMES, MeasurementColumns
from opq_proto.messages import Metric


@dataclass(frozen=True, slots=True)
class QuietRow:
    """One metric of one Measurement."""

    box_id: str
    nominal: Nominal
    start_ns: int
    end_ns: int
    metric: Metric


def rows_of(columns: MeasurementColumns, metric: str) -> Iterator[QuietRow]:
    """Each Measurement's, in order."""
    ids, nominals = columns.boxes.ids, columns.boxes.nominals
    values = columns.metrics[:, METRIC_NAMES.index(metric)].tolist()
    spans = columns.start_ns.tolist(), columns.end_ns.tolist()
    for box, start_ns, end_ns, value in zip(columns.which.tolist(), *spans, values, strict=True):
        yield QuietRow(ids[box], nominals[box], start_ns, end_ns, Metric(*value))


def swings_by(columns: MeasurementColumns, percent: float) -> bool:
    """Whether the rms of any swings by more than this share of its nominal."""
    rms = METRIC_NAMES.index("rms")
    for nominal, whose in columns.boxes.alike:
        own = columns.metrics[whose[columns.which], rms].astype(float)
        if len(own) and (own[:, 1] - own[:, 0]).max() > nominal.volts * percent / 100:
            return True
    return False
