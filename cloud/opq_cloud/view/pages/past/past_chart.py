"""Several series in one chart, as SVG drawn on the server: bars, bands and steps, gaps, coverage. Pure.

Nothing is slanted, and nothing is drawn where nothing was measured; x is exactly the requested axis.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from opq_cloud.view.pages.drawing.history_chart import ChartFrame, ChartTimeAxis, GapSpan, Tick
from opq_cloud.view.pages.drawing.local_weeks import WEEK_MS
from opq_cloud.view.pages.past.past_series import PastSeries
from opq_cloud.view.web.words import SHORT_DAYS


@dataclass(frozen=True, slots=True)
class DrawnSeries:
    """SVG paths of one series over WIDTH x HEIGHT; `number` is its colour. Only a single series has bands."""

    number: int
    words: str
    bars: str
    flagged: str
    """The bars of flagged rows, which are drawn lighter."""
    bands: str
    means: str
    coverage: str


@dataclass(frozen=True, slots=True)
class PastChart:
    """All series on one axis, with gaps and ticks; places are in percent."""

    series: tuple[DrawnSeries, ...]
    gaps: tuple[GapSpan, ...]
    """Hatched; with several series only the gaps that all have in common."""
    not_installed: tuple[GapSpan, ...]
    """The time before the first Box was heard: no gap."""
    y_ticks: tuple[Tick, ...]
    nominal_percent: float | None

    @property
    def is_flagged(self) -> bool:
        """Whether any row is flagged."""
        return any(each.flagged for each in self.series)


def past_chart(
    series: Sequence[PastSeries], start_ms: int, end_ms: int, nominal: float | None
) -> PastChart | None:
    """The chart; None where nothing is stored for any series."""
    rows = [row for each in series for row in each.rows]
    if not rows:
        return None
    axis = ChartTimeAxis(start_ms, end_ms)
    frame = ChartFrame.around(axis, min(row.low for row in rows), max(row.high for row in rows))

    def bars(series: PastSeries, flagged: bool) -> str:
        shown = (row for row in series.rows if bool(row.flagged) is flagged)
        return frame.bars(((row.at_ms, row.low, row.high) for row in shown), series.step_ms)

    drawn = tuple(
        DrawnSeries(
            number,
            each.words,
            bars(each, False),
            bars(each, True),
            frame.bars(((row.at_ms, *row.band) for row in each.rows if row.band is not None), each.step_ms)
            if len(series) == 1
            else "",
            frame.steps(((row.at_ms, row.mean) for row in each.rows), each.step_ms),
            axis.coverage(((row.at_ms, row.coverage) for row in each.rows), each.step_ms),
        )
        for number, each in enumerate(series)
    )
    since_ms = max(start_ms, min(each.since_ms for each in series))
    common = shared_gaps([each.gaps for each in series])
    gaps = axis.gaps((max(first, since_ms), last) for first, last in common if last > since_ms)
    before = axis.gaps([(start_ms, since_ms)] if since_ms > start_ms else [])
    return PastChart(drawn, gaps, before, frame.level_ticks(), frame.nominal_percent(nominal))


def shared_gaps(gaps: Sequence[Iterable[tuple[int, int]]]) -> tuple[tuple[int, int], ...]:
    """The common parts of the gaps of all series; spans are [start, end)."""
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
    return tuple(Tick(round(100 * place / 7, 2), words) for place, words in enumerate(SHORT_DAYS))


WEEK_AXIS = (0, WEEK_MS)
