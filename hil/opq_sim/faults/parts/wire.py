"""Wire: the network between gateway and brokers, a TCP relay that can be cut, silent or lossy.

30 % packet loss is modelled by its effect on TCP, because netem is not available everywhere: a lost
segment is sent again after the retransmission time-out (200 ms, doubled each time: RFC 6298 as Linux
does it), and all that follows it waits. Each direction loses on its own, also at the start.
"""

import random
import selectors
import socket
import time
from collections import deque
from dataclasses import dataclass, field

from opq_proto.kit.own_thread import OwnThread
from opq_sim.own_processor import have_own_processor

LOST_SHARE = 0.3
RTO_S = 0.2
"""First retransmission time-out; each further one is twice as long (RFC 6298)."""
MAX_RTO_S = 3.0
"""Longest retransmission time-out."""
SEGMENT_BYTES = 1448
WAITING_BYTES = 1 << 20
TICK_S = 0.01
LINGER_NONE = b"\x01\0\0\0\0\0\0\0"  # struct linger{1, 0}: close() resets, as after the death of a broker


@dataclass(slots=True, eq=False)
class RelayDirection:
    """One direction of a connection: bytes and when each piece arrives."""

    source: socket.socket
    sink: socket.socket
    pieces: deque[tuple[float, bytes]] = field(default_factory=deque)
    waiting_bytes: int = 0
    clear_s: float = 0.0
    ended: bool = False


class FaultyRelay(OwnThread):
    """Relays ports of loopback for the `with` block; its faults are set from any thread.

    Attributes:
        ports: where it listens, by target port.
        lost: segments that were sent again.
    """

    def __init__(self, targets: dict[str, int], listen: dict[str, int], seed: int) -> None:
        super().__init__("wire")
        self.cut = False
        """Connections are reset and refused."""
        self.silent = False
        """Nothing arrives and nothing is refused."""
        self.lossy = False
        self.lost = 0
        self.connections = 0
        self._targets = {listen[name]: target for name, target in targets.items()}
        self._chance = random.Random(seed)
        self._ways: list[RelayDirection] = []
        self._listeners: list[socket.socket] = []
        self._selector = selectors.DefaultSelector()

    def start(self) -> None:
        self._listen()
        super().start()

    def close(self) -> None:
        super().close()
        self._hang_up()
        self._selector.close()

    def _run(self) -> None:
        have_own_processor()
        while not self._stop.is_set():
            if self.cut:
                self._hang_up()
                self._stop.wait(TICK_S)
                continue
            self._listen()
            for key, _ in self._selector.select(TICK_S):
                if key.data is None:
                    self._accept(key.fileobj)  # type: ignore[arg-type]
                elif key.data in self._ways:  # one that ended just now removes its other direction too
                    self._read(key.data)
            self._deliver(time.monotonic())

    def _listen(self) -> None:
        if self._listeners:
            return
        for port in self._targets:
            listener = socket.create_server(("127.0.0.1", port), backlog=64)
            listener.setblocking(False)
            self._listeners.append(listener)
            self._selector.register(listener, selectors.EVENT_READ)

    def _hang_up(self) -> None:
        for listener in self._listeners:
            self._selector.unregister(listener)
            listener.close()
        self._listeners.clear()
        for way in list(self._ways):
            self._drop(way)

    def _accept(self, listener: socket.socket) -> None:
        if self.silent:
            self._stop.wait(TICK_S)  # it waits in the backlog
            return
        try:
            near, _ = listener.accept()
        except OSError:
            return
        try:
            far = socket.create_connection(("127.0.0.1", self._targets[listener.getsockname()[1]]), 0.5)
        except OSError:
            _reset(near)
            return
        self.connections += 1
        for source, sink in ((near, far), (far, near)):
            source.setblocking(False)
            source.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            way = RelayDirection(source, sink)
            if self.lossy:
                way.clear_s = time.monotonic() + self._late_s()
            self._ways.append(way)
            self._selector.register(source, selectors.EVENT_READ, way)

    def _read(self, way: RelayDirection) -> None:
        if way.waiting_bytes > WAITING_BYTES or way.ended:
            self._stop.wait(0.001)
            return
        try:
            data = way.source.recv(SEGMENT_BYTES if self.lossy else 1 << 16)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            way.ended = True
            self._selector.unregister(way.source)
            if not way.pieces:
                self._drop(way)
            return
        way.clear_s = max(way.clear_s, time.monotonic() + self._late_s())
        way.pieces.append((way.clear_s, data))
        way.waiting_bytes += len(data)

    def _late_s(self) -> float:
        """Delay of a segment that may be lost several times."""
        late_s, rto_s = 0.0, RTO_S
        while self.lossy and self._chance.random() < LOST_SHARE:
            self.lost += 1
            late_s += rto_s
            rto_s = min(2 * rto_s, MAX_RTO_S)
        return late_s

    def _deliver(self, now_s: float) -> None:
        if self.silent:
            return
        for way in list(self._ways):
            while way.pieces and way.pieces[0][0] <= now_s:
                due_s, data = way.pieces.popleft()
                try:
                    sent = way.sink.send(data)
                except BlockingIOError:
                    sent = 0
                except OSError:
                    self._drop(way)
                    break
                way.waiting_bytes -= sent
                if sent < len(data):
                    way.pieces.appendleft((due_s, data[sent:]))
                    break
            if way.ended and not way.pieces and way in self._ways:
                self._drop(way)

    def _drop(self, way: RelayDirection) -> None:
        """Ends a connection, both directions."""
        both = [other for other in self._ways if other.source in (way.source, way.sink)]
        for each in both:
            self._ways.remove(each)
            if each.source in self._selector.get_map():
                self._selector.unregister(each.source)
            _reset(each.source)


def _reset(connection: socket.socket) -> None:
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER_NONE)
    connection.close()
