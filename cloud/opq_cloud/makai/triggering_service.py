"""Triggering service: measurements in; into the store; triggers out, as commands to the Boxes.

A decision of a plug-in becomes a Trigger for some Boxes (`requested_boxes.py`). First its event is opened
(on disk), then one command per Box goes out: a kill in between loses nothing, the event service
repeats requests that were never answered. A measurement goes to the store, and is acknowledged to
its Box, only after the plug-ins have seen it and its event is on disk.

A disturbance that outlasts the request at its onset is requested once more, whole or its end, from the
Boxes that saw it (`openings.py`). At the start the plug-ins see the last stored minutes again: a
restart in the middle of a dip, or just after it, loses neither its beginning nor its completion.
"""

import math
import threading
import time
import uuid
from collections.abc import Iterable, Sequence
from contextlib import ExitStack, closing
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import zmq

from opq_cloud.core.backend.peer_watch import WatchedConnections
from opq_cloud.core.backend.sockets import PollPace, Socket, open_socket, service_context
from opq_cloud.core.service import CloudContext, HealthReport, ServiceCounters
from opq_cloud.core.settings.makai_settings import TriggeringServiceSection
from opq_cloud.makai.judging.hang_watch import HangWatch
from opq_cloud.makai.judging.limits_follower import LimitsFollower
from opq_cloud.makai.judging.measurement_judge import MeasurementJudge
from opq_cloud.makai.judging.trigger_plugins import TriggerPlugin
from opq_cloud.makai.judging.triggers_in_use import TriggersInUse
from opq_cloud.makai.judging.window_order import WindowOrder
from opq_cloud.makai.measurements.last_minutes import SEE_AGAIN_S, LastMinutes
from opq_cloud.makai.measurements.measurement_gatherer import MeasurementGatherer
from opq_cloud.makai.measurements.measurement_writer import MeasurementWriter
from opq_cloud.makai.openings.openings import EventOpenings
from opq_cloud.makai.triggering_boxes import BoxRegister
from opq_cloud.store.documents.makai_documents import MakaiConfig
from opq_proto.decision import Nominal
from opq_proto.errors import ForeignError, FrameError, StoreError
from opq_proto.kit import log
from opq_proto.kit.rate_limit import RateLimitedLog
from opq_proto.kit.zmq_inbox import try_send
from opq_proto.measurement.batch import Measurements
from opq_proto.measurement.invariants import AHEAD, refused_words
from opq_proto.measurement.wire import MeasurementReader
from opq_proto.wire.frames import ACK_PLUGIN, TAKES_INTERVALS, TAKES_LOSSES, plugin_command
from opq_proto.wire.measurement_turns import request_turns

if TYPE_CHECKING:
    from opq_cloud.makai.judging.judging_rules import RuleHost

RECEIVED_TURNS = 10_000
"""Limit of waiting messages. Each holds what a broker reads in 10 ms; one Measurement where few come, or
where the broker is an original one.
"""
GATHER_S = 0.1
"""Interval between turns while Measurements arrive: judging a hundred together costs as much as twenty one
by one. A pressing one, and the first one after a pause, is judged at once.
"""
NOMINAL_REFRESH_S = 30.0
COUNTED_FROM_0 = (
    "measurements_stored",
    "measurements_doubled",
    "measurements_lost",
    "intervals_stored",
    "intervals_doubled",
    "backfilled",
    "triggers",
)
"""Created at 0, because an alert cannot see a counter that first appears as 1."""
JOIN_S = 3.0


class TriggeringService:
    """SUB 9881 -> store; trigger plug-ins and rules -> PUSH 9884."""

    name = "triggering-service"

    def __init__(
        self,
        config: TriggeringServiceSection,
        shared: CloudContext,
        nominal: Nominal,
        data_dir: Path | None = None,
        bus_endpoint: str | None = None,
    ) -> None:
        """Raises ConfigError when a plug-in cannot be loaded or configured.

        Args:
            data_dir: holds the rules.
            bus_endpoint: of Mauka's bus, for rules that read it; None: its default.
        """
        self.counters = ServiceCounters()
        for name in COUNTED_FROM_0:
            self.counters.add(name, 0)
        self.instance = config.identity or str(uuid.uuid4())
        self._config = config
        self._shared = shared
        self._log = log.get(service=self.name)
        self._limited = RateLimitedLog(self._log)
        self._triggers = TriggersInUse(config, self.counters, self._log)
        self._boxes = BoxRegister(nominal)
        self._order = WindowOrder(self.counters, self._boxes.nominal)
        self._openings = EventOpenings(config, self.instance, self._boxes, self.counters)
        self._judge = MeasurementJudge(self._boxes, self._triggers, self._openings)
        self._follower = LimitsFollower(self.counters, self._log)
        self._makai_config: MakaiConfig | None = None
        self._watch = HangWatch(self.counters, self._log)
        self._store_name = ""
        self._writer: MeasurementWriter | None = None
        self._connections = WatchedConnections()
        self._data_dir, self._bus_endpoint = data_dir, bus_endpoint
        self._rules: RuleHost | None = None

    def health(self) -> Iterable[HealthReport]:
        problem = (self._writer and self._writer.problem) or self._connections.problem
        own = HealthReport(self.name, problem is None, info=problem)
        rules = [] if self._rules is None else [self._rules.health()]
        parts = [*self._boxes.health(), *self._triggers.health(), *self._follower.health()]
        return [own, self._openings.health(), *parts, *self._watch.health(), *rules]

    def run(self, stop: threading.Event, ready: threading.Event | None = None) -> None:
        config = self._config
        self._store = store = self._shared.store
        self._boxes.read_before(store)
        self._boxes.read_places(store)
        self._minutes = LastMinutes(SEE_AGAIN_S)
        with ExitStack() as opened:
            context = opened.enter_context(service_context())
            self._connections = connections = WatchedConnections()
            received = opened.enter_context(closing(open_socket(context, zmq.SUB, rcvhwm=RECEIVED_TURNS)))
            request_turns(received)
            connections.connect(
                received, config.measurement_endpoint, "triggering_service.measurement_endpoint"
            )
            received.subscribe(b"")
            requests, acknowledgements = (
                opened.enter_context(closing(open_socket(context, zmq.PUSH)))
                for _ in range(2)  # the writer's thread acknowledges
            )
            for socket in (requests, acknowledgements):
                connections.connect(socket, config.request_endpoint, "triggering_service.request_endpoint")
            self._writer = writer = MeasurementWriter(
                store,
                config,
                self.counters,
                self._log,
                lambda box_id, text: self._acknowledge(acknowledgements, box_id, text),
            )
            self._openings.begin(
                store,
                lambda command: try_send(requests, [command]),
                partial(writer.accept_row, nominal_of=self._boxes.nominal),
            )
            self._follower.start(store)
            opened.callback(self._follower.close)
            self._use_limits()
            self._watch.start()
            opened.callback(self._watch.close)
            writer_stop = threading.Event()
            thread = threading.Thread(target=writer.run, args=(writer_stop,), name="measurement-writer")
            thread.start()
            try:
                self._show_last_minutes(self._triggers.all)
                self._rules = self._opened_rules(opened)
                if ready is not None:
                    ready.set()
                self._loop(stop, MeasurementGatherer(received), writer, thread)
            finally:
                writer_stop.set()
                thread.join(JOIN_S)

    def _loop(
        self,
        stop: threading.Event,
        measurements: MeasurementGatherer,
        writer: MeasurementWriter,
        thread: threading.Thread,
    ) -> None:
        refresh_s = time.monotonic() + NOMINAL_REFRESH_S
        turn_s, pace, there = 0.0, PollPace(), False
        while not stop.is_set():
            began_s = time.monotonic()
            there = measurements.poll(pace.wait_ms(there))
            woken_s = time.monotonic()
            self._triggers.note_idle(woken_s - began_s)
            read = None
            if there:
                self._watch.note_turn()
                read, woken_s = measurements.gather(turn_s + GATHER_S, woken_s)
            turn_s = time.monotonic()
            self._connections.check()
            if read is not None:
                self._note_malformed(read.malformed)
                for columns in self._order.accept_read(read, woken_s, writer.without_stored):
                    self._judge_columns(columns, writer, woken_s)
                if read.refusals:
                    self._note_refused(read, writer)
                if read.intervals:
                    writer.accept_intervals(read.intervals)
            self._use_limits()
            now_s = time.monotonic()
            for columns in self._order.due(now_s):
                self._judge_columns(columns, writer, now_s)
            if read is not None:
                self.counters.add("received", read.count)
            if self._rules is not None:
                for seen, decision in self._rules.decisions():  # handled as a plug-in's decision
                    self._openings.open_at_onset(seen, decision, stored=False)
            self._openings.advance(now_s)
            self._openings.growing.advance(now_s)
            if now_s >= refresh_s:
                refresh_s = now_s + NOMINAL_REFRESH_S
                self._refresh_boxes(writer)
            if not thread.is_alive():
                raise RuntimeError("the measurement writer has ended")
        for columns in self._order.due(math.inf):
            self._judge_columns(columns, writer, time.monotonic())

    def _use_limits(self) -> None:
        if self._follower.config is not self._makai_config:
            self._makai_config = self._follower.config
            self._triggers.use_makai_config(self._makai_config)

    def _opened_rules(self, opened: ExitStack) -> "RuleHost | None":
        if not self._config.rules.enabled:
            return None
        # loads FastAPI, so only where rules are enabled
        from opq_cloud.makai.judging.judging_rules import RuleHost

        made = RuleHost(
            self._config.rules,
            self._data_dir,
            self.counters,
            self._triggers,
            self._bus_endpoint,
            self._shared.private,
            self._shared.config_files,
        )
        return opened.enter_context(closing(made))

    def _refresh_boxes(self, writer: MeasurementWriter) -> None:
        try:
            deleted = self._boxes.read_places(self._store)
        except StoreError as error:  # the known values stay; rows that wait for the store must not be lost
            self.counters.add("store_errors")
            self._limited.warning("nominals.not_read", error=str(error))
            return
        writer.forget(deleted)
        if deleted:
            self._minutes.forget(deleted)
        for box_id in deleted:
            self._order.forget(box_id)
            for trigger in self._triggers.all:
                trigger.forget_box(box_id)

    def _note_malformed(self, errors: Iterable[FrameError]) -> None:
        for error in errors:
            what = "foreign" if isinstance(error, ForeignError) else "malformed"
            self.counters.add(what)
            self._limited.warning(f"measurement.{what}", key=what, error=str(error))

    def _note_refused(self, read: MeasurementReader, writer: MeasurementWriter) -> None:
        """Counts what cannot be true. A refused Measurement is acknowledged, so that its Box does not send it
        again; one that is ahead only while this machine's clock is not the one that is wrong.
        """
        for (box_id, what), count in read.refusals.items():
            self.counters.add("refused", count, label=f"{box_id} {what}")
            self._boxes.note_refused(box_id, what, count)
            words = refused_words(what)
            self._limited.warning("measurement.refused", key=box_id, box_id=box_id, why=words, count=count)
        if read.refused:
            confirmed = self._boxes.confirms_clock()
            writer.accept_refused(each for each in read.refused if each.what != AHEAD or confirmed)

    def _judge_columns(self, columns: Measurements, writer: MeasurementWriter, woken_s: float) -> None:
        if self._rules is not None and self._rules.wants_measurements:
            for row in columns.rows():
                self._rules.offer_measurement(row)
        self._show_new_triggers()
        opened = self._judge.judge(columns)
        self._minutes.add(columns)
        if not columns.backfilled:
            self.counters.stages.add_array("measurement_judged", (time.time_ns() - columns.end_ns) / 1e9)
        if not opened.any():
            writer.accept(columns)
            return
        for _ in range(int(opened.sum())):
            self.counters.stages.add("event_asked", time.monotonic() - woken_s)
        if not opened.all():
            writer.accept(columns.part(~opened))

    def _show_new_triggers(self) -> None:
        """Shows the last minutes to newly installed triggers, and to versions without memory."""
        if began := [plugin for plugin in self._triggers.all if plugin.begins]:
            try:
                self._show_last_minutes(began)
            except StoreError as error:  # they begin with the next Measurements
                self.counters.add("store_errors")
                self._log.warning("triggers.not_shown_the_past", error=str(error))

    def _show_last_minutes(self, plugins: Sequence[TriggerPlugin]) -> None:
        self._watch.note_turn()
        for plugin in plugins:
            plugin.begin_again()
        for columns in self._minutes.batches(self._store, self._boxes.nominal):
            self._judge.see_again(columns, plugins)

    def _acknowledge(self, socket: Socket, box_id: str, text: str) -> None:
        try:
            self._store_name = self._store_name or self._store.identity()
        except StoreError as error:  # the next acknowledgement has it too
            self.counters.add("store_errors")
            self._limited.warning("store.not_named", error=str(error))
            return
        self.counters.add("acknowledgements", label=box_id)
        name = f"ack_{self._store_name}_store"
        command = plugin_command(box_id, ACK_PLUGIN, text, name, (TAKES_INTERVALS, TAKES_LOSSES))
        if not try_send(socket, [command]):
            self.counters.add("commands_dropped")  # the next acknowledgement has it too
