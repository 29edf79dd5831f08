"""Durations as users write them: whole numbers are ms, texts have Go's units."""

import re
from typing import Any

UNITS_MS = {"ms": 1, "s": 1000, "m": 60_000, "h": 3_600_000}
_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h)")
_WHOLE = re.compile(r"(?:\d+(?:\.\d+)?(?:ms|s|m|h))+", re.ASCII)
WANTED = 'want ms as a whole number, or text such as "500ms", "10s", "1h30m"'


def milliseconds(value: Any) -> int:
    """Raises ValueError that says what is wanted."""
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return value
    if isinstance(value, str) and (value.isdecimal() or _WHOLE.fullmatch(value)):
        if value.isdecimal():
            return int(value)
        return round(sum(float(number) * UNITS_MS[unit] for number, unit in _PART.findall(value)))
    raise ValueError(f"is {value!r}; {WANTED}")
