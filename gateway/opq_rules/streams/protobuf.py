"""FORMAT protobuf: messages `schema.Message` of Boxes and of the original's services, and their reader."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import DecodeError, Message

from opq_proto.wire import mauka_pb2, opq_pb2, opqbox3_pb2
from opq_rules.values.batch import JsonObject

Read = Callable[[Any], Any]

MESSAGES: Mapping[str, type[Message]] = {
    f"{schema}.{name}": getattr(module, name)
    for schema, module in (("opq", opq_pb2), ("opqbox3", opqbox3_pb2), ("mauka", mauka_pb2))
    for name, found in module.DESCRIPTOR.message_types_by_name.items()
    if found.fields
}


def message_class(schema_id: str) -> type[Message]:
    """The class of a message. Raises ValueError with the known messages if it is unknown."""
    found = MESSAGES.get(schema_id)
    if found is None:
        there = ", ".join(sorted(MESSAGES))
        instead = "for another schema send JSON, or write a plug-in of kind source or sink"
        raise ValueError(f"unknown schema {schema_id[:200]}; there are {there}; {instead}")
    return found


def protobuf_reader(message_class: type[Message]) -> Callable[[bytes], JsonObject]:
    """A function payload -> record. It raises ValueError if it is not such a message."""
    descriptor: Any = message_class.DESCRIPTOR
    name = descriptor.full_name
    to_row = _message(descriptor, {})

    def read(payload: bytes) -> JsonObject:
        message: Any = message_class()
        try:
            message.ParseFromString(payload)
            if not message.IsInitialized():
                missing = ", ".join(message.FindInitializationErrors())
                raise ValueError(f"not a {name}: {missing} missing")
            row: JsonObject = to_row(message)
        except DecodeError as error:
            raise ValueError(f"not a {name}: {error}") from None
        except RecursionError:
            raise ValueError(f"not a {name}: too many nested messages") from None
        return row

    return read


def _message(descriptor: Descriptor, made: dict[str, Read]) -> Read:
    """`made`: readers by the message's name; a recursive message finds the unfinished one there."""
    name = descriptor.full_name
    if name in made:
        return made[name]

    def later(message: Any) -> object:
        return made[name](message)

    made[name] = later
    fields = [(field.name, field.has_presence, _field(field, made)) for field in descriptor.fields]

    def read(message: Any) -> JsonObject:
        return {
            name: to_value(getattr(message, name))
            for name, can_lack, to_value in fields
            if not can_lack or message.HasField(name)
        }

    made[name] = read
    return read


def _field(field: FieldDescriptor, made: dict[str, Read]) -> Read:
    kind = field.message_type
    if kind is not None and kind.GetOptions().map_entry:
        key, value = _value(kind.fields_by_name["key"], made), _value(kind.fields_by_name["value"], made)
        return lambda found: {str(key(name)): value(found[name]) for name in found}
    one = _value(field, made)
    if field.is_repeated:
        return lambda found: [one(each) for each in found]
    return one


def _value(field: FieldDescriptor, made: dict[str, Read]) -> Read:
    if field.message_type is not None:
        return _message(field.message_type, made)
    if field.enum_type is not None:
        names = {value.number: value.name for value in field.enum_type.values}
        return lambda number: names.get(number, number)
    if field.type == FieldDescriptor.TYPE_FLOAT:
        return _shortest
    return _same


def _shortest(value: float) -> float:
    return float(str(np.float32(value)))


def _same(value: object) -> object:
    return value
