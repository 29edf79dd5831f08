"""Shares and percentiles by counting."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from opq_measure.standards.requirements import Requirement, inside, judge, percentile

WEEK = 1008  # ten-minute values


def test_a_twentieth_of_a_week_may_lie_outside() -> None:
    requirement = Requirement(95.0, 90.0, 110.0)
    values = np.full(WEEK, 100.0)
    values[:50] = 89.9
    found = judge(values, requirement)
    assert found.met and found.count == WEEK and found.inside == WEEK - 50
    assert found.share_percent == pytest.approx(100 * 958 / 1008) and found.lowest == 89.9
    values[50] = 110.1
    assert not judge(values, requirement).met
    assert judge(np.full(WEEK, 110.0), requirement).met  # a limit is inside


def test_a_stored_value_on_a_limit_is_inside() -> None:
    on_limit = np.array([np.float32(1.1 * 230), np.float32(0.85 * 230)], dtype=np.float32)
    found = inside(100 * np.asarray(on_limit, np.float64) / 230, Requirement(100.0, 85.0, 110.0))
    assert found.all()
    assert not inside(np.array([110.001, 84.999, math.nan]), Requirement(100.0, 85.0, 110.0)).any()


def test_unknown_values_count_neither_way() -> None:
    requirement = Requirement(95.0, high=1.0)
    assert judge(np.array([0.5, math.nan, 0.9]), requirement).share_percent == 100.0
    found = judge(np.full(3, math.nan), requirement)
    assert found.met is None and found.count == 0 and math.isnan(found.share_percent)


def test_the_stated_side_has_less_room() -> None:
    low = np.array([100.0] * 18 + [91.0, 89.0])
    assert judge(low, Requirement(95.0, 90.0, 110.0)).value == 91.0  # 95 % are at or above it
    assert judge(200 - low, Requirement(95.0, 90.0, 110.0)).value == 109.0


def test_a_percentile_is_one_of_the_values() -> None:
    values = np.arange(1.0, 101.0)
    assert [percentile(values, percent) for percent in (1, 50, 95, 99, 100)] == [1, 50, 95, 99, 100]
    assert percentile(np.array([3.0]), 95.0) == 3.0
    assert math.isnan(percentile(np.array([math.nan]), 95.0))
    with pytest.raises(ValueError, match="want above 0"):
        percentile(values, 0.0)


def test_a_requirement_that_cannot_be_met_is_refused() -> None:
    with pytest.raises(ValueError, match="percent is 0"):
        Requirement(0.0, high=1.0)
    with pytest.raises(ValueError, match="want low below high"):
        Requirement(95.0, 2.0, 1.0)


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.floats(0.0, 3.0) | st.just(math.nan), min_size=1, max_size=50),
    st.sampled_from([5.0, 50.0, 95.0, 99.0, 100.0]),
)
def test_a_percentile_is_that_of_a_naive_recount(values: list[float], percent: float) -> None:
    """The least value such that at least `percent` % of the known ones do not exceed it."""
    known = sorted(each for each in values if not math.isnan(each))
    found = percentile(np.array(values), percent)
    if not known:
        assert math.isnan(found)
        return
    naive = next(
        each for each in known if 100 * sum(other <= each for other in known) >= percent * len(known) - 1e-9
    )
    assert found == naive
    verdict = judge(np.array(values), Requirement(percent, high=1.0))
    assert verdict.inside == sum(each <= 1.0 * (1 + 2e-7) for each in known)
    assert verdict.met == (found <= 1.0 * (1 + 2e-7))
