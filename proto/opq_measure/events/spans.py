"""Runs of a value beyond a threshold, with hysteresis.

Source: IEC 61000-4-30:2015, 5.4.2 (dips), 5.4.3 (swells), 5.5.2 (interruptions): begins when the value passes
the threshold, ends when it is back by the hysteresis.
"""

from dataclasses import dataclass

import numpy as np

from opq_measure.signal import BoolArray, FloatArray

LINE_SHARE = 1e-9
"""Width of a limit, as a share of it: the sums of two processors differ by 1e-13, and no measurement is as
fine. A value within it is on the limit, so that a class is the same on each processor."""


def beyond(value: float, limit: float) -> bool:
    """Whether a size lies above a limit, not on it."""
    return value > limit + LINE_SHARE * abs(limit)


def reaches(value: float, limit: float) -> bool:
    """Whether a size lies above a limit or on it."""
    return value >= limit - LINE_SHARE * abs(limit)


@dataclass(frozen=True, slots=True)
class Span:
    """Entries `start` .. `stop` (half open); `closed` is False when it lasts to the end of the data."""

    start: int
    stop: int
    closed: bool

    def __len__(self) -> int:
        return self.stop - self.start


def spans_below(values: FloatArray, enter: float, leave: float) -> tuple[Span, ...]:
    """Spans that begin with a value below `enter`, not on it, and end before the first value >= `leave`.

    A NaN neither begins nor ends a span.

    Raises:
        ValueError: `leave` lies below `enter`.
    """
    if leave < enter:
        raise ValueError(f"leave {leave:g} lies below enter {enter:g}, want enter or above")
    return _spans(values < enter - LINE_SHARE * abs(enter), values >= leave)


def spans_above(values: FloatArray, enter: float, leave: float) -> tuple[Span, ...]:
    """Spans that begin with a value above `enter`, not on it, and end before the first value <= `leave`."""
    if leave > enter:
        raise ValueError(f"leave {leave:g} lies above enter {enter:g}, want enter or below")
    return _spans(values > enter + LINE_SHARE * abs(enter), values <= leave)


def _spans(begins: BoolArray, ends: BoolArray) -> tuple[Span, ...]:
    starts = np.flatnonzero(begins)
    stops = np.flatnonzero(ends)
    found = []
    next_start = 0
    while next_start < len(starts):
        start = int(starts[next_start])
        at = int(np.searchsorted(stops, start))
        if at == len(stops):
            found.append(Span(start, len(begins), closed=False))
            break
        stop = int(stops[at])
        found.append(Span(start, stop, closed=True))
        next_start = int(np.searchsorted(starts, stop))
    return tuple(found)
