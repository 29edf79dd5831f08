"""A Measurement as a row for rules: flat, in SI units and Unix ms; unknown values are left out.

`kind` (window, crossing, edge) and the columns of `opq_proto.measurement.fields`: of each field that has one,
and for each metric its mean under its name, and extremes as in `rms_min`, `rms_max`.
"""

from collections.abc import Iterable
from operator import attrgetter

from opq_proto.measurement.fields import HARMONICS
from opq_proto.messages import Measurement, known_uncertainty_ns
from opq_rules.batch import Row
from opq_rules.streams.measurement_columns import FIELD_COLUMNS, METRICS

NS_PER_MS = 1_000_000
_CONVERTED = frozenset({"source", "start_ms", "end_ms", "uncertainty_ns"})
"""Columns that `row_of` makes itself; the others have the field's value."""
_COLUMNS = tuple(name for name in FIELD_COLUMNS if name not in _CONVERTED)
_VALUES = attrgetter(*(FIELD_COLUMNS[name].name for name in _COLUMNS))
_EXTREMES = {key: (f"{key}_min", f"{key}_max") for key in (*METRICS, *HARMONICS)}


def kind_of(measurement: Measurement) -> str:
    if not measurement.crossing:
        return "window"
    return "crossing" if "rms" in measurement.metrics else "edge"


def row_of(measurement: Measurement) -> Row:
    values = zip(_COLUMNS, _VALUES(measurement), strict=True)
    row: Row = {name: value for name, value in values if value is not None}
    row["kind"], row["source"] = kind_of(measurement), measurement.source.name.lower()
    if measurement.start_ns is not None:
        row["start_ms"] = measurement.start_ns // NS_PER_MS
    if measurement.end_ns is not None:
        row["end_ms"] = measurement.end_ns // NS_PER_MS
    if (bound_ns := known_uncertainty_ns(measurement.uncertainty_ns)) is not None:
        row["uncertainty_ns"] = bound_ns
    for name, metric in measurement.metrics.items():
        least, most = _EXTREMES.get(name) or (f"{name}_min", f"{name}_max")
        row[name], row[least], row[most] = metric.average, metric.min, metric.max
    return row


def rows_of(measurements: Iterable[Measurement]) -> list[Row]:
    return [row_of(each) for each in measurements]
