"""Recurring times of day and intervals: what is found, and how often chance alone looks like it."""

import math

import numpy as np
import pytest

from opq_measure.recurrence import DAY_S, at_least, burst_starts, daily_span, repeated_interval

MORNING = np.array([0, 70, 130, 190, 240, 290, 35], dtype=float) + 6 * 3600 + 58 * 60


def test_seven_of_nine_recurrences_are_found() -> None:
    times = np.concatenate((MORNING + DAY_S * np.arange(7), [8.2 * DAY_S, 9.7 * DAY_S]))
    found = daily_span(times)
    assert found is not None
    assert (found.count, found.total) == (7, 9)
    assert (found.first_s, found.last_s) == (6 * 3600 + 58 * 60, 7 * 3600 + 2 * 60 + 50)
    # four widths, nine spans, each at most C(8, 6) (300 / 86400)^6 and what is rarer
    assert found.chance == pytest.approx(4 * 9 * at_least(6, 8, 300 / DAY_S), rel=1e-9)
    assert found.chance < 1e-10


def test_a_span_over_midnight_is_one_span() -> None:
    found = daily_span(np.array([-60.0, 30.0, -20.0, 100.0, 43_000.0]) + DAY_S * np.arange(5))
    assert found is not None
    assert (found.count, found.first_s, found.last_s) == (4, DAY_S - 60.0, 100.0)


def test_a_storm_of_one_afternoon_is_no_habit() -> None:
    assert daily_span(50_000.0 + 120.0 * np.arange(30)) is None


def test_a_missing_quarter_hour_keeps_the_recurrence() -> None:
    times = np.cumsum([0, 900, 905, 890, 1800, 897, 903, 900, 911], dtype=float)
    found = repeated_interval(times)
    assert found is not None
    assert (found.count, found.total, found.least_s, found.most_s) == (7, 8, 890.0, 911.0)
    assert found.middle_s == 900.0
    assert found.chance < 1e-4


def test_reclosings_are_one_occurrence() -> None:
    assert burst_starts(np.array([10.0, 0.0, 30.0, 500.0, 520.0]), 60.0).tolist() == [0.0, 500.0]
    assert repeated_interval(np.arange(20) * 15.0) is None


@pytest.mark.parametrize("rate_per_h", [0.2, 4.0, 20.0])
def test_chance_alone_is_rarely_called_regular(rate_per_h: float) -> None:
    rng = np.random.default_rng(20_261_122)
    runs = 400
    found = [repeated_interval(np.cumsum(rng.exponential(3600 / rate_per_h, 20))) for _ in range(runs)]
    rare = sum(each is not None and each.chance <= 0.05 for each in found)
    assert rare <= 0.05 * runs
    daily = [daily_span(rng.uniform(0, 60 * DAY_S, 9)) for _ in range(runs)]
    assert sum(each is not None and each.chance <= 0.05 for each in daily) <= 0.05 * runs


def test_the_binomial_tail_has_its_closed_form() -> None:
    assert at_least(2, 2, 0.5) == pytest.approx(0.25)
    assert at_least(1, 10, 0.1) == pytest.approx(1 - 0.9**10)
    assert [at_least(0, 3, 0.5), at_least(1, 3, 0.0), at_least(3, 3, 1.0)] == [1.0, 0.0, 1.0]


@pytest.mark.parametrize("times", [np.array([]), np.array([1.0, 2.0, 3.0])])
def test_too_few_say_nothing(times: np.ndarray) -> None:
    assert daily_span(times) is None and repeated_interval(times) is None


def test_a_time_that_is_none_is_refused() -> None:
    with pytest.raises(ValueError, match="finite times"):
        daily_span(np.array([0.0, math.nan]))
