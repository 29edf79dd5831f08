"""The frequency of a grid over a span, from the intervals of its Boxes, for every document. Pure.

Values that a dip, swell, interruption or gap flags are left out: a phase jump does not change the frequency
of a grid. Each ten minutes are read by themselves. The standard's intervals of 10 s state them where they
cover them whole. Elsewhere lowest and highest are those of the windows of 10/12 cycles in the ten minutes,
because a mean of ten minutes hides how low the frequency went. A Box's weight is that of a whole day (UTC).
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from opq_cloud.store.intervals.served_phases import chosen_rows
from opq_measure.signal import BoolArray, FloatArray
from opq_measure.standards.indices import FrequencyCourse, FrequencyIndex, grid_frequency
from opq_proto.measurement.intervals import (
    INTERVAL_WORDS,
    TEN_MINUTES_MS,
    TEN_MINUTES_NS,
    TEN_SECONDS_MS,
    IntervalColumns,
)
from opq_proto.time_units import DAY_NS

QUANTITIES: Final = ("f_hz", "f_min_hz", "f_max_hz")
LEAST_HZ: Final = 1e-4
"""Smallest uncertainty that the spread of a Box may show: the resolution of a stored value is 4 uHz."""
FEW_BOXES: Final = 3
"""With fewer Boxes, their spread shows nothing about a single Box: all have the same weight."""
_TEN_MINUTES_OF_DAY: Final = DAY_NS // TEN_MINUTES_NS


@dataclass(frozen=True, slots=True)
class GridFrequency:
    """The frequency of a grid, and what states it."""

    index: FrequencyIndex = field(default_factory=FrequencyIndex)
    of: str = ""
    """The intervals that it comes from: `10 s`, `10 min` or `10 s and 10 min`; empty: none."""
    boxes: int = 0
    nominal_hz: float | None = None
    """What its Boxes state; None: nothing."""


Day = Mapping[str, Mapping[int, Sequence[IntervalColumns]]]
"""Box -> length in ms -> its intervals with a frequency in a day (UTC), which may come in several parts."""


@dataclass(frozen=True, slots=True)
class _Rows:
    """The frequency in the intervals of one length that state a day, or the part of it that a span has."""

    length_ms: int
    box_ids: tuple[str, ...]
    start_ns: NDArray[np.int64]
    hertz: FloatArray
    low: FloatArray
    high: FloatArray


def commonest_hz(nominal_hz: Iterable[float | None]) -> float | None:
    """The nominal frequency that most state; the lower one of two that as many state. None without any."""
    counts = Counter(each for each in nominal_hz if each is not None)
    return min(counts, key=lambda each: (-counts[each], each), default=None)


def grid_frequency_over(days: Iterable[Day], start_ns: int, end_ns: int) -> GridFrequency:
    """The frequency of some Boxes' grid: in each interval their median, weighted by 1/uncertainty^2.

    Args:
        days: whole days (UTC) in time order, also where the span has a part of one: what is stated in an
            interval is the same in every span that has it.
    """
    course = FrequencyCourse()
    box_ids: set[str] = set()
    lengths_ms: set[int] = set()
    for day in days:
        read = [rows for rows in _stating(day, (start_ns, end_ns)) if len(rows.start_ns)]
        if not read:
            continue
        starts = np.concatenate([rows.start_ns for rows in read])
        lengths = np.concatenate([np.full(len(rows.start_ns), rows.length_ms) for rows in read])
        order = np.argsort(starts)
        hertz = ([getattr(rows, name) for rows in read] for name in ("hertz", "low", "high"))
        course.add(starts[order], lengths[order], *(np.concatenate(each)[order] for each in hertz))
        box_ids.update(box_id for rows in read for box_id in rows.box_ids)
        lengths_ms.update(rows.length_ms for rows in read)
    words = " and ".join(INTERVAL_WORDS[each] for each in sorted(lengths_ms))
    return GridFrequency(course.index, words, len(box_ids))


def _stating(boxes: Day, span: tuple[int, int]) -> Iterator[_Rows]:
    """Yields the intervals of each length that state a day."""
    whole = np.zeros(_TEN_MINUTES_OF_DAY, np.int64)
    windows = np.zeros(_TEN_MINUTES_OF_DAY, np.int64)
    for own in boxes.values():
        whole += _known_in(own.get(TEN_SECONDS_MS, ())) == TEN_MINUTES_MS // TEN_SECONDS_MS
        windows += _known_in(own.get(TEN_MINUTES_MS, ()))
    by_windows = 2 * whole < windows  # Boxes that store 10 s state the grid if they are half of all
    yield _of_length(boxes, TEN_SECONDS_MS, ~by_windows, span)
    yield _of_length(boxes, TEN_MINUTES_MS, by_windows, span)


def stating_rows(own: Iterable[IntervalColumns]) -> list[IntervalColumns]:
    """The intervals of one Box that state its frequency, and the flagged ones with no others beside them."""
    parts = {each.length_ms: each for each in own if "f_hz" in each.values and len(each.start_ns)}
    if len(parts) < 2:
        return list(parts.values())
    first = min(int(each.start_ns[0]) for each in parts.values()) // TEN_MINUTES_NS
    last = max(int(each.start_ns[-1]) for each in parts.values()) // TEN_MINUTES_NS
    numbers = {length_ms: each.start_ns // TEN_MINUTES_NS - first for length_ms, each in parts.items()}
    known = {length_ms: ~np.isnan(each.values["f_hz"]) & ~each.flagged for length_ms, each in parts.items()}
    stored = np.bincount(numbers[TEN_SECONDS_MS], minlength=last - first + 1)
    seconds, windows = (
        np.bincount(numbers[each][known[each]], minlength=len(stored))
        for each in (TEN_SECONDS_MS, TEN_MINUTES_MS)
    )
    by_windows = (seconds < TEN_MINUTES_MS // TEN_SECONDS_MS) & (windows > 0)
    chosen = {TEN_SECONDS_MS: ~by_windows, TEN_MINUTES_MS: by_windows | (stored == 0)}
    return [chosen_rows(each, chosen[length_ms][numbers[length_ms]]) for length_ms, each in parts.items()]


def _of_length(boxes: Day, length_ms: int, chosen: BoolArray, span: tuple[int, int]) -> _Rows:
    """The intervals of one length in the chosen ten minutes of a day, those that begin in the span."""
    known = {
        box_id: [chosen_rows(each, chosen[_ten_minutes_of(each.start_ns)]) for each in own.get(length_ms, ())]
        for box_id, own in boxes.items()
    }
    every = [each.start_ns for own in known.values() for each in own]
    starts = np.unique(np.concatenate([np.zeros(0, np.int64), *every]))
    mean = {box_id: _on(starts, own, "f_hz") for box_id, own in known.items()}
    mean = {box_id: row for box_id, row in mean.items() if not np.isnan(row).all()}
    if not mean:
        return _Rows(length_ms, (), starts[:0], *(np.zeros(0),) * 3)
    spread = spread_hz(mean)
    hertz = grid_frequency(mean, spread)
    low, high = hertz, hertz
    if length_ms == TEN_MINUTES_MS:
        # of Boxes that store windows and others that do not, a median would be of two kinds
        windows = (
            grid_frequency({box_id: _on(starts, known[box_id], name) for box_id in mean}, spread)
            for name in QUANTITIES[1:]
        )
        low, high = (np.where(np.isnan(each), hertz, each) for each in windows)
    kept = (starts >= span[0]) & (starts < span[1]) & ~np.isnan(hertz)
    there = tuple(box_id for box_id, row in mean.items() if not np.isnan(row[kept]).all())
    return _Rows(length_ms, there, starts[kept], hertz[kept], low[kept], high[kept])


def _ten_minutes_of(start_ns: NDArray[np.int64]) -> NDArray[np.int64]:
    """The ten minutes of the day (UTC) in which each interval begins, from 0."""
    numbers: NDArray[np.int64] = start_ns % DAY_NS // TEN_MINUTES_NS
    return numbers


def _known_in(parts: Sequence[IntervalColumns]) -> NDArray[np.int64]:
    """The intervals of a Box with a frequency that nothing flags, in each ten minutes of the day."""
    counts = np.zeros(_TEN_MINUTES_OF_DAY, np.int64)
    for columns in parts:
        known = ~np.isnan(columns.values["f_hz"]) & ~columns.flagged
        counts += np.bincount(_ten_minutes_of(columns.start_ns[known]), minlength=len(counts))
    return counts


def spread_hz(by_box: Mapping[str, FloatArray]) -> dict[str, float]:
    """Box -> standard uncertainty of its frequency, from its differences to the plain median of all Boxes.

    1.4826 times the median of the absolute differences: the standard deviation where they are normal.
    """
    if len(by_box) < FEW_BOXES:
        return dict.fromkeys(by_box, 1.0)
    values = np.stack(list(by_box.values()))
    known = ~np.isnan(values).all(axis=0)
    median = np.full(values.shape[1], np.nan)
    median[known] = np.nanmedian(values[:, known], axis=0)
    found = {}
    for box, row in by_box.items():
        apart = np.abs(row - median)
        apart = apart[~np.isnan(apart)]
        found[box] = max(LEAST_HZ, 1.4826 * float(np.median(apart))) if len(apart) else 0.0
    return found


def _on(starts: NDArray[np.int64], parts: Sequence[IntervalColumns], name: str) -> FloatArray:
    """(len(starts),) values of a Box without flagged ones; NaN where they are not stored."""
    row = np.full(len(starts), np.nan)
    for columns in parts:
        values = columns.values.get(name)
        if values is not None:
            hertz = np.where(columns.flagged, np.nan, np.asarray(values, np.float64))
            row[np.searchsorted(starts, columns.start_ns)] = hertz
    return row
