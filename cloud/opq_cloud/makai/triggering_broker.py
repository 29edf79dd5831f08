"""Triggering broker: measurements from Boxes (CURVE, 9880) to everyone in the cloud (9881).

Frames go on byte for byte, however many. A body is decoded only to hold the Box id to the key
that sent it, and to count holes in the sequence. What is dropped is counted: `refused` (key),
`foreign` (another Box's id), `malformed`, `subscriber_full`.
"""

import threading
import time
from collections.abc import Iterable
from contextlib import ExitStack, closing

import zmq

from opq_cloud.config import TriggeringBroker as Config
from opq_cloud.makai.fanout import Fanout
from opq_cloud.makai.peers import Peers
from opq_cloud.makai.zap import Doorkeeper
from opq_cloud.once_per import OncePer
from opq_cloud.service import Counters, Health
from opq_cloud.sockets import DRAIN, context, receive
from opq_proto import log
from opq_proto.errors import FrameError
from opq_proto.keys import KeyFolder
from opq_proto.opqbox3_pb2 import Measurement
from opq_proto.wire_waveforms import read_message

RECEIVE_QUEUE = 100_000
TEND_MS = 20
"""Handshakes, the key folder and subscriptions are looked at so often."""


class TriggeringBroker:
    """SUB (CURVE) -> PUB."""

    name = "triggering-broker"

    def __init__(self, config: Config, keys: KeyFolder) -> None:
        self.counters = Counters()
        self._config = config
        self._keys = keys
        self._log = log.get(service=self.name)
        self._lines = OncePer(10.0)
        self._sequences: dict[str, int] = {}

    def health(self) -> Iterable[Health]:
        return ()

    def run(self, stop: threading.Event, ready: threading.Event | None = None) -> None:
        with ExitStack() as opened:
            own = context()
            opened.callback(own.term)
            door = opened.enter_context(closing(Doorkeeper(own, self._keys, self.counters, self._log)))
            boxes, peers = door.open(
                zmq.SUB,
                self._config.box_endpoint,
                self.name,
                "triggering_broker.box_endpoint",
                rcvhwm=RECEIVE_QUEUE,
            )
            boxes.setsockopt(zmq.SUBSCRIBE, b"")
            fanout = opened.enter_context(
                closing(Fanout(own, self.counters, self._config.send_queue_messages))
            )
            fanout.bind(self._config.backend_endpoint, self.name, "triggering_broker.backend_endpoint")
            self._log.info(
                "broker.listening", boxes=self._config.box_endpoint, backend=self._config.backend_endpoint
            )
            if ready is not None:
                ready.set()
            tend_at = 0.0
            while not stop.is_set():
                # one socket, not a Poller over all: at 10,000 messages/s the wait is a third of the cost
                boxes.poll(TEND_MS)
                taken = 0
                while taken < DRAIN and (message := receive(boxes)) is not None:
                    taken += 1
                    self._relay(*message, door, peers, fanout)
                if taken:
                    self.counters.add("received", taken)
                now = time.monotonic()
                if now >= tend_at:
                    tend_at = now + TEND_MS / 1000
                    door.tend()
                    fanout.drain()

    def _relay(
        self, first: zmq.Frame, frames: list[bytes], door: Doorkeeper, peers: Peers, fanout: Fanout
    ) -> None:
        box_id = door.sender(first, peers)
        if box_id is None:
            return
        if len(frames) < 2:
            self.counters.add("malformed", label=box_id)
            return
        try:
            message = read_message(Measurement, frames[1])
            claimed = message.box_id, int(frames[0])
        except (FrameError, ValueError):
            self.counters.add("malformed", label=box_id)
            return
        number = int(box_id)
        if claimed != (number, number):
            self.counters.add("foreign", label=box_id)
            count = self._lines.take(box_id)
            if count:
                self._log.warning("measurement.foreign", box_id=box_id, claimed=claimed, count=count)
            return
        if message.HasField("sequence"):
            self._follow(box_id, message)
        fanout.send(frames)

    def _follow(self, box_id: str, message: Measurement) -> None:
        sequence = message.sequence
        last = self._sequences.get(box_id)
        if last is not None and sequence > last + 1 and not message.backfilled:
            self.counters.add("sequence_holes", sequence - last - 1, label=box_id)
        if last is None or sequence > last:
            self._sequences[box_id] = sequence
        if self._config.trace:
            self._log.info("measurement.received", box_id=box_id, sequence=sequence)
