"""All points of class A in one table."""

from collections.abc import Callable, Iterator

from bench.class_a.events import events, rapid_changes
from bench.class_a.states import TestPoint
from bench.class_a.steady import (
    deviation,
    flicker,
    frequency,
    harmonics,
    interharmonics,
    magnitude,
    signalling,
    unbalance,
)
from bench.result import Baseline, BenchCase, BenchResult

QUANTITIES: tuple[Callable[[], Iterator[TestPoint]], ...] = (
    frequency,
    magnitude,
    events,
    unbalance,
    harmonics,
    interharmonics,
    signalling,
    rapid_changes,
    deviation,
)
"""Quantities in the order of the standard's clauses."""
SLOW: tuple[Callable[[], Iterator[TestPoint]], ...] = (flicker,)
"""Quantities that need ten minutes of signal for each point."""


def points(quick: bool) -> Iterator[TestPoint]:
    """Yields every point when it is measured."""
    for quantity in QUANTITIES if quick else (*QUANTITIES, *SLOW):
        yield from quantity()


def run(quick: bool) -> BenchResult:
    """Takes half a minute; `quick` leaves out flicker."""
    rows, worst = [], 0.0
    for point in points(quick):
        name = f"{point.clause} {point.quantity}, {point.condition}"
        error = point.error
        rows.append(BenchCase(name, error, point.unit, error, error, error, 1, point.limit))
        worst = max(worst, error / point.limit if error == error else float("inf"))
    return BenchResult(tuple(rows), Baseline("limit of class A, the nearest point", 1.0, "of it"), worst)
