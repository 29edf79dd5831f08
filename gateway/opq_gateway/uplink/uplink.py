"""Uplink: one thread, one ZeroMQ context, three sockets per Box, each Box with its own key.

One thread for all Boxes: it only moves frames (about 20 us each), and a thread per Box would pay a
wake-up and its stack for each. Other threads hand frames in through bounded channels and a pipe
that wakes the poller; sockets never change threads.
"""

import os
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import zmq

from opq_gateway.counters import Counters
from opq_gateway.status import Status
from opq_gateway.uplink.connection import Connection, Endpoints
from opq_proto import log
from opq_proto.channel import Channel
from opq_proto.keys import KeyPair

POLL_MS = 200
ANSWERS = 64
ANSWER_BYTES = 32_000_000
"""Answers of a Box that wait for the uplink's thread: so many, and so much of them."""
WAITING_S = 10.0
"""An uplink that is down for longer is told, once: a broker that is off and a wrong server key look
the same from here."""
REFUSED_RETRY_S = (1.0, 2.0, 5.0)
"""A refused key is tried again after these: a Box may be admitted at any time."""


@dataclass(slots=True)
class Line:
    """What the uplink keeps of one Box."""

    pair: KeyPair
    counters: Counters
    status: Status
    measurements: Channel[list[bytes]]
    answers: Channel[list[bytes]]
    offered_bytes: int = 0
    """Of answers handed in; command desk."""
    taken_bytes: int = 0
    """Of answers taken out; uplink."""
    connection: Connection | None = None
    down_since_s: float | None = None
    """None while connected, or once it was told."""
    refusals: int = 0
    retry_s: float = 0.0


class Uplink:
    """`publish` and `respond` from any thread; `run` in the uplink's own."""

    def __init__(
        self,
        endpoints: Endpoints,
        server_key: bytes,
        queue_messages: int,
        on_command: Callable[[str, bytes], None],
    ) -> None:
        self._endpoints = endpoints
        self._server_key = server_key
        self._queue_messages = queue_messages
        self._on_command = on_command
        self._lines: dict[str, Line] = {}
        self._due: deque[str] = deque()  # Boxes with something in their channels
        self._wake_read, self._wake_write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._log = log.get(service="gateway")

    def add(self, box_id: str, pair: KeyPair, counters: Counters, status: Status) -> None:
        """A Box, before `run`."""
        self._lines[box_id] = Line(
            pair,
            counters,
            status,
            Channel(f"measurements {box_id}", self._queue_messages, "drop_oldest"),
            Channel(f"answers {box_id}", ANSWERS, "refuse"),
        )

    def publish(self, box_id: str, frames: list[bytes]) -> None:
        """Hand in a Measurement; the oldest goes when the uplink stands still."""
        line = self._lines[box_id]
        before = line.measurements.dropped
        line.measurements.offer(frames)
        line.counters.add("measurements_overflow", line.measurements.dropped - before)
        self._wake(box_id)

    def respond(self, box_id: str, frames: list[bytes]) -> None:
        """Hand in an answer, from the command desk's thread; refused when too many wait."""
        line = self._lines[box_id]
        size = sum(map(len, frames))
        waiting = line.offered_bytes - line.taken_bytes
        if (waiting and waiting + size > ANSWER_BYTES) or not line.answers.offer(frames):
            line.counters.add("responses_dropped")
            return
        line.offered_bytes += size
        self._wake(box_id)

    def _wake(self, box_id: str) -> None:
        self._due.append(box_id)
        try:
            os.write(self._wake_write, b"\0")
        except BlockingIOError:
            return  # the pipe is full of wake-ups already

    def run(self, stop: threading.Event) -> None:
        """Serve all Boxes until `stop` (noticed within 0.2 s), then send what is waiting."""
        context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        context.set(zmq.MAX_SOCKETS, 1024 + 16 * len(self._lines))
        poller = zmq.Poller()
        poller.register(self._wake_read, zmq.POLLIN)
        for line in self._lines.values():
            line.down_since_s = time.monotonic()
        try:
            while not stop.is_set():
                for box_id, line in self._lines.items():
                    if line.connection is None and time.monotonic() >= line.retry_s:
                        self._connect(context, poller, box_id, line)
                ready = dict(poller.poll(POLL_MS))
                if self._wake_read in ready:
                    os.read(self._wake_read, 65_536)
                for box_id, line in self._lines.items():
                    self._serve(poller, line, ready)
                    self._tell_waiting(box_id, line)
                self._send_due()
            self._send_due()
        finally:
            for line in self._lines.values():
                if line.connection is not None:
                    line.connection.close()
                    line.connection = None
                line.status.connected = False
            context.term()

    def close(self) -> None:
        """After `run` has ended and nobody calls `publish` any more."""
        os.close(self._wake_read)
        os.close(self._wake_write)

    def _connect(
        self, context: "zmq.Context[zmq.Socket[bytes]]", poller: zmq.Poller, box_id: str, line: Line
    ) -> None:
        line.connection = Connection(
            context, box_id, line.pair, self._server_key, self._endpoints, self._queue_messages
        )
        for socket in line.connection.all_sockets():
            poller.register(socket, zmq.POLLIN)

    def _serve(self, poller: zmq.Poller, line: Line, ready: Mapping[object, int]) -> None:
        connection = line.connection
        if connection is None or not any(socket in ready for socket in connection.all_sockets()):
            return
        box_id = connection.box_id

        def command(data: bytes) -> None:
            line.counters.add("commands")
            self._on_command(box_id, data)

        connection.service(command, lambda: line.counters.add("commands_malformed"))
        if connection.stands != line.status.connected:
            line.status.connected = connection.stands
            if connection.stands:
                line.refusals, line.status.refused, line.down_since_s = 0, False, None
                line.counters.add("uplink_connected")
                self._log.info("uplink.connected", box_id=box_id, endpoint=self._endpoints.trigger)
            else:
                line.down_since_s = time.monotonic()
                line.counters.add("uplink_lost")
                self._log.warning("uplink.disconnected", box_id=box_id)
        if connection.refused:
            self._refused(poller, line, connection)

    def _tell_waiting(self, box_id: str, line: Line) -> None:
        if line.down_since_s is None or time.monotonic() - line.down_since_s < WAITING_S:
            return
        line.down_since_s = None
        if not line.status.refused:
            self._log.warning(
                "uplink.waiting",
                box_id=box_id,
                endpoint=self._endpoints.trigger,
                reason="no broker there, or its key is not the one in public_keys/opqserver.key",
            )

    def _refused(self, poller: zmq.Poller, line: Line, connection: Connection) -> None:
        line.counters.add("uplink_refused")
        if not line.status.refused:
            self._log.error(
                "uplink.refused",
                box_id=connection.box_id,
                reason="the broker refused this Box's key; is its public key in the broker's folder?",
            )
        line.status.refused = True
        line.retry_s = time.monotonic() + REFUSED_RETRY_S[min(line.refusals, len(REFUSED_RETRY_S) - 1)]
        line.refusals += 1
        for socket in connection.all_sockets():
            poller.unregister(socket)
        connection.close()
        line.connection = None
        line.status.connected = False

    def _send_due(self) -> None:
        for _ in range(len(self._due)):
            line = self._lines[self._due.popleft()]
            connection = line.connection
            for frames in line.measurements.take_all():
                outcome = "unheard" if connection is None else connection.publish(frames)
                line.counters.add(f"measurements_{outcome}")
            for frames in line.answers.take_all():
                line.taken_bytes += sum(map(len, frames))
                sent = connection is not None and connection.respond(frames)
                line.counters.add("responses_sent" if sent else "responses_dropped")
