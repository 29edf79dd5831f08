"""What an analysis reads of the store over weeks, and what it finds there, as plain frozen values.

A timer gives the analysis a History, with the values that its HistoryRequest names; it returns Phenomena.
`opq_proto.messages` has these nouns beside the others.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class HistoryRequest:
    """What an analysis of History reads of the store, and how often.

    Attributes:
        intervals: quantities of intervals of class A, such as `rms_v`, with one value each.
        interval_ms: one of `measurement.intervals.LENGTHS_MS`.
        trends: metrics of Trends, such as `rms` and `dc`.
        trend_ms: a minute, 10 minutes, an hour or a day.
        boxes: each call has one Box alone, one with its neighbours, or all at once. Neighbours are stated to
            be on the same phase of the same site, location or feeder.
    """

    every_s: float = 86_400.0
    days: int = 30
    intervals: tuple[str, ...] = ()
    interval_ms: int = 600_000
    trends: tuple[str, ...] = ()
    trend_ms: int = 3_600_000
    boxes: str = "alone"


@dataclass(frozen=True, slots=True, eq=False)
class Course:
    """One quantity of a Box, at every interval or Trend of a span.

    Value k is that of [start_ns + k * length_ms, one length later).
    """

    quantity: str
    length_ms: int
    start_ns: int
    values: NDArray[np.float64]
    """(n,) of an interval its value, of a Trend the mean; NaN: unknown."""
    flagged: NDArray[np.bool_]
    """(n,) whether a dip, swell, interruption or gap touches it (IEC 61000-4-30, 4.7); False for a Trend."""
    least: NDArray[np.float64] | None = None
    """(n,) of a Trend; None for intervals."""
    most: NDArray[np.float64] | None = None


@dataclass(frozen=True, slots=True, eq=False)
class BoxHistory:
    """The stored values of one Box over a span, and what is stated of it; "" where it is not stated."""

    box_id: str
    nominal_v: float
    nominal_hz: float
    courses: tuple[Course, ...]
    """The requested intervals in their order, then the Trends; one that was never stored is all NaN."""
    site: str = ""
    location: str = ""
    feeder: str = ""
    phase: str = ""
    since_ns: int = 0
    """Since when the Box is at this place (also by its region and grid) and has these nominal values, at the
    earliest the start of the span; the values before are unknown."""


@dataclass(frozen=True, slots=True, eq=False)
class History:
    """The stored values of a span of whole hours, of the Boxes that a HistoryRequest names."""

    start_ns: int
    end_ns: int
    boxes: tuple[BoxHistory, ...]
    subjects: tuple[str, ...]
    """The Boxes that this call is about: the first one, or all; the others are for comparison."""


@dataclass(frozen=True, slots=True)
class Phenomenon:
    """What lasted or changed over weeks, as an analysis of History gives it.

    What an analysis gives for a Box and a span replaces what it gave there before; the same one keeps its
    number.
    """

    kind: str
    """Letters, digits, `_`, `.` and `-`."""
    box_ids: tuple[str, ...]
    """A subject of the History first; people who do not see all of these Boxes do not see it."""
    start_ns: int
    end_ns: int
    because: str
    """One sentence for people; `{start}` and `{end}` become these times."""
    quantity: str = ""
    """The quantity whose chart shows it, such as `rms_v`."""
    size: float | None = None
    unit: str = ""
    """Unit of `size`."""
    lasting: bool = False
    """A state such as a daily profile: one of its kind, Boxes and quantity, whose span moves on."""
    details: Mapping[str, Any] = field(default_factory=dict)
    """Further figures: name -> what JSON has."""
