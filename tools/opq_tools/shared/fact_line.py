"""Lines of facts about a Box or an event for a terminal; `--json` has the values themselves."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_TIMES = {"_ms": (10**11, 1e3), "_ns": (10**17, 1e-3)}
"""Suffix of a key -> (least value that is read as a time since 1970, which is in 1973; µs per unit)."""


def fact_line(key: str, value: object, width: int) -> str:
    """`key` padded to `width`, then `value`; a time since 1970 is in UTC, its key without the unit."""
    name = key[:-3] if isinstance(value, int | float) and _is_time(key, value) else key
    return f"{name:<{width}} {fact_words(key, value)}".rstrip()


def fact_words(key: str, value: object) -> str:
    """A value as text: yes or no, numbers with ten digits at most, times in UTC, lists without brackets."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if key == "uncertainty_ns" and value is None:
        return "not known"
    if isinstance(value, int | float):
        return _number_words(key, value)
    if isinstance(value, Mapping):
        return "; ".join(f"{name} {fact_words(str(name), each)}" for name, each in value.items())
    if isinstance(value, Sequence) and not isinstance(value, str):
        mark = "; " if any(isinstance(each, Mapping) for each in value) else ", "
        return mark.join(
            ", ".join(f"{name} {fact_words(str(name), inner)}" for name, inner in each.items())
            if isinstance(each, Mapping)
            else fact_words(key, each)
            for each in value
        )
    return ", ".join(str(value).splitlines())


def _number_words(key: str, value: int | float) -> str:
    if not _is_time(key, value):
        return str(value) if isinstance(value, int) else f"{value:.10g}"
    at = _EPOCH + timedelta(microseconds=value * _TIMES[key[-3:]][1])
    return f"{at:%Y-%m-%d %H:%M:%S}.{at.microsecond // 1000:03d} UTC"


def _is_time(key: str, value: int | float) -> bool:
    return key[-3:] in _TIMES and value >= _TIMES[key[-3:]][0]
