"""What several tests of this room need: a reader that knows the original's fields only."""

from typing import Any

import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

from opq_proto import opqbox3_pb2


@pytest.fixture(scope="session")
def original() -> dict[str, Any]:
    """Message classes by name, from a descriptor without our fields (numbers from 1000 on)."""
    file = descriptor_pb2.FileDescriptorProto()
    opqbox3_pb2.DESCRIPTOR.CopyToProto(file)
    for message in file.message_type:
        kept = [field for field in message.field if field.number < 1000]
        used = sorted({field.oneof_index for field in kept if field.HasField("oneof_index")})
        oneofs = [message.oneof_decl[index] for index in used]
        for field in kept:
            if field.HasField("oneof_index"):
                field.oneof_index = used.index(field.oneof_index)
        del message.field[:], message.oneof_decl[:]
        message.field.extend(kept)
        message.oneof_decl.extend(oneofs)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return {
        name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"opq.opqbox3.{name}"))
        for name in ("Measurement", "Cycle", "Response", "Command")
    }
