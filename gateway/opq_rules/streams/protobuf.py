"""Protobuf frames of the Boxes and of the original's services as records: SCHEMAID `opqbox3.Measurement`.

The schemas are ours, built in. Fields keep their names in the .proto file; what is not set and knows it is
left out; enums are told by name; a float of 32 bits is the shortest number that means it.
"""

from collections.abc import Callable
from functools import cache
from types import ModuleType
from typing import Any

import numpy as np
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import DecodeError, Message

from opq_proto import mauka_pb2, opq_pb2, opqbox3_pb2

Read = Callable[[Any], Any]
_FILES: dict[str, ModuleType] = {"opq": opq_pb2, "opqbox3": opqbox3_pb2, "mauka": mauka_pb2}


@cache
def schemas() -> dict[str, type[Message]]:
    """`file.Message` -> its class, for every message that has fields."""
    return {
        f"{file}.{name}": getattr(module, name)
        for file, module in _FILES.items()
        for name, found in module.DESCRIPTOR.message_types_by_name.items()
        if found.fields
    }


def reader(schema_id: str) -> Callable[[bytes], dict[str, Any]]:
    """Payload -> record. It raises ValueError for what is no such message."""
    message_class = schemas()[schema_id]
    to_row = _message(message_class.DESCRIPTOR)

    def read(payload: bytes) -> dict[str, Any]:
        message: Any = message_class()
        try:
            message.ParseFromString(payload)
        except DecodeError as error:
            raise ValueError(f"no {schema_id}: {error}") from None
        if not message.IsInitialized():
            missing = ", ".join(message.FindInitializationErrors())
            raise ValueError(f"no {schema_id}: {missing} missing")
        row: dict[str, Any] = to_row(message)
        return row

    return read


def _message(descriptor: Any) -> Read:
    """Of messages that hold no message of their own kind, which ours do not."""
    fields = [(field.name, field.has_presence, _field(field)) for field in descriptor.fields]

    def read(message: Any) -> dict[str, Any]:
        return {
            name: to_value(getattr(message, name))
            for name, can_lack, to_value in fields
            if not can_lack or message.HasField(name)
        }

    return read


def _field(field: FieldDescriptor) -> Read:
    kind = field.message_type
    if kind is not None and kind.GetOptions().map_entry:
        key, value = _value(kind.fields_by_name["key"]), _value(kind.fields_by_name["value"])
        return lambda found: {str(key(name)): value(found[name]) for name in found}
    one = _value(field)
    if field.is_repeated:
        return lambda found: [one(each) for each in found]
    return one


def _value(field: FieldDescriptor) -> Read:
    if field.message_type is not None:
        return _message(field.message_type)
    if field.enum_type is not None:
        names = {value.number: value.name for value in field.enum_type.values}
        return lambda number: names.get(number, number)
    if field.type == FieldDescriptor.TYPE_FLOAT:
        return _shortest
    return _same


def _shortest(value: float) -> float:
    return float(str(np.float32(value)))


def _same(value: Any) -> Any:
    return value
