"""The envelope of a long course of values: no extreme is lost, and memory does not grow."""

import numpy as np
import pytest

from opq_measure.analysis.course import MAX_ENTRIES, Course, RunningStatistics


def course_of(values: np.ndarray, at_once: int) -> np.ndarray:
    course = Course()
    for at in range(0, len(values), at_once):
        part = values[at : at + at_once]
        course.add(np.arange(at, at + len(part)) * 100.0, part)
    return course.entries()


def test_few_values_are_entries_of_their_own() -> None:
    values = np.array([1.0, 3.0, 2.0])
    starts, low, high = course_of(values, 2)
    assert starts.tolist() == [0.0, 100.0, 200.0]
    assert low.tolist() == high.tolist() == values.tolist()


@pytest.mark.parametrize("at_once", [7, 50_000])
def test_many_values_keep_every_extreme_in_its_place(at_once: int) -> None:
    values = np.full(50_001, 120.0)
    values[33_333], values[-1] = 12.0, 240.0
    starts, low, high = course_of(values, at_once)
    assert MAX_ENTRIES <= len(starts) <= 2 * MAX_ENTRIES + 1
    at = int(np.argmin(low))
    assert low[at] == 12.0 and starts[at] <= 3_333_300 < starts[at + 1]
    assert high[-1] == 240.0 and (np.delete(low, at)[:-1] == 120.0).all()


def test_the_blocks_do_not_matter() -> None:
    values = np.random.default_rng(1).normal(120, 1, 40_000)
    assert (course_of(values, 24) == course_of(values, 40_000)).all()


def test_the_median_is_right_to_15_ppm() -> None:
    values = np.random.default_rng(2).normal(120, 3, 30_001)
    values[5] = np.nan
    statistics = RunningStatistics(120.0)
    for part in np.array_split(values, 100):
        statistics.add(part)
    found, known = statistics.found(), np.delete(values, 5)
    assert found["median"] == pytest.approx(np.median(known), abs=120 * 16e-6)
    assert found["mean"] == pytest.approx(known.mean(), rel=1e-12)
    assert (found["min"], found["max"]) == (known.min(), known.max())
    assert RunningStatistics(120.0).found() == dict.fromkeys(("mean", "min", "median", "max"))
