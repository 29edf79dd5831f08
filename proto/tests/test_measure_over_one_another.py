"""Two events over one another: the crossing before an event, and the difference of two rms courses."""

import numpy as np
import pytest

from opq_measure.waveform.over_one_another import difference, last_rising_crossing


@pytest.mark.parametrize("phase_deg", [0.0, 1.0, 90.0, 359.0])
@pytest.mark.parametrize("at", [-66.7, -50.0, -3.0, 12.0])
def test_the_last_crossing_is_found(at: float, phase_deg: float) -> None:
    """It is a crossing of that wave, at most one period before 0."""
    found = last_rising_crossing(at, phase_deg, 20.0)
    turns = (found - at) / 20.0 + phase_deg / 360
    assert turns == pytest.approx(round(turns), abs=1e-9)
    assert -20.0 < found <= 0.021


def test_a_crossing_at_the_event_is_its_own() -> None:
    """Also where rounding puts it just after."""
    assert last_rising_crossing(-60.0, 0.0, 20.0) == pytest.approx(0.0, abs=1e-9)
    assert last_rising_crossing(-60.0, 359.9, 20.0) == pytest.approx(20.0 * 0.1 / 360, abs=1e-9)


def test_a_difference_is_where_both_are() -> None:
    """First minus second, and nothing in the second's gap."""
    at = np.arange(0.0, 100.0, 8.0)
    other_at = np.append(np.arange(0.0, 30.0, 5.0), 80.0)
    others = np.append(np.full(6, 90.0), 100.0)
    where, found = difference(at, np.full(13, 110.0), other_at, others, 4.0)
    assert where.tolist() == [0.0, 8.0, 16.0, 24.0, 80.0]
    assert found.tolist() == [20.0, 20.0, 20.0, 20.0, 10.0]


def test_a_difference_follows_a_ramp() -> None:
    """Between two of the second's values it is interpolated; one value alone counts near itself only."""
    where, found = difference(
        np.array([2.0, 5.0]), np.array([10.0, 10.0]), np.array([0.0, 10.0]), np.array([0.0, 10.0]), 5.0
    )
    assert (where.tolist(), found.tolist()) == ([2.0, 5.0], [8.0, 5.0])
    alone = difference(np.array([0.0, 9.0]), np.array([1.0, 1.0]), np.array([1.0]), np.array([3.0]), 2.0)
    assert [each.tolist() for each in alone] == [[0.0], [-2.0]]


def test_nothing_has_no_difference() -> None:
    nothing, some = np.empty(0), np.ones(2)
    for arrays in ((nothing, nothing, some, some), (some, some, nothing, nothing)):
        assert [len(each) for each in difference(*arrays, 1.0)] == [0, 0]
