"""BrokerListener: receives what the triggering broker passes on, and can be a Box's second connection.

A duplicate has the Box's own key: it reads the Box's commands too, and sends every Measurement of the
Box once more.
"""

import zmq

from opq_proto.errors import FrameError
from opq_proto.keys.key_files import KeyPair
from opq_proto.kit.own_thread import OwnThread
from opq_proto.messages import Measurement
from opq_proto.wire.frames import measurement_from_wire

POLL_MS = 50


class BrokerListener(OwnThread):
    """Receives in a thread of its own for the `with` block.

    Attributes:
        received: (Box, sequence) -> the first copy that passed.
        contradicted: sequences whose copies differ in what was measured.
        copies: all Measurements that passed, the repeated ones too.
        repeated: copies that the duplicate sent.
    """

    def __init__(self, backend: str, trigger: str, command: str, server_key: bytes) -> None:
        super().__init__("broker-listener")
        self.received: dict[tuple[str, int], Measurement] = {}
        self.unnumbered = 0
        self.contradicted: list[str] = []
        self.copies = 0
        self.repeated = 0
        self.duplicate: tuple[str, KeyPair] | None = None
        """The Box that is connected twice now; set from any thread."""
        self._endpoints = (backend, trigger, command)
        self._server_key = server_key

    def _run(self) -> None:
        context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        backend = context.socket(zmq.SUB)
        backend.setsockopt(zmq.RECONNECT_IVL_MAX, 500)
        backend.subscribe(b"")
        backend.connect(self._endpoints[0])
        sockets: list[zmq.Socket[bytes]] = []
        connected: str | None = None
        while not self._stop.is_set():
            wanted = self.duplicate
            if (wanted and wanted[0]) != connected:
                for socket in sockets:
                    socket.close(0)
                sockets = self._connected(context, *wanted) if wanted else []
                connected = wanted[0] if wanted else None
            if not backend.poll(POLL_MS):
                continue
            frames = backend.recv_multipart()
            new = self._receive(frames)
            if new is not None and new.box_id == connected:
                sockets[0].send_multipart(frames)
                self.repeated += 1
        for socket in (backend, *sockets):
            socket.close(0)
        context.term()

    def _connected(
        self, context: "zmq.Context[zmq.Socket[bytes]]", box_id: str, pair: KeyPair
    ) -> "list[zmq.Socket[bytes]]":
        sockets = []
        for kind, endpoint in ((zmq.PUB, self._endpoints[1]), (zmq.SUB, self._endpoints[2])):
            socket = context.socket(kind)
            pair.secure(socket, self._server_key)
            if kind == zmq.SUB:
                socket.subscribe(box_id.encode())
            socket.connect(endpoint)
            sockets.append(socket)
        return sockets

    def _receive(self, frames: list[bytes]) -> Measurement | None:
        """The Measurement if it is new; None if it was received before."""
        try:
            measurement = measurement_from_wire(frames[-1])
        except FrameError:
            return None
        self.copies += 1
        if measurement.sequence is None:
            self.unnumbered += 1
            return None
        key = (measurement.box_id, measurement.sequence)
        first = self.received.setdefault(key, measurement)
        if first is measurement:
            return measurement
        if _measured(first) != _measured(measurement):
            self.contradicted.append(f"Box {key[0]}, sequence {key[1]}")
        return None


def _measured(measurement: Measurement) -> tuple[object, ...]:
    """The values that no copy may change; `backfilled` and `oldest_sequence` may change."""
    return (
        measurement.timestamp_ms,
        measurement.start_ns,
        measurement.end_ns,
        measurement.uncertainty_ns,
        measurement.source,
        dict(measurement.metrics),
    )
