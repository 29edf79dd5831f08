"""The week on the front page: incidents by class and day, the worst place, supply and frequency."""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from zoneinfo import ZoneInfo

from opq_cloud.reports.indices import indices_document
from opq_cloud.reports.place_indices import PlaceIndices
from opq_cloud.store.incidents.index import IncidentFilter, IndexedIncident
from opq_cloud.view.pages.drawing.local_weeks import day_span, local_day
from opq_cloud.view.pages.reports.seen_reports import SeenReports
from opq_cloud.view.pages.visible.visitor_context import VisitorContext
from opq_cloud.view.web import words
from opq_cloud.view.web.answer_cache import AnswerCache
from opq_proto.kit.time_zone import zone_of

DAYS = 7
MOST_READ = 2000
"""Incidents that are counted; of more, the newest."""
WEEKS_KEPT = 16
"""How many weeks are kept for visitors who see the same in the same zone."""
MOST_BOXES = 24
"""With more Boxes the indices take longer than a front page may, 20 ms of CPU time each; /report has them."""


@dataclass(frozen=True, slots=True)
class DayCount:
    count: int
    query: str


Rows = tuple[tuple[str, tuple[DayCount, ...]], ...]


@dataclass(frozen=True, slots=True)
class FrontWeek:
    """What `boxes.html` shows of the last seven days."""

    days: tuple[str, ...]
    rows: Rows
    """Class and its incidents on each day, the most frequent class first."""
    figures: tuple[tuple[str, str, str], ...]
    """Name, figure and what is beside it."""


class FrontWeeks:
    """The week as each visitor sees it; the incidents of its days are counted again after one changes."""

    def __init__(self, context: VisitorContext, reports: SeenReports) -> None:
        self._context, self._reports = context, reports
        self._rows: AnswerCache[Rows] = AnswerCache(math.inf, WEEKS_KEPT)

    def now(self) -> FrontWeek | None:
        """None where nothing is known of the week."""
        context = self._context
        account = context.visitor.account
        zone = zone_of(account.time_zone if account is not None else "UTC")
        today = local_day(context.now_ns() // 1_000_000, zone)
        days = [today - timedelta(days=back) for back in reversed(range(DAYS))]
        wanted = IncidentFilter(began_ns=day_span(days[0], zone).start_ms * 1_000_000)
        key = context.kept_under(wanted), zone
        rows = self._rows.of(key, lambda: _rows(context.store.find_incidents(wanted, MOST_READ), days, zone))
        figures = _figures(context, self._reports, zone.key if hasattr(zone, "key") else "UTC")
        if not rows and not figures:
            return None
        return FrontWeek(tuple(words.day_of_month(day) for day in days), rows, figures)


def _rows(entries: Sequence[IndexedIncident], days: Sequence[date], zone: ZoneInfo) -> Rows:
    spans = [day_span(day, zone) for day in days]
    found = [
        (kind, local_day(each.start_ns // 1_000_000, zone))
        for each in entries
        for kind in each.kind.split("+")
    ]
    counts = Counter(found)
    queries = [f"from={span.start_ms}&to={span.end_ms}" for span in spans]
    return tuple(
        (
            kind,
            tuple(
                DayCount(counts[kind, day], f"class={kind}&{query}")
                for day, query in zip(days, queries, strict=True)
            ),
        )
        for kind, _ in Counter(kind for kind, _ in found).most_common()
    )


def _figures(context: VisitorContext, reports: SeenReports, zone: str) -> tuple[tuple[str, str, str], ...]:
    """The figures of the current ISO 8601 week; empty without intervals."""
    if not 0 < len(context.box_ids()) <= MOST_BOXES:
        return ()
    year, week, _ = local_day(context.now_ns() // 1_000_000, zone_of(zone)).isocalendar()
    found = reports.indices("all", f"{year}-W{week:02d}", zone)
    means, index = indices_document(found), found.frequency.index
    if not means["complete_percent"]:
        return ()
    known = [place for place in found.places if place.is_known]
    worst = max(known, key=_badness)
    minutes, below = _badness(worst)
    unknown = len(found.places) - len(known)
    not_measured = f"; {words.counted(unknown, 'place', 'places')} not measured" if unknown else ""
    return (
        (
            "Worst place" if any(_badness(worst)) else "Places",
            worst.name if any(_badness(worst)) else "well where measured" if unknown else "all well",
            f"{supply_words(below, minutes)}{not_measured}",
        ),
        (
            "With supply",
            words.number(means["supplied_percent"], 3, "%"),
            f"{words.number(means['complete_percent'], 1, '%')} measured",
        ),
        (
            "Frequency",
            _hertz(index.median_hz),
            f"lowest {_hertz(index.nadir_hz)}",
        ),
    )


def supply_words(below: int, minutes: float) -> str:
    """Events below 90 % of nominal at a place, and its minutes without supply."""
    events = words.counted(below, "dip or interruption", "dips and interruptions")
    return f"{events} below {words.number(90, 0, '%')}, {words.number(minutes, 1, 'min')} without supply"


def _hertz(value: float) -> str:
    return words.number(None if math.isnan(value) else value, 3, "Hz")


def _badness(place: PlaceIndices) -> tuple[float, int]:
    return max(box.supply.minutes for box in place.boxes), dict(place.sarfi.beyond)[90.0]
