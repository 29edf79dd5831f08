"""The calendar of compliance: a verdict by a standard for each week, and for each day of a short span."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from itertools import islice
from typing import Final
from zoneinfo import ZoneInfo

from opq_cloud.reports.limit_table import LimitTable, limit_table
from opq_cloud.reports.place_reading import (
    ChosenPlace,
    NoPlaceError,
    PlaceChoice,
    boxes_alone,
    chosen_places,
    parts_of,
    read_place,
)
from opq_cloud.reports.verdicts import BoxWeek, Verdict, VerdictRow, measured_words, verdict_of
from opq_cloud.reports.week import DAYS, ReportWeek
from opq_cloud.reports.week_report import Place, place_rows
from opq_cloud.store.box_record import BoxRecord
from opq_cloud.store.intervals.interval_rows import within
from opq_cloud.store.store import CloudStore
from opq_cloud.view.pages.past.box_choice import BoxChoice
from opq_cloud.view.pages.visible.seen_jobs import JobFacts, SeenJobs, opened_context
from opq_cloud.view.pages.visible.seen_report_store import SeenReportStore
from opq_cloud.view.pages.visible.visitor_context import VisitorContext
from opq_cloud.view.web.time_span import input_words
from opq_cloud.view.web.words import THIN, day_of_month, number
from opq_proto.decision import NS_PER_MS, Nominal

MOST_WEEKS = 53
WEEKS_BY_DAY = 6
"""The days of so many weeks are judged, too."""
VERDICT_WORDS: Final[dict[str, str]] = {"pass": "Within", "fail": "Outside", "not_assessed": "Not assessed"}
PLACES_JUDGED = 6
WEEKS_READ = 110
"""Weeks of all places whose verdicts are made at once: each takes some 20 ms."""
DAY_MS = 86_400_000


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
    """Percent of its intervals that are not missing. Of several limits the one that misses most counts, among
    those left open; where none is, among all."""

    @property
    def verdict_words(self) -> str:
        return "" if self.verdict is None else VERDICT_WORDS[self.verdict]


@dataclass(frozen=True, slots=True)
class WeekLine:
    """A week, and its days where these are judged."""

    week: ReportWeek
    whole: VerdictCell
    days: tuple[VerdictCell, ...]


Part = tuple[ReportWeek, Place]
"""A week, or a part of one in which facts stay the same, and what was read of a place in it."""
PlaceVerdicts = tuple[str, str, list[WeekLine]]
"""Its name, its place in an address, and its weeks."""


class VerdictCalendar:
    """The verdicts that one visitor may see, made in a process of their own."""

    def __init__(self, context: VisitorContext, jobs: SeenJobs) -> None:
        self._context, self._jobs = context, jobs

    async def read(
        self, choice: BoxChoice, standard: str, zone: ZoneInfo, span_ms: tuple[int, int]
    ) -> Sequence[PlaceVerdicts]:
        """The verdicts of each Box, or of a site as one place; of the first Boxes that were there.

        A Box of a feeder, region or grid is judged by what it measured while it was there.

        Raises:
            StoreError: the store cannot be read.
            HTTPException: 503 or 429, there is no place for it now.
        """
        context = self._context
        weeks = weeks_touched(span_ms, context.now_ns() // NS_PER_MS, zone)
        span_ns = weeks[-1].start_ns, weeks[0].end_ns
        most = max(1, min(PLACES_JUDGED, WEEKS_READ // len(weeks)))
        if choice.kind == "site" and choice.boxes:
            places = self._site(list(context.placed_records().values()), choice.name, span_ns)
        elif choice.name:
            belongs = context.belongs(choice.kind, choice.name)
            records_of_then = (
                record for box_id in choice.box_ids for record in context.records_of_then((box_id,)).values()
            )
            places = list(islice(boxes_alone(records_of_then, belongs, *span_ns), most))
        else:
            records = list(context.records(choice.box_ids[:most]).values())
            choices = (PlaceChoice("box", each.box_id) for each in records)
            places = [place for each in choices for place in chosen_places(records, each, *span_ns)]
        if not places:
            return ()
        key = standard, repr(places), zone.key, *(each // DAY_MS for each in span_ms)
        found = await self._jobs.only("report", key, verdicts_of, standard, places, zone, span_ms)
        return [
            (place.name, f"site:{place.site}" if place.site else f"box:{place.box_ids[0]}", lines)
            for place, lines in zip(places, found, strict=True)
        ]

    @staticmethod
    def _site(records: Sequence[BoxRecord], name: str, span_ns: tuple[int, int]) -> list[ChosenPlace]:
        """A site with the Boxes of then; nothing where it had none."""
        try:
            return chosen_places(records, PlaceChoice("site", name), *span_ns)
        except NoPlaceError:
            return []


def verdicts_of(
    store: CloudStore,
    facts: JobFacts,
    standard: str,
    places: Sequence[ChosenPlace],
    zone: ZoneInfo,
    span_ms: tuple[int, int],
) -> Iterator[list[list[WeekLine]]]:
    """Yields the weeks of each place: as a job of its own process, because a year takes a second."""
    context, services = opened_context(store, facts)
    seen, now_ms = SeenReportStore(services.store, context), facts.now_ns // NS_PER_MS
    table = limit_table(standard)
    yield [week_lines(seen, table, place, zone, span_ms, now_ms, facts.nominal) for place in places]


def week_lines(
    store: SeenReportStore,
    table: LimitTable,
    place: ChosenPlace,
    zone: ZoneInfo,
    span_ms: tuple[int, int],
    now_ms: int,
    nominal: Nominal,
) -> list[WeekLine]:
    """The weeks that a span touches, the newest first, MOST_WEEKS at most.

    Raises:
        StoreError: the store cannot be read.
    """
    weeks = weeks_touched(span_ms, now_ms, zone)
    by_day = len(weeks) <= WEEKS_BY_DAY
    found = []
    for week in weeks:
        parts = [(part, read_place(store, table, part, place, nominal)) for part in parts_of(week, place)]
        days = tuple(_days(table, week, parts, now_ms)) if by_day else ()
        found.append(WeekLine(week, _cell(week.name[5:], table, week, parts, now_ms), days))
    return found


def weeks_touched(span_ms: tuple[int, int], now_ms: int, zone: ZoneInfo) -> list[ReportWeek]:
    """The weeks that a span touches, the newest first, MOST_WEEKS at most; none that has not begun."""
    last_ms = max(span_ms[0], min(span_ms[1], now_ms) - 1)
    weeks = [_week_of(last_ms, zone)]
    while len(weeks) < MOST_WEEKS and weeks[-1].start_ns > span_ms[0] * NS_PER_MS:
        weeks.append(weeks[-1].before())
    return weeks


def _week_of(moment_ms: int, zone: ZoneInfo) -> ReportWeek:
    day = datetime.fromtimestamp(moment_ms / 1000, UTC).astimezone(zone).date()
    return ReportWeek(day - timedelta(days=day.weekday()), zone)


def _days(table: LimitTable, week: ReportWeek, parts: Sequence[Part], now_ms: int) -> Iterator[VerdictCell]:
    for number_of_day in range(DAYS):
        first: date = week.monday + timedelta(days=number_of_day)
        day = ReportWeek(first, week.zone, days=1)
        edges_ns = [edge for part, _ in parts for edge in (part.start_ns, part.end_ns)]
        pieces = [
            (piece, _of_day(read, piece))
            for piece in day.parts(edges_ns)
            for part, read in parts
            if part.start_ns <= piece.start_ns < part.end_ns
        ]
        yield _cell(day_of_month(first), table, day, pieces, now_ms)


def _of_day(read: Place, day: ReportWeek) -> Place:
    boxes = tuple(replace(box, week=_part(box.week, day)) for box in read.boxes)
    group = {length: within(columns, day.start_ns, day.end_ns) for length, columns in read.group.items()}
    return replace(read, boxes=boxes, group=group)


def _part(box: BoxWeek, day: ReportWeek) -> BoxWeek:
    parts = {length: within(each, day.start_ns, day.end_ns) for length, each in box.intervals.items()}
    return replace(box, intervals={length: each for length, each in parts.items() if len(each.start_ns)})


def _cell(title: str, table: LimitTable, span: ReportWeek, parts: Sequence[Part], now_ms: int) -> VerdictCell:
    """The verdict of a span, of all its parts together where a fact changed within it."""
    start, end = (input_words(each // NS_PER_MS) for each in (span.start_ns, span.end_ns))
    if span.start_ns >= now_ms * NS_PER_MS:
        return VerdictCell(title, None, "not begun", start, end)
    rows = [row for part, read in parts for row in place_rows(table, part, read)]
    boxes = [box for _, read in parts for box in read.boxes]
    with_values = [row for row in rows if row.judgement.count]
    deciding = [row for row in rows if row.undecided] or with_values
    measured = min((row.measured_percent for row in deciding), default=0.0)
    labels = {box.channel: box.label for box in boxes} if len(boxes) > len(parts) else {}
    words = _words(rows, measured, labels) if with_values else "nothing to judge is stored"
    return VerdictCell(title, verdict_of(rows), words, start, end, measured)


def _words(rows: Sequence[VerdictRow], measured: float, labels: Mapping[str, str]) -> str:
    share = measured_words(measured).replace(" %", f"{THIN}%")  # a line does not break before the sign
    failed = [row for row in rows if row.verdict == "fail"]
    if not failed:
        met = {row.limit for row in rows if row.verdict == "pass"}
        open_ = {row.limit for row in rows if row.undecided}
        if open_:
            return f"{len(met - open_)} of {len(met | open_)} limits assessed, {share}"
        return f"{len(met)} limits met, {share}"
    row = max(failed, key=lambda each: each.outside)
    where = f" at {labels.get(row.channel, 'all phases')}" if labels else ""
    others = len({row.limit for row in failed}) - 1
    more = f" and {others} more" if others else ""
    return f"{row.limit.words}{where}: {number(row.judgement.share_percent, 1, '%')} within{more}, {share}"
