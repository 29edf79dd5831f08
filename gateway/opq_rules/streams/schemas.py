"""Messages of protobuf, `schema.Message`: those of the Boxes and of the original's services."""

from collections.abc import Mapping

from google.protobuf.message import Message

from opq_proto.wire import mauka_pb2, opq_pb2, opqbox3_pb2

MESSAGES: Mapping[str, type[Message]] = {
    f"{schema}.{name}": getattr(module, name)
    for schema, module in (("opq", opq_pb2), ("opqbox3", opqbox3_pb2), ("mauka", mauka_pb2))
    for name, found in module.DESCRIPTOR.message_types_by_name.items()
    if found.fields
}


def message_class(schema_id: str) -> type[Message]:
    """The class of a message. Raises ValueError that lists those that there are."""
    found = MESSAGES.get(schema_id)
    if found is None:
        there = ", ".join(sorted(MESSAGES))
        instead = "schemas of one's own were removed; send JSON, or write a plug-in of kind source or sink"
        raise ValueError(f"unknown schema {schema_id[:200]}; there are {there}; {instead}")
    return found
