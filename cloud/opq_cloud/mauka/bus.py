"""The bus: what any plug-in publishes on 9882 goes to every subscriber of 9883, untouched.

`BusBroker` passes messages on. `EventBridge` publishes `MakaiEvent` for each event that is finished
(port 10000; opq-interop A.7: two frames, instance and event id as decimal ASCII). `inject` publishes a
message, or a stored event again, into a running Mauka; that is harmless, for findings and incidents are
stored once (opq-interop E.5, H.32).
"""

import threading
from collections.abc import Iterable
from contextlib import ExitStack, closing

import zmq

from opq_cloud.backend_admission import backend_door
from opq_cloud.backend_peers import BackendLimits, BackendPeers
from opq_cloud.config import MaukaSection
from opq_cloud.mauka.messages import BRIDGE_SOURCE, LARGEST_ID, MAKAI_EVENT, makai_event
from opq_cloud.mauka.publisher import HWM, LARGEST_MESSAGE_BYTES, Publisher, subscriber
from opq_cloud.own_keys import OwnKeys
from opq_cloud.service import ServiceCounters
from opq_cloud.sockets import BURST, POLL_MS, bind, service_context
from opq_proto import log as logs
from opq_proto.errors import FrameError, OpqError
from opq_proto.rate_limit import RateLimitedLog

log = logs.get(service="mauka")

MALFORMED_LOG_S = 60.0
BUS_ENDPOINT = MaukaSection().bus_sub_endpoint
INJECT_HWM = 100_000


class BusBroker:
    """Passes every message of two frames on.

    A message that is not two frames would end an original plug-in's loop (opq-interop A.9), so it
    is counted and kept back; everything else passes byte for byte.
    Counters: `received`, `malformed`, and those of `Publisher` for what went on.
    """

    name = "mauka.bus"

    def __init__(self, config: MaukaSection) -> None:
        self._config = config
        self.counters = ServiceCounters()
        self._limited = RateLimitedLog(log, MALFORMED_LOG_S)

    def run(self, stop: threading.Event, ready: threading.Event | None = None) -> None:
        """Until `stop`; raises PortBusyError when an address is taken."""
        with ExitStack() as opened:
            sub, pub = self._config.bus_sub_endpoint, self._config.bus_pub_endpoint
            door = opened.enter_context(
                backend_door(opened.enter_context(service_context()), [sub, pub], self.counters)
            )
            context, admission = door.context, door.admission
            out = opened.enter_context(closing(Publisher(context, HWM, self.counters)))
            source = opened.enter_context(closing(subscriber(context, HWM, [""])))
            out.bind(pub, self.name, "mauka.bus_pub_endpoint", admission)
            key, limits = "mauka.bus_sub_endpoint", BackendLimits(message_bytes=2 * LARGEST_MESSAGE_BYTES)
            peers = opened.enter_context(
                closing(BackendPeers(context, source, key, self.counters, limits, admission))
            )
            bind(source, sub, self.name, key)
            log.info("bus.bound", sub=sub, pub=pub)
            if ready is not None:
                ready.set()
            poller = zmq.Poller()
            poller.register(source, zmq.POLLIN)
            poller.register(out.socket, zmq.POLLIN)  # subscriptions are read, or they would pile up
            while not stop.is_set():
                poller.poll(POLL_MS)
                out.heard()
                peers.check()
                self._forward(peers, out)

    def _forward(self, peers: BackendPeers, out: Publisher) -> None:
        for frames in peers.messages(BURST):
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

    def run(self, stop: threading.Event, ready: threading.Event | None = None) -> None:
        """Until `stop`. An event that was announced while the bus was away is found in the store."""
        with ExitStack() as opened:
            context = opened.enter_context(service_context())
            out = opened.enter_context(closing(Publisher(context, HWM, self.counters)))
            source = opened.enter_context(closing(subscriber(context, HWM, [""])))
            out.connect(self._config.bus_sub_endpoint, "mauka.bus_sub_endpoint")
            keys = OwnKeys()
            keys.connect(source, self._config.event_endpoint, "mauka.event_endpoint")
            if ready is not None:
                ready.set()
            while not stop.is_set():
                if source.poll(POLL_MS):
                    self._publish_event(source.recv_multipart(), out)
                keys.follow()
                out.follow_keys()

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
    """The event id of a notification; raises FrameError when it is no notification."""
    if len(frames) != 2:
        raise FrameError(f"an event notification of {len(frames)} frames; want instance and event id")
    digits = frames[1]
    if not (digits.isdigit() and len(digits) <= 10 and 1 <= int(digits) <= LARGEST_ID):
        raise FrameError(f"event id {digits[:40]!r}; want a decimal number from 1 to {LARGEST_ID}")
    return int(digits)


class NobodyListensError(OpqError):
    """There is no bus at the address."""


def inject(messages: Iterable[tuple[str, bytes]], endpoint: str = BUS_ENDPOINT, wait_s: float = 3.0) -> int:
    """Publish (topic, body) pairs; returns how many.

    Waits until the bus has subscribed, so that the first message is not lost. Raises
    NobodyListensError after `wait_s`.
    """
    counters = ServiceCounters()
    with service_context() as context, closing(Publisher(context, INJECT_HWM, counters)) as out:
        out.connect(endpoint)
        if not out.wait_heard(wait_s):
            raise NobodyListensError(
                f"nobody listens at {endpoint} (waited {wait_s:g} s): start `opq-cloud mauka` or "
                "`opq-tools up`, or give its address or --port-offset, or its keys (docs/backend-keys.md)"
            )
        for topic, body in messages:
            out.send([topic.encode(), body])
    # the context has ended: it waited, at most LINGER_MS, until all was on the wire
    if counters.total("dropped"):
        raise NobodyListensError(
            f"the bus at {endpoint} did not take {counters.total('dropped'):.0f} messages"
        )
    return int(counters.total("published"))


def event_message(event_id: int) -> tuple[str, bytes]:
    """The message that announces a stored event to Mauka, as the bridge sends it."""
    return MAKAI_EVENT, makai_event(event_id, BRIDGE_SOURCE).SerializeToString()
