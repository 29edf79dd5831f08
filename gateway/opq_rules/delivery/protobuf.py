"""Writes a row as a message of protobuf: columns by the fields' names; columns without a field are left out.

It accepts what reading a message gives: enums by name, maps with text keys, bytes (or their base64).
"""

import base64
from collections.abc import Callable, Mapping
from typing import Any

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import EncodeError, Message

from opq_rules.values.sql_values import whole_as_int

_WHOLE = frozenset(
    getattr(FieldDescriptor, f"CPPTYPE_{name}") for name in ("INT32", "INT64", "UINT32", "UINT64")
)
_BROKEN = frozenset({FieldDescriptor.CPPTYPE_FLOAT, FieldDescriptor.CPPTYPE_DOUBLE})
_BOOLEANS = {"true": True, "false": False}


def writer(message_class: type[Message]) -> Callable[[object], bytes]:
    """A function row -> payload. It raises ValueError that names the column, and what the field takes."""
    descriptor: Any = message_class.DESCRIPTOR
    name = descriptor.full_name
    known = frozenset(field.name for field in descriptor.fields)

    def write(row: object) -> bytes:
        if not isinstance(row, Mapping):
            raise ValueError(f"a message {name} needs one row, not {type(row).__name__}")
        if row and known and known.isdisjoint(row):
            raise ValueError(f"none of the columns {', '.join(map(str, row))} is a field of {name}"[:300])
        message = message_class()
        try:
            _fill(message, row)
            return bytes(message.SerializeToString())
        except EncodeError as error:
            raise ValueError(f"not a {name}: {error}") from None
        except RecursionError:
            raise ValueError(f"not a {name}: too many nested objects") from None

    return write


def _fill(message: Any, row: object) -> None:
    fields = message.DESCRIPTOR.fields_by_name
    for column, value in _object(row).items():
        field = fields.get(column)
        if field is None or value is None:
            continue
        try:
            _put(message, field, value)
        except (ValueError, TypeError, OverflowError) as error:
            raise ValueError(f"{column}: {error}"[:300]) from None


def _put(message: Any, field: Any, value: object) -> None:
    inside = getattr(message, field.name)
    if field.message_type is None and not field.is_repeated:
        setattr(message, field.name, _scalar(field, value))
    elif field.message_type is None:
        inside.extend([_scalar(field, each) for each in _array(value)])
    elif field.message_type.GetOptions().map_entry:
        _put_entries(inside, field.message_type.fields_by_name, _object(value))
    elif field.is_repeated:
        for each in _array(value):
            _fill(inside.add(), each)
    else:
        inside.SetInParent()
        _fill(inside, value)


def _put_entries(entries: Any, pair: Any, given: Mapping[str, object]) -> None:
    """Fills a map. `pair`: the fields of its entries, "key" and "value"."""
    for text, each in given.items():
        key = _key(pair["key"], text)
        if each is None:
            continue
        if pair["value"].message_type is not None:
            _fill(entries[key], each)
        else:
            entries[key] = _scalar(pair["value"], each)


def _key(field: Any, text: str) -> object:
    if field.cpp_type in _WHOLE:
        return int(text)
    return _BOOLEANS[text.lower()] if field.cpp_type == FieldDescriptor.CPPTYPE_BOOL else text


def _scalar(field: Any, value: object) -> object:
    kind = field.cpp_type
    if field.enum_type is not None:
        names = field.enum_type.values_by_name
        wanted = f"one of {', '.join(names)}"
        value = names[value].number if isinstance(value, str) and value in names else value
        fits = isinstance(value, int) and not isinstance(value, bool)
    elif kind in _WHOLE:
        value, wanted = whole_as_int(value), "a whole number"
        fits = isinstance(value, int) and not isinstance(value, bool)
    elif kind in _BROKEN:
        fits, wanted = isinstance(value, int | float) and not isinstance(value, bool), "a number"
    elif kind == FieldDescriptor.CPPTYPE_BOOL:
        fits, wanted = isinstance(value, bool), "true or false"
    elif field.type == FieldDescriptor.TYPE_BYTES:
        value = _bytes_of(value) if isinstance(value, str) else value
        fits, wanted = isinstance(value, bytes), "bytes"
    else:
        fits, wanted = isinstance(value, str), "a text"
    if not fits:
        raise ValueError(f"is {value!r}; want {wanted}")
    return value


def _bytes_of(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except ValueError:
        raise ValueError("is text that is not base64; want bytes") from None


def _object(value: object) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise ValueError(f"want an object, not {type(value).__name__}")
    return value


def _array(value: object) -> list[object]:
    if not isinstance(value, list):
        raise ValueError(f"want an array, not {type(value).__name__}")
    return value
