"""Statistics of EN 50160 by counting."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from opq_measure.aggregation.compliance import HARMONICS_PERCENT, LOW_VOLTAGE, Requirement, judge, percentile

WEEK = 1008  # ten-minute values


def test_a_twentieth_of_a_week_may_lie_outside() -> None:
    requirement = Requirement("rms_percent", 95.0, 90.0, 110.0)
    values = np.full(WEEK, 100.0)
    values[:50] = 89.9
    verdict = judge(values, requirement)
    assert verdict.met and verdict.count == WEEK and verdict.share_percent == pytest.approx(95.04, abs=0.01)
    values[50] = 110.1
    assert not judge(values, requirement).met
    assert judge(np.full(WEEK, 110.0), requirement).met  # a limit is inside


def test_unknown_values_count_neither_way() -> None:
    requirement = Requirement("plt", 95.0, high=1.0)
    assert judge(np.array([0.5, math.nan, 0.9]), requirement).share_percent == 100.0
    verdict = judge(np.full(3, math.nan), requirement)
    assert verdict.met is None and verdict.count == 0 and math.isnan(verdict.share_percent)


def test_a_percentile_is_one_of_the_values() -> None:
    values = np.arange(1.0, 101.0)
    assert [percentile(values, percent) for percent in (1, 50, 95, 99, 100)] == [1, 50, 95, 99, 100]
    assert percentile(np.array([3.0]), 95.0) == 3.0
    assert math.isnan(percentile(np.array([math.nan]), 95.0))
    with pytest.raises(ValueError, match="want above 0"):
        percentile(values, 0.0)


def test_the_table_of_harmonics_ends_at_25_and_even_ones_are_small() -> None:
    assert sorted(HARMONICS_PERCENT) == list(range(2, 26))
    assert (HARMONICS_PERCENT[5], HARMONICS_PERCENT[6], HARMONICS_PERCENT[25]) == (6.0, 0.5, 1.5)
    assert all(requirement.low < requirement.high for requirement in LOW_VOLTAGE)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.floats(0.0, 3.0), min_size=1, max_size=50), st.sampled_from([50.0, 95.0, 99.0, 100.0]))
def test_the_percentile_is_within_the_limit_exactly_when_enough_values_are(
    values: list[float], percent: float
) -> None:
    verdict = judge(np.array(values), Requirement("x", percent, high=1.0))
    assert verdict.met == (percentile(np.array(values), percent) <= 1.0)
