"""Triggering broker: measurements from Boxes (CURVE, 9880) to everyone in the cloud (9881).

Frames go on byte for byte, however many, under the Box's topic; only a TriggerMessage of the C++ generation
becomes the Measurement that it stands for. A body is decoded only to compare the Box id with the key
that sent it, and to count holes in the sequence. Dropped messages are counted: `refused` (key),
`foreign` (another Box's id), `malformed`, `over_budget` (a Box that sends too much), `overflow` (the
broker is late), `subscriber_full`. Measurements that a Box sent later, or again, count as `backfilled`.
"""

import threading
import time
from contextlib import ExitStack, closing

import zmq

from opq_cloud.core.backend.admission import backend_context
from opq_cloud.core.backend.fanout_socket import FanoutSocket
from opq_cloud.core.backend.sockets import BURST, POLL_MS, service_context
from opq_cloud.core.service import ServiceCounters
from opq_cloud.core.settings.makai import TriggeringBrokerSection
from opq_cloud.makai.brokers.admission import AdmittedSocket, ZapHandler
from opq_cloud.makai.brokers.receive_queue import MESSAGE_BYTES, BoxBudget, Received, ReceiveQueue
from opq_cloud.makai.brokers.registered_keys import StoreOfBoxes, registered_in
from opq_proto.errors import FrameError
from opq_proto.keys.key_files import KeyFolder
from opq_proto.kit import log
from opq_proto.kit.rate_limit import RateLimitedLog
from opq_proto.wire.frames import topic
from opq_proto.wire.leg import is_trigger_message, measurement_from_trigger
from opq_proto.wire.measurement_forms import MeasurementForms
from opq_proto.wire.opqbox3_pb2 import Measurement
from opq_proto.wire.waveforms import read_message

IDLE_S = 0.5
"""Interval of the checks of connections while nothing arrives and no key changes."""
GATHER_S = 0.01
"""Interval between turns while Measurements arrive; those that arrived meanwhile are sent together. A
pressing one, and the first one after a pause, is sent at once.
"""
DENSE_PER_S = 400
"""With fewer, a turn would be gathered for one or two: they are sent at once."""
CONNECTION_QUEUE = 100
"""Messages per connection in libzmq's own queue; everything is read at once, see receive_queue.py."""
PEERS_MS = 20
"""Interval of handling handshakes, the key folder and subscriptions while Measurements arrive. While none do,
their sockets wake the broker, and a changed folder is seen each POLL_MS.
"""


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
        self._forms = MeasurementForms()
        self._sequences: dict[str, int] = {}
        self._overflow = 0
        self._passed_bytes = self._backfilled = 0
        self._zap: ZapHandler | None = None

    def connections(self) -> dict[str, int]:
        """Returns `ZapHandler.connections`; empty before and after `run`."""
        return {} if self._zap is None else self._zap.connections()

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
                rcvhwm=CONNECTION_QUEUE,
            )
            boxes.socket.setsockopt(zmq.SUBSCRIBE, b"")
            queue_messages = self._config.send_queue_messages
            shared = opened.enter_context(
                backend_context(context, [self._config.backend_endpoint], self.counters)
            )
            backend = opened.enter_context(
                closing(FanoutSocket(shared.context, self.counters, queue_messages, shared.admission, True))
            )
            backend.bind(self._config.backend_endpoint, self.name, "triggering_broker.backend_endpoint")
            self._log.info(
                "broker.listening", boxes=self._config.box_endpoint, backend=self._config.backend_endpoint
            )
            if ready is not None:
                ready.set()
            queue = ReceiveQueue(self._config.receive_queue_bytes, self._forms)
            self.counters.set("waiting_bytes_now", 0)
            quiet = zmq.Poller()
            zap.register(quiet)
            for socket in (boxes.socket, backend.socket):
                quiet.register(socket, zmq.POLLIN)
            received, peers_at_s, turn_s, dense = 0, 0.0, 0.0, False
            while not stop.is_set():
                if not queue and received:
                    # one socket, not a Poller over all: at 10,000 messages/s the wait is a third of the cost
                    boxes.socket.poll(PEERS_MS)
                elif not queue:
                    idle = not quiet.poll(POLL_MS) and not zap.keys_changed
                    if idle and time.monotonic() < peers_at_s - PEERS_MS / 1000 + IDLE_S:
                        backend.check()
                        continue
                    peers_at_s = 0.0
                received = queue.gather(boxes.socket, turn_s + GATHER_S if dense else 0.0)
                before_s, turn_s = turn_s, time.monotonic()
                dense = received >= DENSE_PER_S * (turn_s - before_s)
                self._budget.begin_turn()
                turn: tuple[list[list[bytes]], ...] = [], []
                pressing = queue.pressing
                for received_one in queue.next_messages(BURST):
                    presses = received_one[1][0] in pressing
                    if (passed := self._passed(received_one, boxes)) is not None:
                        turn[presses].append(passed)
                backend.read_subscriptions()  # before it sends: new subscribers get this turn
                for presses in (True, False):
                    backend.send_turn(turn[presses], presses)
                if received:
                    self.counters.add("received", received)
                    self.counters.set("waiting_bytes_now", queue.waiting_bytes)
                    self._count_overflow(queue)
                if self._passed_bytes:
                    self.counters.add("passed_bytes", self._passed_bytes)
                    self.counters.add("backfilled", self._backfilled)
                    self._passed_bytes = self._backfilled = 0
                now_s = time.monotonic()
                if now_s >= peers_at_s:
                    peers_at_s = now_s + PEERS_MS / 1000
                    zap.handle_peers()

    def _passed(self, received: Received, boxes: AdmittedSocket) -> list[bytes] | None:
        """Returns the frames to send on; None: none, and the reason is counted."""
        first, frames, form, size_bytes = received
        box_id = boxes.sender(first, frames[0])
        if box_id is None:
            return None
        size_bytes -= MESSAGE_BYTES
        if not self._budget.allows(box_id, size_bytes):
            return None
        if len(frames) < 2:
            self.counters.add("malformed", label=box_id)
            return None
        number = int(box_id)
        regular = None if form is None or len(frames) > 2 else self._forms.read(number, frames[1], form)
        if regular is not None and frames[0] == b"%04d" % number:
            if regular[0] >= 0:
                self._check_sequence(box_id, *regular)
            self._passed_bytes += size_bytes
            return frames
        try:
            message = read_message(Measurement, frames[1])
            if not message.metrics and is_trigger_message(frames[1]):
                frames = [frames[0], measurement_from_trigger(frames[1])]
                message = read_message(Measurement, frames[1])
                self.counters.add("leg_measurements", label=box_id)
                frames[0] = topic(box_id)
            claimed = message.box_id, int(frames[0])
        except (FrameError, ValueError):
            self.counters.add("malformed", label=box_id)
            return None
        if claimed != (number, number):
            self.counters.add("foreign", label=box_id)
            self._limited.warning("measurement.foreign", key=box_id, box_id=box_id, claimed=claimed)
            return None
        if message.HasField("sequence"):
            self._check_sequence(box_id, message.sequence, message.backfilled)
        frames[0] = topic(box_id)  # as subscribers know it
        self._passed_bytes += size_bytes
        return frames

    def _count_overflow(self, queue: ReceiveQueue) -> None:
        dropped, queue.overflow = queue.overflow, 0
        if dropped:
            self._overflow += dropped
            self.counters.add("overflow", dropped)
            self._limited.warning("broker.late", key="overflow", dropped=self._overflow, waiting=len(queue))

    def _check_sequence(self, box_id: str, sequence: int, backfilled: bool) -> None:
        self._backfilled += backfilled
        last = self._sequences.get(box_id)
        if last is not None and sequence > last + 1 and not backfilled:
            self.counters.add("sequence_holes", sequence - last - 1, label=box_id)
        if last is None or sequence > last:
            self._sequences[box_id] = sequence
        if self._config.trace:
            self._log.info("measurement.received", box_id=box_id, sequence=sequence)
