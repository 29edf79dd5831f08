"""Checks of function arguments: at run time (raising TypeError) and when the rule is made."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime

from opq_rules.functions.registry import UNKNOWN
from opq_rules.values.batch import Value
from opq_rules.values.sql_values import NUMBERS, moment, shown
from opq_rules.values.sql_values import text as text

MAX_MADE = 1_000_000
"""Most characters or elements that one call may make (lpad, repeat, sequence): guards against typos."""


MAX_TEXT = 16_000_000
"""Most characters of a text that one call puts together, as a guard against nested concat calls."""


def bounded(characters: int) -> None:
    if characters > MAX_TEXT:
        raise ValueError(f"gives {characters} characters; want at most {MAX_TEXT}")


def number(value: Value) -> Value:
    if type(value) not in NUMBERS:
        raise TypeError(f"want a number, not {shown(value)}")
    return value


def whole(value: Value) -> int:
    """The value as an int; a float without a fraction is accepted too."""
    if type(value) is float and value.is_integer():
        return int(value)
    if type(value) is not int:
        raise TypeError(f"want a whole number, not {shown(value)}")
    return value


def counted(value: Value) -> int:
    """A whole number from 0 to MAX_MADE."""
    if not 0 <= whole(value) <= MAX_MADE:
        raise ValueError(f"want a number from 0 to {MAX_MADE}, not {value}")
    return int(value)


def array(value: Value) -> list[Value]:
    if not isinstance(value, list):
        raise TypeError(f"want an array, not {shown(value)}")
    return value


def struct(value: Value) -> dict[str, Value]:
    if not isinstance(value, dict):
        raise TypeError(f"want an object, not {shown(value)}")
    return value


def boolean(value: Value) -> bool:
    if type(value) is not bool:
        raise TypeError(f"want true or false, not {shown(value)}")
    return value


def octets(value: Value) -> bytes:
    """Bytes unchanged, a text encoded in UTF-8."""
    return value if type(value) is bytes else text(value).encode()


def time(value: Value) -> datetime:
    """The time given as a datetime, Unix ms, or a text; UTC if it names no zone."""
    if type(value) is datetime:
        return value if value.tzinfo else value.replace(tzinfo=UTC)
    return moment(value)


Check = Callable[[Sequence[Value]], str]


def one_of(place: int, *allowed: str) -> Check:
    """A check that the constant at `place` (from 0) is one of these texts, in any letter case."""

    def check(constants: Sequence[Value]) -> str:
        value = constants[place] if place < len(constants) else UNKNOWN
        if value is UNKNOWN or (isinstance(value, str) and value.lower() in allowed):
            return ""
        return f"argument {place + 1} is {shown(value)}; want one of {', '.join(allowed)}"

    return check


def reads(place: int, read: Callable[[Value], object]) -> Check:
    """A check that `read` accepts the constant at `place` (from 0), if there is one."""

    def check(constants: Sequence[Value]) -> str:
        value = constants[place] if place < len(constants) else UNKNOWN
        if value is not UNKNOWN and value is not None:
            try:
                read(value)
            except (TypeError, ValueError) as error:
                return str(error)
        return ""

    return check
