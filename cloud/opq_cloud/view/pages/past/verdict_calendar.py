"""The calendar of compliance: a verdict by a standard for each week, and for each day of a short span."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from typing import Final
from zoneinfo import ZoneInfo

from opq_cloud.reports.limit_table import LimitTable
from opq_cloud.reports.reading import ChosenPlace, read_place
from opq_cloud.reports.verdicts import BoxWeek, Verdict, VerdictRow, judge_limit
from opq_cloud.reports.week import DAYS, ReportWeek
from opq_cloud.reports.week_report import SITE_QUANTITIES, Place
from opq_cloud.store.intervals.interval_rows import within
from opq_cloud.view.pages.visible.seen_intervals import SeenReportStore
from opq_cloud.view.pages.visible.view_services import ViewServices
from opq_cloud.view.pages.visible.visitor_context import VisitorContext
from opq_cloud.view.web.time_span import input_words
from opq_cloud.view.web.words import day_of_month, number

MOST_WEEKS = 53
WEEKS_BY_DAY = 6
"""The days of so many weeks are judged, too."""
VERDICT_WORDS: Final[dict[str, str]] = {"pass": "Within", "fail": "Outside", "not_assessed": "No data"}
NS_PER_MS = 1_000_000


@dataclass(frozen=True, slots=True)
class VerdictCell:
    """A day or a week of one place."""

    title: str
    """`14`, `W47`."""
    verdict: Verdict | None
    """None: it has not begun."""
    words: str
    start: str
    """Beginning and end for an address, UTC."""
    end: str
    measured: float = 0.0
    """Percent of its intervals of the first limit that were judged."""

    @property
    def verdict_words(self) -> str:
        return "" if self.verdict is None else VERDICT_WORDS[self.verdict]


@dataclass(frozen=True, slots=True)
class WeekLine:
    """A week, and its days where these are judged."""

    week: ReportWeek
    whole: VerdictCell
    days: tuple[VerdictCell, ...]


def week_lines(
    context: VisitorContext,
    services: ViewServices,
    table: LimitTable,
    place: ChosenPlace,
    zone: ZoneInfo,
    span_ms: tuple[int, int],
) -> list[WeekLine]:
    """The weeks that a span touches, the newest first, MOST_WEEKS at most.

    Raises:
        StoreError: the store cannot be read.
    """
    store, now_ms = SeenReportStore(services.store, context), context.now_ns() // NS_PER_MS
    last_ms = max(span_ms[0], min(span_ms[1], now_ms) - 1)
    weeks = [_week_of(last_ms, zone)]
    while len(weeks) < MOST_WEEKS and weeks[-1].start_ns > span_ms[0] * NS_PER_MS:
        weeks.append(weeks[-1].before())
    by_day = len(weeks) <= WEEKS_BY_DAY
    found = []
    for week in weeks:
        read = read_place(store, table, week, place, services.nominal)
        days = tuple(_days(table, week, read, now_ms)) if by_day else ()
        found.append(WeekLine(week, _cell(week.name[5:], table, week, read, now_ms), days))
    return found


def _week_of(moment_ms: int, zone: ZoneInfo) -> ReportWeek:
    day = datetime.fromtimestamp(moment_ms / 1000, UTC).astimezone(zone).date()
    return ReportWeek(day - timedelta(days=day.weekday()), zone)


def _days(table: LimitTable, week: ReportWeek, read: Place, now_ms: int) -> Iterator[VerdictCell]:
    for number_of_day in range(DAYS):
        first: date = week.monday + timedelta(days=number_of_day)
        day = ReportWeek(first, week.zone, days=1)
        boxes = tuple(replace(box, week=_part(box.week, day)) for box in read.boxes)
        group = {length: within(columns, day.start_ns, day.end_ns) for length, columns in read.group.items()}
        yield _cell(day_of_month(first), table, day, replace(read, boxes=boxes, group=group), now_ms)


def _part(box: BoxWeek, day: ReportWeek) -> BoxWeek:
    parts = {length: within(each, day.start_ns, day.end_ns) for length, each in box.intervals.items()}
    return replace(box, intervals={length: each for length, each in parts.items() if len(each.start_ns)})


def _cell(title: str, table: LimitTable, span: ReportWeek, read: Place, now_ms: int) -> VerdictCell:
    start, end = (input_words(each // NS_PER_MS) for each in (span.start_ns, span.end_ns))
    if span.start_ns >= now_ms * NS_PER_MS:
        return VerdictCell(title, None, "not begun", start, end)
    rows = [
        (box.label, judge_limit(limit, box.week, span, box.disturbances))
        for box in read.boxes
        for limit in table.limits
        if limit.quantity not in SITE_QUANTITIES
    ]
    if read.group and read.boxes:
        whole = replace(read.boxes[0].week, box_id="", intervals=read.group)
        rows += [
            ("all phases", judge_limit(limit, whole, span))
            for limit in table.limits
            if limit.quantity in SITE_QUANTITIES
        ]
    judged = [row for _, row in rows if row.verdict != "not_assessed"]
    failed = [(label, row) for label, row in rows if row.verdict == "fail"]
    verdict: Verdict = "fail" if failed else "pass" if judged else "not_assessed"
    measured = max((row.coverage_percent for row in judged), default=0.0)
    return VerdictCell(
        title, verdict, _words(judged, failed, measured, len(read.boxes)), start, end, measured
    )


def _words(
    judged: Sequence[VerdictRow], failed: Sequence[tuple[str, VerdictRow]], measured: float, boxes: int
) -> str:
    share = f"{number(measured, 0, '%')} measured"
    if not judged:
        return "nothing to judge is stored"
    limits = len({row.limit for row in judged})
    if not failed:
        return f"{limits} limits met, {share}"
    label, row = max(failed, key=lambda each: each[1].outside)
    where = f" at {label}" if boxes > 1 else ""
    others = len({row.limit for _, row in failed}) - 1
    more = f" and {others} more" if others else ""
    return f"{row.limit.words}{where}: {number(row.judgement.share_percent, 1, '%')} within{more}, {share}"
