"""The bus: each message that a plug-in publishes on 9882 goes unchanged to every subscriber of 9883.

`BusBroker` passes messages on. `EventBridge` publishes `MakaiEvent` for each event that is finished
(port 10000; docs/reference/opq-interop.md A.7: two frames, instance and event id as decimal ASCII). `inject`
publishes a message, or a stored event again, into a running Mauka; that is harmless, because findings and
incidents are stored once (docs/reference/opq-interop.md E.5, H.32). Its publishers know whether anybody has
subscribed: XPUB is PUB on the wire, reports subscriptions and, with XPUB_NODROP, a subscriber that is full.
So each dropped message moves a counter (docs/reference/limits.md 1).
"""

import math
import threading
import time
from collections.abc import Iterable, Sequence
from contextlib import ExitStack, closing

import zmq

from opq_cloud.core.backend.admission import BackendAdmission, backend_context
from opq_cloud.core.backend.peer_watch import WatchedConnections
from opq_cloud.core.backend.peers import BackendPeers
from opq_cloud.core.backend.sockets import (
    LARGEST_TOPIC_BYTES,
    MESSAGES_PER_TURN,
    Context,
    Socket,
    bind,
    connect,
    send_past_full,
    service_context,
)
from opq_cloud.core.backend.waits import Stop, wait_for
from opq_cloud.core.service import HealthReport, ServiceCounters
from opq_cloud.core.settings.mauka import MaukaSection
from opq_cloud.mauka.bus.bus_messages import BRIDGE_SOURCE, LARGEST_ID, MAKAI_EVENT, makai_event
from opq_proto.errors import FrameError, OpqError
from opq_proto.kit import log as logs
from opq_proto.kit.rate_limit import RateLimitedLog
from opq_proto.kit.zmq_inbox import try_send, waiting_messages

MESSAGES_PER_PEER = 1000
"""Largest number of messages that wait for one peer."""
LINGER_MS = 500
MAX_RECONNECT_MS = 1000
LARGEST_MESSAGE_BYTES = 64 * 2**20
"""A peer that sends more is disconnected; 3 s of one Box as doubles are 0.3 MB."""


def subscriber(context: Context, hwm: int, topics: Iterable[str]) -> Socket:
    """Makes a SUB socket, bounded, subscribed, not yet bound or connected."""
    socket: Socket = context.socket(zmq.SUB)
    socket.setsockopt(zmq.LINGER, 0)
    socket.setsockopt(zmq.RCVHWM, hwm)
    socket.setsockopt(zmq.MAXMSGSIZE, LARGEST_MESSAGE_BYTES)
    socket.setsockopt(zmq.RECONNECT_IVL_MAX, MAX_RECONNECT_MS)
    for topic in topics:
        socket.setsockopt(zmq.SUBSCRIBE, topic.encode())
    return socket


class Publisher:
    """Publishes messages from any thread, to one peer (`connect`) or to every peer that connects (`bind`).

    Counters:
        published, published_bytes: messages that were sent.
        unheard: messages that were sent while no peer subscribed to any topic.
        dropped: with one peer, messages for which its queue had no room.
        subscriber_full: with many peers, how often the queue of one became full. The others get the message.
            libzmq skips the full one until it has read half of its queue, and does not count what it missed.
    """

    def __init__(self, context: Context, hwm: int, counters: ServiceCounters) -> None:
        self.socket: Socket = context.socket(zmq.XPUB)
        self.socket.setsockopt(zmq.LINGER, LINGER_MS)
        self.socket.setsockopt(zmq.SNDHWM, hwm)
        self.socket.setsockopt(zmq.XPUB_NODROP, 1)
        self.socket.setsockopt(zmq.MAXMSGSIZE, LARGEST_TOPIC_BYTES)
        self.socket.setsockopt(zmq.RECONNECT_IVL_MAX, MAX_RECONNECT_MS)
        self._context, self._counters = context, counters
        self._peers: BackendPeers | None = None
        self._topics: set[bytes] = set()
        self._lock = threading.Lock()
        self._one_peer = True

    def bind(self, endpoint: str, service: str, key: str, admission: BackendAdmission | None = None) -> None:
        """Raises PortBusyError. `admission`: the context's, where the address has keys."""
        self._peers = BackendPeers(self._context, self.socket, key, self._counters, admission=admission)
        bind(self.socket, endpoint, service, key)
        self._one_peer = False

    def connect(self, endpoint: str, key: str = "endpoint") -> None:
        """Raises ConfigError."""
        connect(self.socket, endpoint, key)

    @property
    def sockets(self) -> list[Socket]:
        """What the loop of a bound one waits for, to call `has_subscriber`."""
        return [self.socket] if self._peers is None else [self.socket, self._peers.monitor]

    def wait_subscribed(self, timeout_s: float, stop: Stop | None = None) -> bool:
        """Waits for a subscriber, because messages sent before are lost (the slow joiner)."""
        end_s = time.monotonic() + timeout_s
        while not (stop is not None and stop.is_set()):
            if self.has_subscriber():
                return True
            if time.monotonic() >= end_s:
                break
            self.socket.poll(20)
        return False

    def has_subscriber(self) -> bool:
        """Returns True if there is a subscriber now; reads the subscribers' messages."""
        with self._lock:
            self._read_subscriptions()
            if self._peers is not None:
                self._peers.check()
            return bool(self._topics)

    def send(self, frames: Sequence[bytes]) -> bool:
        """Sends without blocking; False when a subscriber missed it, which is counted."""
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
            self._counters.add("published_bytes", sum(map(len, frames)))
            return sent

    def close(self) -> None:
        with self._lock:
            if self._peers is not None:
                self._peers.close()
            self.socket.close()

    def _read_subscriptions(self) -> None:
        if self._peers is None:
            waiting: Iterable[bytes] = (frames[0] for frames in waiting_messages(self.socket))
        else:
            waiting = self._peers.subscriptions()
        for data in waiting:
            if data[:1] == b"\x01":
                self._topics.add(data[1:])
            elif data[:1] == b"\x00":
                self._topics.discard(data[1:])


log = logs.get(service="mauka")

MALFORMED_LOG_S = 60.0
WAIT_BUS_S = 1.0
"""The bridge waits this long for the bus, before it passes on what was announced meanwhile."""
INJECT_HWM = 100_000
INJECT_LINGER_MS = 30_000
"""A command's messages are on the wire before it says how many it published, or the bus hangs."""


class BusBroker:
    """Passes every message of two frames on.

    A message that is not two frames would end an original plug-in's loop (docs/reference/opq-interop.md A.9),
    so it is counted and not passed on; everything else passes byte for byte.

    Counters: `received`, `malformed`, and those of `Publisher` for the messages passed on.
    """

    name = "mauka.bus"

    def __init__(self, config: MaukaSection) -> None:
        self._config = config
        self.counters = ServiceCounters()
        self._limited = RateLimitedLog(log, MALFORMED_LOG_S)

    def run(self, stop: threading.Event, ready: threading.Event | None = None) -> None:
        """Runs until `stop`; raises PortBusyError when an address is taken."""
        with ExitStack() as opened:
            sub, pub = self._config.bus_sub_endpoint, self._config.bus_pub_endpoint
            backend = opened.enter_context(backend_context([sub, pub], self.counters))
            context, admission = backend.context, backend.admission
            out = opened.enter_context(closing(Publisher(context, MESSAGES_PER_PEER, self.counters)))
            source = opened.enter_context(closing(subscriber(context, MESSAGES_PER_PEER, [""])))
            out.bind(pub, self.name, "mauka.bus_pub_endpoint", admission)
            key = "mauka.bus_sub_endpoint"
            peers = opened.enter_context(
                closing(BackendPeers(context, source, key, self.counters, admission))
            )
            bind(source, sub, self.name, key)
            log.info("bus.bound", sub=sub, pub=pub)
            if ready is not None:
                ready.set()
            while not stop.is_set():
                wait_for(stop, source, peers.monitor, *out.sockets, due_s=peers.due_s)
                out.has_subscriber()  # reads subscriptions, which would pile up
                peers.check()
                self._forward(peers, out)

    def _forward(self, peers: BackendPeers, out: Publisher) -> None:
        for frames in peers.messages(MESSAGES_PER_TURN):
            self.counters.add("received")
            if len(frames) != 2:
                self.counters.add("malformed")
                self._limited.warning("bus.malformed", frames=len(frames), wanted=2)
                continue
            full = self.counters.total("subscriber_full")
            out.send(frames)
            if self.counters.total("subscriber_full") > full:
                topic = frames[0][:40].decode(errors="replace")
                self._limited.warning("bus.subscriber_full", topic=topic)


class EventBridge:
    """Counters: `received`, `malformed`, and those of `Publisher`."""

    name = "mauka.bridge"

    def __init__(self, config: MaukaSection) -> None:
        self._config = config
        self.counters = ServiceCounters()
        self._limited = RateLimitedLog(log, MALFORMED_LOG_S)
        self._connections = WatchedConnections()

    def health(self) -> list[HealthReport]:
        """Reports a missing event service."""
        return [HealthReport(self.name, self._connections.problem is None, info=self._connections.problem)]

    def run(self, stop: threading.Event, ready: threading.Event | None = None) -> None:
        """Runs until `stop`. An event that was announced while the bus was away is found in the store."""
        with ExitStack() as opened:
            context = opened.enter_context(service_context())
            out = opened.enter_context(closing(Publisher(context, MESSAGES_PER_PEER, self.counters)))
            source = opened.enter_context(closing(subscriber(context, MESSAGES_PER_PEER, [""])))
            out.connect(self._config.bus_sub_endpoint, "mauka.bus_sub_endpoint")
            self._connections = connections = WatchedConnections()
            connections.connect(source, self._config.event_endpoint, "mauka.event_endpoint")
            out.wait_subscribed(WAIT_BUS_S, stop)
            if ready is not None:
                ready.set()
            while not stop.is_set():
                if source in connections.wait(stop, source, due_s=math.inf):
                    self._publish_event(source.recv_multipart(), out)

    def _publish_event(self, frames: list[bytes], out: Publisher) -> None:
        self.counters.add("received")
        try:
            event_id = read_notification(frames)
        except FrameError as error:
            self.counters.add("malformed")
            self._limited.warning("bridge.malformed", problem=str(error))
            return
        out.send([MAKAI_EVENT.encode(), makai_event(event_id, BRIDGE_SOURCE).SerializeToString()])


def read_notification(frames: list[bytes]) -> int:
    """Returns the event id of a notification; raises FrameError when it is not a notification."""
    if len(frames) != 2:
        raise FrameError(f"an event notification of {len(frames)} frames; want instance and event id")
    digits = frames[1]
    if not (digits.isdigit() and len(digits) <= 10 and 1 <= int(digits) <= LARGEST_ID):
        raise FrameError(f"event id {digits[:40]!r}; want a decimal number from 1 to {LARGEST_ID}")
    return int(digits)


class NobodyListensError(OpqError):
    """No bus subscribed at the address within the time to wait."""


def inject(messages: Iterable[tuple[str, bytes]], endpoint: str, wait_s: float = 3.0) -> int:
    """Publishes (topic, body) pairs; returns how many.

    Waits until the bus has subscribed, so that the first message is not lost. Raises
    NobodyListensError after `wait_s`.
    """
    counters = ServiceCounters()
    with service_context() as context, closing(Publisher(context, INJECT_HWM, counters)) as out:
        out.connect(endpoint)
        if not out.wait_subscribed(wait_s):
            raise NobodyListensError(
                f"no bus has subscribed at {endpoint} (waited {wait_s:g} s): start `opq-cloud mauka` or "
                "`opq-tools up`, or give its address or --port-offset, or its keys (docs/backend-keys.md)"
            )
        out.socket.setsockopt(zmq.LINGER, INJECT_LINGER_MS)
        for topic, body in messages:
            out.send([topic.encode(), body])
    # the end of the context waited at most INJECT_LINGER_MS for the messages to be on the wire
    if counters.total("dropped"):
        raise NobodyListensError(
            f"the bus at {endpoint} did not receive {counters.total('dropped'):.0f} messages"
        )
    return int(counters.total("published"))


def event_message(event_id: int) -> tuple[str, bytes]:
    """Returns the message that announces a stored event to Mauka, as the bridge sends it."""
    return MAKAI_EVENT, makai_event(event_id, BRIDGE_SOURCE).SerializeToString()
