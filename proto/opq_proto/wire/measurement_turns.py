"""Turns: many Measurements in one message, from the triggering broker to services that read all of them.

Sending and receiving a message costs more than all other work with it. A subscriber whose connection has
`X-opq-turns` in its metadata (ZMTP 3.1, "The READY command") gets turns for the topic "". No other subscriber
gets them, and a broker without turns treats it as any other subscriber.

A turn is one frame, because each frame costs about as much as a Measurement:

    topic           TURN
    count, length   how many Measurements, and bytes of their topics; uint32 little-endian
    sizes           of the bodies, uint32 little-endian each
    topics          of the Boxes, in the same order, a blank between two
    bodies          one after the other
"""

import struct
from collections.abc import Sequence

import zmq

from opq_proto.kit.zmq_inbox import waiting_messages

PREFIX = b"turn"
TURN_PREFIX = PREFIX + b"."
PADDED_PREFIXES = (b"0", *(b"%d" % number for number in range(1000, 10_000)))
"""Prefixes of all topics of Boxes, and of no turn and of no `unpadded` topic."""
PADDED_LENGTH = 4
_PROPERTY = "X-opq-turns"
_LENGTHS = struct.Struct("<II")
_SIZES = len(TURN_PREFIX) + _LENGTHS.size


def request_turns(socket: "zmq.Socket[bytes]") -> None:
    """Makes a SUB socket request turns; call it before the socket connects."""
    socket.setsockopt(zmq.METADATA, _PROPERTY.encode() + b":1")


def subscribed_topics(first: zmq.Frame, topic: bytes) -> tuple[Sequence[bytes], bool]:
    """Returns the topics for a subscriber to `topic`, and whether it gets turns; `first` is its frame."""
    if topic:
        return (topic,), False
    try:
        turns = bool(first.get(_PROPERTY))
    except zmq.ZMQError:
        turns = False
    return ((PREFIX,), True) if turns else (PADDED_PREFIXES, False)


def unpadded(topic: bytes) -> bytes:
    """Returns a Box's topic without zeros before it; empty: it has none, or is another topic."""
    if topic[:1] != b"0" or len(topic) != PADDED_LENGTH or not topic.isdigit():
        return b""
    return topic.lstrip(b"0")


def is_unpadded(topic: bytes) -> bool:
    """Whether a subscription to this topic is to Boxes by their numbers without zeros, too."""
    return len(topic) < PADDED_LENGTH and topic.isdigit() and topic[:1] != b"0"


def turn_message(messages: Sequence[Sequence[bytes]]) -> bytes:
    """Makes a turn of messages, each a topic and a Measurement; further frames are left out."""
    bodies = [frames[1] for frames in messages]
    topics = b" ".join([frames[0] for frames in messages])
    sizes = struct.pack(f"<{len(bodies) + 2}I", len(bodies), len(topics), *map(len, bodies))
    return b"".join((TURN_PREFIX, sizes, topics, *bodies))


def waiting_measurements(socket: "zmq.Socket[bytes]", limit: int) -> list[list[bytes]]:
    """Reads the waiting messages, about `limit` Measurements at most.

    Returns topic and Measurement of each that came in a turn, and the messages that came singly. A
    malformed turn becomes a message of one frame.
    """
    found: list[list[bytes]] = []
    for frames in waiting_messages(socket, limit):
        if frames[0].startswith(PREFIX):
            found += _measurements(frames[0])
        else:
            found.append(frames)
        if len(found) >= limit:
            break
    return found


def _measurements(message: bytes) -> list[list[bytes]]:
    count, length = _LENGTHS.unpack_from(message, len(TURN_PREFIX)) if len(message) >= _SIZES else (0, 0)
    at = _SIZES + 4 * count + length
    if at > len(message):
        return [[message[: len(TURN_PREFIX)]]]
    names = message[at - length : at].split(b" ")
    found = []
    for topic, size in zip(names, struct.unpack_from(f"<{count}I", message, _SIZES), strict=False):
        found.append([topic, message[at : at + size]])
        at += size
    return found if at == len(message) and len(names) == count else [[message[: len(TURN_PREFIX)]]]
