"""A time as people type it: `now`, `now-90m`, `now/d` or ISO 8601; for View's addresses and commands."""

import re
from datetime import UTC, datetime, timedelta

from opq_proto.time_units import NS_PER_S

UNITS_S = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800, "y": 365 * 86_400}
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_RELATIVE = re.compile(r"now(?:-([0-9]{1,6})([smhdwy]))?(?:/([smhdwy]))?")
_MONDAY_NS = 4 * 86_400 * NS_PER_S
"""The first Monday since 1970."""
_LEAP = re.compile(r"(?<=:[0-9]{2}):60(?![0-9])")


def typed_ns(text: str, now_ns: int, is_end: bool = False) -> int:
    """Nanoseconds since 1970, in whole microseconds but for `now`; UTC without an offset.

    Second 60, the leap second of a day as instruments write it, is the first of the next minute. `now/d` is
    the beginning of the day in UTC, and a week begins on Monday; `now-1d/d` is that of yesterday.

    Args:
        is_end: whether it ends a span, which `now-1d/d` does with the end of yesterday, and `now/d` now.
    Raises:
        ValueError: not such a time.
    """
    if relative := _RELATIVE.fullmatch(text):
        number, unit, whole = relative.groups("")
        moment = now_ns - int(number or 0) * UNITS_S.get(unit, 1) * NS_PER_S
        if not whole:
            return moment
        start_ns, end_ns = _whole(moment, whole)
        return min(end_ns, max(now_ns, start_ns)) if is_end else start_ns
    leap = _LEAP.search(text)
    if leap is not None:
        return typed_ns(f"{text[: leap.start()]}:59{text[leap.end() :]}", now_ns) + NS_PER_S
    found = datetime.fromisoformat(text)
    found = found.replace(tzinfo=UTC) if found.tzinfo is None else found
    return (found - _EPOCH) // timedelta(microseconds=1) * 1000


def _whole(moment_ns: int, unit: str) -> tuple[int, int]:
    """Beginning and end of the minute, day, week or year in which a moment lies, UTC."""
    if unit == "y":
        year = (_EPOCH + timedelta(microseconds=moment_ns // 1000)).year
        first, after = (
            (datetime(each, 1, 1, tzinfo=UTC) - _EPOCH).days * 86_400 * NS_PER_S for each in (year, year + 1)
        )
        return first, after
    length_ns = UNITS_S[unit] * NS_PER_S
    past_ns = (moment_ns - (_MONDAY_NS if unit == "w" else 0)) % length_ns
    return moment_ns - past_ns, moment_ns - past_ns + length_ns
