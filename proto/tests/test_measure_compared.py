"""Another meter beside ours: bias, spread and delay of courses whose difference is known."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from opq_measure.aggregation.compared import compared

TEN = 600.0
STARTS = TEN * np.arange(288)


def course(at_s: NDArray[np.float64]) -> NDArray[np.float64]:
    """Volts that move within minutes and hours."""
    return 230 + 3 * np.sin(at_s / 13_000) + np.sin(at_s / 2_700 + 1) + 0.5 * np.sin(at_s / 1_100)


def mean_of(at_s: NDArray[np.float64], length_s: float) -> NDArray[np.float64]:
    return np.mean([course(at_s + length_s * (each + 0.5) / 200) for each in range(200)], axis=0)


@settings(deadline=None, max_examples=25)
@given(
    delay_s=st.floats(-1500, 1500),
    bias=st.floats(-5, 5),
    step_s=st.sampled_from([10.0, 60.0]),
)
def test_bias_and_partial_delay_are_found(delay_s: float, bias: float, step_s: float) -> None:
    """The delay is a part of an interval."""
    their_s = np.arange(-3 * TEN, 291 * TEN, step_s)
    theirs = mean_of(their_s - delay_s, step_s) + bias
    found = compared(STARTS, mean_of(STARTS, TEN), their_s, theirs, TEN, 3 * TEN)
    assert found is not None and found.delay_s is not None
    assert found.delay_s == pytest.approx(delay_s, abs=2.0)
    assert found.bias == pytest.approx(bias, abs=0.01)
    assert found.spread < 0.02


def test_a_slow_meter_shows_partial_delays() -> None:
    """Its intervals are as long as ours, yet the delay is found to a tenth of one."""
    for delay_s in (-900.0, -200.0, 0.0, 150.0, 700.0):
        theirs = mean_of(STARTS - delay_s, TEN)
        found = compared(STARTS, mean_of(STARTS, TEN), STARTS, theirs, TEN, 3 * TEN)
        assert found is not None and found.delay_s == pytest.approx(delay_s, abs=0.1 * TEN)


def test_the_spread_is_that_of_the_difference() -> None:
    noise = np.random.default_rng(1).normal(0, 0.2, 288)
    found = compared(STARTS, mean_of(STARTS, TEN), STARTS, mean_of(STARTS, TEN) + noise, TEN, 2 * TEN)
    assert found is not None and found.delay_s is not None and abs(found.delay_s) < 60
    assert found.spread == pytest.approx(0.2, rel=0.15)


def test_holes_stay_and_flat_courses_lack_delay() -> None:
    kept = (STARTS < 100 * TEN) | (STARTS >= 150 * TEN)
    found = compared(STARTS, mean_of(STARTS, TEN), STARTS[kept], mean_of(STARTS, TEN)[kept], TEN, TEN)
    assert found is not None and 230 <= found.count <= 238
    assert not np.isin(np.arange(102, 148), found.chosen).any()
    flat = compared(STARTS, np.full(288, 230.0), STARTS, np.full(288, 231.0), TEN, TEN)
    assert flat is not None and (flat.bias, flat.spread, flat.delay_s) == (1.0, 0.0, None)


def test_too_little_in_common_is_none() -> None:
    ours = mean_of(STARTS, TEN)
    assert compared(STARTS, ours, STARTS + 1e6, ours, TEN, TEN) is None
    assert compared(STARTS[:5], ours[:5], STARTS, ours, TEN, TEN) is None
