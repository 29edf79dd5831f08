"""A time as people type it: `now`, `now-90m` or ISO 8601; View's addresses and the commands read it."""

import re
from datetime import UTC, datetime, timedelta

UNITS_S = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800, "y": 365 * 86_400}
NS_PER_S = 10**9
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_RELATIVE = re.compile(r"now(?:-([0-9]{1,6})([smhdwy]))?")
_LEAP = re.compile(r"(?<=:[0-9]{2}):60(?![0-9])")


def typed_ns(text: str, now_ns: int) -> int:
    """Nanoseconds since 1970, in whole microseconds but for `now`; UTC without an offset.

    Second 60, the leap second of a day as instruments write it, is the first of the next minute.

    Raises:
        ValueError: not such a time.
    """
    if relative := _RELATIVE.fullmatch(text):
        number, unit = relative.groups("0")
        return now_ns - int(number) * UNITS_S.get(unit, 1) * NS_PER_S
    leap = _LEAP.search(text)
    if leap is not None:
        return typed_ns(f"{text[: leap.start()]}:59{text[leap.end() :]}", now_ns) + NS_PER_S
    found = datetime.fromisoformat(text)
    found = found.replace(tzinfo=UTC) if found.tzinfo is None else found
    return (found - _EPOCH) // timedelta(microseconds=1) * 1000
