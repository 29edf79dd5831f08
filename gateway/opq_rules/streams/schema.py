"""Converts records to the declared columns of their stream.

Values convert as eKuiper's do: 5 in a FLOAT column is 5.0, 5.0 in BIGINT is 5, 4 in STRING is "4", 1 in
BOOLEAN is true, base64 text in BYTEA is bytes, text in DATETIME a datetime. Any other value makes the record
an error. With STRICT_VALIDATION so does a missing column without DEFAULT (null passes in ARRAY and STRUCT).
Without it numbers, and texts that are not a time, stay in DATETIME. Columns that are not declared stay.
Source: docs/reference/rules.md, Measured.

Records are never changed, because other rules may use them too: a converted record is a new one.
"""

import math
import re
from base64 import b64decode
from collections.abc import Callable, Collection
from datetime import datetime

from opq_rules.sql.syntax import Field, Type
from opq_rules.streams.definition import type_text
from opq_rules.values.batch import Row
from opq_rules.values.sql_values import NUMBERS, moment, shown, text

Convert = Callable[[object], object]
"""Converts a value that is not null to its type. Raises ValueError."""
Conform = Callable[[Row], Row]
_LARGEST = 2**63


def conforming(
    fields: tuple[Field, ...] | None,
    strict: bool = False,
    used: Collection[str] | None = None,
    of_text: bool = False,
) -> Conform | None:
    """A function that converts one record, or None where none is needed. If `strict` it raises ValueError.

    `of_text`: the format has nothing but texts (delimited, urlencoded), so that "5" is a BIGINT.
    `used`: columns that rules read, in any case of letters; the others are not checked. None: all are read.
    """
    names = None if used is None else {name.lower() for name in used}
    looked_at = [field for field in fields or () if names is None or field.name.lower() in names]
    columns = [
        (field.name, _EXACT.get(field.type.name), _Column(field, strict, of_text)) for field in looked_at
    ]
    if not columns:
        return None

    def conform(row: Row) -> Row:
        made = row
        for name, exact, column in columns:
            is_there = True
            try:
                value = made[name]
            except KeyError:
                key = column.other_case(made)
                is_there = key is not None
                value = None if key is None else made[key]
                if key is not None:
                    made = {name if other == key else other: each for other, each in made.items()}
            if type(value) is exact:
                if exact is int and not -_LARGEST <= value < _LARGEST:  # type: ignore[operator]
                    raise ValueError(f"column {name} is {shown(value)}, which does not fit into 64 bits")
                continue
            converted = column.converted(value, is_there)
            if converted is not value:
                if made is row:
                    made = row.copy()
                made[name] = converted
        return made

    return conform


class _Column:
    """One column's conversion."""

    __slots__ = ("_convert", "_default", "_lower", "_strict", "_type", "name")

    def __init__(self, field: Field, strict: bool, of_text: bool) -> None:
        self.name, self._lower, self._type = field.name, field.name.lower(), field.type
        self._strict, self._default = strict, field.default
        self._convert = converter(field.type, strict)
        if of_text and field.type.name in _OF_TEXT:
            self._convert = _OF_TEXT[field.type.name]

    def other_case(self, row: Row) -> str | None:
        """The key that differs only in the case of its letters."""
        return next((key for key in row if key.lower() == self._lower), None)

    def converted(self, value: object, is_there: bool) -> object:
        if value is None:
            if not self._strict or (is_there and self._type.name in ("array", "struct")):
                return None
            if self._default is None:
                raise ValueError(f"column {self.name} is missing; want {type_text(self._type)}")
            return self._default
        try:
            return self._convert(value)
        except (ValueError, TypeError, OverflowError):
            raise ValueError(f"column {self.name} is {shown(value)}; want {type_text(self._type)}") from None


def converter(kind: Type, strict: bool) -> Convert:
    """The conversion for a type, nested ones too."""
    if kind.name == "array" and kind.of is not None:
        return _array(kind.of, strict)
    if kind.name == "struct":
        return _struct(kind.fields, strict)
    if kind.name == "datetime" and not strict:
        return _datetime_or_ms
    return _SCALARS[kind.name]


def _array(of: Type, strict: bool) -> Convert:
    convert, exact = converter(of, strict), _EXACT.get(of.name)

    def to_array(value: object) -> object:
        if type(value) is not list:
            raise ValueError
        made = [each if type(each) is exact or each is None else convert(each) for each in value]
        return value if all(a is b for a, b in zip(value, made, strict=True)) else made

    return to_array


def _struct(fields: tuple[Field, ...], strict: bool) -> Convert:
    conform = conforming(fields, strict)

    def to_struct(value: object) -> object:
        if type(value) is not dict:
            raise ValueError
        return value if conform is None else conform(value)

    return to_struct


def _bigint(value: object) -> int:
    if type(value) is int and -_LARGEST <= value < _LARGEST:
        return value
    if type(value) is float and value.is_integer() and abs(value) < _LARGEST:
        return int(value)
    raise ValueError


def _float(value: object) -> float:
    if type(value) is int:
        found = float(value)
        if math.isfinite(found):
            return found
    elif type(value) is float:
        return value
    raise ValueError


def _string(value: object) -> str:
    if type(value) in (str, int, float, bool):
        return text(value)
    raise ValueError


def _boolean(value: object) -> bool:
    if type(value) is bool:
        return value
    if type(value) is int or type(value) is float:
        return bool(value)
    if type(value) is str and value.lower() in ("true", "false"):
        return value.lower() == "true"
    raise ValueError


def _datetime(value: object) -> datetime:
    return value if type(value) is datetime else moment(value)


def _datetime_or_ms(value: object) -> object:
    if type(value) in NUMBERS:
        return value
    try:
        return _datetime(value)
    except ValueError:
        if type(value) is str:
            return value
        raise


def _bytea(value: object) -> bytes:
    if type(value) is bytes:
        return value
    if type(value) is str:
        return b64decode(value, validate=True)
    raise ValueError


_SCALARS: dict[str, Convert] = {
    "bigint": _bigint,
    "float": _float,
    "string": _string,
    "boolean": _boolean,
    "datetime": _datetime,
    "bytea": _bytea,
}
_WHOLE = re.compile(r"[+-]?[0-9]{1,19}")
_NUMBER = re.compile(r"[+-]?(?:[0-9]{1,40}\.?[0-9]{0,40}|\.[0-9]{1,40})(?:[eE][+-]?[0-9]{1,3})?")


def _bigint_of_text(value: object) -> int:
    return _bigint(int(value) if type(value) is str and _WHOLE.fullmatch(value) else value)


def _float_of_text(value: object) -> float:
    found = _float(float(value) if type(value) is str and _NUMBER.fullmatch(value) else value)
    if not math.isfinite(found):
        raise ValueError
    return found


_OF_TEXT: dict[str, Convert] = {"bigint": _bigint_of_text, "float": _float_of_text}
_EXACT: dict[str, type] = {
    "bigint": int,
    "float": float,
    "string": str,
    "boolean": bool,
    "datetime": datetime,
    "bytea": bytes,
}
