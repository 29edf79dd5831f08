"""What waits in a ZeroMQ socket, read without blocking; and sending without blocking."""

from collections.abc import Iterator, Sequence
from contextlib import suppress

import zmq
from zmq.backend import Socket as PlainSocket

EVENTS, POLLIN = zmq.EVENTS, int(zmq.POLLIN)
_ZERO_COPY_RECEIVE = 10
"""ZMQ_ZERO_COPY_RECV of zmq.h; pyzmq has no name for it."""
_MORE = zmq.NOBLOCK | zmq.SNDMORE
_receive, _send = PlainSocket.recv, PlainSocket.send  # what the Python layer adds costs as much again


def copy_received(context: "zmq.Context[zmq.Socket[bytes]]") -> None:
    """Copy what sockets of `context` receive: lent, it keeps its connection's buffer, 4 to 8 kB each."""
    with suppress(zmq.ZMQError):  # a libzmq that cannot takes the memory
        context.set(_ZERO_COPY_RECEIVE, 0)


def waiting_messages(socket: "zmq.Socket[bytes]", limit: int | None = None) -> Iterator[list[bytes]]:
    """The frames of each message that waits in `socket`, at most `limit`; ends when there is none.

    With a limit a flooded socket leaves the others their turn. Without one, `socket` is empty at the
    end, as an owner needs who waits for its descriptor: that is readable only once per change.
    """
    if not int(socket.get(EVENTS)) & POLLIN:  # cheaper than the exception of an empty socket
        return
    received = 0
    while received != limit:
        try:
            frame = _receive(socket, zmq.NOBLOCK, False)
        except zmq.Again:
            return
        frames = [frame.bytes]
        while frame.more:  # a Frame knows it; asking the socket costs three times as much
            frame = _receive(socket, 0, False)
            frames.append(frame.bytes)
        received += 1
        yield frames


def try_send(socket: "zmq.Socket[bytes]", frames: Sequence[bytes]) -> bool:
    """Send a message if `socket` takes it now; False when its queue is full, or nobody is there."""
    last = len(frames) - 1
    try:
        for place, frame in enumerate(frames):  # only the first can be refused
            _send(socket, frame, zmq.NOBLOCK if place == last else _MORE)
    except zmq.Again:
        return False
    return True
