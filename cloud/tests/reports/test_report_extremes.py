"""Extremes are of values that no event flags, and the same in reports, indices and fleets."""

from dataclasses import replace

import numpy as np
import pytest
from golden_weeks import TEN_MS, TEN_S_MS, columns, golden_week, starts_of

from opq_cloud.reports.grid_frequency import GridFrequency, grid_frequency_of
from opq_cloud.reports.verdicts import BoxWeek

WEEK = golden_week()
TENS, TEN_SECONDS = starts_of(WEEK, TEN_MS), starts_of(WEEK, TEN_S_MS)


def found(*boxes: BoxWeek) -> GridFrequency:
    return grid_frequency_of(boxes)


def box(number: int = 1, **values: object) -> BoxWeek:
    """A Box with ten minutes in which the grid goes to 49.69 Hz, and a phase jump of a dip at 200."""
    mean, low, high = np.full(1008, 50.0), np.full(1008, 49.98), np.full(1008, 50.02)
    mean[500], low[500], high[700] = 49.72, 49.69, 50.31
    low[200], high[200], mean[200] = 49.179, 50.9, 49.9
    made = {"f_hz": mean, "f_min_hz": low, "f_max_hz": high, **values}
    kept = {name: each for name, each in made.items() if each is not None}
    tens = columns(TENS, TEN_MS, kept, flagged=[200], box_id=str(number))
    return BoxWeek(str(number), 230.0, 50.0, {TEN_MS: tens})


def with_seconds(given: BoxWeek, hours: float, lowest_hz: float = 49.7) -> BoxWeek:
    hertz = np.full(len(TEN_SECONDS), 50.0)
    hertz[1000], hertz[2000] = lowest_hz, 49.1
    flags = [2000]
    own = columns(TEN_SECONDS, TEN_S_MS, {"f_hz": hertz}, flags, box_id=given.box_id)
    count = round(hours * 360)
    cut = replace(
        own,
        start_ns=own.start_ns[:count],
        end_ns=own.end_ns[:count],
        flagged=own.flagged[:count],
        coverage=own.coverage[:count],
        values={name: each[:count] for name, each in own.values.items()},
    )
    return replace(given, intervals={**given.intervals, TEN_S_MS: cut})


@pytest.mark.parametrize(
    ("boxes", "lowest", "highest", "of"),
    [
        ([box()], 49.69, 50.31, "10 min"),
        ([box(f_min_hz=None, f_max_hz=None)], 49.72, 50.0, "10 min"),
        ([with_seconds(box(), 168)], 49.7, 50.0, "10 s"),
        ([with_seconds(box(), 3)], 49.69, 50.31, "10 min"),
        ([with_seconds(box(), 100)], 49.7, 50.0, "10 s"),
        ([box(1), box(2), box(3)], 49.69, 50.31, "10 min"),
        ([box(1), box(2), box(3, f_min_hz=np.full(1008, 45.0))], 49.69, 50.31, "10 min"),
        ([with_seconds(box(1), 168), with_seconds(box(2), 168)], 49.7, 50.0, "10 s"),
        ([box(1), BoxWeek("2", 230.0, 50.0, {})], 49.69, 50.31, "10 min"),
        ([box(f_min_hz=np.full(1008, np.nan), f_max_hz=np.full(1008, np.nan))], 49.72, 50.0, "10 min"),
    ],
)
def test_a_phase_jump_is_no_frequency(boxes: list[BoxWeek], lowest: float, highest: float, of: str) -> None:
    index = found(*boxes).index
    assert index.nadir_hz == pytest.approx(lowest, abs=1e-4)
    assert index.zenith_hz == pytest.approx(highest, abs=1e-4) and found(*boxes).of == of


def test_no_change_is_taken_across_a_flag() -> None:
    mean = np.full(1008, 50.0)
    mean[200], mean[400:], mean[600:] = (
        49.0,
        50.1,
        50.3,
    )  # a jump at a flag, at a hole, and between neighbours
    tens = columns(TENS, TEN_MS, {"f_hz": mean}, flagged=[200], missing=range(395, 405))
    grid = found(BoxWeek("1", 230.0, 50.0, {TEN_MS: tens}))
    assert grid.index.steepest_hz_per_s == pytest.approx(0.2 / 600, rel=1e-4)
    assert grid.steepest_ns == int(TENS[599])


def test_flagged_values_alone_say_nothing() -> None:
    tens = columns(TENS, TEN_MS, {"f_hz": 50.0}, flagged=range(1008))
    grid = found(BoxWeek("1", 230.0, 50.0, {TEN_MS: tens}))
    assert np.isnan(grid.index.nadir_hz) and grid.nadir_ns is None and grid.boxes == 0
