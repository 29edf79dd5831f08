"""Messages that a broker has read and not handled yet, bounded in bytes; the oldest is dropped first.

    libzmq, some messages per connection --> read_waiting (all of them) --> ReceiveQueue --> next_messages

libzmq counts its queues in messages per connection, so that with thousands of Boxes no useful limit
bounds the whole, and a full one stops the connection, its heartbeats too: the Box would connect again
and send the waiting messages again. So everything is read at once, which costs a tenth of handling it, and
messages that a late broker cannot handle are dropped here, the oldest first: the newest are left, and a Box
whose Measurement was never acknowledged sends it again.
"""

import time
from collections import deque

import zmq
from zmq.backend import Socket as PlainSocket

from opq_cloud.core.backend.sockets import Receipt, Socket
from opq_cloud.core.service import ServiceCounters
from opq_proto.kit.zmq_inbox import EVENTS, POLLIN

MESSAGE_BYTES = 900
"""Memory of a waiting message besides its contents: a Frame, a list, two bytes objects, libzmq's copy."""
FRAME_BYTES = 100
"""Memory of each frame after the second, besides its contents."""
MAX_READ = 20_000
"""Messages read before some are handled."""
SECOND_S = 1.0

_receive = PlainSocket.recv  # the Python layer would cost as much again
_NOW = int(zmq.NOBLOCK)

Received = tuple[zmq.Frame, list[bytes], int]
"""The first frame, which has its connection and key; all frames as bytes; bytes of memory."""


class ReceiveQueue:
    """Belongs to one socket; used by one thread.

    Attributes:
        waiting_bytes: of memory, estimated.
        overflow: messages that were dropped because more than `limit_bytes` waited.
    """

    def __init__(self, limit_bytes: int) -> None:
        self.waiting_bytes = 0
        self.overflow = 0
        self._limit_bytes = limit_bytes
        self._waiting: deque[Received] = deque()

    def __len__(self) -> int:
        return len(self._waiting)

    def read_waiting(self, socket: Socket, receipt: Receipt | None = None) -> int:
        """Reads the messages of `socket`, at most MAX_READ; returns how many it had."""
        append = self._waiting.append
        for number in range(MAX_READ):
            try:
                frame = first = _receive(socket, _NOW, False)
            except zmq.Again:
                return number
            body = first.bytes
            frames = [body]
            size = len(body)
            while frame.more:  # frame by frame: recv_multipart(copy=False) costs four times as much
                frame = _receive(socket, 0, False)
                body = frame.bytes
                frames.append(body)
                size += len(body)
            if receipt is not None:
                receipt.deliver(first, size, len(frames))
            size += MESSAGE_BYTES + FRAME_BYTES * (len(frames) - 2)
            append((first, frames, size))
            self.waiting_bytes += size
            if self.waiting_bytes > self._limit_bytes:
                self._drop_oldest()
            if not number and not int(socket.get(EVENTS)) & POLLIN:
                # one alone, as where few Boxes send: asking is cheaper than the exception of an empty socket
                return 1
        return MAX_READ

    def next_messages(self, limit: int) -> list[Received]:
        """Returns at most `limit`, the oldest first."""
        waiting = self._waiting
        taken = [waiting.popleft() for _ in range(min(limit, len(waiting)))]
        self.waiting_bytes -= sum([size for *_, size in taken])
        return taken

    def _drop_oldest(self) -> None:
        while self.waiting_bytes > self._limit_bytes and self._waiting:
            self.waiting_bytes -= self._waiting.popleft()[2]
            self.overflow += 1


class BoxBudget:
    """Limits of one Box per second, in messages and in bytes; messages beyond are dropped and counted.

    A faulty Box, or one with a stolen key, costs the other Boxes only the reading of its messages.
    Measurements without an acknowledgement are sent again by their Box later."""

    def __init__(self, messages_per_s: int, bytes_per_s: int, counters: ServiceCounters) -> None:
        self._messages, self._bytes = messages_per_s, bytes_per_s
        self._counters = counters
        self._until_s = 0.0
        self._sent: dict[str, list[int]] = {}
        """Messages and bytes."""

    def begin_turn(self, now_s: float | None = None) -> None:
        """Call before messages are handled (`now_s`: monotonic). Once a second all counts begin at 0."""
        now_s = time.monotonic() if now_s is None else now_s
        if now_s >= self._until_s:
            self._until_s = now_s + SECOND_S
            self._sent.clear()

    def allows(self, box_id: str, size: int) -> bool:
        """Returns True if it may send this, of `size` bytes; counts it when not."""
        sent = self._sent.get(box_id)
        if sent is None:
            sent = self._sent[box_id] = [0, 0]
        if sent[0] >= self._messages or sent[1] + size > self._bytes:
            self._counters.add("over_budget", label=box_id)
            return False
        sent[0] += 1
        sent[1] += size
        return True
