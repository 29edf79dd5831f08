"""Under- and overdeviation against their equations, worked by hand."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from opq_measure.aggregation.aggregate import (
    Quantity,
    over_v,
    overdeviation_percent,
    under_v,
    underdeviation_percent,
)
from opq_measure.aggregation.aggregator import Aggregator
from opq_measure.timebase.window import WindowTime


def test_half_low_windows_give_half_the_deviation() -> None:
    rms_v = np.where(np.arange(15) % 3 == 0, 108.0, 120.0)
    aggregator = Aggregator((Quantity("under_v"), Quantity("over_v")))
    found = []
    for k, (under, over) in enumerate(zip(under_v(rms_v, 120.0), over_v(rms_v, 120.0), strict=True)):
        found += aggregator.push_values(WindowTime(k * 10, k * 10 + 10), {"under_v": under, "over_v": over})
    values = found[0].values()
    mean_v = math.sqrt((5 * 108.0**2 + 10 * 120.0**2) / 15)
    assert underdeviation_percent(float(values["under_v"].mean), 120.0) == pytest.approx(
        100 * (120 - mean_v) / 120
    )
    assert overdeviation_percent(float(values["over_v"].mean), 120.0) == 0.0


def test_a_steady_voltage_deviates_by_its_error() -> None:
    low, high = np.full(15, 207.0), np.full(15, 241.5)
    assert underdeviation_percent(float(under_v(low, 230.0)[0]), 230.0) == pytest.approx(10.0)
    assert overdeviation_percent(float(over_v(low, 230.0)[0]), 230.0) == 0.0
    assert underdeviation_percent(float(under_v(high, 230.0)[0]), 230.0) == 0.0
    assert overdeviation_percent(float(over_v(high, 230.0)[0]), 230.0) == pytest.approx(5.0)


@settings(max_examples=50, deadline=None)
@given(rms_v=st.lists(st.floats(0.0, 300.0), min_size=1, max_size=20), declared_v=st.floats(50.0, 300.0))
def test_under_and_over_deviation_are_never_negative(rms_v: list[float], declared_v: float) -> None:
    rms = np.array(rms_v)
    under, over = under_v(rms, declared_v), over_v(rms, declared_v)
    assert np.all(under <= declared_v) and np.all(over >= declared_v)
    assert np.allclose(under + over, rms + declared_v)
    assert underdeviation_percent(float(np.sqrt(np.mean(under**2))), declared_v) >= -1e-9
    assert overdeviation_percent(float(np.sqrt(np.mean(over**2))), declared_v) >= -1e-9


def test_unknown_deviation_stays_unknown() -> None:
    assert np.isnan(under_v(np.array([np.nan]), 120.0)[0]) and np.isnan(over_v(np.array([np.nan]), 120.0)[0])
    for declared_v in (0.0, -120.0, math.nan):
        with pytest.raises(ValueError, match="want a positive number"):
            under_v(np.ones(1), declared_v)
