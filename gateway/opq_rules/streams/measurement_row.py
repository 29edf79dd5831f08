"""A Measurement as a row for rules: flat, in SI units and Unix ms; unknown values are left out.

`box`, `kind` (window, crossing, edge), `timestamp_ms` (the end of its window), `start_ms`, `end_ms`,
`uncertainty_ns`, `source`, `sequence`, `crossing`, `backfilled`, `nominal_v`, `nominal_hz`; for each metric
(`rms` V, `f` Hz, `thd` ratio, `trans` V) its mean under its name, and extremes as in `rms_min`, `rms_max`.
"""

import re
from collections.abc import Iterable

from opq_proto.messages import Measurement, known_uncertainty_ns
from opq_proto.wire.continuity import CONTINUITY_METRICS, FORMER_MISSING, RESTART
from opq_proto.wire.supply_word import SUPPLY_METRICS
from opq_rules.batch import Row
from opq_rules.streams.columns import KnownColumns

NS_PER_MS = 1_000_000
WHOLE_COLUMNS = frozenset({"timestamp_ms", "start_ms", "end_ms", "start_ns", "uncertainty_ns"}) | {
    "sequence",
    "first_sample",
    "samples",
}
"""Columns of opqbox, opqwave and recording that are BIGINT; their other numbers are FLOAT."""

METRICS = (
    *("rms", "f", "thd", "trans", "rocof", "pst", "unbalance"),
    *sorted({*SUPPLY_METRICS, *CONTINUITY_METRICS, RESTART, FORMER_MISSING}),
)
"""Metrics that a gateway of ours may send; `h2` to `h50`, `rule_<id>` and `edge_<class>` too."""
_METRIC = rf"(?:{'|'.join(METRICS)}|h[0-9]{{1,2}}|(?:rule|edge)_\w+)"
MEASUREMENT_COLUMNS = KnownColumns(
    (
        *(
            "box",
            "kind",
            "timestamp_ms",
            "start_ms",
            "end_ms",
            "uncertainty_ns",
            "source",
            "sequence",
            "crossing",
        ),
        *("backfilled", "nominal_v", "nominal_hz"),
        *(f"{metric}{end}" for metric in METRICS for end in ("", "_min", "_max")),
    ),
    re.compile(rf"{_METRIC}(?:_min|_max)?"),
)


AT_ONCE = frozenset({"crossing", "edge"})
"""Kinds that overtake the window in which they lie."""


def kind_of(measurement: Measurement) -> str:
    if not measurement.crossing:
        return "window"
    return "crossing" if "rms" in measurement.metrics else "edge"


def row_of(measurement: Measurement) -> Row:
    row: Row = {
        "box": measurement.box_id,
        "kind": kind_of(measurement),
        "timestamp_ms": measurement.timestamp_ms,
        "source": measurement.source.name.lower(),
        "crossing": measurement.crossing,
        "backfilled": measurement.backfilled,
    }
    for name, ns in (("start_ms", measurement.start_ns), ("end_ms", measurement.end_ns)):
        if ns is not None:
            row[name] = ns // NS_PER_MS
    bound_ns = known_uncertainty_ns(measurement.uncertainty_ns)
    for name, value in (
        ("uncertainty_ns", bound_ns),
        ("sequence", measurement.sequence),
        ("nominal_v", measurement.nominal_v),
        ("nominal_hz", measurement.nominal_hz),
    ):
        if value is not None:
            row[name] = value
    for name, metric in measurement.metrics.items():
        row[name] = metric.average
        row[f"{name}_min"], row[f"{name}_max"] = metric.min, metric.max
    return row


def rows_of(measurements: Iterable[Measurement]) -> list[Row]:
    return [row_of(each) for each in measurements]
