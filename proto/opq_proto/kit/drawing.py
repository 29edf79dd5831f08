"""Charts as SVG paths and places: axes, lines, bars, spans and the plane of duration and voltage. Pure.

Pages of View, reports and the page of one recording draw with it. A drawing is stretched to its place: a path
is in its units, and words stand beside it at places in percent.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import ceil, floor, log, log10

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Point = tuple[float, float]
WIDTH = 1000
"""Units of a drawing, where it names no others."""
HEIGHT = 500


@dataclass(frozen=True, slots=True)
class Tick:
    """In percent from the left or the top, and its words."""

    percent: float
    words: str
    crowded: bool = False
    """On a phone its words would touch those before them, or leave the chart, so they are left out there."""


@dataclass(frozen=True, slots=True)
class Axis:
    """The values at both ends of an axis, `units` long: from the left, or from the bottom to the top."""

    first: float
    last: float
    units: float
    is_upright: bool = False
    is_logarithmic: bool = False

    def share(self, value: float) -> float:
        """Of the axis, from its left or upper end; outside it below 0 or above 1."""
        if self.is_logarithmic:
            share = log(max(value, self.first) / self.first) / log(self.last / self.first)
        else:
            share = (value - self.first) / ((self.last - self.first) or 1.0)
        return 1.0 - share if self.is_upright else share

    def place(self, value: float) -> float:
        """In units; at an end where the value is outside."""
        share = self.share(value)
        return self.units * (share if 0.0 < share < 1.0 else float(share >= 1.0))

    def percent(self, value: float) -> float:
        """As `place`, in percent."""
        return round(100 * min(1.0, max(0.0, self.share(value))), 2)

    def places(self, values: Floats) -> Floats:
        """(n,) in units, also of what is outside; what is before a logarithmic axis is at its beginning."""
        if self.is_logarithmic:
            shares = np.log(np.maximum(values, self.first) / self.first) / log(self.last / self.first)
        else:
            shares = (values - self.first) / ((self.last - self.first) or 1.0)
        return self.units * (1.0 - shares if self.is_upright else shares)

    def ticks(self) -> list[Tick]:
        """Three to six round values."""
        return [Tick(self.percent(value), words) for value, words in round_levels(self.first, self.last)]


def round_levels(bottom: float, top: float) -> Sequence[tuple[float, str]]:
    """Three to six round values within the limits, and their words."""
    raw = (top - bottom) / 4
    power = 10.0 ** floor(log10(raw))
    step = next(power * each for each in (1, 2, 2.5, 5, 10) if power * each >= raw * 0.999)
    digits = max(0, -floor(log10(step) + 1e-9) + (1 if round(step / power, 3) == 2.5 else 0))
    first = ceil(bottom / step)
    values = [k * step for k in range(first, floor(top / step) + 1)]
    return [(value, f"{value:.{digits}f}".replace("-", "\N{MINUS SIGN}")) for value in values]


def line(points: Iterable[Point], digits: int = 1) -> str:
    """A line through the points, which parts where a place is NaN; `digits` of the height."""
    parts: list[str] = []
    add, height, before_x, before_y = parts.append, f"%.{digits}f", "", ""
    for x, y in points:
        if x != x or y != y:
            before_x = ""
            continue
        at_x, at_y = f"{x:.1f}", height % y
        if not before_x:
            add(f"M{at_x},{at_y}")
        elif at_y == before_y:
            add(f"H{at_x}")
        elif at_x == before_x:
            add(f"V{at_y}")
        else:
            add(f"L{at_x},{at_y}")
        before_x, before_y = at_x, at_y
    return "".join(parts)


def extremes_line(x: Floats, low: Floats, high: Floats, columns: int) -> str:
    """A line from the least to the most of each column, so that no peak is lost; NaN parts it.

    Args:
        columns: most columns of the drawing; fewer values are drawn one by one.
    """
    if len(x) > columns:
        starts = np.linspace(0, len(x), columns, endpoint=False).astype(int)
        x, low, high = x[starts], np.fmin.reduceat(low, starts), np.fmax.reduceat(high, starts)
    if np.array_equal(low, high, equal_nan=True):
        return line(zip(x.tolist(), low.tolist(), strict=True))
    both = np.stack((low, high), axis=1).ravel()
    return line(zip(np.repeat(x, 2).tolist(), both.tolist(), strict=True))


_BARS = ("M%.1f,%.0fH%.1fV%.0fH%.1fZ", "M%.1f,%.1fH%.1fV%.1fH%.1fZ")
"""By the digits of the height."""


def bar(left: float, right: float, top: float, bottom: float, least: float = 0.0, digits: int = 1) -> str:
    """An area with four corners, at least `least` high; `digits` of the height."""
    if bottom - top < least:
        top, bottom = (top + bottom - least) / 2, (top + bottom + least) / 2
    return _BARS[digits] % (left, top, right, bottom, left)


def corners(steps: Sequence[tuple[float, float]], first: float, last: float) -> list[Point]:
    """The corners of a line of steps (until, value) from `first` to at most `last`, in its own units."""
    found: list[Point] = []
    for until, value in steps:
        end = min(until, last)
        found += [(first, value), (end, value)]
        first = end
    return found


@dataclass(frozen=True, slots=True)
class VoltagePlane:
    """Residual voltage in percent of nominal over the logarithm of duration: ITIC, SEMI F47 and events."""

    time: Axis
    level: Axis

    @classmethod
    def of(
        cls, shortest_s: float, longest_s: float, top_percent: float, width: float, height: float
    ) -> "VoltagePlane":
        return cls(
            Axis(shortest_s, longest_s, width, is_logarithmic=True),
            Axis(0.0, top_percent, height, is_upright=True),
        )

    def place(self, seconds: float, percent: float) -> Point:
        return self.time.place(seconds), self.level.place(percent)

    def curve(self, steps: Sequence[tuple[float, float]], first_s: float) -> list[Point]:
        """The corners of a line of steps (until s, percent), from `first_s`."""
        return [self.place(*each) for each in corners(steps, first_s, self.time.last)]
