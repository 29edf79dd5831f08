"""What a month of Boxes was like: measured share, figures, days, incidents by class, the longest and deepest.

Everything comes from rows of the pyramids and the index of incidents, so that a month of 10,000 Boxes needs
the rows of some of them and no Measurement. An incident belongs to the month in which it began.
"""

from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from zoneinfo import ZoneInfo

from opq_cloud.store.incidents.index import IndexedIncident
from opq_cloud.store.store import ShownStore
from opq_cloud.store.trends.pyramid import DAY_MS, HOUR_MS
from opq_cloud.view.pages.drawing.box_history import missing_spans
from opq_cloud.view.pages.drawing.local_weeks import midnight_ms
from opq_cloud.view.pages.past.day_quality import (
    LATE_MS,
    MAX_INCIDENTS,
    DayQuality,
    begun_in,
    local_days,
    read_day_trends,
    read_incidents,
    severity_key,
    with_figures,
    with_incidents,
)
from opq_cloud.view.pages.past.past_series import Factors, PastFigures, PastSeries, rows_together
from opq_proto.measurement.fields import DRAWN
from opq_proto.messages import Trend

FIGURE_ROWS = DRAWN[1:]
"""Quantities of the table of figures, without the voltage, which has its own row."""
BANDS = (2.0, 4.0, 6.0, 8.0)
"""Where the second to the last band of severity begin."""
MAX_LISTED, MAX_COUNTED = 5_000, 1_000_000
"""Incidents of the list of months that are read, and of one month that are counted."""
UTC = ZoneInfo("UTC")


@dataclass(frozen=True, slots=True)
class LocalMonth:
    """A month by the clock of a zone: [start_ms, end_ms) in UTC."""

    first: date
    start_ms: int
    end_ms: int

    @classmethod
    def of(cls, day: date, zone: ZoneInfo) -> "LocalMonth":
        """The month of a day."""
        first = day.replace(day=1)
        return cls(first, midnight_ms(first, zone), midnight_ms(month_after(first), zone))

    @property
    def days(self) -> int:
        return (month_after(self.first) - self.first).days


@dataclass(frozen=True, slots=True)
class IncidentSummary:
    """Incidents by class, the most frequent first, and by severity."""

    count: int
    classes: tuple["ClassSummary", ...]
    bands: tuple[int, ...]
    """Incidents in each band of BANDS; those without a severity are in none."""
    longest: IndexedIncident | None
    deepest: IndexedIncident | None
    """The lowest residual voltage below nominal."""


@dataclass(frozen=True, slots=True)
class ClassSummary:
    """Incidents of one class; `furthest` is the residual voltage furthest from nominal, in percent."""

    kind: str
    count: int
    longest_s: float
    furthest: float | None
    severity: float | None


@dataclass(frozen=True, slots=True)
class MonthLine:
    """A month in the list; `coverage` is that of its days by UTC, None where nothing was measured."""

    month: LocalMonth
    coverage: float | None
    count: int
    incidents: IncidentSummary | None
    """None where only their number is known: later months of the list have more than are read."""


@dataclass(frozen=True, slots=True)
class MonthReport:
    """A month in full. `whole`: whether all its incidents were counted."""

    month: LocalMonth
    until_ms: int
    """Its end; for the present month now."""
    days: tuple[DayQuality, ...]
    """With percentiles of the voltage in percent of nominal."""
    coverage: float
    voltage: PastSeries
    """By hours, in the unit of its factors."""
    figures: Mapping[str, PastFigures | None]
    """Of the frequency and THD."""
    incidents: IncidentSummary
    entries: tuple[IndexedIncident, ...]
    whole: bool


def month_after(first: date) -> date:
    return (first.replace(day=1) + timedelta(days=31)).replace(day=1)


def month_before(first: date) -> date:
    return (first.replace(day=1) - timedelta(days=1)).replace(day=1)


def read_month_lines(
    store: ShownStore,
    read: Sequence[str],
    box_ids: tuple[str, ...] | None,
    months: Sequence[LocalMonth],
    now_ms: int,
) -> tuple[list[MonthLine], bool]:
    """The months, given in rising order, that hold something, and whether all incidents were read.

    The measured share is that of the Boxes `read`, incidents are those of `box_ids` or (None) of all.
    """
    spans = [LocalMonth.of(each.first, UTC) for each in months]
    starts = [each.start_ms for each in spans]
    covered = [0.0] * len(months)
    for box_id in read:
        for row in store.trend_rows(box_id, starts[0], min(spans[-1].end_ms, now_ms), DAY_MS):
            covered[bisect_right(starts, row.start_ms) - 1] += row.coverage * row.length_ms
    entries = read_incidents(store, box_ids, months[0].start_ms, months[-1].end_ms, MAX_LISTED)
    of_month = _by_month(entries, months)
    whole = len(entries) < MAX_LISTED
    oldest_ms = 0 if whole else entries[-1].start_ns // 1_000_000
    lines = []
    for number, month in enumerate(months):
        whole_ms = (min(spans[number].end_ms, now_ms - LATE_MS) - starts[number]) * len(read)
        share = min(1.0, covered[number] / whole_ms) if covered[number] and whole_ms > 0 else None
        summary = summary_of(of_month[number]) if month.start_ms > oldest_ms else None
        count = summary.count if summary else _count(store, box_ids, month)
        if share is not None or count:
            lines.append(MonthLine(month, share, count, summary))
    return lines, whole


def read_month_report(
    store: ShownStore,
    words: str,
    volts: Factors,
    percent: Factors,
    box_ids: tuple[str, ...] | None,
    month: LocalMonth,
    zone: ZoneInfo,
    now_ms: int,
) -> MonthReport:
    """The report of a month, with figures of the Boxes of `volts` and `percent` and incidents of `box_ids`.

    volts: factors of the drawn voltage. percent: factors that make it percent of nominal.
    """
    days = local_days(month.first, month.days, zone)
    trends = read_day_trends(store, percent, days, now_ms)
    days = with_figures(days, trends, percent, "rms_v", now_ms)
    entries = read_incidents(store, box_ids, month.start_ms, month.end_ms)
    plain = dict.fromkeys(volts, 1.0)
    until_ms = min(month.end_ms, now_ms)
    return MonthReport(
        month,
        until_ms,
        tuple(with_incidents(days, entries)),
        _coverage(trends, month.start_ms, min(month.end_ms, now_ms - LATE_MS), len(percent)),
        _voltage(words, trends, volts, month.start_ms, min(month.end_ms, now_ms - LATE_MS)),
        {each.name: rows_together(trends, plain, each.name, lambda _: 0)[1] for each in FIGURE_ROWS},
        summary_of(entries),
        tuple(entries),
        len(entries) < MAX_INCIDENTS,
    )


def summary_of(entries: Sequence[IndexedIncident]) -> IncidentSummary:
    rated = [each.severity for each in entries if each.severity is not None]
    counts = Counter(bisect_right(BANDS, severity) for severity in rated)
    kinds: dict[str, list[IndexedIncident]] = {}
    for each in entries:
        kinds.setdefault(each.kind, []).append(each)
    classes = [_class_summary(kind, found) for kind, found in kinds.items()]
    low = [each for each in entries if each.residual_percent is not None and each.residual_percent < 100.0]
    return IncidentSummary(
        len(entries),
        tuple(sorted(classes, key=lambda each: (-each.count, each.kind))),
        tuple(counts[band] for band in range(len(BANDS) + 1)),
        max(entries, key=length_s, default=None),
        min(low, key=lambda each: (each.residual_percent or 0.0, -length_s(each)), default=None),
    )


def length_s(entry: IndexedIncident) -> float:
    return (entry.end_ns - entry.start_ns) / 1e9


def worst_of(entries: Iterable[IndexedIncident], count: int) -> list[IndexedIncident]:
    """The most severe ones, the worst first."""
    return sorted(entries, key=severity_key, reverse=True)[:count]


def _class_summary(kind: str, found: Sequence[IndexedIncident]) -> ClassSummary:
    residuals = [each.residual_percent for each in found if each.residual_percent is not None]
    return ClassSummary(
        kind,
        len(found),
        max(map(length_s, found)),
        max(residuals, key=lambda percent: abs(percent - 100.0), default=None),
        max((each.severity for each in found if each.severity is not None), default=None),
    )


def _count(store: ShownStore, box_ids: tuple[str, ...] | None, month: LocalMonth) -> int:
    return store.count_incidents(begun_in(box_ids, month.start_ms, month.end_ms), MAX_COUNTED)


def _by_month(
    entries: Iterable[IndexedIncident], months: Sequence[LocalMonth]
) -> list[list[IndexedIncident]]:
    """The incidents that began in each of the months."""
    starts = [each.start_ms for each in months]
    found: list[list[IndexedIncident]] = [[] for _ in months]
    for each in entries:
        found[bisect_right(starts, each.start_ns // 1_000_000) - 1].append(each)
    return found


def _coverage(trends: Mapping[str, Sequence[Trend]], start_ms: int, until_ms: int, boxes: int) -> float:
    covered_ms = sum(row.coverage * row.length_ms for rows in trends.values() for row in rows)
    whole_ms = (until_ms - start_ms) * boxes
    return min(1.0, covered_ms / whole_ms) if whole_ms > 0 else 0.0


def _voltage(
    words: str, trends: Mapping[str, Sequence[Trend]], factors: Factors, start_ms: int, until_ms: int
) -> PastSeries:
    rows, figures = rows_together(trends, factors, "rms_v", lambda at_ms: at_ms)
    gaps = missing_spans([row.at_ms for row in rows], start_ms, max(start_ms, until_ms), HOUR_MS)
    coverage = _coverage(trends, start_ms, until_ms, len(factors))
    return PastSeries(words, tuple(factors), HOUR_MS, rows, gaps, coverage, figures)
