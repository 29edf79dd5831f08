"""The quality of each day: its incidents by number, class and severity, percentiles, the measured share.

Days are those of a zone. Percentiles for a month's days come from hours in that zone; those of longer
stretches come from UTC days, so that a year of many Boxes needs only a few hundred rows for each.
"""

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta
from zoneinfo import ZoneInfo

from opq_cloud.store.incidents.index import IncidentFilter, IndexedIncident
from opq_cloud.store.store import TREND_MS, ShownStore, Trend
from opq_cloud.store.trends.pyramid import DAY_MS, HOUR_MS, SETTLE_MS
from opq_cloud.view.past.local_weeks import LocalSpan, day_span
from opq_cloud.view.past.past_series import Factors, rows_together

MONTH_DAYS = 31
"""The figures of more days than this are by UTC days."""
MOST_INCIDENTS = 20_000
"""Incidents of one calendar; the newest."""


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
    spans = [day_span(first + timedelta(days=number), zone) for number in range(days)]
    found = [DayQuality(each.first, each.start_ms, each.end_ms) for each in spans]
    begun = [each for each in spans if each.start_ms < now_ms]
    if begun:
        _measured(store, factors, metric, begun, now_ms, found)
    whole = _incidents(store, box_ids, found)
    return tuple(found), whole


def _measured(
    store: ShownStore,
    factors: Factors,
    metric: str,
    begun: Sequence[LocalSpan],
    now_ms: int,
    found: list[DayQuality],
) -> None:
    by_utc = len(begun) > MONTH_DAYS
    length_ms = DAY_MS if by_utc else HOUR_MS
    starts = [each.start_ms for each in begun]
    if by_utc:
        starts = [day_span(each.first, ZoneInfo("UTC")).start_ms for each in begun]
    ends_ms = starts[-1] + DAY_MS if by_utc else begun[-1].end_ms

    def place(moment_ms: int) -> int:
        return bisect_right(starts, moment_ms) - 1

    trends: dict[str, list[Trend]] = {}
    covered = [0.0] * len(begun)
    for box_id in factors:
        rows = store.trend_rows(box_id, starts[0], min(ends_ms, now_ms), length_ms)
        trends[box_id] = [row for row in rows if row.start_ms >= starts[0]]
        for row in trends[box_id]:
            covered[place(row.start_ms)] += row.coverage * row.length_ms
    together, _ = rows_together(trends, factors, metric, place)
    for number, start_ms in enumerate(starts):
        until_ms = min(start_ms + DAY_MS if by_utc else begun[number].end_ms, now_ms - SETTLE_MS - TREND_MS)
        whole_ms = max(0, until_ms - start_ms) * max(1, len(factors))
        if whole_ms:
            found[number] = replace(found[number], coverage=min(1.0, covered[number] / whole_ms))
    for day in together:
        low, high = day.band or (day.mean, day.mean)
        found[day.at_ms] = replace(found[day.at_ms], low=low, mean=day.mean, high=high)


def _incidents(store: ShownStore, box_ids: tuple[str, ...], found: list[DayQuality]) -> bool:
    if not box_ids:
        return True
    wanted = IncidentFilter(
        box_ids=box_ids, start_ns=found[0].start_ms * 1_000_000, end_ns=found[-1].end_ms * 1_000_000
    )
    entries = store.find_incidents(wanted, MOST_INCIDENTS)
    starts = [each.start_ms for each in found]
    counts = [0] * len(found)
    worst: dict[int, IndexedIncident] = {}
    for each in entries:
        number = bisect_right(starts, each.start_ns // 1_000_000) - 1
        if number >= 0:  # an incident that began before the first day is not counted
            counts[number] += 1
            if number not in worst or _severity_key(each) > _severity_key(worst[number]):
                worst[number] = each
    for number, count in enumerate(counts):
        if count:
            found[number] = replace(found[number], incidents=count, worst=worst[number])
    return len(entries) < MOST_INCIDENTS


def _severity_key(entry: IndexedIncident) -> tuple[float, float]:
    residual = entry.residual_percent
    return (-1.0 if entry.severity is None else entry.severity), (
        0.0 if residual is None else abs(residual - 100.0)
    )
