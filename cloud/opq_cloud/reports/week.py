"""Weeks from Monday by the local clock of a zone: 167, 168 or 169 hours. Pure."""

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

from opq_proto.errors import OpqError

_MONTH = re.compile(r"(\d{4})(?:-(\d{2}))?")
_WEEK = re.compile(r"(\d{4})-?W(\d{2})")
DAYS = 7


class WeekError(OpqError):
    """A week or a zone that does not exist."""


@dataclass(frozen=True, slots=True)
class ReportWeek:
    """A week of ISO 8601 in a zone, or some days of one: [start_ns, end_ns) in UTC."""

    monday: date
    """The first day."""
    zone: ZoneInfo
    days: int = DAYS
    part_ns: tuple[int, int] | None = None
    """The part of it that is reported by itself, because a fact that limits depend on changed."""

    @property
    def name(self) -> str:
        """`2026-W47`."""
        year, week, _ = self.monday.isocalendar()
        return f"{year}-W{week:02d}"

    @property
    def day_starts_ns(self) -> tuple[int, ...]:
        """The beginnings of its days, and its end; of a part those that are left, each within it."""
        midnights = (
            _midnight_ns(self.monday + timedelta(days=day), self.zone) for day in range(self.days + 1)
        )
        return tuple(min(max(each, self.start_ns), self.end_ns) for each in midnights)

    @property
    def start_ns(self) -> int:
        return _midnight_ns(self.monday, self.zone) if self.part_ns is None else self.part_ns[0]

    @property
    def end_ns(self) -> int:
        if self.part_ns is not None:
            return self.part_ns[1]
        return _midnight_ns(self.monday + timedelta(days=self.days), self.zone)

    @property
    def words(self) -> str:
        """`week 2026-W47`, and of a part its beginning and end."""
        if self.part_ns is None:
            return f"week {self.name}"
        first, last = map(self.moment_words, self.part_ns)
        return f"week {self.name} from {first} to {last}"

    def parts(self, edges_ns: Iterable[int]) -> "tuple[ReportWeek, ...]":
        """The week divided at these moments; itself where there are none within it."""
        inner = sorted({each for each in edges_ns if self.start_ns < each < self.end_ns})
        if not inner:
            return (self,)
        return tuple(replace(self, part_ns=part) for part in pairwise([self.start_ns, *inner, self.end_ns]))

    @property
    def hours(self) -> int:
        return round((self.end_ns - self.start_ns) / 3600e9)

    def before(self, weeks: int = 1) -> "ReportWeek":
        return ReportWeek(self.monday - timedelta(weeks=weeks), self.zone)

    def moment_words(self, moment_ns: int) -> str:
        """`Tue 2026-11-17 10:20`, by the clock of the zone."""
        return local_moment(moment_ns, self.zone).strftime("%a %Y-%m-%d %H:%M")


def week_of(text: str, zone_name: str, now_ns: int) -> ReportWeek:
    """The week of `2026-W47`, or of `last`, the latest that is over.

    Raises:
        WeekError: the week or the zone does not exist.
    """
    try:
        zone = ZoneInfo(zone_name)
    except (ValueError, OSError, KeyError):  # ZoneInfoNotFoundError is a KeyError
        raise WeekError(f"zone is {zone_name[:40]!r}; want a zone such as Pacific/Honolulu, or UTC") from None
    if text == "last":
        today = local_moment(now_ns, zone).date()
        return ReportWeek(today - timedelta(days=today.weekday() + DAYS), zone)
    found = _WEEK.fullmatch(text)
    try:
        if found is None:
            raise ValueError
        monday = date.fromisocalendar(int(found[1]), int(found[2]), 1)
        if not 1970 < monday.year < 9999:
            raise ValueError
    except ValueError:
        raise WeekError(f"week is {text[:40]!r}; want one such as 2026-W47, or last") from None
    return ReportWeek(monday, zone)


@dataclass(frozen=True, slots=True)
class ReportSpan:
    """A week, month or year by the clock of a zone: [start_ns, end_ns) in UTC."""

    name: str
    zone: ZoneInfo
    start_ns: int
    end_ns: int


def span_of(text: str, zone_name: str, now_ns: int) -> ReportSpan:
    """The span of `2026`, `2026-11`, `2026-W47` or `last`, the latest week that is over.

    Raises:
        WeekError: the span or the zone does not exist.
    """
    found = _MONTH.fullmatch(text)
    if found is None:
        try:
            week = week_of(text, zone_name, now_ns)
        except WeekError as error:
            said = str(error).replace(
                "want one such as", "want a year such as 2026, a month, or a week such as"
            )
            raise WeekError(said) from None
        return ReportSpan(week.name, week.zone, week.start_ns, week.end_ns)
    zone = week_of("last", zone_name, now_ns).zone
    year, month = int(found[1]), int(found[2] or 0)
    if not 1970 < year < 2200 or month > 12 or found[2] == "00":
        raise WeekError(f"{text} is not a month or a year; want one such as 2026-11, or 2026")
    first = date(year, month or 1, 1)
    after = date(year + 1, 1, 1) if month in (0, 12) else date(year, month + 1, 1)
    return ReportSpan(text, zone, _midnight_ns(first, zone), _midnight_ns(after, zone))


def local_moment(moment_ns: int, zone: ZoneInfo) -> datetime:
    return datetime.fromtimestamp(moment_ns // 10**9, UTC).astimezone(zone)


def _midnight_ns(day: date, zone: ZoneInfo) -> int:
    """The beginning of a local day in UTC; where midnight is skipped, the first moment after it."""
    return round(datetime(day.year, day.month, day.day, tzinfo=zone).timestamp()) * 10**9
