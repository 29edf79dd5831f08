"""Watches whether each connection to another service has its peer, because libzmq does not report that.

A PUSH queues what is not read; after a handshake with another kind of socket libzmq does not even try again.
"""

import math
import time

import zmq
from zmq.utils.monitor import recv_monitor_message

from opq_cloud.core.backend.sockets import Socket, connect, has_message, open_monitor
from opq_cloud.core.backend.waits import Stop, wait_for
from opq_proto.keys.backend_keys import backend_address
from opq_proto.kit.zmq_addresses import connectable

WAITED_S = 7.0
"""A connection without its peer for this time is reported."""
EVENTS = (
    zmq.EVENT_CONNECTED
    | zmq.EVENT_DISCONNECTED
    | zmq.EVENT_HANDSHAKE_SUCCEEDED
    | zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL
    | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL
    | zmq.EVENT_HANDSHAKE_FAILED_AUTH
)
NOBODY = "no service answers there"
OTHER_KIND = "another kind of socket is there; is it the address of another service?"
NOT_ADMITTED = (
    "it does not answer with this service's key: at the service there, opq-tools keys list --backend says "
    "whether that was revoked; or it is the address of another service"
)
REFUSED = "it refuses the connection: one side lacks keys, the keys differ, or it is not an address of ZeroMQ"


class PeerWatch:
    """Belongs to the thread of its socket; `problem` may be read from any thread."""

    def __init__(self, socket: Socket, endpoint: str, key: str) -> None:
        """Call it before the socket is connected; `key` is the configuration's name of the address."""
        self.problem: str | None = None
        self.monitor = open_monitor(socket.context, socket, f"peer-{int(socket.get(zmq.FD))}", EVENTS)
        self._socket = socket
        self._address = f"{key} {endpoint} ({zmq.SocketType(int(socket.get(zmq.TYPE))).name})"
        self.has_met = False
        """Whether it has an admitted connection now."""
        self._reason = NOBODY
        self._alone_s: float | None = time.monotonic()
        """The time since which it has no peer."""

    def close(self) -> None:
        """Ends watching, before the socket's context ends."""
        self.monitor.close()

    @property
    def due_s(self) -> float:
        """Seconds after which `read` reports a missing peer; for ever where only an event changes that."""
        if self._alone_s is None or self.problem is not None:
            return math.inf
        return self._alone_s + WAITED_S - time.monotonic()

    def read(self, now_s: float) -> None:
        """Reads what happened since the last call. `now_s`: monotonic."""
        while has_message(self.monitor):
            self._note(recv_monitor_message(self.monitor)["event"])
        if self.has_met:
            self._alone_s = None
        elif self._alone_s is None:
            self._alone_s = now_s
        alone = self._alone_s is not None and now_s >= self._alone_s + WAITED_S
        self.problem = f"{self._address}: {self._reason}" if alone else None

    def _note(self, event: int) -> None:
        if event == zmq.EVENT_HANDSHAKE_SUCCEEDED:
            self.has_met = True
        elif event == zmq.EVENT_CONNECTED:
            # unless the handshake succeeds, or fails with another reason
            has_key = self._socket.get(zmq.MECHANISM) == zmq.CURVE
            self._reason = NOT_ADMITTED if has_key else OTHER_KIND
        elif event == zmq.EVENT_DISCONNECTED:
            if self.has_met:
                self.has_met = False
                self._reason = NOBODY
        else:
            self._reason = REFUSED


class WatchedConnections:
    """The connections that a loop makes.

    All but `problem` belongs to the loop. It waits by `wait`; or it waits at most `due_s`, for `monitors`
    too, and then calls `check`.
    """

    def __init__(self) -> None:
        self._watches: list[PeerWatch] = []

    def connect(self, socket: Socket, endpoint: str, key: str) -> None:
        """Connects as `sockets.connect` does, and watches the connection."""
        self._watches.append(PeerWatch(socket, backend_address(connectable(endpoint)).endpoint, key))
        connect(socket, endpoint, key)

    def close(self) -> None:
        """Ends watching; for a context that does not end its sockets itself (`service_context` does)."""
        for watch in self._watches:
            watch.close()
        self._watches.clear()

    @property
    def problem(self) -> str | None:
        """The connections without a peer, and why; None if all have one. From any thread."""
        return "; ".join(watch.problem for watch in self._watches if watch.problem) or None

    @property
    def monitors(self) -> list[Socket]:
        """They have a message where a connection began or ended."""
        return [watch.monitor for watch in self._watches]

    @property
    def due_s(self) -> float:
        """How long the loop may wait."""
        return min((watch.due_s for watch in self._watches), default=math.inf)

    def wait(self, stop: Stop, *others: Socket, due_s: float) -> set[object]:
        """Waits as `wait_for` does, and notes which connections have their peers."""
        ready = wait_for(stop, *others, *self.monitors, due_s=min(due_s, self.due_s))
        self.check()
        return ready

    def check(self) -> None:
        """Notes which connections have their peers."""
        now_s = time.monotonic()
        for watch in self._watches:
            watch.read(now_s)
