"""What a broker has read of its Boxes and not handled yet: bounded in bytes, the oldest goes first.

    libzmq, some messages per connection --> read_waiting (all of them) --> ReceiveQueue --> next_messages

libzmq counts its queues in messages per connection, so that with thousands of Boxes no useful limit
bounds the whole, and a full one stops the connection, its heartbeats too: the Box would connect again
and send again what waits here. So everything is read at once, which costs a tenth of handling it, and
what a late broker cannot handle is dropped here, the oldest first: what is left is the news, and a Box
whose Measurement was never acknowledged sends it again.
"""

import time
from collections import deque
from collections.abc import Iterator

import zmq
from zmq.backend import Socket as PlainSocket

from opq_cloud.makai.pressing import is_pressing
from opq_cloud.service import ServiceCounters
from opq_cloud.sockets import BURST, Socket
from opq_proto.zmq_inbox import EVENTS, POLLIN

MESSAGE_BYTES = 900
"""Memory of a waiting message beside its contents: a Frame, a list, two bytes objects, libzmq's copy."""
READ_MOST = 20_000
"""Messages read before some are handled."""
STEP_S = 0.002
"""While messages are gathered, one that presses is seen after this time; with none in it the wait is over."""
TOPIC_BYTES = 16
"""Of a topic that presses; a longer one is no Box's, and goes with the rest."""
SECOND_S = 1.0

_receive = PlainSocket.recv  # what the Python layer adds costs as much again

Received = tuple[zmq.Frame, list[bytes]]
"""The first frame, which knows its connection and key, and all frames as bytes."""


class ReceiveQueue:
    """One socket's; used by one thread.

    Attributes:
        waiting_bytes: of memory, estimated.
        overflow: messages that were dropped because more than `limit_bytes` waited.
    """

    def __init__(self, limit_bytes: int) -> None:
        self.waiting_bytes = 0
        self.overflow = 0
        self._pressing: set[bytes] = set()
        """Topics under which something that waits is pressing."""
        self._limit_bytes = limit_bytes
        self._waiting: deque[tuple[int, zmq.Frame, list[bytes]]] = deque()

    def __len__(self) -> int:
        return len(self._waiting)

    def gather(self, socket: Socket, until_s: float) -> int:
        """Read until then (monotonic), or until something presses, nothing comes or a BURST waits.

        Returns how many came.
        """
        received = new = self.read_waiting(socket)
        while new and not self._pressing and len(self._waiting) < BURST:
            if (left_s := until_s - time.monotonic()) <= 0:
                break
            time.sleep(min(left_s, STEP_S))
            received += (new := self.read_waiting(socket))
        return received

    def read_waiting(self, socket: Socket) -> int:
        """Read what `socket` has, at most READ_MOST messages; how many it had."""
        if not int(socket.get(EVENTS)) & POLLIN:  # cheaper than the exception of an empty socket
            return 0
        append = self._waiting.append
        for number in range(READ_MOST):
            try:
                frame = first = _receive(socket, zmq.NOBLOCK, False)
            except zmq.Again:
                return number
            frames = [first.bytes]
            size = len(frames[0]) + MESSAGE_BYTES
            while frame.more:  # frame by frame: recv_multipart(copy=False) costs four times as much
                frame = _receive(socket, 0, False)
                frames.append(frame.bytes)
                size += len(frames[-1])
            if len(self._pressing) < BURST and is_pressing(frames[-1]):
                self._pressing.add(frames[0][:TOPIC_BYTES])
            append((size, first, frames))
            self.waiting_bytes += size
            if self.waiting_bytes > self._limit_bytes:
                self._drop_oldest()
        return READ_MOST

    def next_messages(self, limit: int) -> Iterator[Received]:
        """At most `limit`, the oldest first; where that is all, Boxes that press go before the others."""
        waiting, pressing = self._waiting, self._pressing
        taken = [waiting.popleft() for _ in range(min(limit, len(waiting)))]
        self.waiting_bytes -= sum(size for size, _, _ in taken)
        if not waiting:
            self._pressing = set()
            if pressing:
                taken.sort(key=lambda each: each[2][0] not in pressing)
        for _, first, frames in taken:
            yield first, frames

    def _drop_oldest(self) -> None:
        while self.waiting_bytes > self._limit_bytes and self._waiting:
            self.waiting_bytes -= self._waiting.popleft()[0]
            self.overflow += 1


class BoxBudget:
    """What one Box may send in a second, in messages and in bytes; what is more is dropped and counted.

    A Box that goes wrong, or whose key was stolen, costs the others nothing but the reading of it. What
    was acknowledged to nobody is sent again by its Box later.
    """

    def __init__(self, messages_per_s: int, bytes_per_s: int, counters: ServiceCounters) -> None:
        self._messages, self._bytes = messages_per_s, bytes_per_s
        self._counters = counters
        self._until_s = 0.0
        self._sent: dict[str, int] = {}
        self._sent_bytes: dict[str, int] = {}

    def begin_turn(self, now_s: float | None = None) -> None:
        """Before some messages are handled (monotonic): every second all begin with nothing sent."""
        now_s = time.monotonic() if now_s is None else now_s
        if now_s >= self._until_s:
            self._until_s = now_s + SECOND_S
            self._sent.clear()
            self._sent_bytes.clear()

    def allows(self, box_id: str, size: int) -> bool:
        """Whether it may send this, of `size` bytes; counted when not."""
        sent = self._sent.get(box_id, 0) + 1
        sent_bytes = self._sent_bytes.get(box_id, 0) + size
        if sent > self._messages or sent_bytes > self._bytes:
            self._counters.add("over_budget", label=box_id)
            return False
        self._sent[box_id] = sent
        self._sent_bytes[box_id] = sent_bytes
        return True
