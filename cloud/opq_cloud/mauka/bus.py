"""The bus: what any plug-in publishes on 9882 goes to every subscriber of 9883, untouched.

A message that is not two frames would end an original plug-in's loop (opq-interop A.9), so it
is counted and kept back; everything else passes byte for byte.
"""

import threading
from dataclasses import dataclass
from typing import Any

import zmq

from opq_cloud.mauka.publisher import Publisher, subscriber
from opq_cloud.once_per import OncePer
from opq_cloud.service import Counters
from opq_cloud.sockets import bind
from opq_proto import log as logs

log = logs.get(service="mauka")

POLL_MS = 100
BURST = 1000
"""Messages taken before the stop event is looked at again."""


@dataclass(frozen=True, slots=True)
class BusConfig:
    sub_endpoint: str = "tcp://127.0.0.1:9882"
    pub_endpoint: str = "tcp://127.0.0.1:9883"
    hwm: int = 1000
    """Messages waiting per peer, at most."""


class BusBroker:
    """Counters: `received`, `malformed`, and those of `Publisher` for what went on."""

    name = "mauka.bus"

    def __init__(self, config: BusConfig) -> None:
        self._config = config
        self.counters = Counters()
        self._lines = OncePer(60)

    def run(self, stop: threading.Event, ready: threading.Event | None = None) -> None:
        """Until `stop`; raises PortBusyError when an address is taken."""
        context: zmq.Context[Any] = zmq.Context()
        out = Publisher(context, self._config.hwm, self.counters)
        source = subscriber(context, self._config.hwm, [""])
        try:
            out.bind(self._config.pub_endpoint, self.name, "mauka.bus_pub_endpoint")
            bind(source, self._config.sub_endpoint, self.name, "mauka.bus_sub_endpoint")
            log.info("bus.bound", sub=self._config.sub_endpoint, pub=self._config.pub_endpoint)
            if ready is not None:
                ready.set()
            poller = zmq.Poller()
            poller.register(source, zmq.POLLIN)
            poller.register(out.socket, zmq.POLLIN)  # subscriptions: taken in, or they would pile up
            while not stop.is_set():
                poller.poll(POLL_MS)
                out.heard()
                self._forward(source, out)
        finally:
            source.close()
            out.close()
            context.term()

    def _forward(self, source: "zmq.Socket[bytes]", out: Publisher) -> None:
        for _ in range(BURST):
            try:
                frames = source.recv_multipart(zmq.NOBLOCK)
            except zmq.Again:
                return
            self.counters.add("received")
            if len(frames) != 2:
                self.counters.add("malformed")
                if self._lines.take("malformed"):
                    log.warning("bus.malformed", frames=len(frames), wanted=2)
                continue
            full = self.counters.total("subscriber_full")
            out.send(frames)
            if self.counters.total("subscriber_full") > full and self._lines.take("full"):
                log.warning("bus.subscriber_full", topic=frames[0][:40].decode(errors="replace"))
