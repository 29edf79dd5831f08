"""Times as files write them, to a nanosecond: Unix time, and the date and time of COMTRADE.

A time that is not understood is None with a reason, and is never taken for UTC.
"""

import re
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

from opq_proto.time_units import NS_PER_S

MAX_START_NS = 2**62
"""The year 2116; later times within a recording then still fit into 64 bits."""
FIRST_YEAR_OF_1900S = 70
"""Two-digit years, as in revision 1991, mean 1970 to 2069."""
MAX_ZONE_MINUTES = 15 * 60
EPOCH_DAY = date(1970, 1, 1).toordinal()
_CLOCK = re.compile(r"(\d{1,2})[:.h](\d{1,2})[:.m](\d{1,2})(?:[.,:](\d*))?s?")
_ZONE = re.compile(r"([+-]?)(\d{1,2})(?:[hH:](\d{2}))?")
EPOCH_UNITS = ((1e8, 4e9, NS_PER_S), (1e11, 4e12, 10**6), (1e14, 4e15, 10**3), (1e17, 4e18, 1))
"""Unix times by their size: seconds, ms, µs or ns, from 1973 to 2096."""


@dataclass(frozen=True, slots=True)
class Moment:
    """A time: `t_ns` since 1970, None where not known; `problem` says why, `zone` whether it was stated."""

    t_ns: int | None
    problem: str | None = None
    zone: bool = True


def epoch_ns(number: float) -> int | None:
    """Nanoseconds per unit of a Unix time of this size; None where it is not a time since 1973."""
    for low, high, unit_ns in EPOCH_UNITS:
        if low <= number < high:
            return unit_ns
    return None


def comtrade_moment(day: str, clock: str, revision: int) -> Moment:
    """A date and time of COMTRADE: day first, in 1991 month first, unless only the other order is possible.

    24:00:00 is the next day's midnight; second 60, a leap second, is the second after it.
    """
    written = f"{day.strip()},{clock.strip()}"
    parts = re.split(r"[/.\-\\]", day.strip())
    time = _CLOCK.fullmatch(clock.strip())
    if not day.strip() and not clock.strip():
        return Moment(None)
    if len(parts) != 3 or not all(re.fullmatch(r"\s*[0-9]{1,6}\s*", part) for part in parts) or time is None:
        return Moment(None, f"its time {written!r:.60} is not understood, so its start is not known")
    a, b, c = (int(part.strip()) for part in parts)
    if len(parts[0].strip()) == 4:
        year, month, day_of_month = a, b, c
    else:
        month, day_of_month = (a, b) if revision <= 1991 else (b, a)
        if month > 12 >= day_of_month:
            month, day_of_month = day_of_month, month
        year = c if len(parts[2].strip()) > 2 else c + (1900 if c >= FIRST_YEAR_OF_1900S else 2000)
    if year <= 1970 and month <= 1 and day_of_month <= 1:
        return Moment(None)  # a clock that was never set
    found = _whole_ns(year, month, day_of_month, int(time[1]), int(time[2]), int(time[3]))
    if found is None:
        return Moment(None, f"its time {written!r:.60} does not exist, so its start is not known")
    return _bounded(found + _fraction_ns(time[4]), True)


def zone_minutes(text: str) -> int | None:
    """Minutes of the recorder's clock ahead of UTC, such as -4, +10h30 or 5:30; None: not understood."""
    match = _ZONE.fullmatch(text.strip())
    if match is None:
        return None
    minutes = int(match[2]) * 60 + int(match[3] or 0)
    if minutes > MAX_ZONE_MINUTES or int(match[3] or 0) > 59:
        return None
    return -minutes if match[1] == "-" else minutes


def utc_ns(time: datetime) -> int:
    """Exact nanoseconds since 1970; a time without a zone is read as UTC.

    Raises:
        ValueError: before 1970 or after 2115.
    """
    utc = time if time.tzinfo is not None else time.replace(tzinfo=UTC)
    found = 1000 * ((utc - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1))
    if not 0 <= found <= MAX_START_NS:
        raise ValueError(f"{time} is not a time from 1970 to 2115")
    return found


def _whole_ns(year: int, month: int, day: int, hour: int, minute: int, second: int) -> int | None:
    midnight = (hour, minute, second) == (24, 0, 0)
    if not (midnight or hour <= 23) or minute > 59 or second > 60:
        return None
    try:
        days = date(year, month, day).toordinal() - EPOCH_DAY
    except (ValueError, OverflowError):
        return None
    return (days * 86_400 + hour * 3600 + minute * 60 + second) * NS_PER_S


def _fraction_ns(digits: str | None) -> int:
    return int((digits or "0")[:9].ljust(9, "0"))


def _bounded(t_ns: int, zone: bool) -> Moment:
    if not 0 <= t_ns <= MAX_START_NS:
        return Moment(None, "its time is not from 1970 to 2115, so its start is not known")
    return Moment(t_ns, zone=zone)
