"""The frequency of a grid over a span, from the intervals of its Boxes, for every document. Pure.

Values that a dip, swell, interruption or gap flags are left out: a phase jump does not
change the frequency of a grid. The intervals are the standard's 10 s. Where they are not stored, the lowest
and highest are those of the windows of 10/12 cycles in ten minutes, because a mean of ten minutes hides how
low the frequency went.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

from opq_measure.signal import BoolArray, FloatArray
from opq_measure.standards.indices import FrequencyIndex, frequency_index, grid_frequency
from opq_proto.measurement.intervals import TEN_MINUTES_MS, TEN_SECONDS_MS, IntervalColumns

QUANTITIES: Final = ("f_hz", "f_min_hz", "f_max_hz")
LEAST_HZ: Final = 1e-4
"""Smallest uncertainty that the spread of a Box may show: the resolution of a stored value is 4 uHz."""
FEW_BOXES: Final = 3
"""With fewer Boxes, their spread shows nothing about a single Box: all have the same weight."""


class MeasuredBox(Protocol):
    """What is stored of a Box in the span."""

    @property
    def box_id(self) -> str: ...

    @property
    def intervals(self) -> Mapping[int, IntervalColumns]:
        """Length in ms -> intervals."""
        ...


@dataclass(frozen=True, slots=True)
class GridFrequency:
    """The frequency of a grid, and where its extremes are."""

    index: FrequencyIndex
    of: str = ""
    """The intervals that it comes from: `10 s` or `10 min`; empty: none."""
    boxes: int = 0
    nadir_ns: int | None = None
    steepest_ns: int | None = None


def grid_frequency_of(boxes: Sequence[MeasuredBox]) -> GridFrequency:
    """The frequency of these Boxes' grid: in each interval their median, weighted by 1/uncertainty^2.

    A Box may come in several parts, as of a week that is divided.
    """
    length_ms = _length_ms(boxes)
    known: dict[str, list[IntervalColumns]] = {}
    for box in boxes:
        if (columns := _columns(box, length_ms)) is not None:
            known.setdefault(box.box_id, []).append(columns)
    nothing = np.zeros(0)
    if not known:
        return GridFrequency(frequency_index(nothing, nothing))
    starts = np.unique(np.concatenate([each.start_ns for own in known.values() for each in own]))
    mean = {box_id: _on(starts, own, "f_hz") for box_id, own in known.items()}
    spread = spread_hz(mean)
    hertz = grid_frequency(mean, spread)
    low, high = hertz, hertz
    if length_ms == TEN_MINUTES_MS:
        # of Boxes that store windows and others that do not, a median would be of two kinds
        windows = (
            grid_frequency({box_id: _on(starts, own, name) for box_id, own in known.items()}, spread)
            for name in QUANTITIES[1:]
        )
        low, high = (np.where(np.isnan(each), hertz, each) for each in windows)
    if np.isnan(hertz).all():
        return GridFrequency(frequency_index(nothing, nothing))
    middles_s = (starts - starts[0]) / 1e9 + length_ms / 2000
    holes = np.flatnonzero(np.diff(middles_s) > 1.5 * length_ms / 1000) + 1  # no change is taken across one
    index = frequency_index(np.insert(middles_s, holes, np.nan), np.insert(hertz, holes, np.nan))
    lowest = int(np.nanargmin(low))
    steepest = index.steepest_at
    if steepest is not None:
        steepest -= int(np.count_nonzero(holes + np.arange(len(holes)) < steepest))
    return GridFrequency(
        replace(index, nadir_hz=float(low[lowest]), nadir_at=lowest, zenith_hz=float(np.nanmax(high))),
        "10 s" if length_ms == TEN_SECONDS_MS else "10 min",
        len(known),
        int(starts[lowest]),
        None if steepest is None else int(starts[steepest]),
    )


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


def _length_ms(boxes: Sequence[MeasuredBox]) -> int:
    """10 s where they cover at least half of the time that the ten minutes do."""
    covered = {
        length_ms: sum(
            length_ms * int(np.count_nonzero(_is_known(columns)))
            for box in boxes
            if (columns := _columns(box, length_ms)) is not None
        )
        for length_ms in (TEN_SECONDS_MS, TEN_MINUTES_MS)
    }
    in_tens = 2 * covered[TEN_SECONDS_MS] >= covered[TEN_MINUTES_MS] and covered[TEN_SECONDS_MS] > 0
    return TEN_SECONDS_MS if in_tens else TEN_MINUTES_MS


def _columns(box: MeasuredBox, length_ms: int) -> IntervalColumns | None:
    columns = box.intervals.get(length_ms)
    return columns if columns is not None and "f_hz" in columns.values and len(columns.start_ns) else None


def _is_known(columns: IntervalColumns) -> BoolArray:
    known: BoolArray = ~np.isnan(columns.values["f_hz"]) & ~columns.flagged
    return known


def _on(starts: NDArray[np.int64], parts: Sequence[IntervalColumns], name: str) -> FloatArray:
    """(len(starts),) values of a Box without flagged ones; NaN where they are not stored."""
    row = np.full(len(starts), np.nan)
    for columns in parts:
        values = columns.values.get(name)
        if values is not None:
            hertz = np.where(columns.flagged, np.nan, np.asarray(values, np.float64))
            row[np.searchsorted(starts, columns.start_ns)] = hertz
    return row
