"""The values of `/grid`: frequency and voltage of grids, now and over the day; regions with incidents."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import isnan

import numpy as np

from opq_cloud.store.incidents.index import IncidentFilter
from opq_cloud.view.pages.drawing import history_chart as drawing
from opq_cloud.view.pages.drawing.box_history import BoxHistory, HistoryRow
from opq_cloud.view.pages.map.day_trends import DAY_ROWS, ROW_MS, DayTrends, Rows, first_row_ms, medians
from opq_cloud.view.pages.map.grid_now import BoxesNow, BoxNow, GroupNow, grids_now, regions_now
from opq_cloud.view.pages.map.map_drawing import REGIONS_SHOWN, group_figures
from opq_cloud.view.pages.visible.registry import sampled
from opq_cloud.view.pages.visible.visitor_context import VisitorContext
from opq_cloud.view.web import words
from opq_cloud.view.web.time_span import TimeSpan

GRIDS_SHOWN = 4
REGIONS_READ = 12
"""Regions whose day is drawn; the others have only their present figures."""
HOUR_ROWS = 6
DAY_NS = 86_400 * 10**9
INCIDENTS_COUNTED = 1000
"""Incidents of a region and a day that are counted; above this the page shows "more than"."""
VOLTS, HERTZ = 0, 1


@dataclass(frozen=True, slots=True)
class DayChart:
    """The day of one group and quantity."""

    name: str
    unit: str
    digits: int
    series: int
    chart: drawing.HistoryChart | None
    gaps: tuple[drawing.GapSpan, ...]
    rows: tuple[tuple[str, float, float, float], ...]
    """By hour, newest first: (time, lowest, mean, highest)."""
    sentence: str


@dataclass(frozen=True, slots=True)
class RegionIncidents:
    """Incidents of a region in the last day, for the Boxes that the visitor sees."""

    words: str
    """The number of incidents: `3`, or `more than 1,000`."""
    newest_ns: int | None
    """When the newest of them began."""
    open_end: bool = False
    """Whether the newest has no end yet."""


def region_incidents(context: VisitorContext, region: str, now_ns: int) -> RegionIncidents | None:
    """The incidents of a region; None where the visitor sees none of its Boxes, only the region's figures."""
    box_ids = context.regions().get(region)
    if not box_ids:
        return None
    wanted = IncidentFilter(box_ids=box_ids, start_ns=now_ns - DAY_NS)
    count = context.store.count_incidents(wanted, INCIDENTS_COUNTED + 1)
    newest = context.store.find_incidents(wanted, 1) if count else []
    latest = context.store.incident(newest[0].incident_id) if newest else None
    count_words = words.number(min(count, INCIDENTS_COUNTED), 0)
    return RegionIncidents(
        f"more than {count_words}" if count > INCIDENTS_COUNTED else count_words,
        newest[0].start_ns if newest else None,
        latest is not None and not latest.closed,
    )


def day_values(
    boxes: BoxesNow,
    trends: DayTrends,
    now_ms: int,
    incidents: Callable[[str], RegionIncidents | None] = lambda region: None,
) -> dict[str, object]:
    """Values for `grid.html`; `incidents` returns those of a region."""
    first_ms = first_row_ms(now_ms)
    grids = grids_now(boxes)
    regions = regions_now(boxes)
    shown = []
    for grid in grids[:GRIDS_SHOWN]:
        days = _day(grid, boxes.fixed.boxes, trends, first_ms, lambda each: each.grid)
        charts = [
            day_chart(days[:, HERTZ], "Frequency", "Hz", 3, 2, first_ms, grid.nominal_hz),
            day_chart(days[:, VOLTS], "Voltage", "%", 2, 0, first_ms, 100.0),
        ]
        shown.append((grid, group_figures(grid), charts))
    region_rows = []
    for number, region in enumerate(regions[:REGIONS_SHOWN]):
        charts = []
        if number < REGIONS_READ:
            days = _day(region, boxes.fixed.boxes, trends, first_ms, lambda each: each.region)
            charts = [
                day_chart(days[:, VOLTS], "Voltage", "%", 2, 0, first_ms, 100.0),
                day_chart(days[:, HERTZ], "Frequency", "Hz", 3, 2, first_ms, region.nominal_hz),
            ]
        found = incidents(region.name) if number < REGIONS_READ else None
        region_rows.append((region, group_figures(region), charts, found))
    return {
        "grids": shown,
        "grids_not_shown": max(0, len(grids) - GRIDS_SHOWN),
        "regions": region_rows,
        "regions_not_shown": max(0, len(regions) - REGIONS_SHOWN),
        "regional": bool(boxes.fixed.regional.any()),
    }


def _day(
    group: GroupNow,
    boxes: Sequence[BoxNow],
    trends: DayTrends,
    first_ms: int,
    of: Callable[[BoxNow], str | None],
) -> Rows:
    """Rows of a group's day; volts are in percent of each Box's own nominal voltage."""
    members = {each.box_id: each for each in boxes if of(each) == group.name}
    days, regional = [], []
    for box_id in sampled(members):
        rows = trends.day_rows(box_id, first_ms)
        rows[:, VOLTS] *= 100.0 / members[box_id].nominal_v
        days.append(rows)
        regional.append(members[box_id].regional)
    return medians(days, regional)


def day_chart(
    rows: Rows, name: str, unit: str, digits: int, series: int, first_ms: int, nominal: float
) -> DayChart:
    """A day, drawn like the history of a Box: bars from lowest to highest, steps, hatched gaps.

    Args:
        rows: (DAY_ROWS, 3) lowest, mean, highest of each row; NaN where nothing was measured.
    """
    span = TimeSpan(first_ms, first_ms + DAY_ROWS * ROW_MS, "now-24h", "now")
    known = [
        (first_ms + number * ROW_MS, (float(low), float(mean), float(high)))
        for number, (low, mean, high) in enumerate(rows)
        if not isnan(mean)
    ]
    found = tuple(HistoryRow(start_ms, 1.0, {name: three}) for start_ms, three in known)
    history = BoxHistory(span, ROW_MS, found, _gaps(rows, first_ms), 1.0, (), {})
    return DayChart(
        name,
        unit,
        digits,
        series,
        drawing.history_chart(history, name, nominal),
        drawing.ChartTimeAxis(span.start_ms, span.end_ms).gaps(history.gaps),
        _hours(rows, first_ms),
        _sentence([three for _, three in known], name, unit, digits),
    )


def _gaps(rows: Rows, first_ms: int) -> tuple[tuple[int, int], ...]:
    """Stretches without a row, except the last row, which has not ended."""
    missing = np.isnan(rows[:-1, 1])
    edges = np.flatnonzero(np.diff(np.concatenate(([False], missing, [False])).astype(np.int8)))
    return tuple((first_ms + int(a) * ROW_MS, first_ms + int(b) * ROW_MS) for a, b in edges.reshape(-1, 2))


def _hours(rows: Rows, first_ms: int) -> tuple[tuple[str, float, float, float], ...]:
    found = []
    for start in range(DAY_ROWS - HOUR_ROWS, -1, -HOUR_ROWS):
        part = rows[start : start + HOUR_ROWS]
        part = part[~np.isnan(part[:, 1])]
        if len(part):
            when = words.utc((first_ms + start * ROW_MS) * 1_000_000, 0)[:16]
            found.append((when, float(part[:, 0].min()), float(part[:, 1].mean()), float(part[:, 2].max())))
    return tuple(found)


def _sentence(known: Sequence[tuple[float, float, float]], name: str, unit: str, digits: int) -> str:
    if not known:
        return (
            "Nothing of the last day is stored yet; a row of ten minutes shows some minutes after it began."
        )
    low, high = min(each[0] for each in known), max(each[2] for each in known)
    mean = sum(each[1] for each in known) / len(known)
    low_words, mean_words, high_words = (words.number(each, digits, unit) for each in (low, mean, high))
    return f"{name} of the last day: {low_words} to {high_words}, {mean_words} on average."
