"""Converts messages of the original's C++ generation (LEG, opq.proto) to and from those of today's.

A message shows whether it is LEG. A TriggerMessage has floats where a Measurement has a map, a
RequestEventMessage has a double where a Command has a text, and an answer lacks a Response's one-of.
Unreadable bytes raise FrameError and nothing else. Source: docs/reference/opq-interop.md A.3 to A.5, B.3.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite
from typing import TypeVar

from google.protobuf.message import DecodeError

from opq_proto.errors import FrameError
from opq_proto.kit.plain_text import one_line
from opq_proto.wire.opq_pb2 import DataMessage, RequestDataMessage, RequestEventMessage, TriggerMessage
from opq_proto.wire.opqbox3_pb2 import Cycle, Measurement, Response
from opq_proto.wire.waveforms import CYCLE_SAMPLES

LEG_TOPIC = b"evget"
"""Frame 0 of every command to LEG Boxes."""
NEW_EVENT = b"evnew"
"""Frame 0 on 9899 that announces a requested event; frame 1 is its number in decimal."""
LARGEST_TIME_MS = 2**62 // 1_000_000
LONGEST_SPAN_MS = 120_000
"""Longest span of one answer of a Box."""
MAX_CYCLES = 7200
"""120 s at 60 Hz."""
MAX_BOXES = 1000
"""Boxes that one RequestEventMessage may name."""
MAX_TEXT = 1000
LARGEST_TRIGGER_BYTES = 70
"""A TriggerMessage is no longer: five numbers and three floats."""

Message = TypeVar("Message", DataMessage, RequestDataMessage, RequestEventMessage, TriggerMessage)


@dataclass(frozen=True, slots=True)
class EventRequest:
    """A RequestEventMessage."""

    start_ms: int
    end_ms: int
    trigger: str
    percent: float
    box_ids: tuple[str, ...]
    requestee: str
    description: str
    wants_data: bool
    """False where the event is only stored, without samples."""


@dataclass(frozen=True, slots=True)
class LegAnswer:
    """The first frame of a LEG Box's answer."""

    kind: int
    """RequestDataMessage.PONG, RESP or ERROR."""
    number: int
    box_id: str | None
    """None where the answer names no Box; its key then identifies the Box."""
    time_ms: int


def is_trigger_message(data: bytes) -> bool:
    """Whether this is a TriggerMessage: no Measurement has 4-byte fields 3 and 4."""
    return len(data) <= LARGEST_TRIGGER_BYTES and _parsed(TriggerMessage, data) is not None


def measurement_from_trigger(data: bytes) -> bytes:
    """Converts a TriggerMessage to the Measurement that a Box of today would have sent.

    A LEG Box sends one value per metric, which becomes minimum, maximum and average. A frequency of 0 means
    that it has none yet, and is left out; GPS counters are dropped.

    Raises:
        FrameError: it is not a TriggerMessage, or its id or time is impossible.
    """
    trigger = _parsed(TriggerMessage, data)
    if trigger is None:
        raise FrameError("the frame is not a TriggerMessage")
    if trigger.id < 0 or not 0 <= trigger.time < LARGEST_TIME_MS:
        raise FrameError(f"TriggerMessage of Box {trigger.id} with an impossible id or time")
    made = Measurement(box_id=trigger.id, timestamp_ms=trigger.time)
    values = {"rms": trigger.rms}
    if trigger.frequency > 0:
        values["f"] = trigger.frequency
    if trigger.HasField("thd"):
        values["thd"] = trigger.thd
    for key, value in values.items():
        if isfinite(value):
            metric = made.metrics[key]
            metric.min = metric.max = metric.average = value
    return made.SerializeToString()


def read_event_request(data: bytes) -> EventRequest | None:
    """Reads a RequestEventMessage; None where this is something else (a Command).

    Raises:
        FrameError: it requests an impossible span or impossible Boxes.
    """
    if b"\x21" not in data:  # percent_magnitude, which is required
        return None
    message = _parsed(RequestEventMessage, data)
    if message is None:
        return None
    start_ms, end_ms = message.start_timestamp_ms_utc, message.end_timestamp_ms_utc
    if not 0 < start_ms < end_ms < LARGEST_TIME_MS or end_ms - start_ms > LONGEST_SPAN_MS:
        raise FrameError(f"RequestEventMessage for {start_ms} to {end_ms}; want up to {LONGEST_SPAN_MS} ms")
    boxes = tuple(dict.fromkeys(str(box_id) for box_id in message.box_ids))
    if len(boxes) > MAX_BOXES or any(box_id.startswith("-") for box_id in boxes):
        raise FrameError(f"RequestEventMessage with {len(boxes)} Boxes; want ids from 0, {MAX_BOXES} at most")
    return EventRequest(
        start_ms,
        end_ms,
        RequestEventMessage.TriggerType.Name(message.trigger_type),
        message.percent_magnitude,
        boxes,
        _text(message.requestee),
        _text(message.description),
        message.request_data,
    )


def is_new_event(frames: Sequence[bytes]) -> bool:
    """Whether these frames announce the number of a requested event, and nothing more."""
    return len(frames) == 2 and frames[0] == NEW_EVENT and len(frames[1]) <= 20 and frames[1].isdigit()


def leg_read(number: int, start_ms: int, end_ms: int) -> list[bytes]:
    """Returns READ for the LEG Boxes, which requests the samples of [start_ms, end_ms] under a number.

    Raises:
        FrameError: the times do not fit the wire.
    """
    try:
        request = RequestDataMessage(
            type=RequestDataMessage.READ,
            sequence_number=number,
            time=(start_ms + end_ms) // 2,
            back=start_ms,
            forward=end_ms,
        )
    except ValueError as error:
        raise FrameError(f"READ {start_ms}..{end_ms} does not fit the wire: {error}") from error
    return [LEG_TOPIC, request.SerializeToString()]


def leg_ping(number: int) -> list[bytes]:
    """Returns PING for the LEG Boxes, which make their command sockets again after 60 s without any."""
    request = RequestDataMessage(type=RequestDataMessage.PING, sequence_number=number)
    return [LEG_TOPIC, request.SerializeToString()]


def read_leg_answer(data: bytes) -> LegAnswer | None:
    """Reads PONG, RESP or ERROR; None where this is something else (a Response)."""
    message = _parsed(RequestDataMessage, data)
    if message is None or _is_response(data):  # a Response of Box 2, 4 or 5 has its id where the type is
        return None
    if message.type not in (RequestDataMessage.PONG, RequestDataMessage.RESP, RequestDataMessage.ERROR):
        return None
    box_id = str(message.boxId) if message.HasField("boxId") else None
    return LegAnswer(message.type, message.sequence_number, box_id, message.time)


def response_from_leg(answer: LegAnswer, box_id: str, frames: Sequence[bytes]) -> list[bytes]:
    """Converts a RESP with its DataMessages, or an ERROR, to the Response and Cycles of a Box of today.

    Raises:
        FrameError: a frame is not a DataMessage of that Box, or its cycles are too many, do not have 200
            counts of 16 bits, or have an impossible time. They need not rise in time: a clock may be set.
    """
    cycles: list[Cycle] = []
    for frame in frames if answer.kind == RequestDataMessage.RESP else ():
        message = _parsed(DataMessage, frame)
        if message is None:
            raise FrameError(f"Box {box_id}: a frame that is not a DataMessage")
        if str(message.id) != box_id:
            raise FrameError(f"Box {box_id}: DataMessage of Box {message.id}")
        if len(cycles) + len(message.cycles) > MAX_CYCLES:
            raise FrameError(f"Box {box_id}: more than {MAX_CYCLES} cycles")
        for each in message.cycles:
            cycles.append(_cycle(box_id, each.time, each.data))
    response = Response(box_id=int(box_id), seq=answer.number, timestamp_ms=answer.time_ms)
    response.get_data_response.SetInParent()
    if cycles:
        response.get_data_response.start_ts = cycles[0].timestamp_ms
        response.get_data_response.end_ts = cycles[-1].timestamp_ms
    return [response.SerializeToString(), *(cycle.SerializeToString() for cycle in cycles)]


def _cycle(box_id: str, time_ms: int, counts: Sequence[int]) -> Cycle:
    if len(counts) != CYCLE_SAMPLES or min(counts) < -32768 or max(counts) > 32767:
        raise FrameError(f"Box {box_id}: a cycle of {len(counts)} counts; want {CYCLE_SAMPLES} of 16 bits")
    if not 0 <= time_ms < LARGEST_TIME_MS:
        raise FrameError(f"Box {box_id}: cycle at the impossible time {time_ms} ms")
    return Cycle(datapoints=counts, timestamp_ms=time_ms)


def _text(found: str | bytes) -> str:
    """Returns a text as one line, cut; proto2 gives bytes where it is not UTF-8."""
    text = found if isinstance(found, str) else found.decode(errors="replace")
    return one_line(text[:MAX_TEXT])


def _is_response(data: bytes) -> bool:
    response = Response()
    try:
        response.ParseFromString(data)
    except (DecodeError, ValueError):
        return False
    return response.WhichOneof("response") is not None


def _parsed(kind: type[Message], data: bytes) -> Message | None:
    """Parses a message; None where it is another one or lacks a field that proto2 requires."""
    message = kind()
    try:
        message.ParseFromString(data)
    except (DecodeError, ValueError):
        return None
    return message if message.IsInitialized() else None
