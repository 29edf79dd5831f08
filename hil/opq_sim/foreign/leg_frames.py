"""Frames of the original's C++ generation (LEG), byte by byte: docs/reference/opq-interop.md A.3 to A.5 and
B.3.

Numbers in brackets are those of opq.proto (proto2: a required field is written also when it is zero).
"""

from collections.abc import Sequence
from dataclasses import dataclass

from opq_sim.foreign.protobuf_bytes import (
    bytes_field,
    float_field,
    read_fields,
    unpacked_samples,
    varint_field,
    whole_number,
)

# Values of RequestDataMessage.type.
PING = 1
PONG = 2
READ = 3
RESP = 4
ERROR = 5

LEG_TOPIC = b"evget"
"""Frame 0 of messages from the broker to all Boxes."""


def leg_topic(box_id: int) -> bytes:
    """Decimal, not padded."""
    return f"{box_id}".encode("ascii")


def leg_trigger(
    box_id: int,
    time_ms: int,
    frequency_hz: float,
    rms_v: float,
    thd: float | None = None,
) -> bytes:
    """TriggerMessage: id [1], time [2], frequency [3], rms [4], thd [5], last_gps [6], current_count [7]."""
    return (
        varint_field(1, box_id, presence=True)
        + varint_field(2, time_ms, presence=True)
        + float_field(3, frequency_hz, presence=True)
        + float_field(4, rms_v, presence=True)
        + (b"" if thd is None else float_field(5, thd, presence=True))
        + varint_field(6, 0, presence=True)
        + varint_field(7, 0, presence=True)
    )


def leg_cycle(time_ms: int, counts: Sequence[int]) -> bytes:
    """Cycle: time [1], data [2] unpacked, last_gps [3], current_count [4]."""
    return (
        varint_field(1, time_ms, presence=True)
        + unpacked_samples(2, counts)
        + varint_field(3, 0, presence=True)
        + varint_field(4, 0, presence=True)
    )


def leg_data(box_id: int, cycles: Sequence[bytes]) -> bytes:
    """DataMessage: id [1], cycles [3] (2 is unused)."""
    body = b"".join(bytes_field(3, cycle, presence=True) for cycle in cycles)
    return varint_field(1, box_id, presence=True) + body


def leg_answer(kind: int, sequence_number: int, box_id: int, time_ms: int, num_cycles: int = 0) -> bytes:
    """RequestDataMessage of a Box: type [1], sequence_number [2], boxId [3], time [4], num_cycles [7]."""
    return (
        varint_field(1, kind, presence=True)
        + varint_field(2, sequence_number, presence=True)
        + varint_field(3, box_id, presence=True)
        + varint_field(4, time_ms, presence=True)
        + (varint_field(7, num_cycles) if kind == RESP else b"")
    )


@dataclass(frozen=True, slots=True)
class LegRequest:
    """The parts of a RequestDataMessage for a Box: type [1], sequence_number [2], back [5], forward [6]."""

    kind: int
    sequence_number: int
    back_ms: int = 0
    forward_ms: int = 0


def read_leg_request(data: bytes) -> LegRequest | None:
    """Reads a RequestDataMessage; None if a required field is missing, as proto2 refuses it.

    Raises:
        ProtobufError: it is not a message.
    """
    found = dict(read_fields(data))
    if 1 not in found or 2 not in found:
        return None
    return LegRequest(*(whole_number(found.get(number, 0)) for number in (1, 2, 5, 6)))
