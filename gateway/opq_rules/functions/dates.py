"""Dates and times. A time is a datetime, Unix ms or a text; it is read in its own zone, or else in UTC.

The current time comes from the rule's clock, so tries and replays give the same results again. Source:
docs/reference/rules.md, D.5, Date/time; the patterns of format_time are those of Java.
"""

import calendar
import re
from collections.abc import Callable
from datetime import date, datetime, timedelta
from functools import lru_cache

from opq_rules.functions.arguments import number, reads, text, time, whole
from opq_rules.functions.registry import Definition, RunContext, Scalar, renamed
from opq_rules.values.batch import Value
from opq_rules.values.sql_values import moment
from opq_rules.values.time_pattern import parts_of, written_time

_UNITS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "μs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3_600.0}
_PART = re.compile(r"(\d+(?:\.\d*)?|\.\d+)(ns|us|µs|μs|ms|s|m|h)")


@lru_cache(maxsize=512)
def duration(words: str) -> timedelta:
    """The duration written as `1h30m`, `-1.5s` or `100ms`. Raises ValueError."""
    rest = words.strip()
    sign = -1 if rest.startswith("-") else 1
    rest = rest.lstrip("+-")
    parts = list(_PART.finditer(rest))
    if not parts or "".join(part.group() for part in parts) != rest:
        raise ValueError(f'duration "{words}"; want for example 1h30m, 10s, 100ms')
    return timedelta(seconds=sign * sum(float(part[1]) * _UNITS[part[2]] for part in parts))


def _format_time(value: Value, pattern: Value) -> str:
    return written_time(time(value), text(pattern))


def _written(at: datetime, places: int = 0) -> str:
    fraction = f".{at.microsecond:06d}"[: places + 1] if places else ""
    return at.strftime("%Y-%m-%d %H:%M:%S") + fraction


def _now(context: RunContext, places: Value = 0) -> str:
    return _written(moment(context.now_ms), _places(places))


def _cur_time(context: RunContext, places: Value = 0) -> str:
    return _written(moment(context.now_ms), _places(places))[11:]


def _cur_date(context: RunContext) -> str:
    return _written(moment(context.now_ms))[:10]


def _places(value: Value) -> int:
    if not 0 <= whole(value) <= 6:
        raise ValueError(f"places are {value}; want 0 to 6")
    return int(value)


def _date_calc(value: Value, words: Value) -> str:
    return _written(time(value) + duration(text(words)))


def _date_diff(first: Value, second: Value) -> int:
    """Whole days from the first to the second, towards zero."""
    apart = time(second) - time(first)
    return int(apart / timedelta(days=1))


def _last_day(value: Value) -> str:
    at = time(value)
    return date(at.year, at.month, calendar.monthrange(at.year, at.month)[1]).isoformat()


def _from_days(value: Value) -> str:
    """The date of a day number; day 1 is 1970-01-01."""
    return (date(1970, 1, 1) + timedelta(days=whole(value) - 1)).isoformat()


def _from_unix_time(value: Value) -> str:
    return _written(moment(number(value) * 1_000))


def _of(name: str, run: Callable[[datetime], Value]) -> Scalar:
    return Scalar(name, lambda value: run(time(value)), 1, 1)


def _clock(name: str, run: Callable[..., Value], most: int = 1) -> Scalar:
    return Scalar(name, run, 0, most, context=True, check=reads(0, _places))


FUNCTIONS: tuple[Definition, ...] = (
    *renamed(_clock("now", _now), "current_timestamp", "local_time", "local_timestamp"),
    *renamed(_clock("cur_time", _cur_time), "current_time"),
    *renamed(_clock("cur_date", _cur_date, 0), "current_date"),
    Scalar("tstamp", lambda context: context.now_ms, 0, 0, context=True),
    Scalar("format_time", _format_time, 2, 2, check=reads(1, parts_of)),
    Scalar("date_calc", _date_calc, 2, 2, check=reads(1, duration)),
    Scalar("date_diff", _date_diff, 2, 2),
    Scalar("from_days", _from_days, 1, 1),
    Scalar("from_unix_time", _from_unix_time, 1, 1),
    Scalar("last_day", _last_day, 1, 1),
    *renamed(_of("day_of_month", lambda at: at.day), "day"),
    _of("day_name", lambda at: calendar.day_name[at.weekday()]),
    _of("day_of_week", lambda at: at.isoweekday() % 7 + 1),
    _of("day_of_year", lambda at: at.timetuple().tm_yday),
    _of("month", lambda at: at.month),
    _of("month_name", lambda at: calendar.month_name[at.month]),
    _of("hour", lambda at: at.hour),
    _of("minute", lambda at: at.minute),
    _of("second", lambda at: at.second),
    _of("microsecond", lambda at: at.microsecond),
)
