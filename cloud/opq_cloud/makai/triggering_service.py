"""Triggering service: measurements in; into the store; triggers out, as commands to the Boxes.

A decision of a plug-in becomes a Trigger for all Boxes heard lately. First its event is opened
(on disk), then one command per Box goes out: a kill in between loses nothing, the event service
asks again for what was never answered. A measurement goes to the store, and is acknowledged to
its Box, only after the plug-ins have seen it and its event is on disk.

A disturbance that outlasts what its onset asked for is asked for once more, whole, of the Boxes
that saw it (`completions.py`). At the start the plug-ins see the last stored minutes again: a
restart in the middle of a dip, or just after it, loses neither its beginning nor its completion.
"""

import threading
import time
import uuid
from collections import deque
from collections.abc import Iterable, Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from typing import TYPE_CHECKING

import zmq

from opq_cloud.config import TriggeringService as Config
from opq_cloud.makai.boxes import Boxes
from opq_cloud.makai.last_minutes import LastMinutes
from opq_cloud.makai.measurement_writer import MeasurementWriter
from opq_cloud.makai.openings import RETRIES_KEPT, Openings, Refused, send
from opq_cloud.makai.trigger_plugins import TriggerPlugin
from opq_cloud.makai.triggers_in_use import TriggersInUse
from opq_cloud.once_per import OncePer
from opq_cloud.service import CloudContext, Counters, Health
from opq_cloud.sockets import DRAIN, POLL_MS, Socket, connect, context, open_socket
from opq_cloud.store.store import CloudStore
from opq_proto import log
from opq_proto.decision import Decision, Nominal, window_ns
from opq_proto.errors import FrameError, StoreError
from opq_proto.wire import measurement_from_wire, plugin_command

if TYPE_CHECKING:
    from opq_cloud.makai.rules import Rules

RECEIVE_QUEUE = 100_000
NOMINAL_REFRESH_S = 30.0
ACK_PLUGIN = "opq-ack"
JOIN_S = 3.0


class TriggeringService:
    """SUB 9881 -> store; trigger plug-ins and rules -> PUSH 9884."""

    name = "triggering-service"

    def __init__(
        self, config: Config, shared: CloudContext, nominal: Nominal, data_dir: Path | None = None
    ) -> None:
        """Raises ConfigError when a plug-in cannot be loaded or configured. `data_dir`: of the rules."""
        self.counters = Counters()
        self.instance = config.identity or str(uuid.uuid4())
        self._config = config
        self._shared = shared
        self._log = log.get(service=self.name)
        self._lines = OncePer(10.0)
        self._triggers = TriggersInUse(config, self.counters, self._log)
        self._boxes = Boxes(nominal)
        self._writer: MeasurementWriter | None = None
        self._data_dir = data_dir
        self._rules: Rules | None = None
        self._refused: Refused = deque(maxlen=RETRIES_KEPT)

    def health(self) -> Iterable[Health]:
        problem = self._writer.problem if self._writer is not None else None
        own = Health(self.name, problem is None, info=problem)
        rules = [] if self._rules is None else [self._rules.health()]
        return [own, *self._boxes.health(), *self._triggers.health(), *rules]

    def run(self, stop: threading.Event, ready: threading.Event | None = None) -> None:
        config = self._config
        store = self._shared.store
        self._boxes.know(store.boxes())
        self._minutes = LastMinutes(config.see_again_s)
        with ExitStack() as opened:
            own = context()
            opened.callback(own.term)
            measurements = opened.enter_context(closing(open_socket(own, zmq.SUB, rcvhwm=RECEIVE_QUEUE)))
            connect(measurements, config.measurement_endpoint, "triggering_service.measurement_endpoint")
            measurements.setsockopt(zmq.SUBSCRIBE, b"")
            requests = opened.enter_context(closing(open_socket(own, zmq.PUSH)))
            connect(requests, config.request_endpoint, "triggering_service.request_endpoint")
            acknowledgements = opened.enter_context(closing(open_socket(own, zmq.PUSH)))
            connect(acknowledgements, config.request_endpoint, "triggering_service.request_endpoint")
            self._writer = writer = MeasurementWriter(
                store,
                config,
                self.counters,
                self._log,
                lambda box_id, text: self._acknowledge(acknowledgements, box_id, text),
            )
            self._openings = Openings(
                config,
                self.instance,
                store,
                self._boxes,
                requests,
                writer.channel.offer,
                self._refused,
                self.counters,
                self._log,
            )
            writer_stop = threading.Event()
            thread = threading.Thread(target=writer.run, args=(writer_stop,), name="measurement-writer")
            thread.start()
            try:
                self._see_again(store, self._triggers.all)
                self._rules = self._opened_rules(opened)
                if ready is not None:
                    ready.set()
                self._loop(stop, store, measurements, writer, thread)
            finally:
                writer_stop.set()
                thread.join(JOIN_S)

    def _loop(
        self,
        stop: threading.Event,
        store: CloudStore,
        measurements: Socket,
        writer: MeasurementWriter,
        thread: threading.Thread,
    ) -> None:
        refresh = time.monotonic() + NOMINAL_REFRESH_S
        while not stop.is_set():
            began = time.monotonic()
            measurements.poll(POLL_MS)
            self._triggers.idle(time.monotonic() - began)
            taken = 0
            while taken < DRAIN:
                try:
                    frames = measurements.recv_multipart(zmq.NOBLOCK)
                except zmq.Again:
                    break
                taken += 1
                self._see_what_began(store)
                self._measurement(frames, writer)
            now = time.monotonic()
            if taken:
                self.counters.add("received", taken)
            if self._rules is not None:
                for seen, asked in self._rules.asked():  # a decision as a plug-in's is
                    self._openings.onset(seen, asked, stored=False)
            self._openings.advance(now)
            if now >= refresh:
                refresh = now + NOMINAL_REFRESH_S
                self._refresh_nominals(store)
            if not thread.is_alive():
                raise RuntimeError("the measurement writer has ended")

    def _opened_rules(self, opened: ExitStack) -> "Rules | None":
        if not self._config.rules.enabled:
            return None
        from opq_cloud.makai.rules import Rules  # FastAPI and all that: only where it is wanted

        made = Rules(self._config.rules, self._data_dir, self.counters, self._triggers)
        return opened.enter_context(closing(made))

    def _refresh_nominals(self, store: CloudStore) -> None:
        try:
            self._boxes.know(store.boxes())
        except StoreError as error:  # what is known stays; what waits for the store must not be lost
            self.counters.add("store_errors")
            if count := self._lines.take("nominals"):
                self._log.warning("nominals.not_read", error=str(error), count=count)

    def _measurement(self, frames: list[bytes], writer: MeasurementWriter) -> None:
        try:
            if len(frames) < 2:
                raise FrameError(f"{len(frames)} frames; want a topic and a Measurement")
            measurement = measurement_from_wire(frames[1])
        except FrameError as error:
            self.counters.add("malformed")
            if count := self._lines.take("malformed"):
                self._log.warning("measurement.malformed", error=str(error), count=count)
            return
        if not measurement.backfilled:
            self._boxes.heard(measurement.box_id, measurement.timestamp_ms)
            if not measurement.crossing:
                self._boxes.measures_over(measurement.box_id, window_ns(measurement))
        if self._rules is not None:
            self._rules.offer(measurement)
        nominal = self._boxes.nominal(measurement)
        onset: Decision | None = None
        for plugin in self._triggers.all:
            decision = plugin.decide(measurement, nominal)
            if decision is not None and decision.span_ns is not None:
                self._over(measurement.box_id, decision)
            elif onset is None:
                onset = decision
        self._minutes.note(measurement)
        if onset is None or not self._openings.onset(measurement, onset, stored=True):
            writer.channel.offer(measurement)

    def _over(self, box_id: str, decision: Decision) -> None:
        self._openings.over(box_id, decision, time.monotonic())

    def _see_what_began(self, store: CloudStore) -> None:
        """A trigger that was installed, or a version that knows nothing of what came before."""
        if began := [plugin for plugin in self._triggers.all if plugin.anew]:
            try:
                self._see_again(store, began)
            except StoreError as error:  # they begin with what comes
                self.counters.add("store_errors")
                self._log.warning("triggers.not_shown_the_past", error=str(error))

    def _see_again(self, store: CloudStore, plugins: Sequence[TriggerPlugin]) -> None:
        """Let them see the last minutes; onsets in it have their events."""
        for plugin in plugins:
            plugin.begin_again()
        for row in self._minutes.rows(store):
            for plugin in plugins:
                decision = plugin.see_again(row, self._boxes.nominal(row))
                if decision is not None and decision.span_ns is not None:
                    self._over(row.box_id, decision)

    def _acknowledge(self, socket: Socket, box_id: str, text: str) -> None:
        self.counters.add("acknowledgements", label=box_id)
        send(socket, plugin_command(box_id, ACK_PLUGIN, text, f"ack_{self.instance}_0"), self.counters)
