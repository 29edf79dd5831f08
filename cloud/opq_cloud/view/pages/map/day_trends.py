"""The last day of grids and regions: medians of many Boxes, in rows of ten minutes.

The rows of a Box are read once, and later only the new ones. In a group of many Boxes only SAMPLED are read,
always the same ones: the frequency is the same all over a grid, and a median of fifty Boxes is within a few
hundredths of the median of all.
"""

import threading
import time
import warnings
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from opq_cloud.store.store import CloudStore
from opq_cloud.view.pages.map.grid_now import FEWEST_REGIONAL
from opq_proto.messages import Trend

ROW_MS = 600_000
DAY_ROWS = 144
FRESH_S = 60.0
"""New rows of a Box are read after this time."""
WHOLE_S = 1800.0
"""All rows of its day are read again after this time, for data that came late."""
LATE_ROWS = 3
"""The newest rows are read again, because they may have grown."""
BOXES_KEPT = 2000
WIRE_KEYS = ("rms", "f")
Rows = NDArray[np.float64]
"""(DAY_ROWS, 2, 3): rows, (volts, hertz), (lowest, mean, highest); NaN means not known."""


@dataclass(slots=True)
class _Day:
    first_ms: int
    rows: Rows
    read_s: float
    whole_s: float


class DayTrends:
    """A cache of days; `day_rows` may be called from any thread."""

    def __init__(self, store: CloudStore, monotonic_s: Callable[[], float] = time.monotonic) -> None:
        self._store = store
        self._monotonic_s = monotonic_s
        self._lock = threading.Lock()
        self._days: OrderedDict[str, _Day] = OrderedDict()

    def day_rows(self, box_id: str, first_ms: int) -> Rows:
        """A day of rows of one Box, from `first_ms`, which begins a row.

        Raises:
            StoreError: the store cannot be read.
        """
        now_s = self._monotonic_s()
        with self._lock:
            day = self._days.get(box_id)
            if (
                day is None
                or now_s - day.whole_s >= WHOLE_S
                or abs(first_ms - day.first_ms) >= DAY_ROWS * ROW_MS
            ):
                day = _Day(first_ms, _unknown(), now_s, now_s)
                self._read(box_id, day, first_ms)
            elif first_ms != day.first_ms or now_s - day.read_s >= FRESH_S:
                _shift(day, first_ms)
                day.read_s = now_s
                self._read(box_id, day, first_ms + (DAY_ROWS - LATE_ROWS) * ROW_MS)
            self._days[box_id] = day
            self._days.move_to_end(box_id)
            while len(self._days) > BOXES_KEPT:
                self._days.popitem(last=False)
            return day.rows.copy()

    def _read(self, box_id: str, day: _Day, start_ms: int) -> None:
        end_ms = day.first_ms + DAY_ROWS * ROW_MS
        for trend in self._store.trend_rows(box_id, start_ms, end_ms, ROW_MS):
            _place(day, trend)


def _unknown() -> Rows:
    return np.full((DAY_ROWS, len(WIRE_KEYS), 3), np.nan)


def _place(day: _Day, trend: Trend) -> None:
    number = (trend.start_ms - day.first_ms) // ROW_MS
    if not 0 <= number < DAY_ROWS:
        return
    for column, key in enumerate(WIRE_KEYS):
        if (three := trend.metrics.get(key)) is not None:
            low, high, mean = three
            day.rows[number, column] = low, mean, high


def _shift(day: _Day, first_ms: int) -> None:
    """Moves the rows to a later (or, where a clock went back, an earlier) beginning."""
    by = (first_ms - day.first_ms) // ROW_MS
    moved = _unknown()
    if by >= 0:
        moved[: DAY_ROWS - by] = day.rows[by:]
    else:
        moved[-by:] = day.rows[:by]
    day.rows, day.first_ms = moved, first_ms


def first_row_ms(now_ms: int) -> int:
    """The beginning of the day whose last row is the present one."""
    return now_ms // ROW_MS * ROW_MS - (DAY_ROWS - 1) * ROW_MS


def medians(days: Sequence[Rows], regional: Sequence[bool] = ()) -> Rows:
    """The medians, row by row, of the Boxes' lowest, mean and highest values: none is one Box's extreme.

    `regional`: Boxes that are not shown themselves; they count in a row that at least FEWEST_REGIONAL of them
    have.
    """
    if not days:
        return _unknown()
    every = np.stack(days)
    hidden = np.zeros(len(days), bool)
    hidden[: len(regional)] = regional
    few = np.count_nonzero(~np.isnan(every[hidden]), axis=0) < FEWEST_REGIONAL
    every[hidden[:, None, None, None] & few] = np.nan
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # a row that no Box has stays NaN
        found: Rows = np.nanmedian(every, axis=0)
    return found
