"""Triggering broker: measurements from Boxes (CURVE, 9880) to everyone in the cloud (9881).

Frames are passed on byte for byte, in any number, under the Box's topic. A payload is not read, except for
the lines of `trace`: the broker compares the key that sent it with the topic, and readers the topic with the
payload. Only a TriggerMessage of the C++ generation, known by its size, becomes the Measurement that it
stands for. Dropped messages are counted: `refused` (key), `foreign` (another Box's topic), `malformed`,
`over_budget` (a Box that sends too much), `overflow` (the broker is late), `subscriber_full`."""

import threading
import time
from contextlib import ExitStack, closing

import zmq

from opq_cloud.core.backend.admission import backend_context
from opq_cloud.core.backend.fanout_socket import FanoutSocket
from opq_cloud.core.backend.sockets import MESSAGES_PER_TURN, PollPace, service_context
from opq_cloud.core.service import HealthReport, ServiceCounters
from opq_cloud.core.settings.makai_settings import TriggeringBrokerSection
from opq_cloud.makai.brokers.admission import MEASUREMENTS, AdmittedSocket, ZapHandler
from opq_cloud.makai.brokers.receive_queue import MESSAGE_BYTES, BoxBudget, Received, ReceiveQueue
from opq_cloud.makai.brokers.registered_keys import StoreOfBoxes, registered_in
from opq_proto.errors import FrameError
from opq_proto.keys.key_files import KeyFolder
from opq_proto.kit import log
from opq_proto.kit.rate_limit import RateLimitedLog
from opq_proto.measurement.wire import measurement_from_wire
from opq_proto.wire.frames import TOPIC_BYTES, topic
from opq_proto.wire.leg import LARGEST_TRIGGER_BYTES, is_trigger_message, measurement_from_trigger

GATHER_S = 0.01
"""Interval between turns while many Measurements arrive; those that arrived meanwhile are sent together."""
DENSE_PER_S = 200
"""Below this rate each Measurement is sent at once, because a turn would gather only a few."""
CONNECTION_QUEUE = 100
"""Messages per connection in libzmq's own queue; everything is read at once, see receive_queue.py."""
LARGEST_MEASUREMENT_BYTES = 128 * 1024
"""A Box that sends a longer frame is disconnected."""
SEND_QUEUE = 10_000
"""Messages that wait for each subscriber."""
CHECK_S = 0.25
"""Connections are checked, and messages counted, this often while Measurements arrive, and at a handshake."""


class TriggeringBroker:
    """SUB (CURVE) -> PUB."""

    name = "triggering-broker"

    def __init__(
        self, config: TriggeringBrokerSection, keys: KeyFolder, registry: StoreOfBoxes | None = None
    ) -> None:
        """`registry`: its Boxes' keys are admitted too; None: only those of the folder."""
        self.counters = ServiceCounters()
        self._config = config
        self._keys = keys
        self._registry = registry
        self._log = log.get(service=self.name)
        self._limited = RateLimitedLog(self._log)
        self._budget = BoxBudget(config.box_messages_per_s, config.box_bytes_per_s, self.counters)
        self._topics: dict[str, bytes] = {}
        """Of the Boxes that sent, as subscribers know them."""
        self._overflow = 0
        self._received = self._passed_bytes = 0
        self._zap: ZapHandler | None = None

    def connections(self) -> dict[str, int]:
        """Returns `ZapHandler.connections`; empty before and after `run`."""
        return {} if self._zap is None else self._zap.connections()

    def health(self) -> list[HealthReport]:
        """Returns what `ZapHandler.health` notes; the acquisition broker meets the same keys."""
        return [] if self._zap is None else self._zap.health()

    def run(self, stop: threading.Event, ready: threading.Event | None = None) -> None:
        with ExitStack() as opened:
            context = opened.enter_context(service_context())
            registered = registered_in(self._registry, self.counters, self._log, self._keys.shared_keys)
            handler = ZapHandler(context, self._keys, self.counters, self._log, registered)
            zap = opened.enter_context(closing(handler))
            self._zap = zap
            boxes = zap.open(
                zmq.SUB,
                self._config.box_endpoint,
                self.name,
                "triggering_broker.box_endpoint",
                MEASUREMENTS,
                maxmsgsize=LARGEST_MEASUREMENT_BYTES,
                rcvhwm=CONNECTION_QUEUE,
            )
            boxes.socket.setsockopt(zmq.SUBSCRIBE, b"")
            shared = opened.enter_context(backend_context([self._config.backend_endpoint], self.counters))
            backend = opened.enter_context(
                closing(FanoutSocket(shared.context, self.counters, SEND_QUEUE, shared.admission, True))
            )
            backend.bind(self._config.backend_endpoint, self.name, "triggering_broker.backend_endpoint")
            self._log.info(
                "broker.listening", boxes=self._config.box_endpoint, backend=self._config.backend_endpoint
            )
            if ready is not None:
                ready.set()
            queue = ReceiveQueue(self._config.receive_queue_bytes)
            self.counters.set("waiting_bytes_now", 0)
            waiting = zmq.Poller()
            zap.register(waiting)
            for socket in (boxes.socket, backend.socket):
                waiting.register(socket, zmq.POLLIN)
            checked_s, turn_s, dense = 0.0, 0.0, False
            pace, there, keys_changed = PollPace(), list[object](), False
            while not stop.is_set():
                wait_ms = pace.wait_ms(bool(there) or keys_changed)
                there = [socket for socket, _ in waiting.poll(0 if queue else wait_ms)]
                before_s, turn_s = turn_s, time.monotonic()
                if dense and (left_s := before_s + GATHER_S - turn_s) > 0:
                    time.sleep(left_s)
                    turn_s += left_s
                keys_changed = zap.keys_changed
                if there != [boxes.socket] or turn_s >= checked_s + CHECK_S or keys_changed:
                    checked_s = turn_s
                    backend.read_subscriptions()
                    zap.handle_peers()
                    self._count(queue)
                received = (
                    queue.read_waiting(boxes.socket, boxes.peers.inflow) if boxes.socket in there else 0
                )
                dense = received >= DENSE_PER_S * (turn_s - before_s)
                if received or queue:
                    self._received += received
                    self._budget.begin_turn(turn_s)
                    passed = [self._passed(each, boxes) for each in queue.next_messages(MESSAGES_PER_TURN)]
                    backend.read_subscriptions()  # before it sends: new subscribers get this turn
                    backend.send_turn([frames for frames in passed if frames is not None])
            self._count(queue)

    def _passed(self, received: Received, boxes: AdmittedSocket) -> list[bytes] | None:
        """Returns the frames to send; None if they are dropped, and the reason is counted."""
        first, frames, size_bytes = received
        box_id = boxes.sender(first, frames[0])
        if box_id is None or not self._budget.allows(box_id, size_bytes - MESSAGE_BYTES):
            return None
        if not 2 <= len(frames) <= MEASUREMENTS.frames:
            self.counters.add("malformed", label=box_id)
            return None
        own = self._topics.get(box_id)
        if frames[0] != own and not self._is_own(box_id, frames[0]):
            return None
        if len(frames[1]) <= LARGEST_TRIGGER_BYTES and is_trigger_message(frames[1]):
            try:
                frames = [self._topics[box_id], measurement_from_trigger(frames[1])]
            except FrameError:
                self.counters.add("malformed", label=box_id)
                return None
            self.counters.add("leg_measurements", label=box_id)
        elif frames[0] != own:
            frames[0] = self._topics[box_id]
        self._passed_bytes += size_bytes - MESSAGE_BYTES
        if self._config.trace:
            self._log.info("measurement.received", box_id=box_id, sequence=_sequence(frames[1]))
        return frames

    def _is_own(self, box_id: str, claimed: bytes) -> bool:
        """Whether this topic, which is not as subscribers know it, is of that Box; counts it if not."""
        self._topics[box_id] = topic(box_id)
        number = int(claimed) if claimed.isdigit() and len(claimed) <= TOPIC_BYTES else None
        if number == int(box_id):
            return True
        self.counters.add("malformed" if number is None else "foreign", label=box_id)
        if number is not None:
            self._limited.warning("measurement.foreign", key=box_id, box_id=box_id, claimed=number)
        return False

    def _count(self, queue: ReceiveQueue) -> None:
        self.counters.add("received", self._received)
        self.counters.add("passed_bytes", self._passed_bytes)
        self._received = self._passed_bytes = 0
        self.counters.set("waiting_bytes_now", queue.waiting_bytes)
        dropped, queue.overflow = queue.overflow, 0
        if dropped:
            self._overflow += dropped
            self.counters.add("overflow", dropped)
            self._limited.warning("broker.late", key="overflow", dropped=self._overflow, waiting=len(queue))


def _sequence(body: bytes) -> int | None:
    """The number of a Measurement, for its line in the log; None if it has no number or cannot be read."""
    try:
        return measurement_from_wire(body).sequence
    except FrameError:
        return None
