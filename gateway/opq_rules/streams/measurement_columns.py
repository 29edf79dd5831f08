"""Columns of a Measurement in rules, from its table `opq_proto.measurement.fields`."""

import re

from opq_proto.measurement.fields import BY_KEY, FIELDS, REMARKS
from opq_proto.measurement.own_channels import KEY
from opq_rules.streams.columns import KnownColumns

FIELD_COLUMNS = {each.column: each for each in FIELDS if each.column is not None}
WHOLE_COLUMNS = frozenset(name for name, each in FIELD_COLUMNS.items() if each.kind in ("whole", "bound")) | {
    *("start_ns", "first_sample", "samples"),
}
"""Columns of opqbox, opqwave and recording that are BIGINT; their other numbers are FLOAT."""
METRICS = (*BY_KEY, *sorted(each.key for each in REMARKS))
"""Metrics that a gateway of ours may send; `h2` to `h50`, `rule_<id>`, `edge_<class>` and
`own_<name>_<unit>` too."""
_METRIC = rf"(?:{'|'.join(METRICS)}|h[0-9]{{1,2}}|(?:rule|edge)_\w+|{KEY.pattern})"
MEASUREMENT_COLUMNS = KnownColumns(
    (
        *(*FIELD_COLUMNS, "kind"),
        *(f"{metric}{end}" for metric in METRICS for end in ("", "_min", "_max")),
    ),
    re.compile(rf"{_METRIC}(?:_min|_max)?"),
)
OVERTAKING_KINDS = frozenset({"crossing", "edge"})
"""Kinds that overtake the window in which they lie."""
