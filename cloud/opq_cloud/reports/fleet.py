"""Reports of many places in one week, and what can be said of them together. Pure."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from opq_cloud.reports.limit_table import LimitTable
from opq_cloud.reports.verdicts import TEN_MINUTES_MS, TEN_SECONDS_MS, FloatArray
from opq_cloud.reports.week import ReportWeek
from opq_cloud.reports.week_report import PlacedBox, WeekReport
from opq_measure.standards.event_tables import SARFI_PERCENTS
from opq_measure.standards.indices import (
    FleetSupply,
    FrequencyIndex,
    fleet_supply,
    frequency_index,
    grid_frequency,
)
from opq_proto.measurement.intervals import IntervalColumns

LEAST_HZ = 1e-4
"""Smallest uncertainty that the spread of a Box may show: the resolution of a stored value is 4 uHz."""
FEW_BOXES = 3
"""With fewer Boxes, their spread shows nothing about a single Box: all have the same weight."""


@dataclass(frozen=True, slots=True)
class FleetReport:
    """The reports of a feeder or of all, in the order of the places' names."""

    table: LimitTable
    week: ReportWeek
    words: str
    """Which places: `feeder F12`, `all places`, or the name of the only one."""
    reports: tuple[WeekReport, ...]
    supply: FleetSupply | None
    sarfi: tuple[tuple[float, float], ...]
    """Threshold -> mean number of events at a place."""
    complete_percent: float
    """Mean share of the week that a Box measured; NaN without Boxes."""
    frequency: FrequencyIndex
    frequency_boxes: int
    nadir_ns: int | None

    @property
    def failed(self) -> tuple[WeekReport, ...]:
        return tuple(each for each in self.reports if each.verdict == "fail")


def fleet_report(
    table: LimitTable, week: ReportWeek, words: str, reports: Sequence[WeekReport]
) -> FleetReport:
    phases = [phase for report in reports for phase in report.phases]
    boxes = [phase.box for phase in phases]
    hertz, starts_ns, count = grid_of(boxes)
    index = frequency_index(starts_ns / 1e9, hertz)
    complete = [phase.complete_percent for phase in phases]
    return FleetReport(
        table,
        week,
        words,
        tuple(reports),
        fleet_supply([phase.supply for phase in phases]),
        tuple(
            (percent, sum(dict(each.sarfi.beyond)[percent] for each in reports) / len(reports))
            for percent in SARFI_PERCENTS
        )
        if reports
        else (),
        sum(complete) / len(complete) if complete else math.nan,
        index,
        count,
        None if index.nadir_at is None else int(starts_ns[index.nadir_at]),
    )


def spread_hz(by_box: dict[str, FloatArray]) -> dict[str, float]:
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


def grid_of(boxes: Sequence[PlacedBox]) -> tuple[FloatArray, np.ndarray[tuple[int], np.dtype[np.int64]], int]:
    """(n,) hertz of the grid, the beginnings of its intervals, and how many Boxes it is of."""
    for length_ms in (TEN_SECONDS_MS, TEN_MINUTES_MS):
        known: dict[str, IntervalColumns] = {}
        for box in boxes:
            columns = box.week.intervals.get(length_ms)
            if columns is not None and "f_hz" in columns.values and len(columns.start_ns):
                known[box.box_id] = columns
        if known:
            starts = np.unique(np.concatenate([each.start_ns for each in known.values()]))
            by_box = {}
            for box_id, columns in known.items():
                row = np.full(len(starts), np.nan)
                hertz = np.where(columns.flagged, np.nan, columns.values["f_hz"])
                row[np.searchsorted(starts, columns.start_ns)] = hertz
                by_box[box_id] = row
            return grid_frequency(by_box, spread_hz(by_box)), starts, len(known)
    return np.zeros(0), np.zeros(0, np.int64), 0
