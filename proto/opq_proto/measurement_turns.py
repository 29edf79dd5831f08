"""Many Measurements as one message: from our triggering broker to those of our services that read all.

To send and to receive a message costs more than all else that is done with it. A subscriber whose connection
says `X-opq-turns` in its metadata (ZMTP 3.1, "The READY command") gets turns for the topic "". Nobody else
sees one, and to a broker that knows no turns it is a subscriber as any.

A turn is one frame, for each frame costs about as much as a Measurement:

    topic           TURN, or PRESSING: what Boxes sent of which one Measurement may not wait
    count, length   how many Measurements, and bytes of their topics; uint32 little-endian
    sizes           of the bodies, uint32 little-endian each
    topics          of the Boxes, in the same order, a blank between two
    bodies          one after the other
"""

import struct
from collections.abc import Sequence

import zmq

from opq_proto.zmq_inbox import waiting_messages

PREFIX = b"turn"
TURN, PRESSING = PREFIX + b".", PREFIX + b"!"
DIGITS = tuple(b"%d" % digit for digit in range(10))
"""What the topics of Boxes begin with: all of them, and no turn."""
_PROPERTY = "X-opq-turns"
_LENGTHS = struct.Struct("<II")
_SIZES = len(TURN) + _LENGTHS.size


def ask_for_turns(socket: "zmq.Socket[bytes]") -> None:
    """Before a SUB connects."""
    socket.setsockopt(zmq.METADATA, _PROPERTY.encode() + b":1")


def heard_topics(first: zmq.Frame, topic: bytes) -> tuple[Sequence[bytes], bool]:
    """What a subscriber hears that asks for this topic, and whether that is turns. first: what it sent."""
    if topic:
        return (topic,), False
    try:
        turns = bool(first.get(_PROPERTY))
    except zmq.ZMQError:
        turns = False
    return ((PREFIX,), True) if turns else (DIGITS, False)


def turn_message(messages: Sequence[Sequence[bytes]], pressing: bool) -> bytes:
    """messages: each a topic and a Measurement; what else they have does not go on."""
    bodies = [frames[1] for frames in messages]
    topics = b" ".join([frames[0] for frames in messages])
    sizes = struct.pack(f"<{len(bodies) + 2}I", len(bodies), len(topics), *map(len, bodies))
    return b"".join((PRESSING if pressing else TURN, sizes, topics, *bodies))


def waiting_measurements(
    socket: "zmq.Socket[bytes]", limit: int
) -> tuple[list[list[bytes]], list[list[bytes]], bool]:
    """What waits, some `limit` of Measurements at most.

    Returns topic and Measurement of each that came in a turn, the messages that came singly, and whether
    a turn presses. What looks like a turn and is none is a message of one frame.
    """
    turned: list[list[bytes]] = []
    single: list[list[bytes]] = []
    presses = False
    for frames in waiting_messages(socket, limit):
        kind = frames[0][: len(TURN)]
        if kind in (TURN, PRESSING):
            presses |= kind == PRESSING
            turned += _measurements(frames[0])
        else:
            single.append(frames)
        if len(turned) + len(single) >= limit:
            break
    return turned, single, presses


def _measurements(message: bytes) -> list[list[bytes]]:
    count, length = _LENGTHS.unpack_from(message, len(TURN)) if len(message) >= _SIZES else (0, 0)
    at = _SIZES + 4 * count + length
    if at > len(message):
        return [[message[: len(TURN)]]]
    names = message[at - length : at].split(b" ")
    found = []
    for topic, size in zip(names, struct.unpack_from(f"<{count}I", message, _SIZES), strict=False):
        found.append([topic, message[at : at + size]])
        at += size
    return found if at == len(message) and len(names) == count else [[message[: len(TURN)]]]
