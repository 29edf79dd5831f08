"""Rows of intervals as columns, each interval once: what came in parts is one row. Pure.

An interval comes in two messages: what the windows gave, which has a coverage, and flicker (FLICKER). A Box
that started again within ten minutes sends two parts of them. The part with the greater coverage counts as a
whole, and the flicker with the greater values. So the result does not depend on the order of arrival, and a
repeat changes nothing.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from opq_proto.measurement.intervals import AT_INSTANTS, IntervalColumns

FLICKER = ("pst", "plt", "pinst_max")
"""Quantities of the flickermeter, in the order in which they decide which part counts."""
UNKNOWN = -1
"""A number that is not known."""
Values = dict[str, tuple[float, ...]]
"""Quantity -> one value, or one for each order, in single precision."""
_Rank = tuple[Any, ...]


class IntervalRow:
    """One interval: the best of the parts that came so far."""

    __slots__ = (
        "coverage",
        "end_ns",
        "flagged",
        "flicker",
        "flicker_flagged",
        "sequences",
        "start_ns",
        "values",
    )

    def __init__(self, start_ns: int, end_ns: int) -> None:
        self.start_ns, self.end_ns = start_ns, end_ns
        self.coverage = math.nan
        self.flagged = self.flicker_flagged = False
        self.values: Values = {}
        self.flicker: Values = {}
        self.sequences = [UNKNOWN, UNKNOWN]
        """Numbers of the windows' part and of the flicker's."""

    def add(
        self,
        end_ns: int,
        flagged: bool,
        coverage: float,
        values: Values,
        sequences: Sequence[int] = (UNKNOWN, UNKNOWN),
    ) -> None:
        """Adds a part. `coverage` NaN: unknown. A part that was sent again with another number has the larger
        one."""
        self.end_ns = max(self.end_ns, end_ns)
        flicker = {name: values[name] for name in FLICKER if name in values}
        others = {name: value for name, value in values.items() if name not in FLICKER}
        if others or not math.isnan(coverage):
            rank = *_rank(coverage, flagged, others), sequences[0]
            if rank > (*_rank(self.coverage, self.flagged, self.values), self.sequences[0]):
                self.coverage, self.flagged, self.values = coverage, flagged, others
                self.sequences[0] = sequences[0]
        if flicker and (_flicker_rank(flicker), sequences[1]) > (
            _flicker_rank(self.flicker),
            self.sequences[1],
        ):
            self.flicker, self.flicker_flagged, self.sequences[1] = flicker, flagged, sequences[1]

    @property
    def is_flagged(self) -> bool:
        """Whether the windows' part is flagged; the flicker's says so only where that is all there is."""
        return self.flagged if self.values or not math.isnan(self.coverage) else self.flicker_flagged


def _rank(coverage: float, flagged: bool, values: Values) -> _Rank:
    known = -1.0 if math.isnan(coverage) else coverage
    numbers = sorted((name, value) for name, value in values.items() if name not in AT_INSTANTS)
    return known, len(values), not flagged, numbers


def _flicker_rank(flicker: Values) -> _Rank:
    return tuple(flicker.get(name, ()) for name in FLICKER)


def add_columns(rows: dict[int, IntervalRow], columns: IntervalColumns) -> None:
    """Adds rows that are columns."""
    lists = {name: value.tolist() for name, value in columns.values.items()}
    facts = zip(
        columns.start_ns.tolist(),
        columns.end_ns.tolist(),
        columns.flagged.tolist(),
        columns.coverage.tolist(),
        sequences_of(columns).tolist(),
        strict=True,
    )
    for at, (start_ns, end_ns, flagged, coverage, sequences) in enumerate(facts):
        values: Values = {}
        for name, column in lists.items():
            each = column[at]
            if isinstance(each, list):
                known = tuple(each[: known_length(name, each)])
                if known:
                    values[name] = known
            elif not math.isnan(each):
                values[name] = (each,)
        row = rows.get(start_ns)
        if row is None:
            row = rows[start_ns] = IntervalRow(start_ns, end_ns)
        row.add(end_ns, flagged, coverage, values, sequences)


def sequences_of(columns: IntervalColumns) -> NDArray[np.int64]:
    """(n, 2) the numbers of rows, UNKNOWN where they are not known."""
    if columns.sequences is not None:
        return columns.sequences
    return np.full((len(columns.start_ns), 2), UNKNOWN, np.int64)


def known_length(name: str, row: Sequence[float]) -> int:
    """How many values of a row are kept: of orders those below the first unknown one, of instants all."""
    if name in AT_INSTANTS:
        return 0 if all(map(math.isnan, row)) else len(row)
    return next((at for at, each in enumerate(row) if math.isnan(each)), len(row))


def columns_of(box_id: str, length_ms: int, rows: Mapping[int, IntervalRow]) -> IntervalColumns:
    """Returns rows as columns, in time order."""
    found = [rows[start_ns] for start_ns in sorted(rows)]
    widths: dict[str, int] = {}
    for row in found:
        for part in (row.values, row.flicker):
            for name, value in part.items():
                widths[name] = max(widths.get(name, 0), len(value))
    values: dict[str, NDArray[np.float32]] = {}
    for name in sorted(widths):
        width = widths[name]
        flicker = name in FLICKER
        column = [(row.flicker if flicker else row.values).get(name, ()) for row in found]
        if all(len(value) == width for value in column):
            filled = np.array(column, np.float32)
        else:
            filled = np.full((len(found), width), np.nan, np.float32)
            for at, value in enumerate(column):
                filled[at, : len(value)] = value
        values[name] = filled[:, 0] if width == 1 and name not in WIDE else filled
    return IntervalColumns(
        box_id,
        length_ms,
        np.array([row.start_ns for row in found], np.int64),
        np.array([row.end_ns for row in found], np.int64),
        np.array([row.is_flagged for row in found], np.bool_),
        np.array([row.coverage for row in found], np.float32),
        values,
        np.array([row.sequences for row in found], np.int64).reshape(-1, 2),
    )


WIDE = ("harmonics_v", "interharmonics_v", *AT_INSTANTS)
"""Quantities with a value for each order or instant, also where one is all that is known."""


def joined(box_id: str, length_ms: int, parts: Sequence[IntervalColumns]) -> IntervalColumns:
    """Joins columns that follow each other in time, without an interval in two of them."""
    if len(parts) == 1:
        return parts[0]
    if not parts:
        return columns_of(box_id, length_ms, {})
    count = sum(len(part.start_ns) for part in parts)
    widths: dict[str, tuple[int, ...]] = {}
    for part in parts:
        for name, value in part.values.items():
            widths[name] = max(widths.get(name, ()), value.shape[1:])
    values = {name: np.full((count, *shape), np.nan, np.float32) for name, shape in widths.items()}
    at = 0
    for part in parts:
        until = at + len(part.start_ns)
        for name, value in part.values.items():
            filled = values[name][at:until]
            if filled.ndim == 1:
                filled[:] = value
            else:  # one that was single in a part is the first of many
                filled[:, : value.shape[1] if value.ndim > 1 else 1] = value.reshape(len(value), -1)
        at = until
    return IntervalColumns(
        box_id,
        length_ms,
        np.concatenate([part.start_ns for part in parts]),
        np.concatenate([part.end_ns for part in parts]),
        np.concatenate([part.flagged for part in parts]),
        np.concatenate([part.coverage for part in parts]),
        values,
        np.concatenate([sequences_of(part) for part in parts]),
    )


def within(columns: IntervalColumns, start_ns: int, end_ns: int) -> IntervalColumns:
    """Returns the intervals that begin in [start_ns, end_ns)."""
    first, last = np.searchsorted(columns.start_ns, (start_ns, end_ns)).tolist()
    if first == 0 and last == len(columns.start_ns):
        return columns
    part = slice(first, last)
    return IntervalColumns(
        columns.box_id,
        columns.length_ms,
        columns.start_ns[part],
        columns.end_ns[part],
        columns.flagged[part],
        columns.coverage[part],
        {name: value[part] for name, value in columns.values.items()},
        None if columns.sequences is None else columns.sequences[part],
    )
