"""The sources of Boxes with a service's own Measurements, for the engine inside Makai or a gateway."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from opq_rules.feeds.local_feed import LocalFeed
from opq_rules.sources import opqbox, opqcrossing, opqsilence
from opq_rules.streams.columns import KnownColumns
from opq_rules.streams.measurement_columns import MEASUREMENT_COLUMNS
from opq_rules.streams.measurement_row import rows_of
from opq_rules.values.batch import Row

Makers = dict[tuple[str, str], Callable[[], Any]]
"""("source", type) -> factory."""


def box_sources(
    measured: LocalFeed[Any],
    crossings: LocalFeed[Any] | None = None,
    rows: Callable[[Sequence[Any]], list[Row]] = rows_of,
    columns: KnownColumns = MEASUREMENT_COLUMNS,
) -> Makers:
    """`crossings`: crossing Measurements, if not among `measured`, whose are `rows` and `columns`."""
    return {
        ("source", "opqbox"): partial(opqbox.Source, measured, rows, columns),
        ("source", "opqcrossing"): partial(opqcrossing.Source, crossings or measured, rows_of),
        ("source", "opqsilence"): partial(opqsilence.Source, measured, rows),
    }
