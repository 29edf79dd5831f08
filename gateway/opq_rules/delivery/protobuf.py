"""Writes a row as a message of protobuf: columns by the fields' names; columns without a field are left out.

It accepts the values that reading a message gives: enums by name, maps with text keys, bytes (or their
base64).
"""

import base64
import binascii
from collections.abc import Callable, Mapping
from typing import Any

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import EncodeError, Message

Fill = Callable[[Any, object], None]
"""(message, value of the row): sets the field."""
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
    fill = _message(descriptor, {})

    def write(row: object) -> bytes:
        if not isinstance(row, Mapping):
            raise ValueError(f"a {name} is made of one row, not of {type(row).__name__}")
        if row and known and known.isdisjoint(row):
            raise ValueError(f"no column of {', '.join(map(str, row))} is a field of {name}"[:300])
        message = message_class()
        try:
            fill(message, row)
            return bytes(message.SerializeToString())
        except EncodeError as error:
            raise ValueError(f"no {name}: {error}") from None
        except RecursionError:
            raise ValueError(f"no {name}: too many nested objects") from None

    return write


def _message(descriptor: Descriptor, made: dict[str, Fill]) -> Fill:
    """`made`: writers by the message's name; a recursive message finds the unfinished one there."""
    name = descriptor.full_name
    if name in made:
        return made[name]

    def later(message: Any, row: object) -> None:
        made[name](message, row)

    made[name] = later
    fields = {field.name: _field(field, made) for field in descriptor.fields}

    def fill(message: Any, row: object) -> None:
        if not isinstance(row, Mapping):
            raise ValueError(f"want an object, not {type(row).__name__}")
        for column, value in row.items():
            put = fields.get(column)
            if put is None or value is None:
                continue
            try:
                put(message, value)
            except (ValueError, TypeError, OverflowError) as error:
                raise ValueError(f"{column}: {error}"[:300]) from None

    made[name] = fill
    return fill


def _field(field: FieldDescriptor, made: dict[str, Fill]) -> Fill:
    name, kind = field.name, field.message_type
    if kind is not None and kind.GetOptions().map_entry:
        return _map(name, kind, made)
    if kind is not None:
        return _submessage(field, _message(kind, made))
    one = _scalar(field)
    if field.is_repeated:

        def extend(message: Any, value: object) -> None:
            getattr(message, name).extend([one(each) for each in _list(value)])

        return extend
    return lambda message, value: setattr(message, name, one(value))


def _submessage(field: FieldDescriptor, fill: Fill) -> Fill:
    name = field.name

    def add(message: Any, value: object) -> None:
        for each in _list(value):
            fill(getattr(message, name).add(), each)

    def set_one(message: Any, value: object) -> None:
        inner = getattr(message, name)
        inner.SetInParent()
        fill(inner, value)

    return add if field.is_repeated else set_one


def _map(name: str, kind: Descriptor, made: dict[str, Fill]) -> Fill:
    key_field, value_field = kind.fields_by_name["key"], kind.fields_by_name["value"]
    key = _key(key_field)
    fill = _message(value_field.message_type, made) if value_field.message_type is not None else None
    one = _scalar(value_field) if fill is None else None

    def put(message: Any, value: object) -> None:
        if not isinstance(value, Mapping):
            raise ValueError(f"want an object, not {type(value).__name__}")
        entries = getattr(message, name)
        for text, each in value.items():
            if each is None:
                continue
            if fill is not None:
                fill(entries[key(text)], each)
            elif one is not None:
                entries[key(text)] = one(each)

    return put


def _key(field: FieldDescriptor) -> Callable[[str], object]:
    if field.cpp_type in _WHOLE:
        return int
    if field.cpp_type == FieldDescriptor.CPPTYPE_BOOL:
        return lambda text: _BOOLEANS[text.lower()]
    return str


def _scalar(field: FieldDescriptor) -> Callable[[object], object]:
    if field.enum_type is not None:
        numbers = {value.name: value.number for value in field.enum_type.values}
        return lambda value: _enum(value, numbers)
    if field.cpp_type in _WHOLE:
        return _whole
    if field.cpp_type in _BROKEN:
        return _number
    if field.cpp_type == FieldDescriptor.CPPTYPE_BOOL:
        return _boolean
    return _bytes if field.type == FieldDescriptor.TYPE_BYTES else _text


def _list(value: object) -> list[object]:
    if not isinstance(value, list):
        raise ValueError(f"want an array, not {type(value).__name__}")
    return value


def _enum(value: object, numbers: Mapping[str, int]) -> int:
    if isinstance(value, str) and value in numbers:
        return numbers[value]
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    raise ValueError(f"is {value!r}; want one of {', '.join(numbers)}")


def _whole(value: object) -> int:
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    raise ValueError(f"is {value!r}; want a whole number")


def _number(value: object) -> float:
    if isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    raise ValueError(f"is {value!r}; want a number")


def _boolean(value: object) -> bool:
    if isinstance(value, bool):
        return value
    raise ValueError(f"is {value!r}; want true or false")


def _text(value: object) -> str:
    if isinstance(value, str):
        return value
    raise ValueError(f"is {value!r}; want a text")


def _bytes(value: object) -> bytes:
    if isinstance(value, str):
        try:
            return base64.b64decode(value, validate=True)
        except (binascii.Error, ValueError):
            raise ValueError("is a text and no base64; want bytes") from None
    if isinstance(value, bytes):
        return value
    raise ValueError(f"is {value!r}; want bytes")
