"""Spans: runs of a value beyond a threshold, with hysteresis."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from opq_measure.events.spans import Span, beyond, reaches, spans_above, spans_below


def test_a_span_ends_at_the_hysteresis() -> None:
    values = np.array([100, 89, 91, 89, 92, 89, 95, 100.0])
    assert spans_below(values, 90, 92) == (Span(1, 4, True), Span(5, 6, True))
    assert len(spans_below(values, 90, 92)[0]) == 3
    assert spans_below(values, 90, 96) == (Span(1, 7, True),)
    assert spans_below(values[:6], 90, 96) == (Span(1, 6, False),)
    assert spans_above(-values, -90, -92) == (Span(1, 4, True), Span(5, 6, True))
    assert spans_below(np.empty(0), 90, 92) == ()
    assert spans_below(np.array([90.0, 90.0]), 90, 92) == ()


def test_a_hysteresis_on_the_wrong_side_is_refused() -> None:
    with pytest.raises(ValueError, match="leave"):
        spans_below(np.zeros(3), 90, 89)
    with pytest.raises(ValueError, match="leave"):
        spans_above(np.zeros(3), 110, 111)


@given(values=st.lists(st.floats(0, 200), max_size=60))
def test_spans_are_apart_and_hold_no_recovered_value(values: list[float]) -> None:
    array = np.array(values)
    spans = spans_below(array, 90, 92)
    for span in spans:
        assert array[span.start] < 90 and (array[span.start : span.stop] < 92).all()
        assert span.closed == (span.stop < len(array))
    covered = np.zeros(len(array), dtype=bool)
    for span in spans:
        assert not covered[span.start : span.stop].any()
        covered[span.start : span.stop] = True
    assert not (array[~covered] < 90).any()


@pytest.mark.parametrize("limit", [1.5, 8.0])
def test_rounding_passes_no_limit(limit: float) -> None:
    """The sums of two processors differ in the last bits, and a class may not."""
    for share in (-1e-12, 0.0, 1e-12):
        value = limit * (1 + share)
        assert not beyond(value, limit)
        assert reaches(value, limit)
        assert spans_above(np.full(20, value), limit, 0.9 * limit) == ()
        assert spans_below(np.full(20, value), limit, limit) == ()
    assert beyond(limit * (1 + 1e-6), limit)
    assert not reaches(limit * (1 - 1e-6), limit)
