"""The times of a CSV's rows: numbers of a unit, Unix times, dates or clocks; seconds since its first row."""

from collections.abc import Iterable, Sequence
from decimal import Decimal, InvalidOperation

import numpy as np
from numpy.typing import NDArray

from opq_recordings.csv_form import CsvForm, number
from opq_recordings.moments import MAX_START_NS, epoch_ns, written_ns


class RowTimes:
    """Converts the cells of times of one file, whose first row it is made from.

    Attributes:
        start_ns: UTC of the first row, exactly as its digits say; None where it states no date.
        unit_assumed: whether seconds are only assumed.
    """

    def __init__(self, form: CsvForm, first: Sequence[str]) -> None:
        self._form = form
        self.start_ns: int | None = None
        self.unit_assumed = False
        self._unit_s = form.time_s or 1.0
        self._zero_ns = 0
        self._zero = "0"
        if form.time is None:
            return
        if form.time_s is None:
            found = self._written(first)
            if found is not None:
                self._zero_ns = found[0]
                self.start_ns = found[0] if found[1] else None
            return
        self._numbers(first[form.time] if form.time < len(first) else "")

    def seconds(self, cells: Sequence[str]) -> float | None:
        """Seconds of a row since the first; since the file's zero where times are plain numbers."""
        form = self._form
        assert form.time is not None
        if form.time_s is None:
            found = self._written(cells)
            return None if found is None else (found[0] - self._zero_ns) / 1e9
        cell = cells[form.time] if form.time < len(cells) else ""
        if number(cell, form.decimal) is None:
            return None
        plain = cell.replace(",", ".") if form.decimal == "," else cell
        if self._zero == "0":
            return float(plain) * self._unit_s
        return float((np.longdouble(plain) - np.longdouble(self._zero)) * np.longdouble(self._unit_s))

    def of_column(self, lines: Iterable[str], separator: str | None) -> NDArray[np.float64] | None:
        """(n,) the same for many rows at once; None where the column was read well enough as float64."""
        if self._zero == "0":
            return None
        exact = np.loadtxt(
            lines, np.longdouble, delimiter=separator, ndmin=1, comments=None, usecols=self._form.time
        )
        seconds = (exact - np.longdouble(self._zero)) * np.longdouble(self._unit_s)
        return seconds.astype(np.float64)

    @property
    def unit_s(self) -> float:
        return self._unit_s

    def _numbers(self, cell: str) -> None:
        """Finds out whether numbers are Unix times; these stay exact, since float64 has steps of 0.24 µs."""
        try:
            digits = Decimal(cell.replace(",", ".") if self._form.decimal == "," else cell)
            unit_ns = epoch_ns(float(digits))
        except (InvalidOperation, OverflowError, ValueError):
            unit_ns = None
        if unit_ns is not None and self._form.time_stated and unit_ns != round(self._unit_s * 1e9):
            unit_ns = None
        if unit_ns is None:
            self.unit_assumed = not self._form.time_stated
            return
        self._unit_s = unit_ns / 1e9
        self._zero = str(digits)
        found = int(digits * unit_ns)
        self.start_ns = found if 0 <= found <= MAX_START_NS else None

    def _written(self, cells: Sequence[str]) -> tuple[int, bool] | None:
        """Nanoseconds of a row's date and clock, or of its clock alone, and whether its date is certain."""
        form = self._form
        assert form.time is not None
        cell = cells[form.time] if form.time < len(cells) else ""
        if cell.find(":") not in (1, 2):
            return written_ns(cell)
        date = cells[form.date] if form.date is not None and form.date < len(cells) else ""
        found = written_ns(f"{date or '2000-01-01'} {cell if cell.find(':') == 2 else '0' + cell}")
        return None if found is None else (found[0], found[1] and bool(date))
