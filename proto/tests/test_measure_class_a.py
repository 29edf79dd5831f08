"""Class A by the standard's test points and influence quantities; `pytest -s` prints each point.

A point is within the standard's limit, and within today's figure of its quantity: BOUNDS has the worst of
2026-11-26, rounded up. docs/measurement.md has the table.
"""

from collections.abc import Callable, Iterator

import pytest
from class_a.events import events, rapid_changes
from class_a.states import TestPoint
from class_a.steady_voltage import (
    deviation,
    flicker,
    frequency,
    harmonics,
    interharmonics,
    magnitude,
    unbalance,
)

Quantity = Callable[[], Iterator[TestPoint]]
QUANTITIES: tuple[Quantity, ...] = (
    frequency,
    magnitude,
    events,
    unbalance,
    harmonics,
    interharmonics,
    rapid_changes,
    deviation,
)
"""Quantities in the order of the standard's clauses."""
BOUNDS = {
    ("frequency, 10 s", "mHz"): 0.0005,
    ("Urms, 10/12 cycles", "% Udin"): 0.0025,
    ("dip, residual", "% Udin"): 0.003,
    ("dip, duration", "cycles"): 0.035,
    ("swell, residual", "% Udin"): 0.003,
    ("swell, duration", "cycles"): 0.065,
    ("interruption, duration", "cycles"): 0.005,
    ("flicker, Pst", "% of reading"): 0.6,
    ("unbalance u2, u0", "%"): 0.08,
    ("harmonics 2 to 50", "% of reading"): 0.1,
    ("harmonics 2 to 50", "% Unom"): 0.002,
    ("interharmonics to 49", "% of reading"): 0.21,
    ("interharmonics to 49", "% Unom"): 0.018,
    ("rapid voltage change", "% Udin"): 0.04,
    ("under/overdeviation", "% Udin"): 0.0002,
}
"""(quantity, unit of the limit) -> bound."""


def assert_within(quantity: Quantity) -> None:
    points = list(quantity())
    assert points
    for point in points:
        print(point.line)
    assert [point.line for point in points if not point.met] == []
    assert [point.line for point in points if point.error > BOUNDS[point.quantity, point.unit]] == []


@pytest.mark.parametrize("quantity", QUANTITIES, ids=lambda quantity: quantity.__name__)
def test_every_point_is_within_its_limit(quantity: Quantity) -> None:
    assert_within(quantity)


@pytest.mark.slow
def test_pst_of_ten_minutes_is_within_its_limit() -> None:
    assert_within(flicker)


def test_an_unknown_error_is_not_within_limits() -> None:
    assert TestPoint("5.2", "Urms", "", 0.1, 0.1, "%").met
    assert not TestPoint("5.2", "Urms", "", float("nan"), 0.1, "%").met
    assert "OVER THE LIMIT" in TestPoint("5.2", "Urms", "", 0.2, 0.1, "%").line
