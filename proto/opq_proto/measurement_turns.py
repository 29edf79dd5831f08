"""Many Measurements as one message: from our triggering broker to those of our services that read all.

To send and to receive a message costs more than all else that is done with it. A subscriber whose connection
says `X-opq-turns` in its metadata (ZMTP 3.1, "The READY command") gets turns for the topic "". Nobody else
sees one, and to a broker that knows no turns it is a subscriber as any.

    topic           TURN, or PRESSING: what Boxes sent of which one Measurement may not wait
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


def turn_frames(messages: Sequence[Sequence[bytes]], pressing: bool) -> list[bytes]:
    """messages: each a topic and a Measurement; what else they have does not go on."""
    bodies = [frames[1] for frames in messages]
    sizes = struct.pack(f"<{len(bodies)}I", *map(len, bodies))
    topics = b" ".join([frames[0] for frames in messages])
    return [PRESSING if pressing else TURN, sizes, topics, b"".join(bodies)]


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
        if frames[0] in (TURN, PRESSING):
            presses |= frames[0] == PRESSING
            turned += _measurements(frames)
        else:
            single.append(frames)
        if len(turned) + len(single) >= limit:
            break
    return turned, single, presses


def _measurements(frames: list[bytes]) -> list[list[bytes]]:
    if len(frames) != 4 or len(frames[1]) % 4:
        return [frames[:1]]
    _, sizes, topics, bodies = frames
    found, at = [], 0
    names = topics.split(b" ")
    for topic, (size,) in zip(names, struct.iter_unpack("<I", sizes), strict=False):
        found.append([topic, bodies[at : at + size]])
        at += size
    return found if at == len(bodies) and 4 * len(names) == len(sizes) else [frames[:1]]
