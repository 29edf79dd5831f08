"""What SQL values mean: kinds, comparison, times, LIKE, indexing; and the errors.

A value is None (null and missing alike), bool, int, float, str, bytes, datetime, list or dict. int and float
are kept apart (7/2 = 3), and a bool is not a number. Any comparison with null is false, arithmetic with null
is null. Whatever cannot be computed is a RowError of its record. Source: docs/reference/rules.md, D.4.
"""

import operator
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal

from opq_rules.errors import RowError
from opq_rules.values.batch import Value

LARGEST_EXACT = 2**53
"""Up to this value a float holds every whole number exactly."""
NUMBERS = frozenset({int, float})
"""The types that count as numbers; `type(x) in NUMBERS` leaves bool out."""

_KINDS: dict[type, str] = {
    type(None): "null",
    bool: "boolean",
    int: "bigint",
    float: "float",
    str: "string",
    bytes: "bytea",
    datetime: "datetime",
    list: "array",
    dict: "struct",
}

_SHOWN_CHARACTERS = 40  # of a value in an error's text

COMPARISONS: dict[str, Callable[[Value, Value], Value]] = {
    "=": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


def kind_of(value: Value) -> str:
    """As users know it: bigint, float, string, boolean, bytea, datetime, array, struct, null."""
    return _KINDS.get(type(value), type(value).__name__)


def shown(value: Value) -> str:
    """The kind and the shortened value, such as `string "abc"`."""
    if value is None:
        return "null"
    text = f'"{value}"' if isinstance(value, str) else str(value)
    if len(text) > _SHOWN_CHARACTERS:
        text = text[: _SHOWN_CHARACTERS - 3] + "..."
    return f"{kind_of(value)} {text}"


def compare(sign: str, left: Value, right: Value) -> bool:
    """`left sign right`; false if either is null."""
    if left is None or right is None:
        return False
    a, b = type(left), type(right)
    if (a in NUMBERS and b in NUMBERS) or (a is str and b is str):
        return bool(COMPARISONS[sign](left, right))
    if a is bool and b is bool and sign in ("=", "!="):
        return bool(COMPARISONS[sign](left, right))
    if a is datetime or b is datetime:
        return bool(COMPARISONS[sign](*_as_times(sign, left, right)))
    if a is bytes and b is bytes:
        return bool(COMPARISONS[sign](left, right))
    raise RowError(f"{shown(left)} {sign} {shown(right)}: these do not compare")


def identity(value: Value) -> Value:
    """A hashable key, equal for values that are the same: 1 and 1.0 are, 1 and true are not."""
    if isinstance(value, list):
        return ("array", *[identity(each) for each in value])
    if isinstance(value, dict):
        return ("struct", frozenset((key, identity(each)) for key, each in value.items()))
    return (bool, value) if type(value) is bool else value


def moment(value: Value) -> datetime:
    """The time given as Unix ms or as text. Raises TypeError, ValueError."""
    if type(value) in NUMBERS:
        try:
            return _EPOCH + timedelta(milliseconds=value)
        except OverflowError:
            raise ValueError(f"{shown(value)} ms is not a time; years go from 1 to 9999") from None
    if type(value) is str:
        return time_of_text(value)
    raise TypeError(f"want a time, not {shown(value)}")


def unix_ms(value: datetime) -> int:
    """Whole Unix ms, rounded down; UTC if it has no zone."""
    since = (value if value.tzinfo else value.replace(tzinfo=UTC)) - _EPOCH
    return (since.days * 86_400 + since.seconds) * 1_000 + since.microseconds // 1_000


def _as_times(sign: str, left: Value, right: Value) -> tuple[float, float]:
    """Both values as Unix ms; text is accepted only to the right of a datetime."""
    found = []
    for value in (left, right):
        if type(value) in NUMBERS:
            found.append(value)
        elif type(value) is datetime:
            found.append(_unix_ms(value))
        elif type(value) is str and value is right:
            try:
                found.append(_unix_ms(time_of_text(value)))
            except ValueError as error:
                raise RowError(f"{shown(left)} {sign} {shown(right)}: {error}") from None
        else:
            raise RowError(f"{shown(left)} {sign} {shown(right)}: these do not compare")
    return found[0], found[1]


def _unix_ms(value: datetime) -> float:
    since = (value if value.tzinfo else value.replace(tzinfo=UTC)) - _EPOCH
    return (since.days * 86_400 + since.seconds) * 1_000 + since.microseconds / 1_000


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

_LAYOUTS = (  # tried after ISO 8601, which `fromisoformat` reads in all its forms
    "%Y-%m-%d %H:%M:%S %z",
    "%Y/%m/%d %H:%M:%S",
    "%Y/%m/%d",
    "%d %b %Y %H:%M:%S",
    "%a, %d %b %Y %H:%M:%S %z",
    "%a %b %d %H:%M:%S %Y",
)


def time_of_text(text: str) -> datetime:
    """The time written in `text`, UTC if it names no zone. Raises ValueError if no layout fits."""
    try:
        found = datetime.fromisoformat(text.strip())
    except ValueError:
        for layout in _LAYOUTS:
            try:
                found = datetime.strptime(text.strip(), layout)
                break
            except ValueError:
                continue
        else:
            raise ValueError(f"{shown(text)} is not a time; want for example 2026-01-31T12:00:00Z") from None
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def in_bigint(value: Value) -> bool:
    """Whether a whole number fits into the 64 bits of a bigint."""
    return bool(-(2**63) <= value < 2**63)


def whole_as_int(value: Value) -> Value:
    """A float without a fraction as an int; anything else unchanged."""
    return int(value) if type(value) is float and value.is_integer() else value


def text(value: Value) -> str:
    """The text of a value as cast to string: 12.0 is `12`, true is `true`; an array or an object has none."""
    if type(value) is str:
        return value
    if type(value) is bool:
        return "true" if value else "false"
    if type(value) is int:
        return str(value)
    if type(value) is float:
        return str(int(value)) if value.is_integer() else format(Decimal(repr(value)), "f")
    if type(value) is datetime:
        return value.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    if type(value) is bytes:
        return value.decode("utf-8")  # UnicodeDecodeError is a ValueError
    raise TypeError(f"want a text, not {shown(value)}")


def put_out(value: Value) -> Value:
    """A result as rules output it: 5.0 becomes 5, also in arrays and objects.

    Returns the same object if nothing changes, or if it is nested deeper than Python's stack allows.
    """
    kind = type(value)
    if kind is float:
        return int(value) if value.is_integer() and -LARGEST_EXACT <= value <= LARGEST_EXACT else value
    try:
        if kind is list:
            items = [put_out(each) for each in value]
            return value if all(a is b for a, b in zip(value, items, strict=True)) else items
        if kind is dict:
            changed = {key: found for key, each in value.items() if (found := put_out(each)) is not each}
            return {**value, **changed} if changed else value
    except RecursionError:
        pass
    return value


def member(of: Value, name: str) -> Value:
    """`of->name`; null if `of` is not an object or has no such key."""
    return of.get(name) if isinstance(of, dict) else None


def index(of: Value, at: Value) -> Value:
    """`of[at]`, negative counts from the end; null if out of range."""
    if of is None or at is None:
        return None
    if not isinstance(of, list):
        raise RowError(f"({shown(of)})[{shown(at)}]: want an array before [ ]")
    at = whole_as_int(at)
    if type(at) is not int:
        raise RowError(f"array[{shown(at)}]: want a whole number")
    return of[at] if -len(of) <= at < len(of) else None


def cut(of: Value, start: Value, end: Value) -> Value:
    """`of[start:end]`, half open, negative counts from the end; places outside are left out."""
    if of is None:
        return None
    if not isinstance(of, list):
        raise RowError(f"({shown(of)})[:]: want an array before [ ]")
    start, end = whole_as_int(start), whole_as_int(end)
    for bound in (start, end):
        if bound is not None and type(bound) is not int:
            raise RowError(f"array[{shown(start)}:{shown(end)}]: want whole numbers")
    return of[start:end]


def like_pattern(pattern: str) -> re.Pattern[str]:
    """% any run, _ one character, \\ escapes; the whole text must match.

    Between two % the leftmost match is as good as any, so each run is an atomic group: a pattern of many %
    costs length times length, never a power of it.
    """
    runs, literal = [""], False
    for character in pattern:
        if literal:
            runs[-1] += re.escape(character)
            literal = False
        elif character == "\\":
            literal = True
        elif character == "%":
            runs.append("")
        else:
            runs[-1] += "." if character == "_" else re.escape(character)
    if literal:
        runs[-1] += re.escape("\\")
    if len(runs) == 1:
        return re.compile(runs[0], re.DOTALL)
    first, *middle, last = runs
    between = "".join(f"(?>.*?{run})" for run in middle if run)
    return re.compile(f"{first}{between}.*{last}", re.DOTALL)


def is_like(of: Value, pattern: Value) -> bool:
    """`of LIKE pattern`; false if either is null."""
    if of is None or pattern is None:
        return False
    if type(of) is not str or type(pattern) is not str:
        raise RowError(f"{shown(of)} LIKE {shown(pattern)}: want texts")
    return like_pattern(pattern).fullmatch(of) is not None


def no_condition(value: Value) -> tuple[str, str]:
    """The error for a constant in place of a condition, with a correct example."""
    number = value if type(value) in NUMBERS else 0
    return f"{shown(value)} is not a condition", f"write a comparison such as rms > {number}"


def condition(value: Value) -> bool:
    """The value of a condition: null counts as false, anything but true and false is an error."""
    if value is True:
        return True
    if value is False or value is None:
        return False
    raise RowError(f"{shown(value)} is not a condition")
