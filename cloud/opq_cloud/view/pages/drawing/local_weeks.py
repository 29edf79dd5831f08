"""Weeks and days by the local clock of a zone, correct over changes of the hour. Pure.

A week begins on Monday at 00:00 local time (ISO 8601) and has 167, 168 or 169 hours. The place of a moment in
it is what the clock shows: on a day with a skipped hour that hour stays empty, and on a day with a repeated
hour two moments share a place.
"""

from dataclasses import dataclass
from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

from opq_proto.time_units import HOUR_MS
from opq_proto.time_units import WEEK_MS as WEEK_MS

CHANGE_MS = HOUR_MS // 2
"""Clocks change at whole half hours of UTC."""


@dataclass(frozen=True, slots=True)
class LocalSpan:
    """A local day or week: [start_ms, end_ms) in UTC."""

    first: date
    start_ms: int
    end_ms: int


def read_zone(name: str) -> ZoneInfo:
    """The zone of this name. Raises ValueError, in words for people, if no zone has it."""
    try:
        return ZoneInfo(name)
    except (ValueError, OSError, KeyError):  # ZoneInfoNotFoundError is a KeyError
        raise ValueError(f"tz is {name[:40]!r}; want a zone such as Pacific/Honolulu, or UTC") from None


def midnight_ms(day: date, zone: ZoneInfo) -> int:
    """The beginning of a local day in UTC; where midnight is skipped, the first moment after it."""
    at = datetime(day.year, day.month, day.day, tzinfo=zone)
    return round(at.timestamp() * 1000)


def local_day(moment_ms: int, zone: ZoneInfo) -> date:
    return datetime.fromtimestamp(moment_ms / 1000, zone).date()


def day_span(day: date, zone: ZoneInfo) -> LocalSpan:
    return LocalSpan(day, midnight_ms(day, zone), midnight_ms(day + timedelta(days=1), zone))


def week_span(moment_ms: int, zone: ZoneInfo, back: int = 0) -> LocalSpan:
    """The week that holds a moment, or the one `back` weeks before it."""
    day = local_day(moment_ms, zone)
    monday = day - timedelta(days=day.weekday() + 7 * back)
    return LocalSpan(monday, midnight_ms(monday, zone), midnight_ms(monday + timedelta(days=7), zone))


def week_place_ms(moment_ms: int, monday: date, zone: ZoneInfo) -> int:
    """What the local clock shows, in ms after Monday 00:00: 0 to WEEK_MS."""
    shown = datetime.fromtimestamp(moment_ms / 1000, zone).replace(tzinfo=None)
    return round((shown - datetime(monday.year, monday.month, monday.day)) / timedelta(milliseconds=1))


def skipped_places(week: LocalSpan, zone: ZoneInfo) -> tuple[tuple[int, int], ...]:
    """The stretches of a week that its clock skips, [start, end) as `week_place_ms` counts."""
    found = []
    before = 0
    for at_ms in range(week.start_ms + CHANGE_MS, week.end_ms + 1, CHANGE_MS):
        place = week_place_ms(at_ms, week.first, zone)
        if place - before > CHANGE_MS:
            found.append((before + CHANGE_MS, place))
        before = place
    return tuple(found)


def whole_hours(span: LocalSpan, zone: ZoneInfo) -> bool:
    """Whether the local hours begin with those of UTC."""
    ends = (span.start_ms, span.end_ms)
    return all(
        (datetime.fromtimestamp(each / 1000, zone).utcoffset() or timedelta()) % timedelta(hours=1)
        == timedelta()
        for each in ends
    )
