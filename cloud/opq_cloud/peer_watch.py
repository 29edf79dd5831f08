"""Whether a connecting socket has its peer, from libzmq's monitor: by itself it reports no error.

A PUSH queues what nobody reads; after a handshake with another kind of socket libzmq does not even try again.
"""

import time

import zmq
from zmq.utils.monitor import recv_monitor_message

from opq_cloud.sockets import Socket, open_monitor

WAITED_S = 7.0
"""A connection without its peer for so long is reported."""
EVENTS = (
    zmq.EVENT_CONNECTED
    | zmq.EVENT_DISCONNECTED
    | zmq.EVENT_HANDSHAKE_SUCCEEDED
    | zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL
    | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL
    | zmq.EVENT_HANDSHAKE_FAILED_AUTH
)
NOBODY = "nobody is there"
OTHER_KIND = "another kind of socket is there; is it the address of another service?"
REFUSED = "it refuses the connection: one of both has keys or other keys, or it is no address of ZeroMQ"


class PeerWatch:
    """Belongs to the thread of its socket; `problem` may be read from any thread."""

    def __init__(self, socket: Socket, endpoint: str, key: str) -> None:
        """Call it before the socket is connected; `key` is the configuration's name of the address."""
        self.problem: str | None = None
        self._monitor = open_monitor(socket.context, socket, f"peer-{int(socket.get(zmq.FD))}", EVENTS)
        self._address = f"{key} {endpoint} ({zmq.SocketType(int(socket.get(zmq.TYPE))).name})"
        self._met: set[str] = set()
        """Spellings of the address that have an admitted connection."""
        self._reason = NOBODY
        self._alone_s: float | None = time.monotonic()
        """Since when it has no peer."""

    def has_met(self, endpoint: str) -> bool:
        """Whether this spelling of the address has an admitted connection now."""
        return endpoint in self._met

    def forget(self, endpoint: str) -> None:
        """Notes that this loop has ended the connection itself: libzmq does not report that."""
        self._met.discard(endpoint)

    def close(self) -> None:
        """Ends watching, before the socket's context ends."""
        self._monitor.close()

    def read(self, now_s: float) -> None:
        """Reads what happened since the last call. `now_s`: monotonic."""
        while self._monitor.poll(0):
            event = recv_monitor_message(self._monitor)
            self._note(event["event"], event["endpoint"].decode(errors="replace"))
        if self._met:
            self._alone_s = None
        elif self._alone_s is None:
            self._alone_s = now_s
        alone = self._alone_s is not None and now_s >= self._alone_s + WAITED_S
        self.problem = f"{self._address}: {self._reason}" if alone else None

    def _note(self, event: int, endpoint: str) -> None:
        if event == zmq.EVENT_HANDSHAKE_SUCCEEDED:
            self._met.add(endpoint)
        elif event == zmq.EVENT_CONNECTED:
            self._reason = OTHER_KIND  # unless the handshake succeeds, or fails with another reason
        elif event == zmq.EVENT_DISCONNECTED:
            if endpoint in self._met:
                self._met.discard(endpoint)
                self._reason = NOBODY
        else:
            self._reason = REFUSED
