"""The connections of a back-end address: their limits, and their end when their key is revoked. libzmq limits
neither the connections of a socket nor the topics of a subscriber, and cannot end a single one. A connection
beyond a limit, or of a key that is not admitted any more, is ended, counted (`backend_ended` by reason) and
logged. A program of ZeroMQ connects again by itself. A subscriber that stops reading is ended by the kernel
(UNREAD_S).
"""

import math
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing
from dataclasses import dataclass, field

import zmq
from zmq.utils.monitor import parse_monitor_message

from opq_cloud.core.backend.admission import BackendAdmission, backend_context
from opq_cloud.core.backend.inflow import Inflow, MessageLimits
from opq_cloud.core.backend.sockets import (
    RESTING_POLL_MS,
    Context,
    Socket,
    bind,
    has_message,
    open_monitor,
    open_socket,
    receive,
)
from opq_cloud.core.backend.tcp_connections import remote_address, shut_down
from opq_cloud.core.backend.waits import wait_for
from opq_cloud.core.service import ServiceCounters
from opq_proto.errors import OpqError
from opq_proto.kit import log
from opq_proto.kit.rate_limit import RateLimitedLog
from opq_proto.kit.zmq_inbox import waiting_messages
from opq_proto.wire.measurement_turns import is_unpadded, subscribed_topics

EVENTS = zmq.EVENT_ACCEPTED | zmq.EVENT_HANDSHAKE_SUCCEEDED | zmq.EVENT_DISCONNECTED | zmq.EVENT_CLOSED
SUBSCRIPTIONS_AT_ONCE = 1000
CHECK_S = 0.1
MAX_CONNECTIONS = 256
"""Limit of the connections of one address."""
MAX_TOPICS = 1000
"""Limit of the topics of one subscriber."""
MAX_ALL = 10
"""Limit of the times that a connection with turns subscribes to everything: each takes 6 ms."""
WAITING_BYTES = 16 * 2**20
"""Limit of a message of a connection, and of what it sent and the service has not received (`inflow.py`)."""
MAX_FRAMES = 16
"""Limit of the frames of a message; none of ours and of the original has more than four."""
UNREAD_S = 60.0
"""The kernel ends a subscriber that has read nothing for so long while something waits for it."""


@dataclass(slots=True)
class BackendPeer:
    """One connection."""

    address: object
    topics: int = 0
    turns: int = 0
    """How many of its topics it receives as turns: one at most."""
    all_times: int = 0
    """Number of its subscriptions to everything."""
    unpadded: set[bytes] = field(default_factory=set)
    """Its topics that are numbers of Boxes without zeros."""
    key: str | None = None
    """Z85 key with which it sent something; None: it sent nothing yet, or its address is in clear."""


class BackendPeers:
    """Connections of one socket; used by its thread.

    `check` has to be called in its loop, which waits for `monitor` too, at most `due_s`.
    """

    def __init__(
        self,
        context: Context,
        socket: Socket,
        name: str,
        counters: ServiceCounters,
        admission: BackendAdmission | None = None,
        turns: bool = False,
    ) -> None:
        """Call it before `socket` is bound; `name` is the key of the configuration.

        `admission`: of the socket's context. turns: for an XPUB; subscribers that request turns get them,
        and no others (`measurement_turns.py`).
        """
        self._socket, self._name, self._counters = socket, name, counters
        self._log = RateLimitedLog(log.get())
        self._peers: dict[int, BackendPeer] = {}
        self._in_handshake: list[int] = []
        """Descriptors, in the order of their arrival. What ends from here did not speak ZeroMQ 3, or had no
        key that is admitted."""
        self._checked_s = time.monotonic()
        self._context_admission, self._turns = admission, turns
        self._unplaced = False
        """A subscription came from an unknown connection: single messages are sent from then on."""
        self._forms: tuple[bool, bool] | None = None
        """`forms_wanted`; None after a change."""
        self._unpadded: frozenset[bytes] = frozenset()
        """`unpadded_wanted`, as of `_forms`."""
        self._admitted: Mapping[str, str] = {}
        """The admission's keys when connections were last checked."""
        counters.set("backend_connections_now", 0, label=name)
        if socket.getsockopt(zmq.TYPE) in (zmq.PUB, zmq.XPUB):
            socket.setsockopt(zmq.TCP_MAXRT, round(UNREAD_S * 1000))
        if turns:
            socket.setsockopt(zmq.XPUB_MANUAL, 1)  # peers get only forms that they can read
        waiting_bytes = max(WAITING_BYTES, 2 * int(socket.getsockopt(zmq.MAXMSGSIZE)))
        limits = MessageLimits(waiting_bytes, MAX_FRAMES)
        self.inflow = Inflow(name, counters, limits, self._sender_of, curve=False)
        self.monitor = open_monitor(context, socket, name, EVENTS)

    def __len__(self) -> int:
        return len(self._peers)

    def close(self) -> None:
        self.inflow.close()
        self._socket.disable_monitor()
        self.monitor.close()

    @property
    def due_s(self) -> float:
        """How long a loop may wait: for ever where no key can be revoked."""
        return math.inf if self._context_admission is None else RESTING_POLL_MS / 1000

    def messages(self, limit: int) -> Iterator[list[bytes]]:
        """Yields at most `limit` waiting messages of admitted peers."""
        for first, frames in receive(self._socket, limit, self.inflow):
            if self._admission is not None and not self._note_key(_descriptor(first), first):
                if self._socket.getsockopt(zmq.TYPE) == zmq.REP:
                    self._socket.send(b"")  # before the next request; not for a peer
                continue
            yield frames

    def subscriptions(self) -> Iterator[bytes]:
        """Yields subscribers' messages of an XPUB, each with its first byte."""
        for first, frames in receive(self._socket, SUBSCRIPTIONS_AT_ONCE, self.inflow):
            if self._admits_topic(_descriptor(first), first, frames[0]):
                yield frames[0]

    @property
    def forms_wanted(self) -> tuple[bool, bool]:
        """Whether any peer receives turns, and whether any receives single messages."""
        if self._forms is None:
            peers = self._peers.values()
            single = self._unplaced or any(peer.topics > peer.turns for peer in peers)
            self._forms = any(peer.turns > 0 for peer in peers), single
            self._unpadded = frozenset().union(*(peer.unpadded for peer in peers))
        return self._forms

    @property
    def unpadded_wanted(self) -> frozenset[bytes]:
        """Numbers of Boxes without zeros, each a prefix, to which any peer subscribes."""
        return self._unpadded if self.forms_wanted[1] else frozenset()

    def note_subscription(self, first: zmq.Frame, data: bytes) -> None:
        """Notes a message that an XPUB received (with XPUB_VERBOSER, so that each peer's are seen)."""
        self._forms = None
        number, step = _descriptor(first), 1 if data[:1] == b"\x01" else -1
        if not self._admits_topic(number, first, data):
            return
        if number not in self._peers or (self._turns and step > 0):  # its number may have been another's
            self._note_changes()
        peer = None if number is None else self._peers.get(number)
        if number is None or peer is None:
            self._unplaced |= step > 0
            return
        peer.topics = max(0, peer.topics + step)  # it may end a subscription that it never began
        if self._turns:
            peer.turns = max(0, peer.turns + step * subscribed_topics(first, data[1:])[1])
            peer.all_times += data == b"\x01"
            if is_unpadded(data[1:]):
                (peer.unpadded.add if step > 0 else peer.unpadded.discard)(data[1:])
        if peer.topics > MAX_TOPICS or peer.all_times > MAX_ALL:
            self._end(number, "topics")

    def check(self) -> None:
        """Notes new and ended connections; every CHECK_S it ends those of revoked keys.

        Raises:
            OpqError: the thread that admits has ended; the service begins again.
        """
        if has_message(self.monitor):
            self._note_changes()
        now_s = time.monotonic()
        if now_s - self._checked_s < CHECK_S:
            return
        self._checked_s = now_s
        if self._admission is not None and not self._admission.alive:
            raise OpqError(
                f"{self._name}: the thread that admits its peers has ended, so no key can "
                "be revoked; start the service again"
            )
        self._end_revoked()

    @property
    def _admission(self) -> BackendAdmission | None:
        """The context's, unless this one of its addresses is in clear."""
        with_keys = self._context_admission and self._socket.getsockopt(zmq.MECHANISM) == zmq.CURVE
        return self._context_admission if with_keys else None

    def _note_changes(self) -> None:
        for frames in waiting_messages(self.monitor):
            self._forms = None
            event = parse_monitor_message(frames)
            if event["event"] == zmq.EVENT_HANDSHAKE_SUCCEEDED:
                del self._in_handshake[-1:]  # it names no descriptor; a program of ZeroMQ is done at once
                continue
            number = int(event["value"])
            self._peers.pop(number, None)
            self.inflow.remove(number)
            if number in self._in_handshake:
                self._in_handshake.remove(number)
                self._counters.add("backend_handshakes_failed", label=self._name)
                self._log.warning("backend.handshake_failed", key=self._name, address=self._name)
            if event["event"] == zmq.EVENT_ACCEPTED:
                self._in_handshake.append(number)
                address = remote_address(number)
                if address is not None:
                    self._peers[number] = BackendPeer(address)
                    self.inflow.curve = self._admission is not None
                    self.inflow.open(number, address)
                    if len(self._peers) > MAX_CONNECTIONS:
                        self._end(number, "connections")
        self._counters.set("backend_connections_now", len(self._peers), label=self._name)

    def _admits_topic(self, number: int | None, first: zmq.Frame, data: bytes) -> bool:
        """Whether a subscription is of an admitted peer; with turns it gets what it can read."""
        if self._admission is not None and data[:1] == b"\x01" and not self._note_key(number, first):
            return False
        if self._turns and data[:1] in (b"\x00", b"\x01"):
            for topic in subscribed_topics(first, data[1:])[0]:
                self._socket.setsockopt(zmq.SUBSCRIBE if data[:1] == b"\x01" else zmq.UNSUBSCRIBE, topic)
        return True

    def _note_key(self, number: int | None, first: zmq.Frame) -> bool:
        """Notes the key that sent this; False: it is not admitted, and its connection is ended."""
        admission = self._admission
        assert admission is not None
        try:
            key = str(first.get("User-Id"))
        except zmq.ZMQError:
            key = ""
        if number is not None and number not in self._peers:
            self._note_changes()
        peer = None if number is None else self._peers.get(number)
        if peer is not None:
            peer.key = key
        self._end_revoked()
        if key in self._admitted:
            return True
        admission.refuse(key, "key is not admitted any more")
        if number is not None and number in self._peers:
            self._end(number, "revoked")
        return False

    def _end_revoked(self) -> None:
        """Ends connections of revoked keys.

        A connection that shook hands before and has sent nothing since may have any key: it is ended, and
        connects again.
        """
        if self._admission is None or self._admission.admitted is self._admitted:
            return
        before, now = self._admitted, self._admission.admitted
        self._admitted = now
        if before.keys() <= now.keys():
            return
        for number, peer in list(self._peers.items()):
            if peer.key is None:
                self._end(number, "not heard before a key was revoked")
            elif peer.key not in now:
                self._end(number, "revoked")

    def _sender_of(self, number: int) -> str | None:
        peer = self._peers.get(number)
        return None if peer is None else peer.key

    def _end(self, number: int, reason: str) -> None:
        peer, self._forms = self._peers.pop(number), None
        self.inflow.remove(number)
        shut_down(number, peer.address)
        self._counters.add("backend_ended", label=f"{self._name} {reason}")
        facts = {"address": self._name, "peer": str(peer.address), "reason": reason}
        self._log.warning("backend.ended", key=(self._name, reason), **facts)


def answer_requests(
    endpoint: str,
    service: str,
    key: str,
    counters: ServiceCounters,
    stop: threading.Event,
    ready: threading.Event | None,
    answer: Callable[[Socket, list[bytes]], None],
    bound: Callable[[], None] = lambda: None,
) -> None:
    """Binds a REP of its own context, and calls `answer` with it and each request's frames until `stop`.

    `bound` is called once the address is bound.

    Raises:
        PortBusyError, ConfigError, KeyFileError: as `sockets.bind`.
    """
    with ExitStack() as opened:
        backend = opened.enter_context(backend_context([endpoint], counters))
        socket = opened.enter_context(closing(open_socket(backend.context, zmq.REP)))
        peers = BackendPeers(backend.context, socket, key, counters, admission=backend.admission)
        opened.enter_context(closing(peers))
        bind(socket, endpoint, service, key)
        bound()
        if ready is not None:
            ready.set()
        while not stop.is_set():
            wait_for(stop, socket, peers.monitor, due_s=peers.due_s)
            for frames in peers.messages(1):
                answer(socket, frames)
            peers.check()


def _descriptor(first: zmq.Frame) -> int | None:
    try:
        return int(first.get(zmq.SRCFD))
    except (zmq.ZMQError, ValueError, TypeError):
        return None  # its connection is gone
