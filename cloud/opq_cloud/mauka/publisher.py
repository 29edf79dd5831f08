"""The bus's sockets: a publisher that knows whether it is heard, and a subscriber.

XPUB on the wire is PUB; it reports subscriptions and, with XPUB_NODROP, of a subscriber
that is full. So nothing is dropped without a counter moving (limits.md section 1).
"""

import threading
import time
from collections.abc import Iterable, Sequence
from typing import Protocol

import zmq

from opq_cloud.backend_admission import BackendAdmission
from opq_cloud.backend_peers import BackendPeers
from opq_cloud.own_keys import OwnKeys
from opq_cloud.service import ServiceCounters
from opq_cloud.sockets import LARGEST_TOPIC_BYTES, Context, Socket, bind, send_past_full
from opq_proto.zmq_inbox import try_send, waiting_messages

HWM = 1000
"""Messages that wait for one peer, at most."""
LINGER_MS = 500
RECONNECT_MOST_MS = 1000
LARGEST_MESSAGE_BYTES = 64 * 2**20
"""A peer that sends more is disconnected; 3 s of one Box as doubles are 0.3 MB."""


class Stop(Protocol):
    """An event of threading or of multiprocessing."""

    def is_set(self) -> bool: ...


def subscriber(context: Context, hwm: int, topics: Iterable[str]) -> Socket:
    """A SUB socket, bounded, subscribed, not yet bound or connected."""
    socket: Socket = context.socket(zmq.SUB)
    socket.setsockopt(zmq.LINGER, 0)
    socket.setsockopt(zmq.RCVHWM, hwm)
    socket.setsockopt(zmq.MAXMSGSIZE, LARGEST_MESSAGE_BYTES)
    socket.setsockopt(zmq.RECONNECT_IVL_MAX, RECONNECT_MOST_MS)
    for topic in topics:
        socket.setsockopt(zmq.SUBSCRIBE, topic.encode())
    return socket


class Publisher:
    """Publishes to one bound peer (`connect`) or to whoever connects (`bind`); from any thread.

    Counters: `published`, `published_bytes`; `unheard`, sent while nobody had subscribed to
    anything. With one peer each message that it has no room for is in `dropped`. With many the
    others still get it, and libzmq then leaves the full one out until it has read half of its
    queue without saying how much it missed: `subscriber_full` counts how often that began.
    """

    def __init__(self, context: Context, hwm: int, counters: ServiceCounters) -> None:
        self.socket: Socket = context.socket(zmq.XPUB)
        self.socket.setsockopt(zmq.LINGER, LINGER_MS)
        self.socket.setsockopt(zmq.SNDHWM, hwm)
        self.socket.setsockopt(zmq.XPUB_NODROP, 1)
        self.socket.setsockopt(zmq.MAXMSGSIZE, LARGEST_TOPIC_BYTES)
        self.socket.setsockopt(zmq.RECONNECT_IVL_MAX, RECONNECT_MOST_MS)
        self._context, self._counters = context, counters
        self._peers: BackendPeers | None = None
        self._topics: set[bytes] = set()
        self._lock = threading.Lock()
        self._one_peer = True
        self._keys = OwnKeys()

    def bind(self, endpoint: str, service: str, key: str, admission: BackendAdmission | None = None) -> None:
        """Raises PortBusyError. `admission`: of the context, where the address has keys."""
        self._peers = BackendPeers(self._context, self.socket, key, self._counters, admission=admission)
        bind(self.socket, endpoint, service, key)
        self._one_peer = False

    def connect(self, endpoint: str, key: str = "endpoint") -> None:
        """Raises ConfigError."""
        self._keys.connect(self.socket, endpoint, key)

    def follow_keys(self) -> None:
        """Belongs into a loop that may publish nothing for long, where it connects."""
        with self._lock:
            self._keys.follow()

    def wait_heard(self, timeout_s: float, stop: Stop | None = None) -> bool:
        """Wait until somebody subscribed: what is sent before is lost (the slow joiner)."""
        end_s = time.monotonic() + timeout_s
        while not (stop is not None and stop.is_set()):
            if self.heard():
                return True
            if time.monotonic() >= end_s:
                break
            self.socket.poll(20)
        return False

    def heard(self) -> bool:
        """Whether anybody is subscribed now; reads what subscribers sent."""
        with self._lock:
            self._read_subscriptions()
            if self._peers is not None:
                self._peers.check()
            return bool(self._topics)

    def send(self, frames: Sequence[bytes]) -> bool:
        """Never blocks; False when somebody missed it, which is counted."""
        with self._lock:
            self._read_subscriptions()
            if not self._topics:
                self._counters.add("unheard")
                return False
            sent = try_send(self.socket, frames)
            if not sent:
                self._counters.add("dropped" if self._one_peer else "subscriber_full")
                if self._one_peer:
                    return False
                send_past_full(self.socket, frames)
            self._counters.add("published")
            size = sum(map(len, frames))
            self._counters.add("published_bytes", size)
            if self._peers is not None:
                self._peers.published_bytes += size
            return sent

    def close(self) -> None:
        with self._lock:
            if self._peers is not None:
                self._peers.close()
            self.socket.close()

    def _read_subscriptions(self) -> None:
        self._keys.follow()
        if self._peers is None:
            waiting: Iterable[bytes] = (frames[0] for frames in waiting_messages(self.socket))
        else:
            waiting = self._peers.subscriptions()
        for data in waiting:
            if data[:1] == b"\x01":
                self._topics.add(data[1:])
            elif data[:1] == b"\x00":
                self._topics.discard(data[1:])
