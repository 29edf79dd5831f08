"""A Measurement as a row for rules: flat, in SI units and Unix ms; unknown values are left out.

`kind` (window, crossing, edge) and the columns of `opq_proto.measurement.fields`: of each field that has one,
and for each metric its mean under its name, and extremes as in `rms_min`, `rms_max`.
"""

from collections.abc import Callable, Iterable

from opq_proto.measurement.fields import HARMONICS
from opq_proto.messages import SOURCE_WORDS, Measurement, known_uncertainty_ns
from opq_proto.time_units import NS_PER_MS
from opq_rules.streams.measurement_columns import FIELD_COLUMNS, METRICS
from opq_rules.values.batch import Row

_CONVERTED = frozenset({"source", "start_ms", "end_ms", "uncertainty_ns"})
"""Columns that `row_of` makes itself; the others have the field's value."""
_MEMBERS = ", ".join(f'"{k}": item.{each.name}' for k, each in FIELD_COLUMNS.items() if k not in _CONVERTED)
_plain_columns: Callable[[Measurement], Row] = eval(f"lambda item: {{{_MEMBERS}}}")
"""The other columns, as a line that is written by hand: a loop over the table takes 0.3 us more."""
_EXTREMES = {key: (f"{key}_min", f"{key}_max") for key in (*METRICS, *HARMONICS)}


def kind_of(measurement: Measurement) -> str:
    if not measurement.crossing:
        return "window"
    return "crossing" if "rms" in measurement.metrics else "edge"


def row_of(measurement: Measurement) -> Row:
    row = _plain_columns(measurement)
    if None in row.values():
        row = {name: value for name, value in row.items() if value is not None}
    row["kind"] = kind_of(measurement) if measurement.crossing else "window"
    row["source"] = SOURCE_WORDS[measurement.source]
    if (start_ns := measurement.start_ns) is not None:
        row["start_ms"] = start_ns // NS_PER_MS
    if (end_ns := measurement.end_ns) is not None:
        row["end_ms"] = end_ns // NS_PER_MS
    if (bound_ns := known_uncertainty_ns(measurement.uncertainty_ns)) is not None:
        row["uncertainty_ns"] = bound_ns
    for name, metric in measurement.metrics.items():
        least, most = _EXTREMES.get(name) or (f"{name}_min", f"{name}_max")
        row[name], row[least], row[most] = metric.average, metric.min, metric.max
    return row


def rows_of(measurements: Iterable[Measurement]) -> list[Row]:
    return [row_of(each) for each in measurements]
