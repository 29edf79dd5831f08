"""Charts of a span as SVG, made here: they need no script, print, and cost a browser nothing.

Pure. A row is a bar from its lowest to its highest with its mean as a step: nothing is ever slanted, and
nothing is drawn where nothing was measured. x is exactly the span that was asked for.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from math import ceil, floor, log10

from opq_cloud.view.box_history import BoxHistory

WIDTH, HEIGHT = 1000, 500
"""The drawing's own coordinates; it is stretched to its place, and lines are not."""
MOST_TICKS = 6
PHONE_PX = 336
"""Width of a chart on a phone of 390 pixels."""
LETTER_PX, APART_PX = 6.6, 6.0
"""Of an axis' words, in 12 px type."""
_TICKS_MS = tuple(
    minutes * 60_000
    for minutes in (1, 2, 5, 10, 15, 30, 60, 120, 180, 360, 720, 1440, 2880, 5760, 10080, 20160, 43200, 86400,
                    129600, 259200, 525600)
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Tick:
    """A place on an axis, in percent from the left or the top, and its words."""

    percent: float
    words: str
    crowded: bool = False
    """Its words would touch those before them, or leave the chart, on a phone: they are left out there."""


@dataclass(frozen=True, slots=True)
class IncidentMark:
    """An incident on the axis, percent from the left."""

    percent: float
    kind: str


@dataclass(frozen=True, slots=True)
class GapStretch:
    """A part of the axis, percent from the left and wide."""

    percent: float
    width: float


@dataclass(frozen=True, slots=True)
class HistoryChart:
    """SVG paths of one metric over WIDTH x HEIGHT, and what stands beside them."""

    name: str
    bars: str
    means: str
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]
    nominal_percent: float | None
    """From the top; None: outside, or there is none."""


def history_chart(history: BoxHistory, name: str, nominal: float | None = None) -> HistoryChart | None:
    """None where no row has this metric."""
    spreads = [(row.start_ms, row.values[name]) for row in history.rows if name in row.values]
    if not spreads:
        return None
    low, high = min(three[0] for _, three in spreads), max(three[2] for _, three in spreads)
    pad = max((high - low) * 0.08, abs(high) * 1e-4, 1e-9)
    bottom, top = low - pad, high + pad

    def y(value: float) -> float:
        return (top - value) / (top - bottom) * HEIGHT

    bars, means = [], []
    end_x, scale = -1.0, HEIGHT / (top - bottom)
    x_of, step_ms = _x_of(history), history.step_ms
    for start_ms, (least, mean, most) in spreads:
        begin, end = x_of(start_ms), x_of(start_ms + step_ms)
        upper, lower = (top - most) * scale, (top - least) * scale
        if lower - upper < 1.5:  # a bar that can be seen
            upper, lower = (upper + lower) / 2 - 0.75, (upper + lower) / 2 + 0.75
        from_x, to_x, middle = f"{begin:.1f}", f"{end:.1f}", f"{(top - mean) * scale:.1f}"
        bars.append(f"M{from_x},{upper:.1f}H{to_x}V{lower:.1f}H{from_x}Z")
        means.append(f"V{middle}H{to_x}" if begin - end_x < 0.05 else f"M{from_x},{middle}H{to_x}")
        end_x = end
    levels = round_levels(bottom, top)
    within = nominal is not None and bottom < nominal < top
    return HistoryChart(
        name,
        "".join(bars),
        "".join(means),
        time_ticks(history.span.start_ms, history.span.end_ms),
        tuple(
            Tick(round(y(value) / HEIGHT * 100, 2), words)
            for value, words in levels
            if y(value) > 0.12 * HEIGHT  # its words stand above its line
        ),
        round(y(nominal) / HEIGHT * 100, 2) if within and nominal is not None else None,
    )


def gap_stretches(history: BoxHistory) -> tuple[GapStretch, ...]:
    """Where nothing was measured."""
    x_of = _x_of(history)
    return tuple(
        GapStretch(x_of(start) / 10, max(0.05, (x_of(end) - x_of(start)) / 10)) for start, end in history.gaps
    )


def coverage_path(history: BoxHistory) -> str:
    """Bars over the whole height: as high as the share of the row that was measured."""
    x_of, step_ms = _x_of(history), history.step_ms
    return "".join(
        f"M{x_of(row.start_ms):.1f},{HEIGHT}V{(1 - row.coverage) * HEIGHT:.0f}"
        f"H{x_of(row.start_ms + step_ms):.1f}V{HEIGHT}Z"
        for row in history.rows
    )


def incident_marks(history: BoxHistory) -> tuple[IncidentMark, ...]:
    span = history.span
    return tuple(
        IncidentMark(round((each.start_ns / 1e6 - span.start_ms) / span.length_ms * 100, 3), each.kind)
        for each in history.incidents
        if each.start_ns / 1e6 >= span.start_ms
    )


def _x_of(history: BoxHistory) -> Callable[[float], float]:
    """Places of moments in ms, within the span; called for each row of each chart."""
    start_ms, scale = history.span.start_ms, WIDTH / history.span.length_ms

    def x(moment_ms: float) -> float:
        place = (moment_ms - start_ms) * scale
        return 0.0 if place < 0.0 else WIDTH if place > WIDTH else place

    return x


def time_ticks(start_ms: int, end_ms: int) -> tuple[Tick, ...]:
    """At whole times in UTC, MOST_TICKS at most; a date where a day begins and on the first, never twice."""
    every_ms = next((each for each in _TICKS_MS if (end_ms - start_ms) / each <= MOST_TICKS), _TICKS_MS[-1])
    days = every_ms >= 86_400_000
    ticks, date, free_px = [], "", 0.0
    for at_ms in range(-(-start_ms // every_ms) * every_ms, end_ms, every_ms):
        percent = (at_ms - start_ms) / (end_ms - start_ms) * 100
        if percent > 94:  # its words would leave the chart
            break
        at = datetime.fromtimestamp(at_ms / 1000, UTC)
        day = f"{at.day} {at:%b}" + (f" {at.year}" if every_ms > 86_400_000 * 45 else "")
        words = day if days or (not date) or (day != date and at.hour + at.minute == 0) else f"{at:%H:%M}"
        if words == day and not days and at.hour + at.minute:
            words = f"{day} {at:%H:%M}"
        date = day
        begin_px = percent / 100 * PHONE_PX
        end_px = begin_px + len(words) * LETTER_PX
        crowded = begin_px < free_px or end_px > PHONE_PX
        if not crowded:
            free_px = end_px + APART_PX
        ticks.append(Tick(round(percent, 2), words, crowded))
    return tuple(ticks)


def round_levels(bottom: float, top: float) -> Sequence[tuple[float, str]]:
    """Three to six round values within."""
    raw = (top - bottom) / 4
    power = 10.0 ** floor(log10(raw))
    step = next(power * each for each in (1, 2, 2.5, 5, 10) if power * each >= raw * 0.999)
    digits = max(0, -floor(log10(step) + 1e-9) + (1 if round(step / power, 3) == 2.5 else 0))
    first = ceil(bottom / step)
    return [(k * step, f"{k * step:.{digits}f}") for k in range(first, floor(top / step) + 1)]
