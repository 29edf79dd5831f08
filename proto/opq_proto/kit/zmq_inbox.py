"""Reads waiting messages of a ZeroMQ socket, and sends, without blocking."""

import struct
from collections.abc import Iterator, Sequence
from contextlib import suppress

import zmq
from zmq.backend import Socket as PlainSocket

EVENTS = zmq.EVENTS
POLLIN = int(zmq.POLLIN)
_ZERO_COPY_RECEIVE = 10
"""ZMQ_ZERO_COPY_RECV of zmq.h; pyzmq has no name for it."""
ASKED_MESSAGES = 2
"""Before so many messages a socket is asked whether one waits, which costs a third of its exception."""
_MORE = zmq.NOBLOCK | zmq.SNDMORE
MONITORED = struct.Struct("=Hi")
"""Event and value: a monitor's first frame (zmq_socket_monitor(3)). pyzmq's own parser imports asyncio."""
_receive, _send = PlainSocket.recv, PlainSocket.send  # the Python layer would double the cost


def copy_received(context: "zmq.Context[zmq.Socket[bytes]]") -> None:
    """Copies received frames in sockets of `context`: else each one holds a buffer of 4 to 8 kB."""
    with suppress(zmq.ZMQError):  # an older libzmq cannot, and uses more memory
        context.set(_ZERO_COPY_RECEIVE, 0)


def waiting_messages(socket: "zmq.Socket[bytes]", limit: int | None = None) -> Iterator[list[bytes]]:
    """Yields the frames of each message that waits in `socket`, at most `limit`; ends where none waits.

    With a limit, a flooded socket does not delay others. Without one, `socket` is empty at the end, as needed
    by an owner that waits for its descriptor, which becomes readable only once per change.
    """
    received = 0
    while received != limit:
        if received < ASKED_MESSAGES and not int(socket.get(EVENTS)) & POLLIN:
            return
        try:
            frame = _receive(socket, zmq.NOBLOCK, False)
        except zmq.Again:
            return
        frames = [frame.bytes]
        while frame.more:  # from the Frame: a query of the socket costs three times as much
            frame = _receive(socket, 0, False)
            frames.append(frame.bytes)
        received += 1
        yield frames


def try_send(socket: "zmq.Socket[bytes]", frames: Sequence[bytes]) -> bool:
    """Sends a message if `socket` takes it now; False where its queue is full, or it has no peer."""
    last = len(frames) - 1
    try:
        for place, frame in enumerate(frames):  # only the first can be refused
            _send(socket, frame, zmq.NOBLOCK if place == last else _MORE)
    except zmq.Again:
        return False
    return True
