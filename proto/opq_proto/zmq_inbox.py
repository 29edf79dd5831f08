"""What waits in a ZeroMQ socket, read without blocking; and sending without blocking."""

from collections.abc import Iterator, Sequence

import zmq

EVENTS, POLLIN = zmq.EVENTS, int(zmq.POLLIN)


def waiting_messages(socket: "zmq.Socket[bytes]", limit: int | None = None) -> Iterator[list[bytes]]:
    """The frames of each message that waits in `socket`, at most `limit`; ends when there is none.

    With a limit a flooded socket leaves the others their turn. Without one, `socket` is empty at the
    end, as an owner needs who waits for its descriptor: that is readable only once per change.
    """
    received = 0
    while (
        received != limit and int(socket.get(EVENTS)) & POLLIN
    ):  # cheaper than the exception of an empty socket
        try:
            frames = socket.recv_multipart(zmq.NOBLOCK)
        except zmq.Again:
            return
        received += 1
        yield frames


def try_send(socket: "zmq.Socket[bytes]", frames: Sequence[bytes]) -> bool:
    """Send a message if `socket` takes it now; False when its queue is full, or nobody is there."""
    try:
        socket.send_multipart(frames, zmq.NOBLOCK)
    except zmq.Again:
        return False
    return True
