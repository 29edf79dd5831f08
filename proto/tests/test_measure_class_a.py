"""Class A by the standard's test points and influence quantities; `pytest -s` prints the table."""

from collections.abc import Callable, Iterator

import pytest

from bench.class_a import figures as verdicts
from bench.class_a.states import TestPoint

Quantity = Callable[[], Iterator[TestPoint]]


def holds(quantity: Quantity) -> None:
    points = list(quantity())
    assert points
    for point in points:
        print(point.line)
    assert [point.line for point in points if not point.met] == []


@pytest.mark.parametrize("quantity", verdicts.QUANTITIES, ids=lambda quantity: quantity.__name__)
def test_every_point_of_a_quantity_is_within_its_limit(quantity: Quantity) -> None:
    holds(quantity)


@pytest.mark.soak
@pytest.mark.parametrize("quantity", verdicts.SLOW, ids=lambda quantity: quantity.__name__)
def test_every_point_of_ten_minutes_is_within_its_limit(quantity: Quantity) -> None:
    holds(quantity)


def test_an_error_that_is_unknown_is_not_within_a_limit() -> None:
    assert TestPoint("5.2", "Urms", "", 0.1, 0.1, "%").met
    assert not TestPoint("5.2", "Urms", "", float("nan"), 0.1, "%").met
    assert "OVER THE LIMIT" in TestPoint("5.2", "Urms", "", 0.2, 0.1, "%").line
