"""Values of another meter out of a CSV: its times in one column or two, and a column for each quantity.

The original's `ground_truth` has a row for each value: `ts-s`, `sample-type`, `actual`, `avg`.
"""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from opq_cloud.export.exported_records import ExportError
from opq_proto.errors import RecordingError
from opq_proto.time_units import NS_PER_S
from opq_recordings.csv_form import CsvForm, without_unit
from opq_recordings.csv_numbers import EMPTY
from opq_recordings.csv_rows import CsvRow, read_table
from opq_recordings.row_moments import StatedTimes, row_moments, with_time_columns
from opq_recordings.units import unit_scale

TIME_NAMES = ("time", "timestamp", "ts-s", "ts", "t", "date")
FIGURES = ("avg", "actual")
"""The original's columns of a value: the first one that a row has is taken."""
UNITS_OF_NAMES = {"_v": "V", "_a": "A", "_hz": "Hz", "_ratio": "1", "_w": "W"}
"""Ends of the names of quantities -> their unit."""
WITHOUT_UNIT = ("pst", "plt")
"""Quantities whose name has no unit."""


@dataclass(frozen=True, eq=False, slots=True)
class MeterCourse:
    """The values of one quantity, each time once."""

    at_s: NDArray[np.float64]
    """(n,) rising, starts of their times, seconds UTC."""
    values: NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class MeterTable:
    """What a CSV has of a meter."""

    courses: dict[str, MeterCourse]
    """Quantity -> its values."""
    local: bool
    """Whether a time states no zone."""
    empty: int
    """Cells without a value."""
    left_out: int
    """Rows of a repeated hour that the user leaves out."""
    replaced: int
    """Values in place of which a later row of the same time was taken."""
    days_since: str = ""
    """Where times are days of a calendar: its beginning, as it is assumed."""


def csv_values(
    path: Path,
    columns: Mapping[str, str],
    stated: StatedTimes,
    time_name: str = "",
    decimal: str | None = None,
) -> MeterTable:
    """Reads the values of a CSV, all of them or none.

    Args:
        columns: quantity -> its column; empty: columns that have a quantity's name.
        time_name: the column of times; empty: the one that is known by its name or contents.
        decimal: the decimal mark that the user states.
    Raises:
        ExportError: a column is missing, or a cell is not a time or a number, with its line.
    """
    try:
        return _values(path, columns, stated, time_name, decimal)
    except RecordingError as error:
        raise ExportError(f"{path}: {error}") from error


def _values(
    path: Path,
    columns: Mapping[str, str],
    stated: StatedTimes,
    time_name: str,
    decimal: str | None,
) -> MeterTable:
    table = read_table(path, decimal)
    form, rows = table.form, table.rows
    lowered = [each.lower() for each in form.names]
    time = _time_column(form, time_name)
    form = with_time_columns(form, rows, time)
    if form.time is None:
        raise RecordingError(f"there is no column of times; name it with --time, one of: {_listed(form)}")
    if not rows:
        raise RecordingError("there is no row below the names of the columns")
    if "sample-type" in lowered and not columns:
        found, series, empty = _originals(form, rows, lowered)
    else:
        found, series, empty = _of_columns(form, rows, _places(form, columns))
    times = row_moments(form, rows, series, stated)
    moments = times.t_ns
    known = {each // NS_PER_S for each in moments if each is not None}
    if len(known) == 1 and len(set(series)) < len(rows):
        raise RecordingError(
            f"all {len(rows)} rows have one time; which columns have the date and the clock? Name one with "
            f"--time, one of: {_listed(form)}"
        )
    values: dict[str, dict[float, float]] = {}
    count = 0
    for at, quantity, value in found:
        moment = moments[at]
        if moment is not None:
            count += 1
            values.setdefault(quantity, {})[moment / NS_PER_S] = value
    if not values:
        raise RecordingError("no row has a value")
    courses = {quantity: _course(each) for quantity, each in values.items()}
    replaced = count - sum(map(len, values.values()))
    return MeterTable(courses, times.local, empty, moments.count(None), replaced, times.days_since)


def _course(values: Mapping[float, float]) -> MeterCourse:
    at_s = sorted(values)
    return MeterCourse(np.array(at_s, np.float64), np.array([values[each] for each in at_s], np.float64))


_Found = tuple[int, str, float]
"""Index of the row, quantity, value."""


def _of_columns(
    form: CsvForm, rows: Sequence[CsvRow], places: Mapping[str, tuple[int, float]]
) -> tuple[list[_Found], Sequence[Hashable], int]:
    found: list[_Found] = []
    empty = 0
    for at, row in enumerate(rows):
        for quantity, (column, scale) in places.items():
            value = _number(form, row, column)
            if value is None:
                empty += 1
            else:
                found.append((at, quantity, value if scale == 1.0 else value * scale))
    return found, [0] * len(rows), empty


def _originals(
    form: CsvForm, rows: Sequence[CsvRow], names: Sequence[str]
) -> tuple[list[_Found], Sequence[Hashable], int]:
    found: list[_Found] = []
    series: list[Hashable] = []
    meters = set()
    empty = 0
    columns = [names.index(each) for each in FIGURES if each in names]
    for at, row in enumerate(rows):
        known = (value for column in columns if (value := _number(form, row, column)) is not None)
        value = next(known, None)
        quantity = _cell(row, names.index("sample-type"))
        series.append(quantity)
        if not quantity or value is None:
            empty += 1
            continue
        found.append((at, quantity, value))
        if "meter-name" in names:
            meters.add(_cell(row, names.index("meter-name")))
    if len(meters) > 1:
        raise RecordingError(f"want the values of one meter; it has those of {', '.join(sorted(meters)[:9])}")
    return found, series, empty


def _time_column(form: CsvForm, named: str) -> int | None:
    """Index of the column that the user names, or whose name is in TIME_NAMES where none is known else."""
    if named:
        return _column(form, named)
    if form.time is not None:
        return None
    lowered = [each.lower() for each in form.names]
    return next((lowered.index(each) for each in TIME_NAMES if each in lowered), None)


def _column(form: CsvForm, named: str) -> int:
    """Returns the index of the column that a user means: the name may differ in capitals or lack the unit.

    Raises:
        RecordingError: there is none, or there are several.
    """
    wanted = named.strip().lower()
    for shown in (
        [each.strip() for each in form.names],
        [each.strip().lower() for each in form.names],
        [without_unit(each).lower() for each in form.names],
    ):
        places = [at for at, each in enumerate(shown) if each in (named.strip(), wanted)]
        if len(places) > 1:
            raise RecordingError(f"{len(places)} columns are named {named!r}; rename one of them")
        if places:
            return places[0]
    raise RecordingError(f"there is no column {named!r}; there are: {_listed(form)}")


def _places(form: CsvForm, columns: Mapping[str, str]) -> dict[str, tuple[int, float]]:
    """Quantity -> its column, and the scale of the column's unit to the quantity's.

    Raises:
        RecordingError: a column is missing, or has the unit of something else.
    """
    chosen = dict(columns) or {each: each for each in form.names if unit_of(each) or each in WITHOUT_UNIT}
    if not chosen:
        raise RecordingError(
            "no column has the name of a quantity; name one with --column, such as "
            f"--column rms_v=NAME, of: {_listed(form)}"
        )
    units = {each.index: each.unit for each in form.values}
    found = {}
    for quantity, name in chosen.items():
        at = _column(form, name)
        scale = 1.0
        wanted = unit_of(quantity)
        known = unit_scale(units.get(at) or "")
        if wanted is not None and known is not None and known.si != "counts":
            if known.si != wanted:
                raise RecordingError(f"its column {name!r} is in {units[at]}, and {quantity} is in {wanted}")
            scale = known.scale
        found[quantity] = (at, scale)
    return found


def _listed(form: CsvForm) -> str:
    return ", ".join(form.names[:20]) or "none"


def _cell(row: CsvRow, at: int) -> str:
    return row[2][at].strip() if at < len(row[2]) else ""


def _number(form: CsvForm, row: CsvRow, at: int) -> float | None:
    cell = _cell(row, at)
    if cell.lower() in EMPTY:
        return None
    value = form.notation.number(cell)
    if value is None:
        raise RecordingError(f"line {row[0]}: {form.names[at]} is {cell[:40]!r}, want a number")
    return value


def unit_of(quantity: str) -> str | None:
    """The unit that the name of a quantity ends in; None without one."""
    return next((unit for end, unit in UNITS_OF_NAMES.items() if quantity.endswith(end)), None)
