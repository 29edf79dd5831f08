"""Functions on text. Other arguments are read as cast to string; characters count from 0.

Regular expressions: `patterns`. Source: docs/reference/rules.md, D.5, Text.
"""

import math
from collections.abc import Sequence
from decimal import Decimal

from opq_rules.functions import arguments
from opq_rules.functions.arguments import bounded, counted, number, reads, text, whole
from opq_rules.functions.arrays import position
from opq_rules.functions.mathematics import rounded
from opq_rules.functions.patterns import pattern
from opq_rules.functions.registry import MAX_ARGUMENTS, UNKNOWN, Definition, Scalar, renamed
from opq_rules.values.batch import Value
from opq_rules.values.sql_values import shown

_MAX_PLACES = 30


def _concat(*values: Value) -> Value:
    """Texts or arrays put together; null is skipped."""
    given = [value for value in values if value is not None]
    if given and all(isinstance(value, list) for value in given):
        if sum(map(len, given)) > arguments.MAX_MADE:
            raise ValueError(f"gives more than {arguments.MAX_MADE} elements")
        return [each for value in given for each in value]
    texts = [text(value) for value in given]
    bounded(sum(map(len, texts)))
    return "".join(texts)


def _format(value: Value, places: Value) -> str:
    places = whole(places)
    if not 0 <= places <= _MAX_PLACES:
        raise ValueError(f"places is {places}; want 0 to {_MAX_PLACES}")
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    exact = Decimal(repr(rounded(number(value), places) or 0))
    return f"{exact:.{places}f}"


def _substring(value: Value, start: Value, end: Value = None) -> str:
    """The characters from `start`, before `end`."""
    begin, stop = whole(start), None if end is None else whole(end)
    if begin < 0:
        raise ValueError(f"start is {start}; want a number from 0")
    if stop is not None and stop < begin:
        raise ValueError(f"end {end} is before start {start}")
    return text(value)[begin:stop]


def _check_substring(constants: Sequence[Value]) -> str:
    start, end = constants[1], constants[2] if len(constants) > 2 else UNKNOWN
    if type(start) is int and start < 0:
        return f"start is {start}; want a number from 0"
    if type(start) is int and type(end) is int and end < start:
        return f"end {end} is before start {start}"
    return ""


def _split_value(value: Value, separator: Value, place: Value) -> str:
    parts = text(value).split(text(separator))
    if not 0 <= whole(place) < len(parts):
        raise ValueError(f"part {place} of {len(parts)}; parts count from 0")
    return parts[int(place)]


def _check_split_value(constants: Sequence[Value]) -> str:
    place = constants[2]
    return f"part {place}; want a number from 0" if type(place) is int and place < 0 else ""


def _check_concat(constants: Sequence[Value]) -> str:
    for place, value in enumerate(constants, 1):
        if type(value) in (bool, int, float):
            return f'argument {place} is {shown(value)}; want a text, or cast(x, "string")'
    return ""


def _length(value: Value) -> int:
    if value is None:
        return 0
    return len(value) if isinstance(value, list | dict | bytes) else len(text(value))


def _replace(value: Value, expression: Value, replacement: Value) -> str:
    given, instead = text(value), text(replacement)
    bounded(len(given) + (len(given) + 1) * len(instead))  # each character may be a match
    return pattern(text(expression)).replaced(given, instead)


def _first(value: Value, expression: Value) -> str:
    """The first match; empty if there is none."""
    return pattern(text(expression)).first(text(value)) or ""


def _matches(value: Value, expression: Value) -> bool:
    if value is None or expression is None:
        return False
    return pattern(text(expression)).first(text(value)) is not None


def _ends(value: Value, end: Value) -> bool:
    return value is not None and end is not None and text(value).endswith(text(end))


def _starts(value: Value, start: Value) -> bool:
    return value is not None and start is not None and text(value).startswith(text(start))


def _indexof(value: Value, part: Value) -> int:
    if value is None or part is None:
        return -1
    return position(value, part) if isinstance(value, list) else text(value).find(text(part))


_PATTERN = reads(1, pattern)

FUNCTIONS: tuple[Definition, ...] = (
    Scalar("concat", _concat, 1, MAX_ARGUMENTS, null_in_null_out=False, check=_check_concat),
    Scalar("endswith", _ends, 2, 2, null_in_null_out=False),
    Scalar("startswith", _starts, 2, 2, null_in_null_out=False),
    Scalar("indexof", _indexof, 2, 2, null_in_null_out=False),
    Scalar("length", _length, 1, 1, null_in_null_out=False),
    Scalar("numbytes", lambda value: 0 if value is None else len(text(value).encode()), 1, 1, False),
    Scalar("format", _format, 2, 2),
    Scalar("lower", lambda value: text(value).lower(), 1, 1),
    Scalar("upper", lambda value: text(value).upper(), 1, 1),
    Scalar("trim", lambda value: text(value).strip(), 1, 1),
    Scalar("ltrim", lambda value: text(value).lstrip(), 1, 1),
    Scalar("rtrim", lambda value: text(value).rstrip(), 1, 1),
    Scalar("lpad", lambda value, count: " " * counted(count) + text(value), 2, 2),
    Scalar("rpad", lambda value, count: text(value) + " " * counted(count), 2, 2),
    Scalar("reverse", lambda value: text(value)[::-1], 1, 1),
    Scalar("regexp_matches", _matches, 2, 2, null_in_null_out=False, check=_PATTERN),
    Scalar("regexp_replace", _replace, 3, 3, check=_PATTERN),
    *renamed(Scalar("regexp_substring", _first, 2, 2, check=_PATTERN), "regexp_substr"),
    Scalar("split_value", _split_value, 3, 3, check=_check_split_value),
    Scalar("substring", _substring, 2, 3, check=_check_substring),
)
