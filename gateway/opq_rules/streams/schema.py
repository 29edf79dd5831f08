"""Converts records to the declared columns of their stream.

A value that converts without a guess is converted: 5 in a FLOAT column is 5.0, base64 text in BYTEA is bytes,
Unix ms or text in DATETIME a datetime, "5" in BIGINT 5. A value that cannot be converted stays as it came;
with STRICT_VALIDATION it makes the record an error, and so does a missing column without DEFAULT. Columns
that are not declared stay.

Records are never changed, because other rules may use them too: a converted record is a new one.
"""

import math
import re
from base64 import b64decode
from collections.abc import Callable, Collection
from datetime import datetime

import msgspec

from opq_rules.batch import Row
from opq_rules.sql.syntax import Field, Type
from opq_rules.streams.definition import type_text
from opq_rules.values import in_bigint, moment, shown

Convert = Callable[[object], object]
"""Converts a value that is not null to its type. Raises ValueError."""
Conform = Callable[[Row], Row]
_LARGEST = 2**63
_WHOLE = re.compile(r"[+-]?[0-9]{1,19}")
_NUMBER = re.compile(r"[+-]?(?:[0-9]{1,40}\.?[0-9]{0,40}|\.[0-9]{1,40})(?:[eE][+-]?[0-9]{1,3})?")


def conforming(
    fields: tuple[Field, ...] | None, strict: bool = False, used: Collection[str] | None = None
) -> Conform | None:
    """A function that converts one record, or None where none is needed. If `strict` it raises ValueError.

    `used`: columns that rules read, in any case of letters; the others are not checked. None: all are read.
    """
    names = None if used is None else {name.lower() for name in used}
    looked_at = [field for field in fields or () if names is None or field.name.lower() in names]
    columns = [(field.name, _EXACT.get(field.type.name), _Column(field, strict)) for field in looked_at]
    if not columns:
        return None

    def conform(row: Row) -> Row:
        made = row
        for name, exact, column in columns:
            try:
                value = made[name]
            except KeyError:
                key = column.other_case(made)
                value = None if key is None else made[key]
                if key is not None:
                    made = {name if other == key else other: each for other, each in made.items()}
            if type(value) is exact:
                if exact is int and not -_LARGEST <= value < _LARGEST:  # type: ignore[operator]
                    raise ValueError(f"column {name} is {shown(value)}, which does not fit into 64 bits")
                continue
            converted = column.converted(value)
            if converted is not value:
                if made is row:
                    made = row.copy()
                made[name] = converted
        return made

    return conform


class _Column:
    """One column's conversion."""

    __slots__ = ("_convert", "_default", "_lower", "_strict", "_type", "name")

    def __init__(self, field: Field, strict: bool) -> None:
        self.name, self._lower, self._type = field.name, field.name.lower(), field.type
        self._strict, self._default = strict, field.default
        self._convert = converter(field.type, strict)

    def other_case(self, row: Row) -> str | None:
        """The key that differs only in the case of its letters."""
        return next((key for key in row if key.lower() == self._lower), None)

    def converted(self, value: object) -> object:
        if value is None:
            if not self._strict:
                return None
            if self._default is None:
                raise ValueError(f"column {self.name} is missing; want {type_text(self._type)}")
            return self._default
        try:
            return self._convert(value)
        except (ValueError, TypeError, OverflowError):
            if not self._strict:
                return value
            raise ValueError(f"column {self.name} is {shown(value)}; want {type_text(self._type)}") from None


def converter(kind: Type, strict: bool) -> Convert:
    """The conversion for a type, nested ones too."""
    if kind.name == "array" and kind.of is not None:
        return _array(kind.of, strict)
    if kind.name == "struct":
        return _struct(kind.fields, strict)
    return _SCALARS[kind.name]


def _array(of: Type, strict: bool) -> Convert:
    convert, exact = converter(of, strict), _EXACT.get(of.name)

    def one(value: object) -> object:
        if type(value) is exact or value is None:
            return value
        try:
            return convert(value)
        except (ValueError, TypeError, OverflowError):
            if strict:
                raise
            return value

    def to_array(value: object) -> object:
        found = _from_json(value) if type(value) is str else value
        if type(found) is not list:
            raise ValueError
        made = [one(each) for each in found]
        return found if all(a is b for a, b in zip(found, made, strict=True)) else made

    return to_array


def _struct(fields: tuple[Field, ...], strict: bool) -> Convert:
    conform = conforming(fields, strict)

    def to_struct(value: object) -> object:
        found = _from_json(value) if type(value) is str else value
        if type(found) is not dict:
            raise ValueError
        return found if conform is None else conform(found)

    return to_struct


def _from_json(text: str) -> object:
    try:
        return msgspec.json.decode(text)
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        raise ValueError(str(error)) from None


def _bigint(value: object) -> int:
    if type(value) is int:
        return value
    if type(value) is float and value.is_integer() and abs(value) < _LARGEST:
        return int(value)
    if type(value) is str and _WHOLE.fullmatch(value) and in_bigint(int(value)):
        return int(value)
    raise ValueError


def _float(value: object) -> float:
    if type(value) is int or (type(value) is str and _NUMBER.fullmatch(value)):
        found = float(value)
        if math.isfinite(found):
            return found
    elif type(value) is float:
        return value
    raise ValueError


def _string(value: object) -> str:
    if type(value) is str:
        return value
    raise ValueError


def _boolean(value: object) -> bool:
    if type(value) is bool:
        return value
    if type(value) is str and value.lower() in ("true", "false"):
        return value.lower() == "true"
    raise ValueError


def _datetime(value: object) -> datetime:
    return value if type(value) is datetime else moment(value)


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
_EXACT: dict[str, type] = {
    "bigint": int,
    "float": float,
    "string": str,
    "boolean": bool,
    "datetime": datetime,
    "bytea": bytes,
}
