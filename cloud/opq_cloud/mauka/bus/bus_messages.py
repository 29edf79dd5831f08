"""The messages of Mauka's bus: topics, frames and the few messages that we make.

A bus message is two frames, the topic (UTF-8) and a serialized `MaukaMessage`; a control
message is a plug-in's name and the literal `EXIT`. Source: docs/reference/opq-interop.md A.9, B.2, E.1.
"""

import json
import time
import uuid
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from google.protobuf.message import DecodeError
from numpy.typing import NDArray

from opq_proto.errors import FrameError
from opq_proto.measurement.invariants import is_name
from opq_proto.wire.mauka_pb2 import GcDomain, MaukaMessage, Payload, PayloadType

MAKAI_EVENT = "MakaiEvent"
HEARTBEAT = "heartbeat"
LAHA_GC = "laha_gc"
GC_STAT = "gc_stat"
ADC_SAMPLES = "AdcSamples"
RAW_VOLTAGE = "RawVoltage"
RMS_WINDOWED_VOLTAGE = "RmsWindowedVoltage"
WINDOWED_FREQUENCY = "windowed_frequency"

EXIT = b"EXIT"
MAX_SOURCE = 140
"""Letters of the name of who sends a message, at most."""
BRIDGE_SOURCE = "makai_event_bridge"

PROCESS = uuid.uuid4().hex
"""Names this process in its heartbeats: a plug-in of the same name elsewhere is another Mauka's."""
LARGEST_ID = 0xFFFF_FFFF
"""Event and incident ids are uint32 on the wire."""


def now_ms() -> int:
    """Returns UTC in milliseconds, the time stamp of a message; read again for each one."""
    return time.time_ns() // 1_000_000


def new_message(source: str) -> MaukaMessage:
    """Makes an empty message with the current time."""
    return MaukaMessage(timestamp_ms=now_ms(), source=source)


def makai_event(event_id: int, source: str = BRIDGE_SOURCE) -> MaukaMessage:
    """Announces that an event is in the store; `ValueError` when the id does not fit the wire format."""
    if not 1 <= event_id <= LARGEST_ID:
        raise ValueError(f"event id {event_id}; want 1 to {LARGEST_ID}")
    message = new_message(source)
    message.makai_event.event_id = event_id
    return message


def gc_update(domain: GcDomain, item_id: int, source: str) -> MaukaMessage:
    """States that a document is to be kept, with everything it is based on."""
    message = new_message(source)
    message.laha.gc_update.from_domain = domain
    message.laha.gc_update.id = item_id
    return message


def heartbeat(
    source: str, state: str, last_received_ms: int, handled: int, status: Mapping[str, object]
) -> MaukaMessage:
    """Makes a sign of life: `status` becomes the JSON of docs/reference/opq-interop.md E.2, `state` is IDLE
    or BUSY."""
    message = new_message(source)
    message.heartbeat.last_received_timestamp_ms = last_received_ms
    message.heartbeat.on_message_count = handled & LARGEST_ID
    message.heartbeat.status = json.dumps({**status, "process": PROCESS})
    message.heartbeat.plugin_state = state
    return message


def payload(
    event_id: int, box_id: str, data: NDArray[Any], kind: PayloadType, span_ms: tuple[int, int], source: str
) -> bytes:
    """Serializes numbers of one Box and event, for plug-ins of the original form.

    The packed doubles are appended as bytes: setting them one by one took 2 ms per second of
    waveform, twice what its analysis takes.
    """
    head = Payload(
        event_id=event_id,
        box_id=box_id,
        payload_type=kind,
        start_timestamp_ms=span_ms[0],
        end_timestamp_ms=span_ms[1],
    )
    doubles = np.asarray(data, dtype="<f8").tobytes()
    body = head.SerializeToString() + _field(Payload.DATA_FIELD_NUMBER, doubles)
    return new_message(source).SerializeToString() + _field(MaukaMessage.PAYLOAD_FIELD_NUMBER, body)


def _field(number: int, body: bytes) -> bytes:
    """Encodes a length-delimited field (wire type 2) of protobuf."""
    length, rest = bytearray(), len(body)
    while rest > 0x7F:
        length.append(rest & 0x7F | 0x80)
        rest >>= 7
    length.append(rest)
    return bytes([number << 3 | 2, *length]) + body


def read_topic(frames: Sequence[bytes]) -> tuple[str, bytes]:
    """Returns topic and body of a bus message; `FrameError` when it is not two frames with a UTF-8 topic."""
    if len(frames) != 2:
        raise FrameError(f"a bus message of {len(frames)} frames; want topic and body")
    try:
        return frames[0].decode(), frames[1]
    except UnicodeDecodeError as error:
        raise FrameError(f"a bus topic that is not UTF-8: {frames[0][:40]!r}") from error


def read_body(body: bytes) -> MaukaMessage:
    """Returns the message of a body; `FrameError` if the bytes are not one, or its source is not a name."""
    try:
        message = MaukaMessage.FromString(body)
    except DecodeError as error:
        raise FrameError(f"{len(body)} bytes on the bus are not a MaukaMessage") from error
    if message.source and not is_name(message.source, MAX_SOURCE):
        raise FrameError(
            f"a message on the bus of {message.source[:80]!r}; want a name of {MAX_SOURCE} letters at most"
        )
    return message
