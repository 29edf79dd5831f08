"""Charts as SVG: axes, lines, bars, spans, dots and the plane of duration and voltage. Pure.

Pages of View, reports and the page of one recording draw with it. A drawing is stretched to its place: a path
is in its units, and words stand beside it at places in percent. Colours are the page's, by the names of the
classes.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape
from math import ceil, floor, log, log10

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Point = tuple[float, float]
WIDTH = 1000
"""Units of a drawing, where it names no others."""
HEIGHT = 500
HIGHEST_WORDS = 8.0
"""Percent from the top above which the words of a level stand below its line, so that they are not cut."""
HATCHED = ""
"""The name of a span that is hatched: see `hatch`."""


class Svg(str):
    """Elements of a drawing, which a template puts into its page as they are."""

    __slots__ = ()

    def __html__(self) -> str:
        return self


@dataclass(frozen=True, slots=True)
class Tick:
    """In percent from the left or the top, and its words."""

    percent: float
    words: str
    crowded: bool = False
    """On a phone its words would touch those before them, or leave the chart, so they are left out there."""
    at_ms: float | None = None
    """Its value on an axis of time that the page moves by a script."""


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


def hatch() -> Svg:
    """What fills hatched spans; once in a page."""
    return Svg(
        '<svg class="hatch" width="0" height="0" aria-hidden="true"><defs><pattern id="hatch" width="7" '
        'height="7" patternUnits="userSpaceOnUse" patternTransform="rotate(45)"><line y2="7"/></pattern>'
        "</defs></svg>"
    )


def path(name: str, drawn: str, style: str = "") -> Svg:
    """A line or areas, by the class `name`, or by a style where the page has no classes."""
    look = f'style="{escape(style)}"' if style else f'class="{escape(name)}"'
    return Svg(f'<path {look} d="{drawn}"/>')


def stretched(paths: str, width: float = WIDTH, height: float = HEIGHT, attribute: str = "") -> Svg:
    """Paths of width x height units, stretched to the drawing; with an attribute by which a script finds
    them."""
    marked = f" {attribute}" if attribute else ""
    return Svg(
        f'<svg width="100%" height="100%" viewBox="0 0 {width} {height}" preserveAspectRatio="none"{marked}>'
        f"{paths}</svg>"
    )


def grid(ticks: Iterable[Tick], is_upright: bool = False) -> Svg:
    """A line across the drawing at each tick of its vertical axis, or upright at those of the other one."""
    if not is_upright:
        return Svg("".join(level_line("grid", each.percent) for each in ticks))
    return Svg("".join(moment_line("grid", each.percent, each.at_ms) for each in ticks))


def level_line(name: str, percent: float) -> Svg:
    return Svg(f'<line class="{escape(name)}" x2="100%" y1="{percent}%" y2="{percent}%"/>')


def moment_line(name: str, percent: float, at_ms: float | None = None) -> Svg:
    return Svg(f'<line class="{escape(name)}"{_moved(at_ms)} x1="{percent}%" x2="{percent}%" y2="100%"/>')


def span(
    name: str, left: float, width: float, from_ms: float | None = None, until_ms: float | None = None
) -> Svg:
    """A part of the horizontal axis, as high as the drawing; places in percent."""
    look = f'class="{escape(name)}"' if name else 'fill="url(#hatch)"'
    return Svg(f'<rect {look}{_moved(from_ms, until_ms)} x="{left}%" width="{width}%" height="100%"/>')


def area(name: str, left: float, top: float, width: float, height: float) -> Svg:
    """A rectangle in the drawing's units."""
    return Svg(f'<rect class="{escape(name)}" x="{left}" y="{top}" width="{width}" height="{height}"/>')


def dot(name: str, left: float, top: float, words: str) -> Svg:
    """A dot at a place in percent, with its words."""
    return Svg(
        f'<circle class="{escape(name)}" r="5" cx="{left}%" cy="{top}%"/>'
        f'<text class="level" x="{left}%" dx="8" y="{top}%" dy="4">{escape(words)}</text>'
    )


def levels(ticks: Iterable[Tick], unit: str = "", last: str = "") -> Svg:
    """The words of the vertical axis, at its lines; `last` stands after those of the last tick."""
    found = list(ticks)
    drawn = []
    for each in found:
        words = f"{each.words}{unit}{f' {last}' if last and each is found[-1] else ''}"
        below_line = 13 if each.percent < HIGHEST_WORDS else -3
        drawn.append(
            f'<text class="level" x="4" y="{each.percent}%" dy="{below_line}">{escape(words)}</text>'
        )
    return Svg("".join(drawn))


def level_words(percent: float, words: str, name: str = "") -> Svg:
    """The words of a limit, at the right end of its line."""
    return Svg(
        f'<text class="level{f" {escape(name)}" if name else ""}" x="99%" y="{percent}%" dy="-3" '
        f'text-anchor="end">{escape(words)}</text>'
    )


def words_in(name: str, percent: float, top: str, words: str, at_ms: float | None = None) -> Svg:
    """Words in the middle of a place on the horizontal axis, `top` from the upper edge."""
    return Svg(
        f'<text class="{escape(name)}"{_moved(at_ms)} x="{percent}%" y="{top}" text-anchor="middle">'
        f"{escape(words)}</text>"
    )


def below(ticks: Iterable[Tick], unit: str = "", is_middle: bool = False) -> Svg:
    """The words of the horizontal axis, below the drawing; `is_middle`: in the middle of their places."""
    anchor = ' text-anchor="middle"' if is_middle else ""
    drawn = []
    for each in ticks:
        name = ' class="crowded"' if each.crowded else ""
        place = f'{name}{_moved(each.at_ms)} x="{each.percent}%" y="14"{anchor}'
        drawn.append(f"<text{place}>{escape(each.words + unit)}</text>")
    return Svg(f'<svg class="history-axis" aria-hidden="true">{"".join(drawn)}</svg>')


def _moved(from_ms: float | None, until_ms: float | None = None) -> str:
    """Attributes by which a script moves an element along an axis of time."""
    return "".join(
        f' {name}="{value}"'
        for name, value in (("data-t", from_ms), ("data-t2", until_ms))
        if value is not None
    )
