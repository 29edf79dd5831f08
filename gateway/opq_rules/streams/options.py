"""What stands in WITH (...): every option's name and what its value may be.

Source: reference/rules.md, C.1.
"""

import difflib
from collections.abc import Callable, Mapping

import msgspec

from opq_rules.batch import JsonObject
from opq_rules.errors import SQL_SYNTAX, RuleError
from opq_rules.sql.syntax import Create, TextPlace

FORMATS = ("json", "binary", "delimited", "urlencoded", "protobuf")
DEFAULT_TYPE, DEFAULT_FORMAT, DEFAULT_CONF_KEY = "mqtt", "json", "default"
WITHOUT_DATASOURCE = frozenset({"mock", "simulator"})
"""Source types that have nothing to find."""


def read(create: Create) -> JsonObject:
    """The options by their names in lower case, each checked. Raises RuleError with the option's place."""
    found: JsonObject = {}
    for name, value, at in create.options:
        reader = OPTIONS.get(name)
        if reader is None:
            near = difflib.get_close_matches(name, OPTIONS, n=1)
            hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(OPTIONS)}"
            raise refused(f"unknown option {name}", at, hint)
        try:
            found[name.lower()] = reader(value)
        except ValueError as error:
            raise refused(f"option {name} is {value[:80]!r}; want {error}", at) from None
    return found


def refused(message: str, at: TextPlace | None, hint: str | None = None) -> RuleError:
    line, column = (at.line, at.column) if at is not None else (None, None)
    return RuleError(message, SQL_SYNTAX, line=line, column=column, hint=hint)


def _text(value: str) -> str:
    if not value:
        raise ValueError("a text that is not empty")
    return value


def _any_text(value: str) -> str:
    return value


def _flag(value: str) -> bool:
    if value.lower() not in ("true", "false"):
        raise ValueError('"true" or "false"')
    return value.lower() == "true"


def _rows(value: str) -> int:
    if not value.isascii() or not value.isdigit() or len(value) > 9 or int(value) < 1:
        raise ValueError("a whole number of rows, from 1 to 999_999_999")
    return int(value)


def _one_of(*choices: str) -> Callable[[str], str]:
    by_lower = {choice.lower(): choice for choice in choices}

    def check(value: str) -> str:
        if value.lower() not in by_lower:
            raise ValueError(f"one of {', '.join(choices)}")
        return by_lower[value.lower()]

    return check


def _properties(value: str) -> Mapping[str, object]:
    try:
        found = msgspec.json.decode(value)
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise ValueError(f"a JSON object in text ({error})") from None
    if not isinstance(found, dict):
        raise ValueError("a JSON object in text")
    return found


OPTIONS: dict[str, Callable[[str], object]] = {
    "DATASOURCE": _any_text,
    "TYPE": _text,
    "FORMAT": _one_of(*FORMATS),
    "SCHEMAID": _text,
    "DELIMITER": _text,
    "KEY": _text,
    "CONF_KEY": _text,
    "EXTRA": _properties,
    "SHARED": _flag,
    "TIMESTAMP": _text,
    "TIMESTAMP_FORMAT": _text,
    "STRICT_VALIDATION": _flag,
    "RETAIN_SIZE": _rows,
    "KIND": _one_of("scan", "lookup"),
    "VERSION": _any_text,
    "TEMP": _flag,
    "BUFFER_FULL_POLICY": _one_of("block", "dropOldest"),
}
"""Name -> its value as read, or ValueError that says what is wanted."""
