"""Several series in one chart, as SVG made here: rows of bars, bands and steps, gaps, shares measured. Pure.

Nothing is ever slanted and nothing is drawn where nothing was measured; x is exactly the axis asked for.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from opq_cloud.view.history_chart import HEIGHT, WIDTH, GapStretch, IncidentMark, Tick, round_levels
from opq_cloud.view.past.local_weeks import WEEK_MS
from opq_cloud.view.past.past_series import PastRow, PastSeries

LEAST_BAR = 1.5
"""A bar that can be seen, in HEIGHT's units."""
DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")


@dataclass(frozen=True, slots=True)
class DrawnSeries:
    """SVG paths of one series over WIDTH x HEIGHT; `number` is its colour. Bands are drawn of one alone."""

    number: int
    words: str
    bars: str
    bands: str
    means: str
    coverage: str


@dataclass(frozen=True, slots=True)
class PastChart:
    """All series over one axis, and what stands beside them; places in percent."""

    series: tuple[DrawnSeries, ...]
    gaps: tuple[GapStretch, ...]
    """Hatched; of several series only what none of them has."""
    y_ticks: tuple[Tick, ...]
    nominal_percent: float | None


def past_chart(
    series: Sequence[PastSeries], start_ms: int, end_ms: int, nominal: float | None
) -> PastChart | None:
    """None where nothing is stored of any of them."""
    rows = [row for each in series for row in each.rows]
    if not rows:
        return None
    low, high = min(row.low for row in rows), max(row.high for row in rows)
    pad = max((high - low) * 0.08, abs(high) * 1e-4, 1e-9)
    bottom, top = low - pad, high + pad

    def x(moment_ms: float) -> float:
        return min(1.0, max(0.0, (moment_ms - start_ms) / (end_ms - start_ms))) * WIDTH

    def y(value: float) -> float:
        return (top - value) / (top - bottom) * HEIGHT

    drawn = tuple(
        DrawnSeries(
            number,
            each.words,
            _boxes(each, x, y, lambda row: (row.low, row.high)),
            _boxes(each, x, y, lambda row: row.band) if len(series) == 1 else "",
            _steps(each, x, y),
            _coverage(each, x),
        )
        for number, each in enumerate(series)
    )
    ticks = tuple(
        Tick(round(y(value) / HEIGHT * 100, 2), words)
        for value, words in round_levels(bottom, top)
        if y(value) > 0.12 * HEIGHT  # its words stand above its line
    )
    within = nominal is not None and bottom < nominal < top
    return PastChart(
        drawn,
        tuple(
            GapStretch(x(first) / 10, max(0.05, (x(last) - x(first)) / 10))
            for first, last in shared_gaps([each.gaps for each in series])
        ),
        ticks,
        round(y(nominal) / HEIGHT * 100, 2) if within and nominal is not None else None,
    )


def shared_gaps(gaps: Sequence[Iterable[tuple[int, int]]]) -> tuple[tuple[int, int], ...]:
    """What lies in a gap of each: of two spans [start, end) their common part."""
    if not gaps:
        return ()
    common = tuple(gaps[0])
    for others in gaps[1:]:
        common = tuple(
            (max(first, start), min(last, end))
            for first, last in common
            for start, end in others
            if max(first, start) < min(last, end)
        )
    return common


def week_ticks() -> tuple[Tick, ...]:
    """The days of a week, at their beginnings."""
    return tuple(Tick(round(100 * place / 7, 2), words) for place, words in enumerate(DAYS))


def mark(start_ms: float, kind: str, axis: tuple[int, int]) -> IncidentMark | None:
    """None: before the axis begins."""
    first_ms, last_ms = axis
    if not first_ms <= start_ms < last_ms:
        return None
    return IncidentMark(round((start_ms - first_ms) / (last_ms - first_ms) * 100, 3), kind)


WEEK_AXIS = (0, WEEK_MS)
_Scale = Callable[[float], float]


def _boxes(
    series: PastSeries, x: _Scale, y: _Scale, limits: Callable[[PastRow], tuple[float, float] | None]
) -> str:
    found = []
    for row in series.rows:
        pair = limits(row)
        if pair is None:
            continue
        begin, end = x(row.at_ms), x(row.at_ms + series.step_ms)
        lower, upper = y(pair[0]), y(pair[1])
        if lower - upper < LEAST_BAR:
            upper, lower = (upper + lower) / 2 - LEAST_BAR / 2, (upper + lower) / 2 + LEAST_BAR / 2
        found.append(f"M{begin:.1f},{upper:.1f}H{end:.1f}V{lower:.1f}H{begin:.1f}Z")
    return "".join(found)


def _steps(series: PastSeries, x: _Scale, y: _Scale) -> str:
    found = []
    end_x = -1.0
    for row in series.rows:
        begin, end = x(row.at_ms), x(row.at_ms + series.step_ms)
        height = y(row.mean)
        joint = f"V{height:.1f}" if begin - end_x < 0.05 else f"M{begin:.1f},{height:.1f}"
        found.append(f"{joint}H{end:.1f}")
        end_x = end
    return "".join(found)


def _coverage(series: PastSeries, x: _Scale) -> str:
    """Bars over the whole height: as high as the share of the row that was measured."""
    return "".join(
        f"M{x(row.at_ms):.1f},{HEIGHT}V{(1 - row.coverage) * HEIGHT:.0f}"
        f"H{x(row.at_ms + series.step_ms):.1f}V{HEIGHT}Z"
        for row in series.rows
    )
