"""The quality of each day: its incidents by number, class and severity, percentiles, the measured share.

Days are those of a zone. Percentiles for a month's days come from hours in that zone; those of longer
stretches come from UTC days, so that a year of many Boxes needs only a few hundred rows for each.
"""

from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta
from zoneinfo import ZoneInfo

from opq_cloud.store.incidents.index import IncidentFilter, IndexedIncident
from opq_cloud.store.store import ShownStore
from opq_cloud.store.trends.pyramid import DAY_MS, HOUR_MS, SETTLE_MS
from opq_cloud.view.pages.drawing.local_weeks import day_span
from opq_cloud.view.pages.past.past_series import Factors, rows_together
from opq_proto.messages import TREND_MS, Trend

MONTH_DAYS = 31
"""The figures of more days than this are by UTC days."""
MAX_INCIDENTS = 20_000
"""Incidents of one calendar; the newest."""
LATE_MS = SETTLE_MS + TREND_MS
"""So long after a minute its row is stored, whatever happened."""


@dataclass(frozen=True, slots=True)
class DayQuality:
    """One local day."""

    day: date
    start_ms: int
    end_ms: int
    incidents: int = 0
    worst: IndexedIncident | None = None
    """The most severe incident; among those without a severity the one furthest from nominal."""
    coverage: float | None = None
    """The measured share of the day, up to now; None where the day has not begun."""
    low: float | None = None
    mean: float | None = None
    high: float | None = None
    """5 % of the time, the mean, 95 % of the time, in the unit of the factors."""


def read_days(
    store: ShownStore,
    factors: Factors,
    metric: str,
    first: date,
    days: int,
    zone: ZoneInfo,
    now_ms: int,
    box_ids: tuple[str, ...],
) -> tuple[tuple[DayQuality, ...], bool]:
    """`days` days from `first`, and whether all their incidents were counted.

    Figures are those of the Boxes of `factors`, incidents those of `box_ids`.
    """
    found = local_days(first, days, zone)
    trends = read_day_trends(store, factors, found, now_ms)
    found = with_figures(found, trends, factors, metric, now_ms)
    entries = read_incidents(store, box_ids, found[0].start_ms, found[-1].end_ms) if box_ids else []
    return tuple(with_incidents(found, entries)), len(entries) < MAX_INCIDENTS


def local_days(first: date, days: int, zone: ZoneInfo) -> list[DayQuality]:
    """`days` days from `first`, without figures and incidents."""
    spans = (day_span(first + timedelta(days=number), zone) for number in range(days))
    return [DayQuality(each.first, each.start_ms, each.end_ms) for each in spans]


def read_day_trends(
    store: ShownStore, box_ids: Iterable[str], days: Sequence[DayQuality], now_ms: int
) -> dict[str, list[Trend]]:
    """The rows of the days that have begun: hours, or days by UTC where there are more than MONTH_DAYS."""
    starts, ends_ms, length_ms = _row_places(days, now_ms)
    if not starts:
        return {}
    rows = {
        box_id: store.trend_rows(box_id, starts[0], min(ends_ms, now_ms), length_ms) for box_id in box_ids
    }
    return {box_id: [row for row in of_box if row.start_ms >= starts[0]] for box_id, of_box in rows.items()}


def with_figures(
    days: Sequence[DayQuality],
    trends: Mapping[str, Sequence[Trend]],
    factors: Factors,
    metric: str,
    now_ms: int,
) -> list[DayQuality]:
    """The days with measured share, percentiles and mean of a metric, from rows of `read_day_trends`."""
    starts, _, length_ms = _row_places(days, now_ms)
    found = list(days)

    def place(moment_ms: int) -> int:
        return bisect_right(starts, moment_ms) - 1

    covered = [0.0] * len(starts)
    for rows in trends.values():
        for row in rows:
            covered[place(row.start_ms)] += row.coverage * row.length_ms
    together, _ = rows_together(trends, factors, metric, place)
    for number, start_ms in enumerate(starts):
        end_ms = start_ms + DAY_MS if length_ms == DAY_MS else days[number].end_ms
        whole_ms = max(0, min(end_ms, now_ms - LATE_MS) - start_ms) * max(1, len(factors))
        if whole_ms:
            found[number] = replace(found[number], coverage=min(1.0, covered[number] / whole_ms))
    for day in together:
        low, high = day.band or (day.mean, day.mean)
        found[day.at_ms] = replace(found[day.at_ms], low=low, mean=day.mean, high=high)
    return found


def _row_places(days: Sequence[DayQuality], now_ms: int) -> tuple[list[int], int, int]:
    """Where the rows of each day that has begun start, where the last ends, and the length of a row."""
    begun = [each for each in days if each.start_ms < now_ms]
    if len(begun) <= MONTH_DAYS:
        return [each.start_ms for each in begun], begun[-1].end_ms if begun else 0, HOUR_MS
    starts = [day_span(each.day, ZoneInfo("UTC")).start_ms for each in begun]
    return starts, starts[-1] + DAY_MS, DAY_MS


def read_incidents(
    store: ShownStore,
    box_ids: tuple[str, ...] | None,
    start_ms: int,
    end_ms: int,
    most: int = MAX_INCIDENTS,
) -> list[IndexedIncident]:
    """The newest incidents, up to `most`, that began in a span, of these Boxes or (None) of all."""
    return store.find_incidents(begun_in(box_ids, start_ms, end_ms), most)


def begun_in(box_ids: tuple[str, ...] | None, start_ms: int, end_ms: int) -> IncidentFilter:
    return IncidentFilter(box_ids=box_ids, began_ns=start_ms * 1_000_000, end_ns=end_ms * 1_000_000)


def with_incidents(days: Sequence[DayQuality], entries: Iterable[IndexedIncident]) -> list[DayQuality]:
    """The days with the number of incidents that began in each, and the worst of them."""
    starts = [each.start_ms for each in days]
    found = list(days)
    counts = [0] * len(days)
    worst: dict[int, IndexedIncident] = {}
    for each in entries:
        number = bisect_right(starts, each.start_ns // 1_000_000) - 1
        counts[number] += 1
        if number not in worst or severity_key(each) > severity_key(worst[number]):
            worst[number] = each
    for number, count in enumerate(counts):
        if count:
            found[number] = replace(found[number], incidents=count, worst=worst[number])
    return found


def severity_key(entry: IndexedIncident) -> tuple[float, float]:
    """Sorts by severity, then by the distance from nominal."""
    residual = entry.residual_percent
    return (-1.0 if entry.severity is None else entry.severity), (
        0.0 if residual is None else abs(residual - 100.0)
    )
