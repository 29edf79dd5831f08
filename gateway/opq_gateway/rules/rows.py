"""What the gateway measures, as rules see it: one flat row; what is not known is left out.

Of an interval (`kind` window, 3s, 10s, 10min, 2h): `box`, `kind`, `timestamp_ms` (its end), `start_ms`,
`end_ms`, `uncertainty_ns`, `source`, `flagged`, each quantity by its name (`rms_v`, `harmonics_v` ...), and
`rms`, `f`, `thd`, `trans` as in a Measurement, so that one rule runs here and in Makai. Of a disturbance
(`kind` dip, swell, interruption): `entering`, `timestamp_ms`, `rms`.
"""

from collections.abc import Sequence

from opq_gateway.measuring.values import Phasor, Told, Values
from opq_rules.batch import Row

NS_PER_MS = 1_000_000
AS_MEASUREMENT = {"rms_v": "rms", "f_hz": "f", "thd_ratio": "thd", "trans_v": "trans"}


def rows_of(items: Sequence[Values | Phasor | Told]) -> list[Row]:
    """In order; phasors have their own stream, C37.118."""
    return [_row(item) for item in items if not isinstance(item, Phasor)]


def _row(item: Values | Told) -> Row:
    row: Row = {
        "box": item.box_id,
        "kind": item.kind,
        "uncertainty_ns": item.uncertainty_ns,
        "source": item.source.name.lower(),
    }
    if isinstance(item, Told):
        row["timestamp_ms"] = item.t_ns // NS_PER_MS
        row["entering"] = item.entering
        if item.rms_v is not None:
            row["rms"] = item.rms_v
        return row
    row["timestamp_ms"] = row["end_ms"] = item.end_ns // NS_PER_MS
    row["start_ms"], row["flagged"] = item.start_ns // NS_PER_MS, item.flagged
    for name, value in item.values.items():
        row[name] = list(value) if isinstance(value, tuple) else value
        if name in AS_MEASUREMENT:
            row[AS_MEASUREMENT[name]] = value
    return row
