"""The event bridge: an event is finished (port 10000), so plug-ins are told `MakaiEvent`.

Source: opq-interop A.7 (two frames: instance, event id as decimal ASCII) and A.9.
"""

import threading
from dataclasses import dataclass
from typing import Any

import zmq

from opq_cloud.mauka.messages import BRIDGE_SOURCE, LARGEST_ID, MAKAI_EVENT, makai_event
from opq_cloud.mauka.publisher import Publisher, subscriber
from opq_cloud.once_per import OncePer
from opq_cloud.service import Counters
from opq_cloud.sockets import connect
from opq_proto import log as logs
from opq_proto.errors import FrameError

log = logs.get(service="mauka")

POLL_MS = 100


@dataclass(frozen=True, slots=True)
class BridgeConfig:
    event_endpoint: str = "tcp://127.0.0.1:10000"
    bus_sub_endpoint: str = "tcp://127.0.0.1:9882"
    hwm: int = 1000


def read_notification(frames: list[bytes]) -> int:
    """The event id of a notification; `FrameError` when it is none."""
    if len(frames) != 2:
        raise FrameError(f"an event notification of {len(frames)} frames; want instance and event id")
    digits = frames[1]
    if not (digits.isdigit() and len(digits) <= 10 and 1 <= int(digits) <= LARGEST_ID):
        raise FrameError(f"event id {digits[:40]!r}; want a decimal number from 1 to {LARGEST_ID}")
    return int(digits)


class EventBridge:
    """Counters: `received`, `malformed`, and those of `Publisher`."""

    name = "mauka.bridge"

    def __init__(self, config: BridgeConfig) -> None:
        self._config = config
        self.counters = Counters()
        self._lines = OncePer(60)

    def run(self, stop: threading.Event, ready: threading.Event | None = None) -> None:
        """Until `stop`. An event that was told while the bus was away is found in the store."""
        context: zmq.Context[Any] = zmq.Context()
        out = Publisher(context, self._config.hwm, self.counters)
        source = subscriber(context, self._config.hwm, [""])
        try:
            out.connect(self._config.bus_sub_endpoint, "mauka.bus_sub_endpoint")
            connect(source, self._config.event_endpoint, "mauka.event_endpoint")
            if ready is not None:
                ready.set()
            while not stop.is_set():
                if source.poll(POLL_MS):
                    self._pass_on(source.recv_multipart(), out)
        finally:
            source.close()
            out.close()
            context.term()

    def _pass_on(self, frames: list[bytes], out: Publisher) -> None:
        self.counters.add("received")
        try:
            event_id = read_notification(frames)
        except FrameError as error:
            self.counters.add("malformed")
            if self._lines.take("malformed"):
                log.warning("bridge.malformed", problem=str(error))
            return
        out.send([MAKAI_EVENT.encode(), makai_event(event_id, BRIDGE_SOURCE).SerializeToString()])
