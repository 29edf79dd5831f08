"""What several tests of this room need: a reader that knows the original's fields only; damaged messages."""

import random
from collections.abc import Callable
from typing import Any

import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

from opq_proto.wire import opqbox3_pb2


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


@pytest.fixture
def damaged() -> Callable[[bytes], bytes]:
    """Returns a message with bytes changed, cut off, doubled or added; the same ones in each run."""
    draw = random.Random(17)

    def made(data: bytes) -> bytes:
        found = bytearray(data)
        for _ in range(draw.randint(1, 6)):
            at = draw.randrange(len(found) + 1)
            match draw.randrange(4):
                case 0 if at < len(found):
                    found[at] = draw.randrange(256)
                case 1:
                    del found[at:]
                case 2:
                    found[at:at] = draw.randbytes(draw.randint(1, 9))
                case _:
                    found[at:at] = found[at : at + draw.randint(1, 30)]
        return bytes(found) if draw.random() < 0.97 else draw.randbytes(draw.randrange(60))

    return made
